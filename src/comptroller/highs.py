"""The solver: the only place that calls HiGHS. Silent, one thread, limited by nodes and never by a clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from highspy import Highs, HighsLp, HighsModelStatus, HighsVarType, MatrixFormat
from scipy.sparse import csc_array

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Settings = Mapping[str, bool | int | float]

EXACT: Settings = {
    # The gap of the optimum: a tenth of a cent on a million dollars.
    "mip_rel_gap": 1e-9,
    # That of the linear programs within. At 1e-9 the presolve of HiGHS 1.15 cut the optimum off, whatever the seed: 7.0
    # in place of 6.5 for a day of two columns (tests/test_planning_hours.py).
    "mip_feasibility_tolerance": 1e-7,
    # Determinism comes from this limit, never from a clock. A program that reaches it is refused, not approximated.
    "mip_max_nodes": 20_000,
    # Large-neighbourhood heuristics cost 2.7 times the time that they save on programs this small (measured).
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
    "threads": 1,
}
"""For one hour: the optimum itself."""

KNOWN: Settings = {
    **EXACT,
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_allow_restart": False,
}
"""For one hour where a fleet is known, or the program is small: heuristics cost more than they find."""

ANY: Settings = {**KNOWN, "mip_max_improving_sols": 1}
"""Whether there is anything: the first solution ends the search."""

DAY: Settings = {
    **EXACT,
    # The hours of a day are much alike, so the tree is wide and its bound slow: 100 nodes come within 0.05 %, and more
    # nodes took twice the time for less than that (measured).
    "mip_rel_gap": 5e-4,
    "mip_max_nodes": 100,
    "mip_heuristic_run_rins": True,
    "mip_heuristic_run_rens": True,
    "mip_heuristic_run_root_reduced_cost": True,
}
"""For a day: the heuristics find what the tree would take long to (measured)."""

DAY_OF_OPTIONS: Settings = {**DAY, "mip_rel_gap": 1e-3, "mip_max_nodes": 20}
"""For a day with options to choose from, whose nodes are dear: 100 of them took twice the time for 0.1 % (measured)."""

LARGEST_COST = 100.0
"""What the dearest column costs after scaling: HiGHS's tolerances are absolute and made for numbers of about this
size. Costs of a plan lie between cents (dollars per hour) and megajoules."""


@dataclass(frozen=True, slots=True)
class MixedIntegerProgram:
    """minimise cost x  within  lower <= matrix x <= upper, least <= x <= most, some columns whole.

    least: 0 where not given.  row_names: names of rows in order, each with how many rows it has.
    """

    cost: Floats
    matrix: csc_array
    lower: Floats
    upper: Floats
    most: Floats
    whole: Bools
    least: Floats | None = None
    row_names: Sequence[tuple[str, int]] = ()

    def rows_of(self, prefix: str) -> dict[str, Ints]:
        """Numbers of the rows whose name begins so, by name."""
        named: dict[str, list[Ints]] = {}
        start = 0
        for name, count in self.row_names:
            if name.startswith(prefix):
                named.setdefault(name, []).append(np.arange(start, start + count))
            start += count
        return {name: np.concatenate(parts) for name, parts in named.items()}

    def without_rows(self, rows: Ints) -> MixedIntegerProgram:
        """The same with some rows unbounded."""
        lower, upper = self.lower.copy(), self.upper.copy()
        lower[rows], upper[rows] = -np.inf, np.inf
        return replace(self, lower=lower, upper=upper)

    @property
    def relaxation(self) -> MixedIntegerProgram:
        """The same with no column whole."""
        return replace(self, whole=np.zeros(len(self.cost), bool))


@dataclass(frozen=True, slots=True)
class SolverResult:
    """What HiGHS came back with. values: of the columns, `None` where there are none.  objective: of the values.

    bound: no values cost less.  reduced_cost: of the columns of a linear program.  node_limit: the search ended there.
    """

    values: Floats | None
    objective: float
    bound: float
    reduced_cost: Floats
    node_limit: bool


def scale_of(cost: Floats) -> float:
    """What costs are multiplied by, so that the dearest column costs `LARGEST_COST`."""
    dearest = float(np.abs(cost).max(initial=0.0))
    return LARGEST_COST / dearest if dearest > 0 else 1.0


def solve(
    program: MixedIntegerProgram, settings: Settings = EXACT, start: tuple[Ints, Floats] | None = None
) -> SolverResult:
    """Solve a program; costs are scaled and scaled back.

    start: columns and values of a solution to begin from; it is completed, and nothing dearer is returned.
    """
    scale = scale_of(program.cost)
    highs: Any = Highs()
    highs.silent()
    for name, value in settings.items():
        highs.setOptionValue(name, value)
    highs.passModel(_model(program, scale))
    if start is not None:
        highs.setSolution(len(start[0]), start[0].astype(np.int32), start[1].astype(float))
    highs.run()
    status, solution, info = highs.getModelStatus(), highs.getSolution(), highs.getInfo()
    ended = status in {HighsModelStatus.kOptimal, HighsModelStatus.kSolutionLimit}
    values = np.array(solution.col_value) if ended and solution.value_valid else None
    bound = info.mip_dual_bound if program.whole.any() else info.objective_function_value
    return SolverResult(
        values=values,
        objective=np.inf if values is None else float(program.cost @ values),
        bound=float(bound) / scale,
        reduced_cost=np.array(solution.col_dual) / scale,
        node_limit=status == HighsModelStatus.kSolutionLimit,
    )


def _model(program: MixedIntegerProgram, scale: float) -> Any:
    lp = HighsLp()
    lp.num_col_, lp.num_row_ = len(program.cost), len(program.lower)
    least = np.zeros(len(program.cost)) if program.least is None else program.least
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = program.cost * scale, least, program.most
    lp.row_lower_, lp.row_upper_ = program.lower, program.upper
    lp.a_matrix_.format_ = MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = program.matrix.indptr, program.matrix.indices
    lp.a_matrix_.value_ = program.matrix.data
    integrality = (HighsVarType.kContinuous, HighsVarType.kInteger)
    lp.integrality_ = [integrality[int(whole)] for whole in program.whole]
    return lp
