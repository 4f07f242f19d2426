"""Held-out accuracy of the cost model on public measurements: the table the README shows.

    python benchmarks/accuracy.py [DATA]       (default: COMPTROLLER_DATA or ../shared/data)

Writes benchmarks/results/accuracy.md and accuracy.json. Every prediction is for rows whose group (runs and
configurations that repeat each other, also where one was printed with fewer digits) is not in the training rows;
the fit starts from the first priors, so nothing of the shipped calibration enters. Exclusions are the published
rules of `comptroller_lab.silicon`, on input columns only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import accuracy_splitwise
from accuracy_data import ROOT, data_folder, disaggregated, silicon
from accuracy_extras import apart, layout_regret, learning_curve, overload, speed
from accuracy_folds import (
    NEIGHBOUR,
    OURS,
    PHYSICS,
    UNFITTED,
    Errors,
    Fold,
    Held,
    Measured,
    architecture,
    by_date,
    by_group,
    by_label,
    family,
    held_out,
    system,
    unfitted,
)
from comptroller.measure.features import FeatureBank
from comptroller.measure.observations import ExclusionReport

UNDATED = "before March 2026, test undated"
PREDICTORS = (*UNFITTED, NEIGHBOUR, PHYSICS, OURS)


@dataclass(frozen=True)
class Split:
    """A way to hold rows out, and the targets (must, goal) for the medians of TPOT and TTFT."""

    name: str
    folds: list[Fold]
    tpot: tuple[float, float] | None
    ttft: tuple[float, float] | None


def splits(runs: FeatureBank) -> list[Split]:
    """All splits of the table."""
    groups = [o.group for o in runs.observations]
    return [
        Split("5-fold by group", list(by_group(runs, groups)), (6, 2), (12, 7)),
        Split("leave one model out", list(by_label(runs, architecture(runs), groups)), (14, 9), (30, 18)),
        Split("leave one family out", list(by_label(runs, family(runs), groups)), None, None),
        Split("leave one system out", list(by_label(runs, system(runs), groups)), (14, 9), (30, 18)),
        Split("before March 2026, test March", list(by_date(runs, True)), (10, 7), None),
        Split(UNDATED, list(by_date(runs, False)), None, None),
    ]


def table(quantity: str, results: dict[str, dict[str, Errors]]) -> Iterator[str]:
    """One table a quantity: splits by predictors."""
    yield f"### {quantity}: median / mean error, per cent\n"
    yield "| split | rows | " + " | ".join(PREDICTORS) + " |"
    yield "|---|---:|" + "---:|" * len(PREDICTORS)
    for split, found in results.items():
        cells = [f"{found[name].median:.1f} / {found[name].mean:.1f}" for name in PREDICTORS]
        yield f"| {split} | {found[OURS].rows} | " + " | ".join(cells) + " |"
    yield f"\n### {quantity}: ours in full\n"
    yield "| split | bias | within 10 % | within 20 % | 80 % interval holds | its width (high / low, median) |"
    yield "|---|---:|---:|---:|---:|---:|"
    for split, found in results.items():
        e = found[OURS]
        yield (
            f"| {split} | {e.bias:+.1f} % | {e.within_10:.0f} % | {e.within_20:.0f} % | {e.coverage:.0f} % "
            f"| {e.width:.2f} |"
        )
    yield ""


@dataclass(frozen=True)
class Target:
    """One line of the table of targets."""

    what: str
    must: str
    goal: str
    ours: str
    met: bool


def line(what: str, limits: tuple[float, float], ours: float) -> Target:
    """A median error against its targets."""
    must, goal = limits
    return Target(what, f"{must:g} %", f"{goal:g} %", f"{ours:.1f} %", ours <= must)


def run(data: Path) -> tuple[str, dict[str, Any]]:
    """The report as Markdown and as a document."""
    runs, report = silicon(data)
    ideal = {name: unfitted(runs, make()) for name, make in UNFITTED.items()}
    truth = Measured.of(runs)
    held: dict[str, Held] = {}
    each: dict[str, dict[str, Errors]] = {}
    first: dict[str, dict[str, Errors]] = {}
    targets: list[Target] = []
    chosen = splits(runs)
    for split in chosen:
        found = held[split.name] = held_out(runs, iter(split.folds), ideal)
        each[split.name] = {name: Errors.of(found.tpot[name], truth.tpot_s) for name in PREDICTORS}
        first[split.name] = {name: Errors.of(found.ttft[name], truth.ttft_s) for name in PREDICTORS}
        print(f"{split.name}: TPOT {each[split.name][OURS].median:.1f} %, TTFT {first[split.name][OURS].median:.1f} %")
        if split.tpot:
            targets.append(line(f"TPOT, {split.name}", split.tpot, each[split.name][OURS].median))
        if split.ttft:
            targets.append(line(f"TTFT up to 20 s, {split.name}", split.ttft, first[split.name][OURS].median))
    for phase, (_, errors) in splitwise(data).items():
        targets.append(line(f"SplitwiseSim {phase} time, leave one (model, GPU) out", (12, 8), errors.median))
    extra = extras(data, runs, report, held)
    targets += [*interval_targets({"TPOT": each, "TTFT": first}), *extra.targets]
    text = "\n".join(
        [*head(runs, report), *goals(targets), *table("TPOT", each), *table("TTFT up to 20 s", first), *extra.text]
    )
    document = {
        "rows": len(runs.observations),
        "left_out": dict(report.counts),
        "targets": [asdict(target) for target in targets],
        "tpot": {split: {name: asdict(e) for name, e in found.items()} for split, found in each.items()},
        "ttft": {split: {name: asdict(e) for name, e in found.items()} for split, found in first.items()},
        **extra.document,
    }
    return text, document


def interval_targets(found: dict[str, dict[str, dict[str, Errors]]]) -> Iterator[Target]:
    """Coverage of the intervals, the undated rows of the other harness apart."""
    rows = [(split, part[split][OURS].coverage) for part in found.values() for split in part]
    for words, kept in (
        ("80 % intervals, all splits", [c for split, c in rows if split != UNDATED]),
        ("80 % intervals, undated rows of the other harness", [c for split, c in rows if split == UNDATED]),
    ):
        low, high = min(kept), max(kept)
        yield Target(words, "72-88 %", "", f"{low:.0f}-{high:.0f} %", low >= 72 and high <= 88)


def splitwise(data: Path) -> dict[str, tuple[Errors, Errors]]:
    """Held-out errors of SplitwiseSim's phases."""
    return accuracy_splitwise.held_out(data / "serving" / "splitwise_known.csv")


@dataclass(frozen=True)
class Extra:
    """What stands beside the splits."""

    text: list[str]
    targets: list[Target]
    document: dict[str, Any]


def extras(data: Path, runs: FeatureBank, report: ExclusionReport, held: dict[str, Held]) -> Extra:
    """Learning curve, layout choice, overload, pools apart, coverage and speed."""
    curve, quick = learning_curve(runs), speed()
    regret = {name: layout_regret(runs, held[name]) for name in ("5-fold by group", "leave one model out")}
    alarms = {name: overload(runs, held[name]) for name in ("5-fold by group", "leave one model out")}
    pools = disaggregated(data)
    answered, apart_tpot, apart_ttft = apart(pools, runs)
    reasons = report.counts.items()
    misfits = sum(n for reason, n in reasons if "does not fit" in reason)
    unpriced = misfits + sum(n for reason, n in reasons if "cannot" in reason)
    asked = len(runs.observations) + unpriced + len(pools)
    share = 100 * (len(runs.observations) + answered) / asked
    text = [
        "### A user's own runs: error on an unseen (model, accelerator) after k of its configurations\n",
        "| k | TPOT median / mean | TTFT median / mean | TPOT interval holds |",
        "|---:|---:|---:|---:|",
        *(
            f"| {k} | {a.median:.1f} / {a.mean:.1f} | {b.median:.1f} / {b.mean:.1f} | {a.coverage:.0f} % |"
            for k, (a, b) in curve.items()
        ),
        "\n### Layout choice (regret in output tokens per second and device against the best measured)\n",
        "| split | choices | mean regret | best one chosen |",
        "|---|---:|---:|---:|",
        *(f"| {k} | {r.choices} | {r.mean:.1f} % | {r.best_chosen:.0f} % |" for k, r in regret.items()),
        "\n### Overload (TTFT above 20 s)\n",
        "| split | overloaded | foreseen | false alarms of |",
        "|---|---:|---:|---:|",
        *(f"| {k} | {a.overloaded} | {a.foreseen} | {a.false_alarms} of {a.sound} |" for k, a in alarms.items()),
        "\n### Pools apart that state their batch sizes (fitted on aggregated rows only)\n",
        f"{answered} of {len(pools)} rows: TPOT {apart_tpot.median:.1f} / {apart_tpot.mean:.1f} %, "
        f"TTFT up to 20 s {apart_ttft.median:.1f} / {apart_ttft.mean:.1f} % ({apart_ttft.rows} rows).\n",
        "### Speed\n",
        f"One point {quick.one_ms:.2f} ms, at the door with residual and interval {quick.door_ms:.2f} ms; in arrays "
        f"{quick.many_us:.2f} us a point, with the residual of a measured configuration "
        f"{quick.many_with_residual_us:.2f} us (CPU time).\n",
    ]
    best = regret["5-fold by group"]
    targets = [
        Target("rows with a prediction, of those with a load", ">= 98 %", "", f"{share:.1f} %", share >= 98),
        Target("false out-of-memory", "0", "", str(misfits), misfits == 0),
        Target("layout choice, mean regret (5-fold)", "5 %", "", f"{best.mean:.1f} %", best.mean <= 5),
        Target("one point", "1 ms", "", f"{quick.one_ms:.2f} ms", quick.one_ms <= 1),
        Target("a point in arrays", "5 us", "", f"{quick.many_us:.2f} us", quick.many_us <= 5),
    ]
    document = {
        "learning_curve": {str(k): {"tpot": asdict(a), "ttft": asdict(b)} for k, (a, b) in curve.items()},
        "regret": {k: asdict(r) for k, r in regret.items()},
        "overload": {k: asdict(a) for k, a in alarms.items()},
        "apart": {"rows": answered, "tpot": asdict(apart_tpot), "ttft": asdict(apart_ttft)},
    }
    return Extra(text, targets, document)


def head(runs: FeatureBank, report: ExclusionReport) -> Iterator[str]:
    """What was tested and what was left out."""
    yield "# Accuracy of the cost model, held out\n"
    yield "Made by `python benchmarks/accuracy.py` from the measurements of aiconfigurator-core 0.12.0 (Apache-2.0) and"
    count = len(runs.observations)
    yield f"SplitwiseSim (MIT). {count} aggregated rows; left out by published rules on input columns:\n"
    for text in report.lines():
        yield f"- {text}"
    yield ""


def goals(targets: list[Target]) -> Iterator[str]:
    """The table of targets."""
    yield "| target | must | goal | ours | |"
    yield "|---|---:|---:|---:|---|"
    for t in targets:
        yield f"| {t.what} | {t.must} | {t.goal} | {t.ours} | {'met' if t.met else 'missed'} |"
    yield ""


def rounded(value: Any) -> Any:
    """Four significant digits; unknown is null."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    if isinstance(value, float):
        return None if np.isnan(value) else float(f"{value:.4g}")
    return value


def main() -> None:
    """Run, print, write."""
    text, document = run(data_folder(sys.argv[1:]))
    notes = ROOT / "benchmarks" / "results" / "accuracy_notes.md"
    text += "\n" + notes.read_text(encoding="utf-8") if notes.is_file() else ""
    print(text)
    results = ROOT / "benchmarks" / "results"
    (results / "accuracy.md").write_text(text, encoding="utf-8")
    (results / "accuracy.json").write_text(json.dumps(rounded(document), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
