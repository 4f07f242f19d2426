"""Sections of docs/accuracy.md: recorded vLLM runs before any calibration, published rates of wide experts, which rows
are answered, and what a prediction costs."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import process_time

import numpy as np

from comptroller.costs.closed_loop import closed_loop
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.steady import UniformRequests
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.measure.features import FeatureBank
from comptroller.measure.observations import ExclusionReport
from comptroller_lab.wide_experts import published_rates
from replay_fit import replay
from vllm_runs import read_run

MUST = {"TPOT": 10, "E2E": 10, "TTFT": 20}
UNSTATED = ("not stated", "open loop", "pools apart", "speculative", "disaggregated", "labelled", "trtllm 1.3.0rc1")
"""What a reason says where the row does not tell what was run, or is not believable."""
NAMELESS = ("unknown accelerator", "unknown model", "engine ")
"""Where the catalogue lacks what was run."""
POINTS = 1_000


def recorded_runs(data: Path) -> Iterator[str]:
    """Signed errors of means over the requests of each run, played by the simulator."""
    yield "\n## Recorded vLLM runs, before any calibration\n"
    yield "Arrivals and lengths of 300 requests replayed; signed error of the mean."
    yield "Must: TPOT and end to end 10 %, TTFT 20 %.\n"
    yield "| run | TPOT | end to end | TTFT |"
    yield "|---|---:|---:|---:|"
    for path in sorted((data / "serving").glob("vllm_run_*.csv")):
        run = read_run(path)
        seen = replay(run, FittedCalibration.shipped())
        errors = [getattr(seen, f"{q.lower()}_s").mean() / getattr(run, f"{q.lower()}_s").mean() - 1 for q in MUST]
        cells = (
            f"{100 * e:+.0f} %{'' if abs(100 * e) <= m else ' (missed)'}"
            for e, m in zip(errors, MUST.values(), strict=True)
        )
        yield f"| {run.name} | {' | '.join(cells)} |"


def wide_experts() -> Iterator[str]:
    """Published rates of experts over nodes."""
    yield "\n## Experts over several nodes\n"
    yield "DeepSeek-R1; nothing is fitted to these rates. Must: 20 %.\n"
    yield "| published by | what | tok/s a device | predicted | error |"
    yield "|---|---|---:|---:|---:|"
    for rate in published_rates():
        found = rate.predicted(FittedCalibration.shipped())
        figures = f"{rate.per_s:,.0f} | {found:,.0f} | {100 * (found / rate.per_s - 1):+.0f} %"
        yield f"| {rate.source} | {rate.name} | {figures} |"


def answered(banks: Mapping[str, tuple[FeatureBank, ExclusionReport]]) -> Iterator[str]:
    """Rows that are answered, of all and of those whose facts are there."""
    yield "\n## Rows that are answered\n"
    yield "| rows of | all | settings stated and believable | of these in the catalogue | answered | of the last |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, (runs, report) in banks.items():
        reasons, kept = [reason for _, reason in report.rows], len(runs.observations)
        stated = [x for x in reasons if not any(mark in x for mark in UNSTATED)]
        named = [x for x in stated if not x.startswith(NAMELESS)]
        counts = [kept + len(part) for part in (reasons, stated, named)]
        cells = " | ".join(f"{count:,}" for count in (*counts, kept))
        yield f"| {name} | {cells} | {100 * kept / counts[-1]:.1f} % |"


def gpt_oss(data: Path, banks: Mapping[str, tuple[FeatureBank, ExclusionReport]]) -> Iterator[str]:
    """Published rows of gpt-oss, whose experts are MXFP4: priced, or left out and why."""
    runs, report = banks["published"]
    reasons, priced = dict(report.rows), {o.number: o.replica.recipe for o in runs.observations}
    found: Counter[tuple[str, str, str]] = Counter()
    with (data / "serving" / "published_known.csv").open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            if "gpt-oss" in row["model"]:
                said = f"priced, {priced[number]}" if number in priced else reasons[number]
                found[row["accelerator"], row["engine"], said] += 1
    yield "\n### Rows of gpt-oss\n"
    yield "| accelerator | engine | rows | |"
    yield "|---|---|---:|---|"
    for (device, engine, said), count in sorted(found.items()):
        yield f"| {device} | {engine or 'not stated'} | {count} | {said} |"


def speed() -> Iterator[str]:
    """Processor time of a closed loop: one point alone, and in arrays."""
    engine = EngineSettings.default(engine_facts("vllm"))
    parts = PrecisionRecipe(), ParallelLayout(tp=2), engine
    one = ModelReplica(model("llama_3_1_70b"), accelerator("h200_sxm"), *parts)
    ready, held = replica_timer(one, FittedCalibration.shipped()), memory(one)
    took = []
    for size, rounds in ((1, 200), (POINTS, 5)):
        requests, clients = UniformRequests(np.full(size, 1024.0), np.full(size, 512.0)), np.linspace(1, 128, size)
        begun = process_time()
        for _ in range(rounds):
            closed_loop(ready, held, requests, clients)
        took.append((process_time() - begun) / rounds / size)
    yield "\n## What a prediction costs\n"
    yield "Llama 3.1 70B on two H200, a closed loop, processor time:"
    yield f"{1e3 * took[0]:.2f} ms for one point alone (must 1 ms),"
    yield f"{1e6 * took[1]:.1f} us a point in arrays of {POINTS:,} (must 5 us)."
