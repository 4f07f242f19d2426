"""The joint plan against planners that choose less, held out: made on one half of the questions, judged on the other.

    python benchmarks/joint.py [WORKLOAD ...]        (data at ../shared/data or COMPTROLLER_DATA)

Writes results/joint.{json,md}; the lines of workloads that are not named are kept. Every planner finds what to aim at
by the same cross-fitting on the choosing half and sizes its fleet anew for the other. Costs are compared at equal share
solved there: on every half the joint plan is also asked for what the rival's plan on that half tells that it solves of
other questions. Where what the two then solve of the other half still differs, the joint plan's cost is carried to the
rival's share along the line to the nearest of its other plans beyond that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Bools
from comptroller.planning.planner import shipped_calibration
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.solve.search import PlanSearch
from comptroller.planning.solve.way_frontiers import WHOLE_CLASSES
from comptroller.work.workload import load
from confidence import aimed, halves, part_of
from joint_planners import PLANNERS, FairPlanner, priced, with_router
from record import table, write

HERE = Path(__file__).parent
JOINT = "joint"


@dataclass(frozen=True)
class JointWorkload:
    """targets: of all planners, the first the headline's.  halves: that are chosen on.  router: trained on the
    questions' text, if any."""

    title: str
    targets: tuple[float, ...]
    halves: int
    router: str = ""


WORKLOADS: Mapping[str, JointWorkload] = {
    "joint_mmlu": JointWorkload("MMLU, 57 subjects, a cheap and a dear API", (0.76, 0.72), 2, "linear"),
    "joint_swebench": JointWorkload("issues of SWE-bench Verified, tests decide", (0.66, 0.62), 20),
    "joint_apis": JointWorkload("maths and science, eight models by API or on own devices", (0.85, 0.80), 10),
    "joint_pythia": JointWorkload("Pythia sizes that sample until a checker accepts", (0.15, 0.25), 20),
}

BEYOND = 0.01
"""The joint plan is also made for a share so much above the largest that a rival solves: lines end there."""

ROUNDED = 1e-4
"""What a plan tells is rounded to six digits; the joint plan is asked for this much less."""


@dataclass(frozen=True)
class HeldOutLine:
    """A planner at a target, means over the halves that have a plan.

    beside_usd_per_h, beside: dollars and share solved of the joint plan asked for what this one tells.
    saving: of that at the same share solved; `None` beyond the shares that it was made for.
    at_target: of the joint plan made for the same target, whatever the two solve.
    """

    workload: str
    planner: str
    target: float
    made: int
    halves: int
    usd_per_h: float
    solved: float
    beside_usd_per_h: float = float("nan")
    beside: float = float("nan")
    saving: float | None = None
    at_target: float | None = None
    ways: str = ""


@dataclass(frozen=True)
class JudgedPlan:
    """A half's plan: dollars per hour and share solved of the other half, its freedom, and what it tells.

    told: share of other questions, `None` where the evidence does not support the target although ways reach it.
    """

    usd_per_h: float
    solved: float
    ways: str
    told: float | None


def judged(problem: PlanningProblem, planner: FairPlanner, half: Bools) -> JudgedPlan | None:
    """The plan that one half's questions come to, judged on the other; `None` where there is none."""
    try:
        asked, best = planner.plan(part_of(problem, half))
        chosen = [option.axes for option in asked.space.options]
        kept = tuple(option for option in problem.space.options if any(option.axes is axes for axes in chosen))
        other = PlanSearch(replace(problem.space, options=kept), (~half).astype(float))
        usd, solved = priced(other, asked.goal, best.share[0])
    except InfeasibleError:
        return None
    support, lower = asked.support, asked.goal.quality[0][1] < problem.goal.quality[0][1]
    held = support is not None and any(one.ways == support.ways and one.aim is not None for one in support.tried)
    told = min(support.solved, best.solved) if support and (held or lower) else None
    ways = asked.goal.ways.label if support is None else support.ways
    return JudgedPlan(usd, solved, ways, told)


def beside(problem: PlanningProblem, plan: JudgedPlan, target: float, half: Bools) -> JudgedPlan | None:
    """The joint plan asked for what a rival's tells; for the target itself where the evidence does not support it."""
    share = target if plan.told is None else max(plan.told - ROUNDED, ROUNDED)
    return judged(aimed(problem, share, None), PLANNERS[JOINT], half)


def line_of(problem: PlanningProblem, about: JointWorkload, place: tuple[str, str, float]) -> HeldOutLine | None:
    """A planner at a target, beside the joint plan. place: workload, planner, target."""
    name, planner, target = place
    found, other = [], []
    for _, half in zip(range(about.halves), halves(problem), strict=False):
        plan = judged(aimed(problem, min(target, 1.0), None), PLANNERS[planner], half)
        joint = plan if planner == JOINT or plan is None else beside(problem, plan, target, half)
        if plan is not None and joint is not None:
            found.append(plan)
            other.append(joint)
    if not found:
        return None
    means = [float(np.mean([getattr(x, of) for x in plans])) for plans in (found, other) for of in FIGURES]
    ways = ", ".join(sorted({each.ways for each in other}))
    line = HeldOutLine(name, planner, target, len(found), about.halves, *means, ways=ways)
    print(line, flush=True)
    return line


FIGURES = ("usd_per_h", "solved")


def lines(name: str, problem: PlanningProblem, about: JointWorkload) -> Iterator[HeldOutLine]:
    """Every rival at every target; the joint plan at these, and beyond all that rivals came to solve."""
    shares = set(about.targets)
    for planner in sorted(PLANNERS, key=lambda one: one == JOINT):
        if planner == "one way per task" and not 1 < len(problem.space.plays.tasks) <= WHOLE_CLASSES:
            continue
        targets = sorted({*about.targets, max(shares) + BEYOND}) if planner == JOINT else about.targets
        for target in targets:
            line = line_of(problem, about, (name, planner, target))
            if line is not None:
                shares.add(round(line.solved, 3))
                yield line


def with_savings(found: list[HeldOutLine]) -> list[HeldOutLine]:
    """The lines with what the joint plan saves at each one's share, and made for the same target."""
    mine = {line.target: line for line in found if line.planner == JOINT}
    curve = [(line.beside, line.beside_usd_per_h) for line in found]

    def told(line: HeldOutLine) -> HeldOutLine:
        if line.planner == JOINT:
            return line
        cost = cost_at(line.solved, (line.beside, line.beside_usd_per_h), curve)
        saving = None if cost is None else 1.0 - cost / line.usd_per_h
        return replace(line, saving=saving, at_target=1.0 - mine[line.target].usd_per_h / line.usd_per_h)

    return [told(line) for line in found]


def cost_at(share: float, plan: tuple[float, float], curve: Sequence[tuple[float, float]]) -> float | None:
    """What a plan (share, cost) costs at another share: on the line to the nearest of the plans beyond that share.

    `None` where there is none beyond. Where the plan solves more, a dearer plan that solves less is no plan to go to.

    >>> cost_at(0.7, (0.6, 10.0), [(0.6, 10.0), (0.8, 20.0)])
    15.0
    """
    solved, cost = plan
    if abs(solved - share) < SAME:
        return cost
    side = 1.0 if share > solved else -1.0
    beyond = [each for each in curve if side * (each[0] - share) >= 0.0 and side * (each[1] - cost) >= 0.0]
    if not beyond:
        return None if side > 0 else cost
    there, costs = min(beyond, key=lambda each: abs(each[0] - share))
    return cost + (costs - cost) * (share - solved) / (there - solved)


SAME = 1e-9

NEAR = 0.9
"""Part of the target that a rival has to solve elsewhere to be one: a router of one-answer models solves a tenth of it
where samples and a checker solve it."""


def best_rival(found: list[HeldOutLine], target: float) -> HeldOutLine | None:
    """The planner that the joint plan saves least against, at a target, of those that come near it."""
    at = [line for line in found if line.saving is not None and line.target == target and line.solved >= NEAR * target]
    return min(at, key=lambda line: float(line.saving or 0.0), default=None)


def signed(value: float | None) -> str:
    """A saving, or a dash."""
    return "–" if value is None else f"{value:+.0%}"


def row(line: HeldOutLine) -> list[str]:
    """The line of the table."""
    told = [f"{line.planner} at {line.target:.1%}", f"${line.usd_per_h:,.2f}", f"{line.solved:.1%}"]
    mine = "–" if line.planner == JOINT else f"${line.beside_usd_per_h:,.2f} for {line.beside:.1%}"
    told += [mine, signed(line.saving), signed(line.at_target)]
    return [*told, f"{line.made} of {line.halves}", line.ways]


HEADS = [
    "planner at target",
    "$/h",
    "solved",
    "joint asked for as much",
    "joint saves at this share",
    "joint saves at the target",
    "halves",
    "ways",
]


def headline(found: Mapping[str, list[HeldOutLine]]) -> str:
    """One line for each workload: the joint plan beside the best rival at the first target."""
    rows = []
    for name, of in found.items():
        about = WORKLOADS[name]
        rival = best_rival(of, about.targets[0])
        mine = next(line for line in of if line.planner == JOINT and line.target == about.targets[0])
        told = "–" if rival is None else f"{rival.planner}, ${rival.usd_per_h:,.2f}/h for {rival.solved:.1%}"
        saved = ["–", "–"] if rival is None else [signed(rival.saving), signed(rival.at_target)]
        ours = f"${mine.usd_per_h:,.2f}/h for {mine.solved:.1%}"
        rows.append([f"{about.title}, {about.targets[0]:.0%}", ours, told, *saved])
    heads = ["workload and target", "joint plan", "best rival", "saved at the rival's share", "saved at the target"]
    return table(heads, rows)


def measured(name: str) -> list[HeldOutLine]:
    """Every line of a workload."""
    asked = WORKLOADS[name]
    problem = pose_problem(load(HERE / "workloads" / f"{name}.toml"), shipped_calibration())
    problem = with_router(problem, asked.router) if asked.router else problem
    return with_savings(list(lines(name, problem, asked)))


def kept() -> dict[str, list[HeldOutLine]]:
    """The lines of workloads that were measured before."""
    path = HERE / "results" / "joint.json"
    told = json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else {}
    return {
        name: [HeldOutLine(**line) for line in told[name]] for name in WORKLOADS if isinstance(told.get(name), list)
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
            sections += [f"## {known}: {WORKLOADS[known].title}", table(HEADS, [row(line) for line in of])]
        text = ["# The joint plan against planners that choose less", about, headline(found), rules(), *sections]
        write("joint", {known: [asdict(line) for line in of] for known, of in found.items()}, "\n\n".join(text))


def rules() -> str:
    """What each planner may choose from."""
    told = (
        f"- {name}: {' '.join((planner.may.__doc__ or '').split())} "
        f"Freedom: {', '.join(ways.label for ways in planner.freedoms)}."
        for name, planner in PLANNERS.items()
    )
    return "\n".join(told)


if __name__ == "__main__":
    main(sys.argv[1:])
