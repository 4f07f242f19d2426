"""Max-min fairness in rounds: a linear program says what share of GPUs each tenant gets, rounds follow it.

Source: Gavel (Narayanan et al., OSDI 2020): a program over shares of time, rounds of six minutes, and in each round
those first that are furthest behind their share. Here over tenants, of one kind of GPU.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array

from comptroller.cluster.job_table import Floats
from comptroller.cluster.job_view import JobGrant, JobView, turns
from comptroller.highs import MixedIntegerProgram, solve

EVERY_S = 360
"""Gavel's round."""


def grants(view: JobView) -> list[JobGrant]:
    """Jobs by how far they are behind the share of their tenant, as many as fit together; between rounds who runs
    stays."""
    asked = np.bincount(view.tenant, weights=view.asked)
    share = np.divide(
        tenant_shares(asked, view.pool.capacity_milli - view.away_milli), asked, out=np.ones_like(asked), where=asked > 0
    )
    age_s = np.maximum(view.clock_s - view.submitted_s, 1.0)
    received = view.received_gpu_s / (view.asked / 1000) / age_s
    behind = received / np.maximum(share[view.tenant], 1e-9)
    in_round = (view.held > 0) & (np.floor(view.clock_s / EVERY_S) == np.floor(view.since_s / EVERY_S))
    return turns(view, np.lexsort((behind, ~in_round)))


def tenant_shares(asked: Floats, capacity: float) -> Floats:
    """GPUs of each tenant, at most what it asks for: the least is as large as can be, then the sum.

    asked: shape (tenants,), in the unit of the capacity.

    >>> tenant_shares(np.array([2.0, 10.0, 10.0]), 12.0).round(6).tolist()
    [2.0, 5.0, 5.0]
    """
    got, free = np.zeros(len(asked)), np.flatnonzero(asked > 0)
    left = float(capacity)
    while len(free):
        least = _least(asked[free], left)
        bound = free[asked[free] <= least * (1 + 1e-9)]
        if not len(bound):
            got[free] = least
            break
        got[bound] = asked[bound]
        left, free = left - float(asked[bound].sum()), np.setdiff1d(free, bound)
    return got


def _least(asked: Floats, capacity: float) -> float:
    """The largest x such that each tenant gets the lesser of x and what it asks for: maximise x over shares s with
    s >= x or s = asked, and sum s <= capacity, by the program over those that are not yet at what they ask for."""
    n = len(asked)
    matrix = np.zeros((n + 1, n + 1))
    matrix[:n, :n], matrix[:n, n] = np.eye(n), -1.0
    matrix[n, :n] = 1.0
    cost = np.append(np.zeros(n), -1.0)
    most = np.append(asked, np.inf)
    program = MixedIntegerProgram(
        cost, csc_array(matrix), np.append(np.zeros(n), -np.inf), np.append(np.full(n, np.inf), capacity), most,
        np.zeros(n + 1, bool),
    )  # fmt: skip
    result = solve(program)
    return -result.objective
