"""What was measured beside the joint plan: lines, how they compare at an equal share, and the tables of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from joint_planners import PLANNERS
from record import table

JOINT = "joint"
ONE_WAY = "one way for all"


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
    "joint_apis": JointWorkload("maths and science, eight models by API or on own devices", (0.85, 0.80), 20),
    "joint_pythia": JointWorkload("Pythia sizes that sample until a checker accepts", (0.15, 0.25), 20),
    "joint_own": JointWorkload("seven tasks, SmolLM2 samples until a checker accepts", (0.45, 0.30), 20),
}


@dataclass(frozen=True)
class HeldOutLine:
    """A planner at a target, means over the halves that have a plan.

    beside_usd_per_h, beside: dollars and share solved of the joint plan asked for what this one tells.
    saving: of that at the same share solved; `None` beyond the shares that it was made for.
    at_target: of the joint plan made for the same target, whatever the two solve.  alike: halves where the joint plan
    asked for as much costs and solves the same.  apart: by split of the questions, what that plan costs and solves
    more, mean of both ways round.  error: standard error of the saving over the splits.
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
    apart: Sequence[tuple[float, float]] = ()
    error: float | None = None


@dataclass(frozen=True)
class DoubtLine:
    """The joint plan at a doubt, and one way for all beside the same one asked for as much."""

    level: str
    joint: HeldOutLine
    rival: HeldOutLine


@dataclass(frozen=True)
class JointResult:
    """What was measured of a workload: every planner, and the joint one at every doubt."""

    lines: list[HeldOutLine]
    doubts: list[DoubtLine]


def with_savings(found: list[HeldOutLine]) -> list[HeldOutLine]:
    """The lines with what the joint plan saves at each one's share, and made for the same target."""
    mine = {line.target: line for line in found if line.planner == JOINT}
    curve = [(line.beside, line.beside_usd_per_h) for line in found]

    def with_saving(line: HeldOutLine) -> HeldOutLine:
        if line.planner == JOINT:
            return line
        cost = cost_at(line.solved, (line.beside, line.beside_usd_per_h), curve)
        told = replace(line, at_target=1.0 - mine[line.target].usd_per_h / line.usd_per_h)
        return told if cost is None else replace(told, saving=1.0 - cost / line.usd_per_h, error=error_of(line, cost))

    return [with_saving(line) for line in found]


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


def error_of(line: HeldOutLine, cost: float) -> float | None:
    """Standard error of the saving over the splits, a share solved more or less at what it costs along the line that
    the joint plan's cost was carried on; `None` of a single split. cost: that at the rival's share."""
    away = line.solved - line.beside
    per_share = 0.0 if abs(away) < SAME else (cost - line.beside_usd_per_h) / away
    saved = [-(usd - per_share * solved) / line.usd_per_h for usd, solved in line.apart]
    return float(np.std(saved, ddof=1) / np.sqrt(len(saved))) if len(saved) > 1 else None


SAME = 1e-9

NEAR = 0.9
"""Part of the target that a rival has to solve elsewhere to be one: a router of one-answer models solves a tenth of it
where samples and a checker solve it."""


def best_rival(found: list[HeldOutLine], target: float) -> HeldOutLine | None:
    """The planner that the joint plan saves least against, at a target, of those that come near it."""
    at = [line for line in found if line.saving is not None and line.target == target and line.solved >= NEAR * target]
    return min(at, key=lambda line: float(line.saving or 0.0), default=None)


def signed(value: float | None, error: float | None = None) -> str:
    """A saving, with its standard error where there is one, or a dash.

    >>> signed(-0.004), signed(0.12, 0.031)
    ('0%', '+12% ± 3')
    """
    if value is None:
        return "–"
    told = "0%" if abs(value) < 0.005 else f"{value:+.0%}"
    return told if error is None else f"{told} ± {100 * error:.0f}"


def row(line: HeldOutLine) -> list[str]:
    """The line of the table."""
    told = [f"{line.planner} at {line.target:.1%}", f"${line.usd_per_h:,.2f}", f"{line.solved:.1%}"]
    mine = "–" if line.planner == JOINT else f"${line.beside_usd_per_h:,.2f} for {line.beside:.1%}"
    told += [mine, signed(line.saving, line.error), signed(line.at_target)]
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
        signed(rival.saving, rival.error),
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


def rivals(found: Mapping[str, JointResult]) -> str:
    """Every rival over the workloads, at their first targets: what the joint plan saves at its share."""
    rows = []
    for planner in PLANNERS:
        cells = [_saved_beside(planner, of.lines, WORKLOADS[name].targets[0]) for name, of in found.items()]
        rows += [] if planner == JOINT else [[planner, *cells]]
    return table(["saved beside, at its share", *found], rows)


def _saved_beside(planner: str, lines: Sequence[HeldOutLine], target: float) -> str:
    """A dash where the planner is none there or does not come near the target."""
    at = [x for x in lines if x.planner == planner and x.target == target and x.solved >= NEAR * target]
    return signed(at[0].saving, at[0].error) if at else signed(None)


def rules() -> str:
    """What each planner may choose from."""
    told = (
        f"- {name}: {' '.join((planner.may.__doc__ or '').split())} "
        f"Freedom: {', '.join(ways.label for ways in planner.freedoms)}."
        for name, planner in PLANNERS.items()
    )
    return "\n".join(told)
