"""The optimum of the joint program: a small program first, then a proof over all that may still be cheaper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from highspy import HighsModelStatus

from comptroller.errors import UnsupportedError
from comptroller.planning.solve.bound import MARGIN, DualBound, JointProgramSubset
from comptroller.planning.solve.fleet_search import Goal
from comptroller.planning.solve.joint_program import JointProgram, JointProgramData, ModelFleet, QuestionFleet, scale_of
from comptroller.planning.solve.mix import OPTIONS, MixedIntegerProgram, run

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PROOF = 1e-7
"""What is not cheaper by more than this share of a known plan is not looked for."""

SETTINGS: dict[str, bool | int | float] = {
    **OPTIONS,
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_allow_restart": False,
}
"""Settings of HiGHS where a plan is known, or the program is small: its heuristics cost more than they find."""


@dataclass(frozen=True)
class IncumbentUnits:
    """Units by arm, over all candidates of the matter, and what the plan costs."""

    units: Mapping[int, Ints]
    objective: float


def bound_of(matter: JointProgramData, goal: Goal) -> DualBound:
    """The bound of a goal's program."""
    return DualBound(matter, JointProgram(matter, goal).bought())


def within(matter: JointProgramData, goal: Goal, most: float) -> bool:
    """Whether any plan costs no more than `most`."""
    bound = bound_of(matter, goal)
    if bound.least > most * (1 + MARGIN):
        return False
    program = JointProgram(bound.kept(most).matter, goal).program(most)
    return _column_values(program, {**SETTINGS, "mip_max_improving_sols": 1}) is not None


def optimum(matter: JointProgramData, goal: Goal) -> QuestionFleet | None:
    """The cheapest shares and units (`Joint.solve` states the program), and of equally cheap ones those that solve
    most; `None` where there are none."""
    bound = bound_of(matter, goal)
    first = _cheapest(bound.seeds(), goal, matter)
    most = np.inf if first is None else first.objective
    kept = bound.kept(most)
    best = _cheapest(kept, goal, matter, most) or first
    return None if best is None else at(matter, goal, best.units)


def _cheapest(
    part: JointProgramSubset, goal: Goal, matter: JointProgramData, most: float = np.inf
) -> IncumbentUnits | None:
    """The cheapest plan of a part, if it is cheaper than `most`."""
    rows = JointProgram(part.matter, goal)
    program = rows.program(most * (1 - PROOF))
    values = _column_values(program, SETTINGS, required=np.isinf(most))
    if values is None:
        return None
    units = {arm: np.zeros(rent.shape[1], np.int64) for arm, rent in matter.rents.items()}
    for arm, count in rows.units(values).items():
        units[arm][part.candidates[arm]] = count
    return IncumbentUnits(units, float(program.cost @ values))


def at(matter: JointProgramData, goal: Goal, units: Mapping[int, Ints]) -> QuestionFleet | None:
    """The cheapest shares for given units, and of those the ones that solve most; `None` where there are none."""
    candidates = {arm: np.flatnonzero(count) for arm, count in units.items() if count.any()}
    part = JointProgramSubset.of(matter, np.arange(matter.score.shape[1]), candidates)
    rows = JointProgram(part.matter, goal)
    program = rows.held({arm: units[arm][rows_] for arm, rows_ in candidates.items()})
    values = _column_values(program, OPTIONS)
    if values is None:
        return None
    cost = float(program.cost @ values)
    better = _column_values(rows.most_solved(program, cost), OPTIONS)
    return _whole(rows.read(values if better is None else better, cost), part, matter)


def _whole(found: QuestionFleet, part: JointProgramSubset, matter: JointProgramData) -> QuestionFleet:
    """An optimum of a part, told over the whole."""
    share = np.zeros(matter.score.shape)
    share[:, part.ways] = found.share
    rented = {}
    for arm, rent in found.rented.items():
        columns = part.candidates[arm]
        units, calls = np.zeros(matter.rents[arm].shape[1], np.int64), np.zeros(matter.rents[arm].shape)
        units[columns], calls[:, columns] = rent.units, rent.calls_per_s
        rented[arm] = ModelFleet(units, calls)
    return QuestionFleet(share, rented, found.objective)


def _column_values(
    program: MixedIntegerProgram, settings: Mapping[str, bool | int | float], required: bool = False
) -> Floats | None:
    """The values of the columns; `None` where there are none, or none was found within the limit of nodes.

    Raises:
        UnsupportedError: none was found within the limit, and nothing is known to stand in its place.
    """
    highs = run(replace(program, cost=program.cost * scale_of(program.cost)), settings)
    found, status = highs.getSolution(), highs.getModelStatus()
    if status == HighsModelStatus.kSolutionLimit and not found.value_valid and required:
        raise UnsupportedError(
            f"no plan was found within {OPTIONS['mip_max_nodes']:,} nodes of the joint program; allow fewer choices"
        )
    ended = status in {HighsModelStatus.kOptimal, HighsModelStatus.kSolutionLimit}
    return np.array(found.col_value) if ended and found.value_valid else None
