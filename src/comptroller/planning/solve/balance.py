"""Among fleets that cost the same: one kind rather than several, and loads that leave the busiest units least busy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.sparse import csc_array, hstack

from comptroller.highs import EXACT, MixedIntegerProgram, solve
from comptroller.planning.ground.nouns import Floats, Ints
from comptroller.planning.solve.case import ProgramCase
from comptroller.planning.solve.program import PosedProgram

SAME = 1e-9
"""Relative difference of two costs that counts as none: the gap of the optimum itself."""


def one_kind_units(case: ProgramCase, objective: float) -> Mapping[int, Ints] | None:
    """Units of one kind that carry everything at no more cost than `objective`, for plain requests.

    Fewer kinds are easier to run; of several the first in the order of the choices. `None` where no kind does.
    """
    if case.options.count > 1 or len(case.markets) != 1 or case.goal.quality:
        return None
    ((model, market),) = case.markets.items()
    goal, demand = case.goal, case.demand
    asked = demand.rate_per_s * np.einsum("c,cb->b", demand.weight, case.options.calls[model][:, 0])
    need = (market.load * (asked * goal.demand)[None, :, None]).sum(axis=1).max(axis=0)
    count = np.where(np.isfinite(need), np.ceil(need - 1e-9) + goal.spare, np.inf)
    energy = np.einsum("b,bj->j", asked, market.added(goal.objective)[0])
    price = market.unit(goal.objective)[0]
    cost = np.where(np.isfinite(count), price * np.where(np.isfinite(count), count, 0.0) + energy, np.inf)
    for name, most in goal.limits:
        cost[market.takes[name] * np.where(np.isfinite(count), count, 0.0) > most + 1e-9] = np.inf
    best = int(cost.argmin())
    if not cost[best] <= objective * (1 + SAME):
        return None
    units = np.zeros((1, len(market.rows)), np.int64)
    units[0, best] = int(count[best])
    return {model: units}


def balanced_columns(
    case: ProgramCase, posed: PosedProgram, program: MixedIntegerProgram, values: Floats
) -> Floats | None:
    """The columns of the same units, loaded so that the busiest is as little busy as can be.

    minimise t  within the rows of the program, those named carry with t times the units (less the reserve).

    The cheapest fleet may fill one kind of replica to the brim beside idle others, which no arrivals but steady ones
    forgive. Where loads cost energy, they stay where that is least. `None` where there is nothing to share.
    """
    columns = [serving.units.ravel() for serving in posed.serving.values()]
    units = np.concatenate([np.zeros(0, np.int64), *columns])
    energy = [market.added(case.goal.objective).any() for market in case.markets.values()]
    if len(units) < 2 or any(energy):
        return None
    rows = np.concatenate([np.zeros(0, np.int64), *program.rows_of("carry").values()])
    room = np.zeros(len(program.cost))
    room[units] = np.maximum(np.rint(values[units]) - case.goal.spare, 0.0)
    entries = program.matrix.tocoo()
    moved = np.isin(entries.row, rows) & np.isin(entries.col, units)
    matrix = csc_array((entries.data[~moved], (entries.row[~moved], entries.col[~moved])), shape=program.matrix.shape)
    busy = np.zeros((len(program.lower), 1))
    busy[rows, 0] = (program.matrix @ room)[rows]
    shared = replace(
        program,
        cost=np.append(np.zeros(len(program.cost)), 1.0),
        matrix=csc_array(hstack([matrix, csc_array(busy)])),
        most=np.append(program.most, np.inf),
        whole=np.zeros(len(program.cost) + 1, bool),
        least=np.append(np.zeros(len(program.cost)) if program.least is None else program.least, 0.0),
    )
    result = solve(shared, EXACT).values
    return None if result is None else result[:-1]
