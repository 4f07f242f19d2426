"""Which replicas, and how many of each, carry a demand at the least cost: one small mixed-integer program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from highspy import Highs, HighsLp, HighsModelStatus, HighsVarType, MatrixFormat
from scipy.sparse import block_array, coo_array, csc_array, eye_array

from comptroller.errors import InfeasibleError

Array = npt.NDArray[np.float64]

OPTIONS: dict[str, bool | int | float] = {
    "mip_rel_gap": 1e-9,
    "mip_feasibility_tolerance": 1e-9,
    "mip_max_nodes": 20_000,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
    "threads": 1,
}
"""Settings of HiGHS; determinism comes from the limit on nodes, never from a clock."""


@dataclass(frozen=True, slots=True)
class ReplicaLimit:
    """A cap on a weighted sum of replica counts: sum_j weights_j y_j <= most."""

    name: str
    weights: Array
    most: float


@dataclass(frozen=True, slots=True)
class MixProblem:
    """A demand in slices and the candidates that may carry it.

    load: (slices, candidates), replicas that one slice occupies on a candidate; inf where it cannot.
    also: further loads of the same shape, each of which must fit the replicas too.
    price: (candidates,), objective units per replica and hour, running or idle.
    energy: (slices, candidates), objective units per hour that a slice adds on a candidate (0 for dollars).
    whole: a slice may not be split over candidates.  spare: replicas kept in reserve for each candidate used.
    """

    load: Array
    price: Array
    also: tuple[Array, ...] = ()
    energy: Array | None = None
    limits: tuple[ReplicaLimit, ...] = ()
    whole: bool = False
    spare: int = 0
    names: tuple[str, ...] = ()
    slice_names: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class MixSolution:
    """The optimum: replicas per candidate, share of each slice on each candidate, and the objective."""

    replicas: npt.NDArray[np.int64]
    share: Array
    objective: float
    bound: float


def solve(mix: MixProblem) -> MixSolution:
    """The cheapest mix.

    minimise sum_j p_j y_j + sum_ij e_ij x_ij  subject to  sum_j x_ij = 1,  sum_i l_ij x_ij <= y_j - s z_j for every
    load l,  sum_j w_kj y_j <= m_k,  y integer, 0 <= x <= 1 (binary if `whole`), x_ij <= z_j in {0, 1} if s > 0.
    (Melange, arXiv 2404.14527, with splitting, limits and spares added; HiGHS.)

    Raises:
        InfeasibleError: a slice fits no candidate, or the limits leave no room; names which.

    >>> mix = MixProblem(np.array([[0.5, 0.1], [2.0, 0.2]]), np.array([1.0, 3.0]), whole=True)
    >>> solve(mix).objective
    3.0
    """
    usable = np.isfinite(mix.load)
    _require_some_candidate(mix, usable)
    program = _program(mix, usable)
    highs = run(program)
    if highs.getModelStatus() not in {HighsModelStatus.kOptimal, HighsModelStatus.kSolutionLimit}:
        raise InfeasibleError(_which_limit_binds(mix))
    values = np.array(highs.getSolution().col_value)
    pairs, candidates = int(usable.sum()), mix.load.shape[1]
    share = np.zeros(mix.load.shape)
    share[usable] = np.clip(values[:pairs], 0.0, 1.0)
    replicas = np.rint(values[pairs : pairs + candidates]).astype(np.int64)
    bound = float(highs.getInfo().mip_dual_bound)
    return MixSolution(replicas, share, float(program.cost @ values), bound)


def shares_of_replicas(mix: MixProblem, replicas: npt.NDArray[np.int64]) -> MixSolution | None:
    """The cheapest shares on replicas that are given; `None` where they do not carry the demand or break a limit."""
    usable = np.isfinite(mix.load)
    if not usable.any(axis=1).all():
        return None
    program, pairs = _program(mix, usable), int(usable.sum())
    fixed = [replicas, replicas > 0] if mix.spare else [replicas]
    count = np.concatenate(fixed).astype(float)
    program.most[pairs:] = count
    highs = run(replace(program, least=np.concatenate([np.zeros(pairs), count])))
    if highs.getModelStatus() != HighsModelStatus.kOptimal:
        return None
    values = np.array(highs.getSolution().col_value)
    share = np.zeros(mix.load.shape)
    share[usable] = np.clip(values[:pairs], 0.0, 1.0)
    cost = float(program.cost @ values)
    return MixSolution(replicas, share, cost, cost)


def balance(mix: MixProblem, chosen: MixSolution) -> MixSolution:
    """The same replicas with the slices shared so that the busiest is as little busy as can be.

    minimise t  subject to  sum_j x_ij = 1,  sum_i l_ij x_ij <= t (y_j - s) for every load l,  0 <= x <= 1

    The cheapest mix may fill one kind of replica to the brim beside idle others, which no arrivals but steady ones
    forgive. Slices that are whole, or that cost energy, stay as they are.
    """
    used = np.flatnonzero(chosen.replicas)
    if len(used) < 2 or mix.whole or (mix.energy is not None and mix.energy.any()):
        return chosen
    usable = np.isfinite(mix.load[:, used])
    slice_of, of = np.nonzero(usable)
    pairs, column = len(of), np.arange(len(of))
    serve = coo_array((np.ones(pairs), (slice_of, column)), shape=(mix.load.shape[0], pairs))
    room = -(chosen.replicas[used] - mix.spare).astype(float)
    loads = [load[:, used][usable] for load in (mix.load, *mix.also)]
    carry = [coo_array((load, (of, column)), shape=(len(used), pairs)) for load in loads]
    blocks: list[list[Any]] = [[serve, None], *([rows, coo_array(room[:, None])] for rows in carry)]
    ones, rows = np.ones(mix.load.shape[0]), len(used) * len(loads)
    program = MixedIntegerProgram(
        cost=np.concatenate([np.zeros(pairs), [1.0]]),
        matrix=csc_array(block_array(blocks)),
        lower=np.concatenate([ones, np.full(rows, -np.inf)]),
        upper=np.concatenate([ones, np.zeros(rows)]),
        most=np.concatenate([np.ones(pairs), [np.inf]]),
        whole=np.zeros(pairs + 1, bool),
    )
    share = np.zeros(mix.load.shape)
    part = np.zeros(usable.shape)
    part[usable] = np.clip(np.array(run(program).getSolution().col_value)[:pairs], 0.0, 1.0)
    share[:, used] = part
    return replace(chosen, share=share)


@dataclass(frozen=True, slots=True)
class MixedIntegerProgram:
    """minimise cost x within lower <= matrix x <= upper, least <= x <= most, some columns whole; least is 0 if None."""

    cost: Array
    matrix: csc_array
    lower: Array
    upper: Array
    most: Array
    whole: npt.NDArray[np.bool_]
    least: Array | None = None


def _program(mix: MixProblem, usable: npt.NDArray[np.bool_]) -> MixedIntegerProgram:
    """Columns: shares of slices on candidates, replicas of candidates, and, with spares, who is in use."""
    slices, candidates = mix.load.shape
    slice_of, candidate_of = np.nonzero(usable)
    pairs = len(slice_of)
    column = np.arange(pairs)
    serve = coo_array((np.ones(pairs), (slice_of, column)), shape=(slices, pairs))
    loads = (mix.load, *mix.also)
    identity = eye_array(candidates)
    blocks: list[list[Any]] = [[serve, None]]
    lower, upper = [np.ones(slices)], [np.ones(slices)]
    for load in loads:
        blocks.append([coo_array((load[usable], (candidate_of, column)), shape=(candidates, pairs)), -identity])
        lower.append(np.full(candidates, -np.inf))
        upper.append(np.zeros(candidates))
    for limit in mix.limits:
        blocks.append([None, coo_array(limit.weights[None, :])])
        lower.append(np.array([-np.inf]))
        upper.append(np.array([limit.most]))
    if mix.spare:
        select = coo_array((np.ones(pairs), (column, candidate_of)), shape=(pairs, candidates))
        for row, block in enumerate(blocks):
            block.append(identity * float(mix.spare) if 1 <= row <= len(loads) else None)
        blocks.append([eye_array(pairs), None, -select])
        lower.append(np.full(pairs, -np.inf))
        upper.append(np.zeros(pairs))
    used = candidates if mix.spare else 0
    energy = np.zeros(pairs) if mix.energy is None else mix.energy[usable]
    return MixedIntegerProgram(
        cost=np.concatenate([energy, mix.price, np.zeros(used)]),
        matrix=csc_array(block_array(blocks)),
        lower=np.concatenate(lower),
        upper=np.concatenate(upper),
        most=np.concatenate([np.ones(pairs), np.full(candidates, np.inf), np.ones(used)]),
        whole=np.concatenate([np.full(pairs, mix.whole), np.ones(candidates + used, bool)]),
    )


def run(
    program: MixedIntegerProgram,
    options: Mapping[str, bool | int | float] = OPTIONS,
    known: tuple[npt.NDArray[np.int64], Array] | None = None,
) -> Any:
    """HiGHS, silent, one thread, limited by nodes; its large-neighbourhood heuristics cost more than they find.

    known: columns and values of a solution to start from; it is completed, and nothing dearer is returned.
    """
    highs: Any = Highs()
    highs.silent()
    for name, value in options.items():
        highs.setOptionValue(name, value)
    lp = HighsLp()
    lp.num_col_, lp.num_row_ = len(program.cost), len(program.lower)
    least = np.zeros(len(program.cost)) if program.least is None else program.least
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = program.cost, least, program.most
    lp.row_lower_, lp.row_upper_ = program.lower, program.upper
    lp.a_matrix_.format_ = MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = program.matrix.indptr, program.matrix.indices
    lp.a_matrix_.value_ = program.matrix.data
    kinds = (HighsVarType.kContinuous, HighsVarType.kInteger)
    lp.integrality_ = [kinds[int(whole)] for whole in program.whole]
    highs.passModel(lp)
    if known is not None:
        highs.setSolution(len(known[0]), known[0].astype(np.int32), known[1].astype(float))
    highs.run()
    return highs


def _require_some_candidate(mix: MixProblem, usable: npt.NDArray[np.bool_]) -> None:
    stranded = np.flatnonzero(~usable.any(axis=1))
    if len(stranded):
        names = [mix.slice_names[i] if mix.slice_names else f"slice {i}" for i in stranded[:3]]
        raise InfeasibleError(f"no candidate meets the objectives for {', '.join(names)}")


def _which_limit_binds(mix: MixProblem) -> str:
    """Limits without which the mix becomes feasible, each with the least value that would do."""
    found = []
    for limit in mix.limits:
        others = tuple(x for x in mix.limits if x.name != limit.name)
        least = replace(mix, limits=others, price=limit.weights, energy=None)
        try:
            found.append(f"{limit.name} (at most {limit.most:g}, needs {solve(least).objective:g})")
        except InfeasibleError:
            continue
    if found:
        return "the limits leave no room: " + "; or ".join(found)
    return "the limits conflict: " + ", ".join(limit.name for limit in mix.limits)
