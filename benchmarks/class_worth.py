"""What it is worth to answer classes of questions differently, at one price of a solved question, held out.

    python benchmarks/class_worth.py [WORKLOAD ...]        (data at ../shared/data or COMPTROLLER_DATA)

Writes results/class_worth.{json,md}; the lines of workloads that are not named are kept. At a price of a solved
question, the way whose solved questions are worth most beyond what it costs is chosen on one half of the questions,
for all of them or by class, and judged on the other. At an equal price, what a choice by class gains over one way for
all is what it saves at an equal share, to first order, and no mix of ways gains more than the best of them: so this
tells how much a choice by class saves beside one way for all, whatever it aims at. The price is that of one more
solved question where one mix for all reaches a target of `joint.py` on all questions. Costs are those of the
program's relaxation (calls at their worth on the cheapest units).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from comptroller.planning.ground.nouns import Floats
from comptroller.planning.planner import shipped_calibration
from comptroller.planning.risk.confidence import way_outcomes
from comptroller.planning.risk.cross_fit import WayOutcomes, folds_of
from comptroller.planning.solve.problem import pose_problem
from comptroller.planning.solve.shrinkage import class_sums, own_weight, shrunk
from comptroller.planning.solve.way_frontiers import WayTable, lower_hull
from comptroller.work.workload import load
from confidence import halves
from joint_lines import WORKLOADS, signed
from joint_planners import with_router
from record import table, write

HERE = Path(__file__).parent
NAMES = ("joint_own", "joint_apis", "joint_mmlu")
"""Those of `joint.py` whose questions are of several classes; with one class there is nothing to tell apart."""


@dataclass(frozen=True)
class ClassWorth:
    """At a price of a solved question, dollars: what a choice by class saves of what one way for all costs, held out.

    target: whose price it is.  usd_per_h, solved: of one way for all.  saved, error: by the name of the scores that
    are chosen by, mean over the halves and its standard error over the splits.
    """

    workload: str
    target: float
    price: float
    usd_per_h: float
    solved: float
    saved: Mapping[str, float]
    error: Mapping[str, float]


def recorded(found: WayOutcomes) -> Floats:
    """Scores of every class as they were recorded."""
    return found.whole_scores


def planned(found: WayOutcomes) -> Floats:
    """Scores shrunk as plans shrink them: what is neither way nor class counts for one part."""
    fold = folds_of(found.task, np.random.default_rng(0))
    return shrunk(found.whole_scores, found.weight, own_weight(found.score, found.task, found.weight, fold))


def by_component(found: WayOutcomes) -> Floats:
    """Scores of which what is neither way nor class is shrunk direction by direction.

    The directions are the singular vectors of what is left; each counts for as much as it told of questions left out,
    by least squares as in `own_weight`.
    """
    fold = folds_of(found.task, np.random.default_rng(0))
    sums, counts = class_sums(found.score, found.task, fold, len(found.weight))
    top = bottom = np.zeros(min(sums.shape[1:]))
    for number in range(len(counts)):
        rest = counts.sum(axis=0) - counts[number]
        if not ((counts[number] > 0) & (rest > 0)).all():
            continue
        told = (sums.sum(axis=0) - sums[number]) / rest[:, None]
        apart, there = _left(told, found.weight), sums[number] / counts[number][:, None] - told
        to = _directions(apart, found.weight)
        mine, other = apart @ to.T, (there + apart) @ to.T
        top = top + (counts[number][:, None] * mine * other).sum(axis=0)
        bottom = bottom + (counts[number][:, None] * mine * mine).sum(axis=0)
    own = np.clip(np.divide(top, bottom, out=np.zeros(len(top)), where=bottom > 0), 0.0, 1.0)
    score = found.whole_scores
    apart = _left(score, found.weight)
    to = _directions(apart, found.weight)
    return np.asarray(score - apart + (apart @ to.T * own) @ to)


def _left(score: Floats, weight: Floats) -> Floats:
    """What is neither way nor class."""
    apart = score - weight @ score
    return np.asarray(apart - apart.mean(axis=1, keepdims=True))


def _directions(apart: Floats, weight: Floats) -> Floats:
    return np.asarray(np.linalg.svd(np.sqrt(weight)[:, None] * apart, full_matrices=False)[2])


SCORES: Mapping[str, Callable[[WayOutcomes], Floats]] = {
    "scores as recorded": recorded,
    "shrunk as planned": planned,
    "shrunk by component": by_component,
}
BEST = "the other half's own best"


def price_of(found: WayOutcomes, target: float) -> float:
    """Dollars per hour of one more share solved, per share, where one mix for all reaches the target; 0 where the
    cheapest way solves most."""
    alone: WayTable = found.whole_table(1.0).as_one_class
    cost, score = alone.cost[0], alone.score[0]
    hull = lower_hull(cost, score)
    pairs = list(pairwise(hull))
    if not pairs:
        return 0.0
    less, more = next((pair for pair in pairs if score[pair[1]] >= target), pairs[-1])
    return float((cost[more] - cost[less]) / (score[more] - score[less]))


def part(found: WayOutcomes, half: Floats) -> WayOutcomes:
    """The outcomes on some questions."""
    return replace(found, score=found.score[half], cost=found.cost[half], task=found.task[half])


def gains(mine: WayOutcomes, other: WayOutcomes, price: float) -> tuple[float, float, dict[str, float]]:
    """One way for all's dollars and share on the other questions, and what choices by class save of the dollars."""
    cost, weight = mine.whole_table(1.0).cost / mine.weight[:, None], mine.weight
    there = other.whole_table(1.0).cost / weight[:, None]
    value = price * other.whole_scores - there
    one = int((weight @ (price * mine.whole_scores - cost)).argmax())
    usd, solved = float(weight @ there[:, one]), float(weight @ other.whole_scores[:, one])
    picked = {name: (price * score(mine) - cost).argmax(axis=1) for name, score in SCORES.items()}
    picked[BEST] = value.argmax(axis=1)
    rows = np.arange(len(weight))
    return usd, solved, {name: float(weight @ (value[rows, way] - value[:, one])) / usd for name, way in picked.items()}


def worths(name: str) -> Iterator[ClassWorth]:
    """A workload at the prices of its targets."""
    about = WORKLOADS[name]
    problem = pose_problem(load(HERE / "workloads" / f"{name}.toml"), shipped_calibration())
    problem = with_router(problem, about.router) if about.router else problem
    found = way_outcomes(problem.search, problem.goal)
    assert found is not None
    for target in sorted(about.targets):
        price = price_of(found, target)
        told = [gains(part(found, half), part(found, ~half), price) for half in islice(halves(problem), about.halves)]
        usd, solved = np.mean([each[:2] for each in told], axis=0).tolist()
        splits = {key: np.reshape([each[2][key] for each in told], (-1, 2)).mean(axis=1) for key in told[0][2]}
        saved = {key: float(of.mean()) for key, of in splits.items()}
        error = {key: float(of.std(ddof=1) / np.sqrt(len(of))) for key, of in splits.items()}
        yield ClassWorth(name, target, price / (problem.space.rate_per_s * 3600.0), usd, solved, saved, error)


def row(line: ClassWorth) -> list[str]:
    """The line of the table."""
    told = [
        f"{line.workload}, {line.target:.0%}",
        f"${line.price:.3g}",
        f"${line.usd_per_h:,.2f}",
        f"{line.solved:.1%}",
    ]
    return told + [signed(line.saved[key], line.error[key]) for key in (*SCORES, BEST)]


def kept() -> list[ClassWorth]:
    """The lines that were measured before."""
    path = HERE / "results" / "class_worth.json"
    told = json.loads(path.read_text(encoding="utf-8"))["figures"]["rows"] if path.exists() else []
    return [ClassWorth(**line) for line in told]


def main(names: list[str]) -> None:
    """The named workloads, or all; the lines of others are kept."""
    about = " ".join((__doc__ or "").partition("are kept.")[2].split())
    fresh = [line for name in names or NAMES for line in worths(name)]
    again = {line.workload for line in fresh}
    found = sorted(
        [*fresh, *(line for line in kept() if line.workload not in again)],
        key=lambda line: (NAMES.index(line.workload), line.target),
    )
    heads = ["price of the target", "a solved question", "one way for all, $/h", "solved", *SCORES, BEST]
    text = ["# What it is worth to answer classes differently", about, table(heads, [row(line) for line in found])]
    text += [
        "Saved of what one way for all costs, at an equal price of a solved question; after ± the standard error over "
        "the splits, in points. The last column is chosen on the questions that judge it: no choice can pass it."
    ]
    write("class_worth", {"rows": [asdict(line) for line in found]}, "\n\n".join(text))


if __name__ == "__main__":
    main(sys.argv[1:])
