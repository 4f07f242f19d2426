"""Reader of InferenceX's DeepSeek-R1 measurements (`inferencex_dsr1_known.csv`): aggregated runs without speculation.

The file has medians. A median time per token is its mean within a few per cent; a median time to the first token leaves
out the wave in which all clients start, which the mean of the other files holds, so it is not taken.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date
from math import nan
from pathlib import Path

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.measure.observations import ExclusionReport, RunObservation
from comptroller.measure.run_observations import FactLookup
from comptroller_lab.launch_flags import DRAWN, FRAMEWORKS, HARDWARE, LaunchFlags

FOREIGN = 0.1
"""Log standard deviation beyond that of a cell. Above 0: these runs move the effects of their vendor and family, not
the parameters that the timed kernels of other vendors share (`calibrate.fit_parameters`)."""


def read_inferencex(path: Path) -> tuple[list[RunObservation], ExclusionReport]:
    """The runs, and why others are left out."""
    report, kept, flags, lookup = ExclusionReport(), list[RunObservation](), LaunchFlags.beside(path), FactLookup()
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            if row["disagg"] == "True":
                report.add(number, "prefill and decode in pools apart")
            elif row["spec_method"] != "none":
                report.add(number, "speculative decoding")
            elif row["framework"] not in FRAMEWORKS:
                report.add(number, f"engine {row['framework']} is not known")
            else:
                kept.append(_observation(number, row, flags, lookup))
    return kept, report


def _observation(number: int, row: dict[str, str], flags: LaunchFlags, lookup: FactLookup) -> RunObservation:
    engine, device = FRAMEWORKS[row["framework"]], lookup.accelerator(HARDWARE.get(row["hardware"], row["hardware"]))
    clients, when, four = float(row["conc"]), date.fromisoformat(row["date"]), row["precision"] == "fp4"
    polled = flags.poll_steps("DeepSeek-R1", four, (engine, device.id), when, clients)
    settings = EngineSettings.default(lookup.engine(engine))
    settings = replace(settings, max_batch=max(settings.max_batch, int(clients)), poll_steps=polled)
    attention = row["decode_dp_attention"] == "True"
    tp, ep = int(row["decode_tp"]), int(row["decode_ep"])
    layout = ParallelLayout(1, 1, tp, ep) if attention else ParallelLayout(tp, 1, 1, ep)
    replica = ModelReplica(lookup.model("deepseek_r1"), device, _recipe(four, device.vendor), layout, settings)
    return RunObservation(
        number=number,
        replica=replica,
        input_tokens=DRAWN * float(row["isl"]),
        output_tokens=DRAWN * float(row["osl"]),
        concurrency=clients,
        ttft_s=nan,
        tpot_s=float(row["median_tpot_s"] or nan),
        source="inferencex",
        spread=FOREIGN,
        group=f"inferencex {row['median_ttft_s']} {row['median_tpot_s']}",
        measured=when,
    )


def _recipe(four_bit: bool, vendor: str) -> PrecisionRecipe:
    """FP8 in blocks; or 4-bit experts beside 16-bit attention: NVFP4 checkpoints on NVIDIA, MXFP4 ones on AMD."""
    if not four_bit:
        return PrecisionRecipe("fp8_block", "fp8_block", "fp8_block", "bf16")
    name = "mxfp4" if vendor == "AMD" else "nvfp4"
    return PrecisionRecipe("bf16", name, name, "fp8_e4m3")
