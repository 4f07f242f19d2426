"""The joint plan against planners that choose less, held out: made on one half of the questions, judged on the other.

    python benchmarks/joint.py [WORKLOAD ...]        (data at ../shared/data or COMPTROLLER_DATA)

Writes results/joint.{json,md}; the lines of workloads that are not named are kept. Every planner finds what to aim at
by the same cross-fitting on the choosing half and sizes its fleet anew for the other. Costs are compared at equal share
solved there: on every half the joint plan is also asked for what the rival's plan on that half tells that it solves of
other questions. Where what the two then solve of the other half still differs, the joint plan's cost is carried to the
rival's share along the line to the nearest of its other plans beyond that.

How much doubt a gain has to stand (`risk.cross_fit.DOUBT`) is argued, not fitted; the joint plan is made with less and
with more of it besides.
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
from comptroller.planning.risk.cross_fit import DOUBT
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.solve.way_frontiers import WHOLE_CLASSES
from comptroller.work.workload import load
from confidence import aimed, halves, on_questions, part_of
from joint_planners import PLANNERS, FairPlanner, priced, with_router
from record import table, write

HERE = Path(__file__).parent
Planners = Mapping[str, FairPlanner]
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
    "joint_mmlu": JointWorkload("MMLU, 57 subjects, a cheap and a dear API", (0.76, 0.72), 10, "linear"),
    "joint_swebench": JointWorkload("issues of SWE-bench Verified, tests decide", (0.66, 0.62), 40),
    "joint_apis": JointWorkload("maths and science, eight models by API or on own devices", (0.85, 0.80), 40),
    "joint_pythia": JointWorkload("Pythia sizes that sample until a checker accepts", (0.15, 0.25), 40),
}

BEYOND = 0.01
"""The joint plan is also made for a share so much above the largest that a rival solves: lines end there."""

DOUBTS = {"90 %": 1.28, "95 %, as planned": DOUBT, "97.7 %": 2.0}
"""Standard errors that more freedom has to be cheaper by, by the one-sided level that they are."""

ONE_WAY = "one way for all"

ROUNDED = 1e-4
"""What a plan tells is rounded to six digits; the joint plan is asked for this much less."""


@dataclass(frozen=True)
class HeldOutLine:
    """A planner at a target, means over the halves that have a plan.

    beside_usd_per_h, beside: dollars and share solved of the joint plan asked for what this one tells.
    saving: of that at the same share solved; `None` beyond the shares that it was made for.
    at_target: of the joint plan made for the same target, whatever the two solve.  alike: halves where the joint plan
    asked for as much costs and solves the same.
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
    alike: int = 0
    ways: str = ""


@dataclass(frozen=True)
class DoubtLine:
    """The joint plan at a doubt, and one way for all beside the same one asked for as much."""

    level: str
    joint: HeldOutLine
    rival: HeldOutLine


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
        usd, solved = priced(on_questions(problem, asked, ~half), asked.goal, best.share[0])
    except InfeasibleError:
        return None
    support, lower = asked.support, asked.goal.quality[0][1] < problem.goal.quality[0][1]
    held = support is not None and any(one.ways == support.ways and one.aim is not None for one in support.tried)
    told = min(support.solved, best.solved) if support and (held or lower) else None
    ways = asked.goal.ways.label if support is None else support.ways
    return JudgedPlan(usd, solved, ways, told)


def told_share(plan: JudgedPlan, target: float) -> float:
    """What the joint plan is asked for beside a rival's; the target itself where the evidence does not support it."""
    return target if plan.told is None else max(plan.told - ROUNDED, ROUNDED)


def line_of(
    problem: PlanningProblem, about: JointWorkload, planners: Planners, place: tuple[str, str, float]
) -> HeldOutLine | None:
    """A planner at a target, beside the joint plan. place: workload, planner, target."""
    name, planner, target = place
    found, other = [], []
    for _, half in zip(range(about.halves), halves(problem), strict=False):
        plan = judged(aimed(problem, min(target, 1.0), None), planners[planner], half)
        joint = plan
        if planner != JOINT and plan is not None:
            joint = judged(aimed(problem, told_share(plan, target), None), planners[JOINT], half)
        if plan is not None and joint is not None:
            found.append(plan)
            other.append(joint)
    if not found:
        return None
    means = [mean for plans in (found, other) for mean in np.mean([_figures(x) for x in plans], axis=0).tolist()]
    ways = ", ".join(sorted({each.ways for each in other}))
    alike = sum(bool(np.allclose(_figures(x), _figures(y))) for x, y in zip(found, other, strict=True))
    line = HeldOutLine(name, planner, target, len(found), about.halves, *means, alike=alike, ways=ways)
    print(line, flush=True)
    return line


def _figures(plan: JudgedPlan) -> tuple[float, float]:
    return plan.usd_per_h, plan.solved


def lines(name: str, problem: PlanningProblem, about: JointWorkload, planners: Planners) -> Iterator[HeldOutLine]:
    """Every rival at every target; the joint plan at these, and beyond all that rivals came to solve."""
    shares = set(about.targets)
    for planner in sorted(planners, key=lambda one: one == JOINT):
        if planner == "one way per task" and not 1 < len(problem.space.plays.tasks) <= WHOLE_CLASSES:
            continue
        targets = sorted({*about.targets, max(shares) + BEYOND}) if planner == JOINT else about.targets
        for target in targets:
            line = line_of(problem, about, planners, (name, planner, target))
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
    alike = "–" if line.planner == JOINT else f"{line.alike} of {line.made}"
    return [*told, f"{line.made} of {line.halves}", alike, line.ways]


HEADS = [
    "planner at target",
    "$/h",
    "solved",
    "joint asked for as much",
    "joint saves at this share",
    "joint saves at the target",
    "halves",
    "the same plan",
    "ways",
]


def doubted(name: str, problem: PlanningProblem, about: JointWorkload) -> list[DoubtLine]:
    """The joint plan at every doubt, beside one way for all."""
    found = []
    for level, doubt in DOUBTS.items():
        planners = {ONE_WAY: PLANNERS[ONE_WAY], JOINT: replace(PLANNERS[JOINT], doubt=doubt)}
        told = with_savings(list(lines(name, problem, about, planners)))
        mine = {line.target: line for line in told if line.planner == JOINT}
        found += [DoubtLine(level, mine[line.target], line) for line in told if line.planner == ONE_WAY]
    return found


DOUBT_HEADS = [
    "workload and target",
    "level",
    "joint plan",
    "one way for all",
    "joint asked for as much",
    "joint saves at this share",
    "joint saves at the target",
    "the same plan",
]


def doubt_row(line: DoubtLine) -> list[str]:
    """The line of the table of doubts."""
    joint, rival = line.joint, line.rival
    return [
        f"{rival.workload}, {rival.target:.0%}",
        line.level,
        f"${joint.usd_per_h:,.2f} for {joint.solved:.1%}",
        f"${rival.usd_per_h:,.2f} for {rival.solved:.1%}",
        f"${rival.beside_usd_per_h:,.2f} for {rival.beside:.1%}",
        signed(rival.saving),
        signed(rival.at_target),
        f"{rival.alike} of {rival.made}",
    ]


def headline(found: Mapping[str, JointResult]) -> str:
    """One line for each workload: the joint plan beside the best rival at the first target."""
    rows = []
    for name, of in found.items():
        about = WORKLOADS[name]
        rival = best_rival(of.lines, about.targets[0])
        mine = next(line for line in of.lines if line.planner == JOINT and line.target == about.targets[0])
        told = "–" if rival is None else f"{rival.planner}, ${rival.usd_per_h:,.2f}/h for {rival.solved:.1%}"
        saved = ["–", "–"] if rival is None else [signed(rival.saving), signed(rival.at_target)]
        ours = f"${mine.usd_per_h:,.2f}/h for {mine.solved:.1%}"
        rows.append([f"{about.title}, {about.targets[0]:.0%}", ours, told, *saved])
    heads = ["workload and target", "joint plan", "best rival", "saved at the rival's share", "saved at the target"]
    return table(heads, rows)


@dataclass(frozen=True)
class JointResult:
    """What was measured of a workload: every planner, and the joint one at every doubt."""

    lines: list[HeldOutLine]
    doubts: list[DoubtLine]


def measured(name: str) -> JointResult:
    """Every line of a workload."""
    asked = WORKLOADS[name]
    problem = pose_problem(load(HERE / "workloads" / f"{name}.toml"), shipped_calibration())
    problem = with_router(problem, asked.router) if asked.router else problem
    return JointResult(with_savings(list(lines(name, problem, asked, PLANNERS))), doubted(name, problem, asked))


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
        text = ["# The joint plan against planners that choose less", about, headline(found), rules(), *sections]
        text += ["## How much doubt a gain has to stand", doubts]
        write("joint", {known: asdict(of) for known, of in found.items()}, "\n\n".join(text))


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
