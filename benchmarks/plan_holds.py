"""Does the next hour hold? Plans are made, and their fleets simulated on arrivals that the planner has not seen.

    python benchmarks/plan_holds.py [--only TEXT] [--workers N] [--write]   (data at ../shared/data or COMPTROLLER_DATA)

Writes results/plan_holds.{json,md}. A run is one draw of the arrivals with a seed of its own: ten minutes at the rate
to hold, or the trace with its windows drawn with replacement. It holds if every objective's percentile does, over all
its requests but those of the warm-up. Each workload is planned twice: proven by a bound of the percentile's mean over
draws, and by a bound of its value in a further draw, both at 95 %. A plan has more than it needs where it would have
held in as many runs with one replica less, of whichever of its kinds. Each workload is kept in COMPTROLLER_ROWS
(~/.cache/comptroller/rows) and not planned again while the sources stay as they are; --write makes none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.costs.capacity import LatencyTarget
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InfeasibleError
from comptroller.facts.reader import parse_toml
from comptroller.planning.planner import shipped_calibration
from comptroller.planning.prove.arrivals import Bound, RehearsalSettings, of_a_further_draw, of_the_mean
from comptroller.planning.prove.fleet_search import FleetSearch, ProvenFleet
from comptroller.planning.prove.stage import FleetStage
from comptroller.planning.solve.description import usd_per_h
from comptroller.planning.solve.infeasible import solve_or_explain
from comptroller.planning.solve.problem import pose_problem
from comptroller.work.workload import parse
from kept_rows import Row, path_of, rows_of
from record import table, write

Floats = npt.NDArray[np.float64]

HERE = Path(__file__).parent
UNSEEN = 20
UNSEEN_SEED = 20_260_101
"""Draws of each fleet; the planner's own seed is 0."""

CONFIDENCE = RehearsalSettings().confidence
BOUNDS: Mapping[str, Bound] = {"the mean of draws": of_the_mean, "a further draw": of_a_further_draw}


@dataclass(frozen=True)
class Case:
    """A workload: a file, what replaces its fields, what replaces fields of its quality target, its objectives."""

    name: str
    file: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    objectives: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """The workload as a document."""
        found = {**parse_toml(HERE.parent / self.file), "name": self.name, **self.changes}
        if self.quality:
            found["quality"] = {**found["quality"], **self.quality}
        if self.objectives:
            found["objectives"] = dict(_objective(text) for text in self.objectives.split(", "))
        return found


def _objective(text: str) -> tuple[str, dict[str, Any]]:
    """`ttft p95 500 ms` as a document has it."""
    quantity, quantile, most, unit = text.split()
    return quantity, {"p": float(quantile[1:]), "max": float(most), "unit": unit}


def _sizes(*lengths: float) -> dict[str, Any]:
    """Lengths by median, mean and most of the prompts, then of the outputs."""
    names = ("median", "mean", "most")
    return {
        "lengths": {
            "input": dict(zip(names, lengths[:3], strict=True)),
            "output": dict(zip(names, lengths[3:], strict=True)),
        }
    }


CHAT, CONVERSATION, CODE = "examples/chat.toml", "examples/azure.toml", "examples/code.toml"
OPEN = "benchmarks/workloads/joint_open.toml"
SMALL: Mapping[str, Any] = {"models": ["llama_3_1_8b"]}

CASES: Sequence[Case] = (
    Case("70b-chat", CHAT),
    Case("70b-chat-1", CHAT, {"rate_per_s": 1.0}),
    Case("70b-chat-5-bursts", CHAT, {"rate_per_s": 5.0, "cv": 3.0}),
    Case("70b-chat-spare", CHAT, {"rate_per_s": 8.0, "spare_replicas": 1}),
    Case("70b-chat-100-p99", CHAT, {"rate_per_s": 100.0}, objectives="ttft p99 2000 ms, tpot p99 60 ms"),
    Case("70b-chat-p90", CHAT, {"rate_per_s": 12.0}, objectives="ttft p90 400 ms, tpot p90 30 ms"),
    Case("8b-chat-1", CHAT, {**SMALL, "rate_per_s": 1.0}),
    Case("8b-chat-10-p99", CHAT, {**SMALL, "rate_per_s": 10.0}, objectives="ttft p99 600 ms"),
    Case("8b-chat-50-tpot", CHAT, {**SMALL, "rate_per_s": 50.0}, objectives="tpot p99 25 ms"),
    Case("8b-chat-30-bursts", CHAT, {**SMALL, "rate_per_s": 30.0, "cv": 4.0}, objectives="e2e p95 10 s"),
    Case("8b-chat-even", CHAT, {**SMALL, "rate_per_s": 15.0, "cv": 0.0}, objectives="ttft p95 300 ms"),
    Case("8b-chat-spare", CHAT, {**SMALL, "rate_per_s": 6.0, "spare_replicas": 1}),
    Case("8b-long-prompts", CHAT, {**SMALL, "rate_per_s": 3.0, **_sizes(4000, 6000, 30000, 150, 200, 900)},
         objectives="ttft p95 2 s, tpot p95 40 ms"),
    Case("8b-long-answers", CHAT, {**SMALL, "rate_per_s": 4.0, **_sizes(300, 400, 3000, 1500, 2000, 8000)},
         objectives="e2e p90 90 s"),
    Case("32b-40", CHAT, {"models": ["qwen2_5_32b"], "rate_per_s": 40.0, **_sizes(600, 900, 6000, 150, 200, 900)},
         objectives="ttft p95 800 ms, e2e p95 20 s"),
    Case("14b-25-p99", CHAT, {"models": ["qwen2_5_14b"], "rate_per_s": 25.0, "cv": 2.0}, objectives="ttft p99 1 s"),
    Case("experts-20", CHAT, {"models": ["mixtral_8x7b"]}, objectives="ttft p95 500 ms, tpot p95 40 ms"),
    Case("70b-conversation", CONVERSATION),
    Case("70b-conversation-p99", CONVERSATION, {"scale": 2.0}, objectives="ttft p99 2 s, tpot p95 50 ms"),
    Case("8b-conversation", CONVERSATION, {**SMALL, "rate_per_s": 30.0}, objectives="e2e p95 15 s"),
    Case("8b-code", CODE),
    Case("8b-code-slow", CODE, {"scale": 0.5}, objectives="ttft p90 300 ms"),
    Case("70b-code-p90", CODE, {"models": ["llama_3_1_70b"]}, objectives="ttft p90 2 s, e2e p90 10 s"),
    Case("open-3", OPEN, {"rate_per_s": 3.0}, {"solve": {"min": 55, "unit": "%"}}),
    Case("open-2-bursts", OPEN, {"rate_per_s": 2.0, "cv": 3.0}, {"solve": {"min": 56, "unit": "%"}},
         "ttft p99 500 ms, e2e p95 15 s"),
    Case("open-2-tpot", OPEN, {"rate_per_s": 2.0}, {"solve": {"min": 57, "unit": "%"}}, "tpot p99 40 ms"),
    Case("open-1-e2e", OPEN, {"rate_per_s": 1.5}, {"solve": {"min": 50, "unit": "%"}}, "e2e p90 20 s"),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A plan by one bound: dollars per hour, and of the steady-state answer; runs in which every objective held.

    worst: by objective, the largest ratio of a run's percentile to the most that is allowed.  covered: by objective,
    share of the runs whose percentile lies within the bound that the planner reckoned with, wherever the limit is.
    less: share of the runs that would have held with one replica less, of the best kind to do without; `None` where
    that was not asked.
    """

    workload: str
    bound: str
    usd_per_h: float
    steady_usd_per_h: float
    held: int
    runs: int
    worst: Mapping[str, float]
    covered: Mapping[str, float]
    less: float | None = None

    @property
    def share(self) -> float:
        """Share of the runs that held."""
        return self.held / self.runs


def lines(case: Case, calibration: TimingCalibration) -> Iterator[Line]:
    """A workload by every bound."""
    problem = pose_problem(parse(case.document, HERE.parent / case.file), calibration)
    best = solve_or_explain(problem.search, problem.goal)
    yield from _tried(case, lambda how: FleetStage(problem, best, calibration, how))


def _tried(case: Case, stage: Callable[[RehearsalSettings], FleetStage]) -> Iterator[Line]:
    """The plan by every bound, on draws that it has not seen; of a trace the first draw, itself, is left out."""
    unseen, known = stage(RehearsalSettings(draws=UNSEEN + 1, seed=UNSEEN_SEED)), dict[str, Floats]()
    for name, bound in BOUNDS.items():
        tried = stage(RehearsalSettings(bound=bound))
        try:
            found = FleetSearch(tried).proven_fleet(tried.problem.goal)
        except InfeasibleError as error:
            print(case.name, name, error, flush=True)
            yield Line(case.name, name, float("nan"), float("nan"), 0, 0, {}, {})
            continue
        line, targets = unseen.line(found.fleet), found.goal.targets
        if line not in known:
            known[line] = unseen.record(found.fleet, found.goal).first(UNSEEN + 1)[1:]
        values, labels = known[line], [_label(target) for target in targets]
        ratio = values / np.array([target.most_s for target in targets])
        within = (values <= np.array([item.upper_s for item in found.trial.seen])).mean(axis=0)
        yield Line(
            case.name,
            name,
            found.trial.usd_per_h,
            usd_per_h(tried.problem.search, found.steady),
            int((ratio <= 1.0).all(axis=1).sum()),
            len(values),
            dict(zip(labels, ratio.max(axis=0).tolist(), strict=True)),
            dict(zip(labels, within.tolist(), strict=True)),
            _with_less(unseen, found) if bound is of_a_further_draw else None,
        )


def _with_less(unseen: FleetStage, found: ProvenFleet) -> float:
    """The largest share of the runs that hold with a unit less of one kind; 0 where nothing is left."""
    loader, spare, most = unseen.loader(found.goal), found.goal.spare, 0.0
    limits = np.array([target.most_s for target in found.goal.targets])
    for model, count in found.fleet.units.items():
        for row in np.flatnonzero(count[0]).tolist():
            units = {m: other.copy() for m, other in found.fleet.units.items()}
            units[model][0, row] -= 1 if count[0, row] > 1 + spare else count[0, row]
            fleet = loader.fleet(found.fleet, units) if any(other.any() for other in units.values()) else None
            if fleet is not None:
                values = unseen.record(fleet, found.goal).first(UNSEEN + 1)[1:]
                most = max(most, float((values <= limits).all(axis=1).mean()))
    return most


def _label(target: LatencyTarget) -> str:
    return f"{target.quantity[:-2].upper()} p{target.quantile * 100:g}"


def summary(found: Sequence[Line]) -> dict[str, dict[str, float]]:
    """By bound: shares of runs that held, over all and in the worst workload, coverage of the bound, dollars."""
    result = {}
    lacking = {line.workload for line in found if not line.runs}
    for name in BOUNDS:
        mine = [line for line in found if line.bound == name and line.runs]
        covered = [share for line in mine for share in line.covered.values()]
        result[name] = {
            "runs": float(sum(line.runs for line in mine)),
            "held": sum(line.held for line in mine) / sum(line.runs for line in mine),
            "least": min(line.share for line in mine),
            "workloads_below": float(sum(line.share < CONFIDENCE for line in mine)),
            "covered": float(np.mean(covered)),
            "asked_less": float(sum(line.less is not None for line in mine)),
            "more_than_needed": float(sum((line.less or 0.0) >= CONFIDENCE for line in mine)),
            "usd_per_h": sum(line.usd_per_h for line in mine if line.workload not in lacking),
            "steady_usd_per_h": sum(line.steady_usd_per_h for line in mine if line.workload not in lacking),
        }
    return result


def text(found: Sequence[Line]) -> str:
    """The results as Markdown."""
    about = " ".join((__doc__ or "").partition("Writes results/plan_holds.{json,md}.")[2].split())
    heads = ["proven by a bound of", "runs", "every objective held", "least of a workload",
             f"workloads below {CONFIDENCE:.0%}", "percentiles within the bound",
             "all planned by both, $/h"]  # fmt: skip
    rows = [
        [name, f"{one['runs']:.0f}", f"{one['held']:.1%}", f"{one['least']:.0%}",
         f"{one['workloads_below']:.0f}", f"{one['covered']:.1%}", f"${one['usd_per_h']:,.2f}"]
        for name, one in summary(found).items()
    ]  # fmt: skip
    further = summary(found)["a further draw"]
    steady = further["steady_usd_per_h"]
    each = [
        [line.workload, line.bound, f"{line.held} of {line.runs}" if line.runs else "no plan",
         f"${line.usd_per_h:,.2f}" if line.runs else "–",
         ", ".join(f"{name} {worst:.2f}" for name, worst in line.worst.items()),
         ", ".join(f"{share:.0%}" for share in line.covered.values()),
         "–" if line.less is None else f"{line.less:.0%}"]
        for line in found
    ]  # fmt: skip
    heading = [
        "workload",
        "bound of",
        "runs held",
        "$/h",
        "worst ratio to the limit",
        "within the bound",
        "held with one less",
    ]
    return "\n\n".join(
        (
            "# Do plans hold on arrivals that they have not seen?",
            about,
            ""
            if len({line.workload for line in found}) == len(CASES)
            else f"**Partial: {len({line.workload for line in found})} of {len(CASES)} workloads were run.**",
            table(heads, rows),
            f"Would have held as often with one replica less: {further['more_than_needed']:.0f} of "
            f"{further['asked_less']:.0f} plans (goal: at most a quarter).",
            f"The steady-state answers, before any simulation, cost ${steady:,.2f}/h together. Most plans have slack, "
            "since replicas are whole; the last column but one has none: it asks how often a percentile of a further "
            "run lies within the planner's own bound, wherever the limit is.",
            table(heading, each),
        )
    )


def row_of(name: str) -> Row:
    """The lines of a workload as a document."""
    (case,) = (case for case in CASES if case.name == name)
    return {"lines": [asdict(line) for line in lines(case, shipped_calibration())]}


def main() -> None:
    """Every workload by every bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="workloads whose name holds this")
    parser.add_argument("--workers", type=int, default=1, help="workloads that are planned at once")
    parser.add_argument("--write", action="store_true", help="write what is kept, plan nothing")
    given = parser.parse_args()
    asked = {case.name: asdict(case) for case in CASES if given.only in case.name}
    if given.write:
        asked = {name: what for name, what in asked.items() if path_of("plan_holds", name, what).exists()}
    rows: dict[str, Row] = {}
    for name, row in rows_of("plan_holds", asked, row_of, given.workers):
        rows[name] = row
        told = [(line["bound"], line["held"], line["usd_per_h"], line["less"]) for line in row["lines"]]
        print(f"{len(rows)}/{len(asked)} {name}: {told}", flush=True)
    found = [Line(**line) for case in CASES if case.name in rows for line in rows[case.name]["lines"]]
    figures = {"summary": summary(found), "lines": [asdict(line) for line in found]}
    print(write("plan_holds", figures, text(found)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
