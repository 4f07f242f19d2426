"""Fits the shipped serving calibration: writes facts/calibration/serving.toml, residual.csv and configurations.csv.

    python benchmarks/fit_serving.py [DATA]                       (default: COMPTROLLER_DATA or ../shared/data)
    python benchmarks/fit_serving.py [DATA] --only generation.v1  (these effects alone, from runs that have them)
    python benchmarks/fit_serving.py [DATA] --configurations      (configurations.csv alone, which no prediction reads)

Starts from the first priors (`measure.serving_parameters.PRIORS`), not from the files it replaces. Anchors hold
configurations and fitted weights, no measured value.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from accuracy_data import data_folder
from comptroller.errors import InputError
from comptroller.facts.measured_configurations import configurations_text
from comptroller.facts.reader import FactSource, folder
from comptroller.facts.serving import PredictionErrorBands, ServingFacts, serving_facts
from comptroller.measure.calibrate import CalibrationFit, fit_bank, fit_some, start
from comptroller.measure.calibration_text import anchors_text, constants_text
from comptroller.measure.features import FeatureBank
from comptroller.measure.observations import ExclusionReport
from comptroller.measure.residuals import TPOT_KERNEL, TTFT_KERNEL
from comptroller_lab.calibration_runs import calibration_banks, configurations, weighed
from comptroller_lab.intervals import with_intervals

SOURCES = {
    "silicon": FactSource(
        title="aiconfigurator-core 0.12.0, end-to-end serving measurements (aggregated rows)",
        url="https://github.com/ai-dynamo/aiconfigurator",
        date=date(2026, 11, 21),
        licence="Apache-2.0",
    ),
    "inferencex": FactSource(
        title="InferenceX, DeepSeek-R1 on MI300X and MI355X (test fixtures of InferenceX-app, figures only)",
        url="https://github.com/SemiAnalysisAI/InferenceX-app",
        date=date(2026, 11, 28),
        licence="GPL-3.0",
    ),
    "ml_energy": FactSource(
        title="ML.ENERGY leaderboard v3, output rates of vLLM 0.11.1 on H100 and B200, tasks of text",
        url="https://github.com/ml-energy/leaderboard",
        date=date(2026, 2, 27),
        licence="Apache-2.0 (dataset card of ml-energy/benchmark-v3)",
    ),
    "published": FactSource(
        title="published measurements of 20 repositories and pages, each weighed alike: LLM-Inference-Bench, "
        "TensorRT-LLM's performance overviews, dstack, AccelMark, gpustack and the SGLang cookbook",
        url="https://github.com/argonne-lcf/LLM-Inference-Bench",
        date=date(2026, 11, 28),
        licence="as each states",
    ),
}
EMPTY = PredictionErrorBands((-1.0, 1.0), (-1.0, 1.0), (-1.0, 1.0))


def about(rows: int) -> ServingFacts:
    """What the files say of themselves."""
    return ServingFacts(
        date=date(2026, 11, 29),
        command="python benchmarks/fit_serving.py",
        data="steady-state runs on H100, H200, B200 and GB200 under vLLM, SGLang and TensorRT-LLM; effects of other "
        "causes from InferenceX on AMD and from published points, weighed by source",
        rows=rows,
        parameters=(),
        tpot=EMPTY,
        ttft=EMPTY,
        tpot_kernel=TPOT_KERNEL,
        ttft_kernel=TTFT_KERNEL,
        sources=SOURCES,
    )


def fitted(banks: Mapping[str, tuple[FeatureBank, ExclusionReport]]) -> CalibrationFit:
    """The calibration on all measured runs."""
    runs = weighed(FeatureBank.joined([runs for runs, _ in banks.values()]))
    return with_intervals(runs, fit_bank(runs, start(runs, None)))


def fitted_alone(data: Path, mark: str) -> ServingFacts:
    """The shipped calibration with the effects whose name holds `mark` fitted to the runs that have them.

    Each source weighs alike (`weighed`); everything else stays, bit by bit.

    Raises:
        InputError: no run has such an effect.
    """
    runs = weighed(FeatureBank.joined([runs for runs, _ in calibration_banks(data).values()]))
    own = np.flatnonzero([any(mark in name for name, _ in names) for names in runs.effects])
    if not len(own):
        raise InputError(f"no run has an effect named {mark!r}")
    shipped = serving_facts()
    kept = tuple(p for p in shipped.parameters if mark not in p.name)
    believed = replace(shipped, parameters=kept)
    chosen = runs.take(own)
    found = fit_some(chosen, start(chosen, believed), mark).parameters()
    merged = sorted((*kept, *(p for p in found if mark in p.name)), key=lambda p: (p.name, p.engine))
    return replace(shipped, parameters=tuple(merged), sources={**shipped.sources, "ml_energy": SOURCES["ml_energy"]})


def main() -> None:
    """Fit and write."""
    given = sys.argv[1:]
    if "--only" in given:
        place = given.index("--only")
        some = fitted_alone(data_folder(given[:place]), given[place + 1])
        (folder("calibration") / "serving.toml").write_text(constants_text(some), encoding="utf-8")
        return
    alone = "--configurations" in given
    data = data_folder([word for word in given if word != "--configurations"])
    banks = calibration_banks(data)
    stand = configurations_text(configurations(data, banks))
    (folder("calibration") / "configurations.csv").write_text(stand, encoding="utf-8")
    if alone:
        return
    found = fitted(banks)
    facts = found.facts(about(found.rows))
    (folder("calibration") / "serving.toml").write_text(constants_text(facts), encoding="utf-8")
    (folder("calibration") / "residual.csv").write_text(anchors_text(found.anchors()), encoding="utf-8")
    for p in facts.parameters:
        mark = "" if p.identified else "   not identified"
        print(f"{p.name:28s} {p.engine:8s} {p.value:10.4g} {p.unit:2s} x{p.value / p.prior:.2f} +-{p.error:.2f}{mark}")
    print(f"{found.rows} runs, {len(found.tpot.points.residual)} anchors")


if __name__ == "__main__":
    main()
