"""Max-min fairness in rounds: what share of the GPUs each tenant is due, and rounds that follow it.

Source: Gavel (Narayanan et al., OSDI 2020): a linear program over shares of time, rounds of six minutes, and in each
those first that are furthest behind their share. Here over tenants and one kind of GPU, where it is solved by hand.
"""

from __future__ import annotations

import numpy as np

from comptroller.cluster.job_table import Floats
from comptroller.cluster.job_view import JobGrant, JobView, turns

EVERY_S = 360
"""Gavel's round."""


def grants(view: JobView) -> list[JobGrant]:
    """Jobs by how far they are behind the share of their tenant, as many as fit together; between rounds who runs
    stays."""
    asked = np.bincount(view.tenant, weights=view.asked).astype(np.float64)
    share = np.divide(
        tenant_shares(asked, view.pool.capacity_milli - view.away_milli),
        asked,
        out=np.ones_like(asked),
        where=asked > 0,
    )
    age_s = np.maximum(view.clock_s - view.submitted_s, 1.0)
    received = view.received_gpu_s / (view.asked / 1000) / age_s
    behind = received / np.maximum(share[view.tenant], 1e-9)
    in_round = (view.held > 0) & (np.floor(view.clock_s / EVERY_S) == np.floor(view.since_s / EVERY_S))
    return turns(view, np.lexsort((behind, ~in_round)))


def tenant_shares(asked: Floats, capacity: float) -> Floats:
    """GPUs of each tenant, at most what it asks for: the least is as large as can be, then the next, and so on.

    asked: shape (tenants,), in the unit of the capacity. Of one kind of GPU the program's optimum is a level: who asks
    for less than it gets what it asks for, the others the level.

    >>> tenant_shares(np.array([2.0, 10.0, 10.0]), 12.0).tolist()
    [2.0, 5.0, 5.0]
    """
    order = np.argsort(asked)
    rising = asked[order]
    before = np.concatenate([[0.0], np.cumsum(rising)[:-1]])
    levels = (capacity - before) / np.arange(len(asked), 0, -1)
    short = np.flatnonzero(levels < rising)
    return np.minimum(asked, levels[short[0]] if len(short) else np.inf)
