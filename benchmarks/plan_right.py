"""Is there anything cheaper? Plans against a search of every equal fleet and every mix of two kinds, on the same draws.

    python benchmarks/plan_right.py [--all]

Writes results/plan_right.{json,md}. The workloads are examples/chat.toml with one number changed; with --all three
more of them, and five models by four rates by three objectives. For each the planner's fleet stands beside whatever
cheaper fleet holds: of every deployment that is allowed, dominated or not, every count that costs less, at the batch
cap of the objectives and at none; then of the cheapest deployment of every device and layout all pairs of counts that
cost less, each request to either kind by its share of their throughput. What holds is decided by the same draws and
the same bound of a further draw at 95 %, written here again. Fleets that carry less than 80 % of the demand in the
steady state are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from comptroller.costs.timing import TimingCalibration
from comptroller.errors import InfeasibleError
from comptroller.facts.reader import parse_toml
from comptroller.planning.ground.nouns import Goal
from comptroller.planning.planner import REHEARSAL, rehearse, shipped_calibration
from comptroller.planning.prove.stage import RequestDraws
from comptroller.planning.solve.description import describe_fleet, describe_units
from comptroller.planning.solve.infeasible import solve_or_explain
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.work.workload import parse
from record import table, write

Floats = npt.NDArray[np.float64]

CHAT = Path(__file__).parents[1] / "examples" / "chat.toml"
CARRIES = 0.8
"""Of the demand, in the steady state without latency objectives: the simulator differs from it by a few per cent."""

PAIRS = 8
"""Deployments that are paired, of each device and layout the one that carries most per dollar."""

MODELS = ("llama_3_1_8b", "qwen2_5_14b", "qwen3_32b", "llama_3_1_70b", "gpt_oss_120b")
RATES = (3.0, 8.0, 20.0, 45.0)
OBJECTIVES = ((2000.0, 100.0), (1000.0, 50.0), (500.0, 30.0))
"""TTFT and TPOT at p95, in milliseconds."""


@dataclass(frozen=True)
class Changed:
    """A workload: chat.toml with some fields replaced, and the most of its objectives in milliseconds."""

    name: str
    fields: Mapping[str, Any]
    ttft_ms: float = 1000.0
    tpot_ms: float = 50.0

    @property
    def document(self) -> dict[str, Any]:
        """The workload as a document."""
        limits = {"ttft": self.ttft_ms, "tpot": self.tpot_ms}
        objectives = {name: {"p": 95, "max": most, "unit": "ms"} for name, most in limits.items()}
        return {**parse_toml(CHAT), "name": self.name, "objectives": objectives, **self.fields}


ASKED = (
    Changed("nothing", {}),
    Changed("TPOT 55 ms", {}, tpot_ms=55.0),
    Changed("rate 18.6/s", {"rate_per_s": 18.6}),
    Changed("rate 21/s", {"rate_per_s": 21.0}),
    Changed("TTFT 440 ms", {}, ttft_ms=440.0),
    Changed("TTFT 425 ms", {}, ttft_ms=425.0),
)
MORE = (
    Changed("TPOT 52.5 ms", {}, tpot_ms=52.5),
    Changed("TPOT 60 ms", {}, tpot_ms=60.0),
    Changed("TPOT 80 ms", {}, tpot_ms=80.0),
)
GRID = tuple(
    Changed(
        f"{model}, {rate:g}/s, TTFT {ttft:g} ms, TPOT {tpot:g} ms", {"models": [model], "rate_per_s": rate}, ttft, tpot
    )
    for model in MODELS
    for rate in RATES
    for ttft, tpot in OBJECTIVES
)


@dataclass(frozen=True)
class Row:
    """A workload, what the planner answers, and the cheapest that is known to hold. fleets: simulated for it."""

    workload: str
    steady_usd_per_h: float
    plan_usd_per_h: float
    known_usd_per_h: float
    fleet: str
    known: str
    fleets: int

    @property
    def dearer(self) -> float:
        """How much dearer the plan is than what is known, relative."""
        return self.plan_usd_per_h / self.known_usd_per_h - 1.0


class EveryFleet:
    """Fleets of a problem tried without the planner's search: units by deployment, each with its batch cap."""

    def __init__(self, problem: PlanningProblem, calibration: TimingCalibration) -> None:
        self.problem = problem
        self.draws = RequestDraws(problem, calibration, REHEARSAL)
        self.like = problem.search.solve(problem.goal)
        ((self.model, self.offers),) = problem.space.offers.items()
        self.most_s = np.array([target.most_s for target in problem.goal.targets])
        self.tried = 0

    @cached_property
    def demand(self) -> Floats:
        """(buckets,), requests per second."""
        return np.asarray(self.like.calls_per_s[self.model][0].sum(axis=1))

    @cached_property
    def carried(self) -> Floats:
        """(deployments,): the share of the demand that a unit carries in the steady state, whatever the latency."""
        market = self.offers.market(replace(self.problem.goal, targets=()))
        need = np.where(
            market.fits.all(axis=0), (market.finite * self.demand[None, :, None]).sum(axis=1).max(axis=0), np.inf
        )
        return np.asarray(1.0 / need)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The goals that batch caps are chosen by: as asked, and with no objective but one that any cap keeps."""
        goal = self.problem.goal
        loose = tuple(replace(target, aim=1e6) for target in goal.targets)
        return goal, replace(goal, targets=loose)

    def holds(self, units: Mapping[int, int], goal: Goal) -> bool:
        """Whether units by deployment hold every objective, each given its share of what all carry."""
        if not all((self.offers.table.best(goal.targets)[0][row] > 0).all() for row in units):
            return False
        count, calls = np.zeros((1, len(self.carried)), np.int64), np.zeros((1, len(self.demand), len(self.carried)))
        whole = sum(number * self.carried[row] for row, number in units.items())
        for row, number in units.items():
            count[0, row] = number
            calls[0, :, row] = self.demand * number * self.carried[row] / whole
        fleet = replace(self.like, units={self.model: count}, calls_per_s={self.model: calls})
        self.tried += 1
        return self._holds(self.draws.quantiles(fleet, goal))

    def _holds(self, draws: Iterator[Floats]) -> bool:
        values = list(islice(draws, 2))
        if (np.minimum(*values) > self.most_s).any():
            return False
        rows = np.stack([*values, *islice(draws, REHEARSAL.draws - 2)])
        factor = float(student.ppf(REHEARSAL.confidence, len(rows) - 1)) * np.sqrt(1 + 1 / len(rows))
        return bool((rows.mean(axis=0) + factor * rows.std(axis=0, ddof=1) <= self.most_s).all())

    def cheaper(self, most: float) -> tuple[float, str]:
        """The cheapest fleet that holds for less than `most`, and its line; `most` itself where there is none."""
        best, line = most, ""
        for usd, units in self._candidates(most):
            if usd < best * (1 - 1e-9) and any(self.holds(units, goal) for goal in self.goals):
                best, line = usd, self._line(units)
        return best, line

    def _line(self, units: Mapping[int, int]) -> str:
        count = np.zeros(len(self.carried), np.int64)
        for row, number in units.items():
            count[row] = number
        return describe_units(self.offers, count)

    def _candidates(self, most: float) -> list[tuple[float, dict[int, int]]]:
        """Equal fleets and mixes of two kinds below a price, the cheapest first."""
        price = self.offers.unit.usd_per_h
        found: list[tuple[float, dict[int, int]]] = []
        for row in np.flatnonzero(self.carried > 0).tolist():
            counts = range(max(int(CARRIES / self.carried[row]), 1), int(most / price[row]) + 1)
            found += [(float(count * price[row]), {row: count}) for count in counts]
        for one, other in combinations(self._paired(price), 2):
            for first in range(1, int(most / price[one]) + 1):
                for second in range(1, int((most - first * price[one]) / price[other]) + 1):
                    if first * self.carried[one] + second * self.carried[other] >= CARRIES:
                        found.append((float(first * price[one] + second * price[other]), {one: first, other: second}))
        return sorted((pair for pair in found if pair[0] < most * (1 - 1e-9)), key=lambda pair: pair[0])

    def _paired(self, price: Floats) -> list[int]:
        rows = [row for row in np.argsort(price / self.carried).tolist() if np.isfinite(price[row] / self.carried[row])]
        alike: dict[tuple[str, str], int] = {}
        for row in rows:
            axes = self.offers.deployments[row].axes
            alike.setdefault((axes["accelerator"], axes["layout"]), row)
        return list(alike.values())[:PAIRS]


def row_of(changed: Changed, calibration: TimingCalibration) -> Row | None:
    """A workload planned and searched; `None` where nothing holds."""
    problem = pose_problem(parse({**changed.document, "kind_usd_per_h": 0.0}, CHAT), calibration)
    try:
        steady = solve_or_explain(problem.search, problem.goal)
        _, fleet, _ = rehearse(problem, steady, calibration, REHEARSAL)
    except InfeasibleError as error:
        print(changed.name, error, flush=True)
        return None
    every = EveryFleet(problem, calibration)
    known, line = every.cheaper(fleet.objective)
    mine = describe_fleet(problem.search, fleet)
    return Row(changed.name, steady.objective, fleet.objective, known, mine, line or mine, every.tried)


def text(rows: Sequence[Row]) -> str:
    """The results as Markdown."""
    about = " ".join((__doc__ or "").partition("Writes results/plan_right.{json,md}.")[2].split())
    cells = [
        [row.workload, f"${row.steady_usd_per_h:.2f}", f"${row.plan_usd_per_h:.2f}", f"${row.known_usd_per_h:.2f}",
         f"{row.dearer:.0%}", str(row.fleets)]
        for row in rows
    ]  # fmt: skip
    heads = ["changed", "steady state", "plan", "known to hold", "dearer", "fleets tried beside it"]
    dearer = sum(row.dearer > 1e-6 for row in rows)
    verdict = f"Dearer than what is known to hold: {dearer} of {len(rows)} plans."
    return "\n\n".join(("# Is there anything cheaper?", about, table(heads, cells), verdict))


def rows_of(asked: Iterable[Changed]) -> Iterator[Row]:
    """Every workload that can be planned."""
    calibration = shipped_calibration()
    for changed in asked:
        row = row_of(changed, calibration)
        if row is not None:
            print(
                f"{row.workload}: {row.plan_usd_per_h:.2f}, known {row.known_usd_per_h:.2f} ({row.known})", flush=True
            )
            yield row


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="also five models by four rates by three objectives")
    asked = (*ASKED, *MORE, *GRID) if parser.parse_args().all else ASKED
    rows = list(rows_of(asked))
    figures = {"rows": [asdict(row) for row in rows], "dearer": sum(row.dearer > 1e-6 for row in rows)}
    print(write("plan_right", figures, text(rows)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
