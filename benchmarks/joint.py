"""The joint plan against planners that choose less, held out: made on one half of the questions, judged on the other.

    python benchmarks/joint.py [WORKLOAD ...]        (data at ../shared/data or COMPTROLLER_DATA)

Writes results/joint.{json,md}; the lines of workloads that are not named are kept. Every planner finds what to aim at
by the same cross-fitting on the choosing half and sizes its fleet anew for the other. Costs are compared at equal share
solved there: on every half the joint plan is also asked for what the rival's plan on that half tells that it solves of
other questions, or, where the evidence does not support that, for what the rival was asked for. Where what the two then
solve of the other half still differs, the joint plan's cost is carried to the rival's share along the line to the
nearest of its other plans beyond that. What follows a saving after ± is its standard error over the splits of the
questions, in points: what these halves leave open, not what other questions would.

Sized anew means that units are chosen anew, and with them which calls of a model on own devices go to its API instead:
a mix fills its units to the brim on its own questions, and a few tokens more of others would else cost a unit more.

How much doubt a gain has to stand (`risk.cross_fit.DOUBT`) is argued, not fitted; the joint plan is made with less and
with more of it besides.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Bools, Floats, Ints
from comptroller.planning.planner import shipped_calibration
from comptroller.planning.risk.cross_fit import DOUBT
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.solve.way_frontiers import WHOLE_CLASSES
from comptroller.work.workload import load
from confidence import aimed, halves, on_questions, part_of
from joint_lines import (
    DOUBT_HEADS,
    HEADS,
    JOINT,
    ONE_WAY,
    WORKLOADS,
    DoubtLine,
    HeldOutLine,
    JointResult,
    doubt_row,
    headline,
    rivals,
    row,
    rules,
    with_savings,
)
from joint_planners import PLANNERS, FairPlanner, priced, with_router
from record import table, write

HERE = Path(__file__).parent
Planners = Mapping[str, FairPlanner]

BEYOND = 0.01
"""The joint plan is also made for a share so much above the largest that a rival solves: lines end there."""

DOUBTS = {"90 %": 1.28, "95 %, as planned": DOUBT, "97.7 %": 2.0}
"""Standard errors that more freedom has to be cheaper by, by the one-sided level that they are."""

ROUNDED = 1e-4
"""What a plan tells is rounded to six digits, and nothing solves more than the most that ways solve; the joint plan is
asked for this much less."""


@dataclass(frozen=True)
class JudgedPlan:
    """A half's plan: dollars per hour and share solved of the other half, its freedom, and what it tells.

    told: what the joint plan is asked for beside it: the share of other questions that it tells, or what it was asked
    for itself, the target or the most that its ways solve, where the evidence does not support that.
    """

    usd_per_h: float
    solved: float
    ways: str
    told: float


def judged(problem: PlanningProblem, planner: FairPlanner, half: Bools) -> JudgedPlan | None:
    """The plan that one half's questions come to, judged on the other; `None` where there is none."""
    try:
        asked, best = planner.plan(part_of(problem, half))
        usd, solved = priced(on_questions(problem, asked, ~half), asked.goal, best.share[0])
    except InfeasibleError:
        return None
    support, target = asked.support, problem.goal.quality[0][1]
    held = support is not None and any(one.ways == support.ways and one.aim is not None for one in support.tried)
    told = min(support.solved, best.solved) if support and held else min(target, asked.goal.quality[0][1])
    ways = asked.goal.ways.label if support is None else support.ways
    return JudgedPlan(usd, solved, ways, max(told - ROUNDED, ROUNDED))


@dataclass(frozen=True)
class JudgedHalves:
    """A workload's halves, and the plans made on them: every planner is asked for a target once. name: of it."""

    name: str
    problem: PlanningProblem
    halves: Sequence[Bools]
    made: dict[tuple[FairPlanner, float, int], JudgedPlan | None] = field(default_factory=dict)

    def plan(self, planner: FairPlanner, target: float, number: int) -> JudgedPlan | None:
        """A planner's plan of a half."""
        key = planner, target, number
        if key not in self.made:
            self.made[key] = judged(aimed(self.problem, target, None), planner, self.halves[number])
        return self.made[key]


def line_of(about: JudgedHalves, planners: Planners, planner: str, target: float) -> HeldOutLine | None:
    """A planner at a target, beside the joint plan."""
    found, other, split = [], [], []
    for number in range(len(about.halves)):
        plan = about.plan(planners[planner], min(target, 1.0), number)
        joint = plan
        if planner != JOINT and plan is not None:
            joint = about.plan(planners[JOINT], plan.told, number)
        if plan is not None and joint is not None:
            found.append(plan)
            other.append(joint)
            split.append(number // 2)
    if not found:
        return None
    means = [mean for plans in (found, other) for mean in np.mean([_figures(x) for x in plans], axis=0).tolist()]
    ways = ", ".join(sorted({each.ways for each in other}))
    alike = sum(bool(np.allclose(_figures(x), _figures(y))) for x, y in zip(found, other, strict=True))
    apart = _by_split(np.array(split), np.array([_figures(y) for y in other]) - [_figures(x) for x in found])
    count = len(about.halves)
    line = HeldOutLine(about.name, planner, target, len(found), count, *means, alike=alike, ways=ways, apart=apart)
    print(line, flush=True)
    return line


def _figures(plan: JudgedPlan) -> tuple[float, float]:
    return plan.usd_per_h, plan.solved


def _by_split(split: Ints, apart: Floats) -> list[tuple[float, float]]:
    """Means of the halves of a split. split: (halves,).  apart: (halves, 2)."""
    means = [apart[split == number].mean(axis=0).tolist() for number in np.unique(split)]
    return [(usd, solved) for usd, solved in means]


def lines(about: JudgedHalves, planners: Planners) -> Iterator[HeldOutLine]:
    """Every rival at every target; the joint plan at these, and beyond all that rivals came to solve."""
    asked = WORKLOADS[about.name].targets
    shares = set(asked)
    for planner in sorted(planners, key=lambda one: one == JOINT):
        if planner == "one way per task" and not 1 < len(about.problem.space.plays.tasks) <= WHOLE_CLASSES:
            continue
        for target in sorted({*asked, max(shares) + BEYOND}) if planner == JOINT else asked:
            line = line_of(about, planners, planner, target)
            if line is not None:
                shares.add(round(line.solved, 3))
                yield line


def doubted(about: JudgedHalves) -> list[DoubtLine]:
    """The joint plan at every doubt, beside one way for all."""
    found = []
    for level, doubt in DOUBTS.items():
        planners = {ONE_WAY: PLANNERS[ONE_WAY], JOINT: replace(PLANNERS[JOINT], doubt=doubt)}
        told = with_savings(list(lines(about, planners)))
        mine = {line.target: line for line in told if line.planner == JOINT}
        found += [DoubtLine(level, mine[line.target], line) for line in told if line.planner == ONE_WAY]
    return found


def measured(name: str) -> JointResult:
    """Every line of a workload."""
    asked = WORKLOADS[name]
    problem = pose_problem(load(HERE / "workloads" / f"{name}.toml"), shipped_calibration())
    problem = with_router(problem, asked.router) if asked.router else problem
    about = JudgedHalves(name, problem, list(islice(halves(problem), asked.halves)))
    return JointResult(with_savings(list(lines(about, PLANNERS))), doubted(about))


def kept() -> dict[str, JointResult]:
    """The lines of workloads that were measured before."""
    path = HERE / "results" / "joint.json"
    told = json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else {}
    found = {name: told[name] for name in WORKLOADS if name in told}
    return {
        name: JointResult(
            [HeldOutLine(**line) for line in of["lines"]],
            [DoubtLine(x["level"], HeldOutLine(**x["joint"]), HeldOutLine(**x["rival"])) for x in of["doubts"]],
        )
        for name, of in found.items()
    }


def main(names: list[str]) -> None:
    """The named workloads, or all; the lines of others are kept. What is measured is written after each."""
    about = " ".join((__doc__ or "").partition("are kept.")[2].split())
    found = kept()
    for name in names or WORKLOADS:
        found[name] = measured(name)
        found = {known: found[known] for known in WORKLOADS if known in found}
        sections = []
        for known, of in found.items():
            sections += [f"## {known}: {WORKLOADS[known].title}", table(HEADS, [row(line) for line in of.lines])]
        doubts = table(DOUBT_HEADS, [doubt_row(line) for of in found.values() for line in of.doubts])
        text = ["# The joint plan against planners that choose less", about, headline(found), rivals(found), rules()]
        text += sections
        text += ["## How much doubt a gain has to stand", doubts]
        write("joint", {known: asdict(of) for known, of in found.items()}, "\n\n".join(text))


if __name__ == "__main__":
    main(sys.argv[1:])
