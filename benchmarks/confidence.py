"""How often a plan with a confidence reaches its target on questions that it was not chosen on.

    python benchmarks/confidence.py        (data at ../shared/data or COMPTROLLER_DATA)

Writes results/confidence.{json,md}. The questions are halved at random, evenly over tasks; a plan is made on one half
as if there were no others, and what it solves of the other half is held against the target. As recorded: the optimum on
the half's own scores, with the target as it is. By cross-fitting: as plans are made (`risk.confidence`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.strategy_plays import StrategyPlay
from comptroller.planning.offer.space import quality_targets
from comptroller.planning.planner import shipped_calibration
from comptroller.planning.risk.confidence import with_supported_ways
from comptroller.planning.solve.description import usd_per_h
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.solve.search import PlanSearch
from comptroller.work.quality import RequiredSolveShare
from comptroller.work.workload import load
from record import table, write

Floats = npt.NDArray[np.float64]

HERE = Path(__file__).parent
TARGETS: Mapping[str, tuple[float, ...]] = {
    "joint_swebench": (0.62, 0.66),
    "joint_apis": (0.80, 0.85),
    "joint_pythia": (0.15, 0.25, 0.30),
}
CONFIDENCES = (0.8, 0.9)
SPLITS, SEED = 20, 0


@dataclass(frozen=True)
class Row:
    """Plans of one kind over all halves. reached: share of those made that reach the target on the other half.

    kind: how they were made.  made: halves that have such a plan.  solved: on the other half, mean.  told: what they
    say of other questions.  usd_per_h: on the half that it was made on.
    """

    workload: str
    target: float
    kind: str
    halves: int
    made: int
    reached: float
    solved: float
    told: float
    usd_per_h: float


@dataclass(frozen=True)
class Judged:
    """A plan made on one half: what it says of other questions, what it solves of the other half, and its price."""

    told: float
    solved: float
    usd_per_h: float


def halves(problem: PlanningProblem) -> Iterator[npt.NDArray[np.bool_]]:
    """Random halves of the questions, evenly over tasks: each and what it leaves."""
    task, rng = problem.space.plays.task, np.random.default_rng(SEED)
    for _ in range(SPLITS):
        order = rng.permutation(len(task))
        half = np.zeros(len(task), bool)
        half[order[np.argsort(task[order], kind="stable")][::2]] = True
        yield from (half, ~half)


def part_of(problem: PlanningProblem, kept: npt.NDArray[np.bool_]) -> PlanningProblem:
    """The problem as if only some of its questions had been recorded."""
    space, place = problem.space, np.cumsum(kept) - 1
    few: dict[int, StrategyPlay] = {}
    for play in space.plays.plays:
        calls = play.calls.only(kept[play.calls.question])
        calls = replace(calls, question=place[calls.question])
        few[id(play)] = replace(play, score=play.score[kept], calls=calls)
    plays = replace(
        space.plays, question=space.plays.question[kept], task=space.plays.task[kept], plays=tuple(few.values())
    )
    options = tuple(replace(option, play=few[id(option.play)]) for option in space.options)
    return replace(problem, search=PlanSearch(replace(space, plays=plays, options=options)))


def other_half(problem: PlanningProblem, asked: PlanningProblem, half: npt.NDArray[np.bool_]) -> PlanSearch:
    """What the ways that were chosen among on one half do on the other."""
    chosen = [option.axes for option in asked.space.options]
    kept = tuple(option for option in problem.space.options if any(option.axes is axes for axes in chosen))
    return PlanSearch(replace(problem.space, options=kept), (~half).astype(float))


def aimed(problem: PlanningProblem, least: float, confidence: float | None) -> PlanningProblem:
    """The problem with another target and confidence."""
    assert problem.quality is not None
    quality = problem.quality.model_copy(
        update={"solve": RequiredSolveShare(min=least, unit="1"), "confidence": confidence}
    )
    goal = replace(problem.goal, quality=quality_targets(quality))
    return replace(problem, workload=problem.workload.model_copy(update={"quality": quality}), goal=goal)


def judged(problem: PlanningProblem, half: npt.NDArray[np.bool_], fitted: bool) -> Judged | None:
    """The plan of a half, on the other half; None where there is none. fitted: by cross-fitting."""
    mine = part_of(problem, half)
    try:
        asked = with_supported_ways(mine) if fitted else mine
        best = asked.search.solve(asked.goal)
    except InfeasibleError:
        return None
    other = other_half(problem, asked, half)
    solved = float(other.space.weight @ (other.table.score * best.share[0]).sum(axis=1))
    told = asked.support.solved if asked.support else best.solved
    return Judged(told, solved, usd_per_h(asked.search, best))


def rows(name: str, problem: PlanningProblem, least: float) -> Iterator[Row]:
    """As recorded, by cross-fitting in the mean, and with each confidence."""
    kinds = [("as recorded", None, False), ("by cross-fitting, in the mean", None, True)]
    kinds += [(f"by cross-fitting, {each:.0%}", each, True) for each in CONFIDENCES]
    for kind, confidence, fitted in kinds:
        asked = aimed(problem, least, confidence)
        found = [judged(asked, half, fitted) for half in halves(problem)]
        made = [each for each in found if each is not None]
        columns = np.array([[x.told, x.solved, x.usd_per_h] for x in made]).reshape(-1, 3)
        told, solved, usd = columns.mean(axis=0).tolist() if made else [float("nan")] * 3
        reached = float((columns[:, 1] >= least - 1e-9).mean()) if made else float("nan")
        yield Row(name, least, kind, len(found), len(made), reached, solved, told, usd)
        print(f"{name} {least:.0%} {kind}: {reached:.0%} of {len(made)}, {solved:.1%}, ${usd:.2f}", flush=True)


def text(found: list[Row]) -> str:
    """The results as Markdown."""
    lines = [
        "# Does a plan with a confidence reach its target on other questions?",
        "",
        f"{SPLITS} random splits of the questions, both ways round: {2 * SPLITS} plans of a kind, each made on one "
        "half and judged on the other, which is as large: a confidence is that of a further set of as many questions, "
        "so what is seen should be what was asked for. Halves of the same questions depend on each other, so a "
        f"percentage of {2 * SPLITS} is uncertain by about 8 points. Cost is that on the half a plan was made on.",
        "",
        "Where not every half has a plan, those that have one are the easier halves, which leave the harder ones to "
        "judge on; no margin mends that. The evidence then does not support the target, and more of it is needed.",
        "",
        table(
            ["workload and target", "made", "plans", "reach the target", "solved, other half", "told", "$/h"],
            [
                [
                    f"{row.workload}, {row.target:.0%}",
                    row.kind,
                    f"{row.made} of {row.halves}",
                    f"{row.reached:.0%}",
                    f"{row.solved:.1%}",
                    f"{row.told:.1%}",
                    f"{row.usd_per_h:.2f}",
                ]
                for row in found
            ],
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """All workloads and targets."""
    found = []
    for name, targets in TARGETS.items():
        problem = pose_problem(load(HERE / "workloads" / f"{name}.toml"), shipped_calibration())
        for least in targets:
            found += list(rows(name, problem, least))
    print(write("confidence", {"rows": [asdict(row) for row in found]}, text(found)))


if __name__ == "__main__":
    main()
