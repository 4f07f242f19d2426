"""How often a plan with a confidence reaches its target on questions that it was not chosen on.

    python benchmarks/confidence.py [WORKLOAD ...]        (data at ../shared/data or COMPTROLLER_DATA)

Writes results/confidence.{json,md}; the lines of workloads that are not named are kept. The questions are halved at
random, evenly over tasks; a plan is made on one half as if there were no others, and what it solves of the other half
is held against the target. As recorded: the optimum on the half's own scores, with the target as it is. By
cross-fitting: as plans are made (`risk.confidence`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
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
from joint_planners import with_router
from record import table, write

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class ConfidenceWorkload:
    """targets: held against.  splits: of the questions, each both ways round.  router: trained on the questions' text,
    if any."""

    targets: tuple[float, ...]
    splits: int = 20
    router: str = ""


WORKLOADS: Mapping[str, ConfidenceWorkload] = {
    "joint_swebench": ConfidenceWorkload((0.62, 0.66)),
    "joint_apis": ConfidenceWorkload((0.80, 0.85)),
    "joint_pythia": ConfidenceWorkload((0.15, 0.25, 0.30)),
    "joint_mmlu": ConfidenceWorkload((0.72, 0.76), 10, "linear"),
}
CONFIDENCES = (0.8, 0.9)
SPLITS, SEED = 20, 0


@dataclass(frozen=True)
class Row:
    """Plans of one kind over all halves. reached: share of those made that reach the target on the other half.

    kind: how they were made.  made: halves that have such a plan.  solved: on the other half, mean.  told: what they
    say of other questions.  usd_per_h: on the half that it was made on.  drawn_anew: share of those made that reach it
    on a half drawn without regard to the one they were made on.  reachable: of the other halves of those made, the
    share in which the ways that solve most of that very half reach it.
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
    drawn_anew: float
    reachable: float

    @property
    def missed(self) -> float:
        """Share of all halves that have a plan which misses the target on the other half."""
        return self.made / self.halves * (1.0 - self.reached) if self.made else 0.0


@dataclass(frozen=True)
class Judged:
    """A plan made on one half: what it says of other questions, what it solves of the other half, its price, what it
    solves of a half drawn anew, and the most that the ways chosen on the other half itself solve of it."""

    told: float
    solved: float
    usd_per_h: float
    anew: float
    most: float


def halves(problem: PlanningProblem, splits: int = SPLITS, seed: int = SEED) -> Iterator[Bools]:
    """Random halves of the questions, evenly over tasks: each and what it leaves."""
    task, rng = problem.space.plays.task, np.random.default_rng(seed)
    for _ in range(splits):
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


def on_questions(problem: PlanningProblem, asked: PlanningProblem, counted: Bools) -> PlanSearch:
    """What the ways that were chosen among on one half do on the questions that count."""
    chosen = [option.axes for option in asked.space.options]
    kept = tuple(option for option in problem.space.options if any(option.axes is axes for axes in chosen))
    return PlanSearch(replace(problem.space, options=kept), counted.astype(float))


def most_on(problem: PlanningProblem, counted: Bools) -> float:
    """What the ways that solve most of the questions that count, chosen on these by class, solve of them."""
    space = problem.space
    by_class = [space.score[counted & (space.plays.task == k)].mean(axis=0).max() for k in range(len(space.weight))]
    return float(space.weight @ np.array(by_class))


def aimed(problem: PlanningProblem, least: float, confidence: float | None) -> PlanningProblem:
    """The problem with another target and confidence."""
    assert problem.quality is not None
    quality = problem.quality.model_copy(
        update={"solve": RequiredSolveShare(min=least, unit="1"), "confidence": confidence}
    )
    goal = replace(problem.goal, quality=quality_targets(quality))
    return replace(problem, workload=problem.workload.model_copy(update={"quality": quality}), goal=goal)


def judged(problem: PlanningProblem, half: Bools, anew: Bools, fitted: bool) -> Judged | None:
    """The plan of a half, on the other half and on one drawn anew; None where there is none. fitted: by
    cross-fitting."""
    mine = part_of(problem, half)
    try:
        asked = with_supported_ways(mine) if fitted else mine
        best = asked.search.solve(asked.goal)
    except InfeasibleError:
        return None
    there = [on_questions(problem, asked, counted) for counted in (~half, anew)]
    solved, again = (float(one.space.weight @ (one.table.score * best.share[0]).sum(axis=1)) for one in there)
    told = asked.support.solved if asked.support else best.solved
    return Judged(told, solved, usd_per_h(asked.search, best), again, most_on(problem, ~half))


def rows(name: str, problem: PlanningProblem, least: float) -> Iterator[Row]:
    """As recorded, by cross-fitting in the mean, and with each confidence."""
    kinds = [("as recorded", None, False), ("by cross-fitting, in the mean", None, True)]
    kinds += [(f"by cross-fitting, {each:.0%}", each, True) for each in CONFIDENCES]
    splits = WORKLOADS[name].splits
    for kind, confidence, fitted in kinds:
        asked = aimed(problem, least, confidence)
        pairs = zip(halves(problem, splits), halves(problem, splits, SEED + 1), strict=True)
        found = [judged(asked, half, anew, fitted) for half, anew in pairs]
        made = [each for each in found if each is not None]
        columns = np.array([[x.told, x.solved, x.usd_per_h, x.anew, x.most] for x in made]).reshape(-1, 5)
        told, solved, usd = columns[:, :3].mean(axis=0).tolist() if made else [float("nan")] * 3
        reach = (columns[:, [1, 3, 4]] >= least - 1e-9).mean(axis=0).tolist() if made else [float("nan")] * 3
        yield Row(name, least, kind, len(found), len(made), reach[0], solved, told, usd, *reach[1:])
        print(f"{name} {least:.0%} {kind}: {reach} of {len(made)}, {solved:.1%}, ${usd:.2f}", flush=True)


HEADS = [
    "workload and target",
    "made",
    "plans",
    "miss, of all halves",
    "reach the target",
    "could",
    "anew",
    "solved there",
    "told",
    "$/h",
]


def text(found: list[Row]) -> str:
    """The results as Markdown."""
    lines = [
        "# Does a plan with a confidence reach its target on other questions?",
        "",
        "Random splits of the questions, both ways round: 40 plans of a kind (20 for MMLU), each made on one half and "
        "judged on the other, which is as large: a confidence is that of a further set of as many questions, so what "
        "is seen should be what was asked for. Halves of the same questions depend on each other, so a percentage of "
        "40 is uncertain by about 8 points. Cost is that on the half a plan was made on.",
        "",
        "What a confidence of 80 % promises is that at most 20 % of all halves have a plan that misses: evidence that "
        "does not support the target has no plan and promises nothing (learn then test). Of the plans alone, more may "
        "miss.",
        "",
        "Where not every half has a plan, those that have one are the easier halves, which leave the harder ones to "
        "judge on. Two columns tell what that does. Could: in how many of the other halves of these plans the target "
        "is reached by the ways that solve most of that very half, which no plan can pass. Anew: the same plans on "
        "halves drawn without regard to the one they were made on, so that they are neither harder nor easier; they "
        "share half of its questions, so they flatter a choice that was lucky. The truth lies between the other half "
        "and anew.",
        "",
        table(
            HEADS,
            [
                [
                    f"{row.workload}, {row.target:.0%}",
                    row.kind,
                    f"{row.made} of {row.halves}",
                    f"{row.missed:.0%}",
                    f"{row.reached:.0%}",
                    f"{row.reachable:.0%}",
                    f"{row.drawn_anew:.0%}",
                    f"{row.solved:.1%}",
                    f"{row.told:.1%}",
                    f"{row.usd_per_h:.2f}",
                ]
                for row in found
            ],
        ),
    ]
    return "\n".join(lines)


def measured(name: str) -> list[Row]:
    """Every line of a workload."""
    about = WORKLOADS[name]
    problem = pose_problem(load(HERE / "workloads" / f"{name}.toml"), shipped_calibration())
    problem = with_router(problem, about.router) if about.router else problem
    return [row for least in about.targets for row in rows(name, problem, least)]


def kept() -> list[Row]:
    """The lines that were measured before, with all columns that there are by now."""
    path = HERE / "results" / "confidence.json"
    told = json.loads(path.read_text(encoding="utf-8"))["figures"]["rows"] if path.exists() else []
    columns = {each.name for each in fields(Row)}
    return [Row(**row) for row in told if row.keys() == columns]


def main(names: list[str]) -> None:
    """The named workloads, or all; the lines of others are kept. What is measured is written after each."""
    for name in names or WORKLOADS:
        fresh = measured(name)
        found = [row for row in kept() if row.workload != name] + fresh
        found.sort(key=lambda row: list(WORKLOADS).index(row.workload))
        print(write("confidence", {"rows": [asdict(row) for row in found]}, text(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
