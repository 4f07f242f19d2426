"""What a fleet over time saves, with an interval: blocks of the unseen part drawn anew, the same of both fleets."""

from __future__ import annotations

import numpy as np

from comptroller.planning.ground.over_time_document import FleetSaving
from comptroller.planning.over_time_play import Floats, PlayedPart
from comptroller.planning.spot_simulation import ReplicaPrices
from comptroller.serving.elastic_energy import emitted_by_block, joules_by_window, paid_by_window
from comptroller.serving.spot import ON_DEMAND

BLOCKS = 12
"""Blocks of the unseen part that are drawn anew for the interval of the saving."""

LEVEL, DRAWS = 0.9, 2000
"""Of that interval, and how often the blocks are drawn."""


def blocks_of(played: PlayedPart, count: int, objective: str, prices: ReplicaPrices | None = None) -> Floats:
    """What is minimised, by equal blocks of a part's time: rent as replicas were paid for; joules as they were spent,
    and grams by the hours in which they were. Sums to the whole."""
    ran = played.simulation.outcome
    leases = ran.leases
    edges = np.linspace(0.0, max([one.until_s for one in leases], default=0.0), count + 1)
    if objective == "gco2e" and played.grid is not None:
        return emitted_by_block(ran, edges, played.grid)
    total = getattr(played.figures, objective)
    if objective != "usd":
        spent = joules_by_window(ran, edges)
        return np.asarray(spent / spent.sum() * total)
    rent = [1.0] * len(leases)
    if played.spot is not None and prices is not None:
        by_place = {True: prices.on_demand_usd_per_h, False: prices.spot_usd_per_h}
        rent = [by_place[zone == ON_DEMAND] for zone in played.spot.places]
    paid = np.array(rent) @ np.array([paid_by_window(one, edges) for one in leases])
    return np.asarray(paid / paid.sum() * total)


def saving(mine: Floats, theirs: Floats, against: str) -> FleetSaving:
    """What is saved, with the interval of their blocks drawn anew, the same ones of both.

    >>> one = saving(np.array([1.0, 2.0]), np.array([2.0, 4.0]), "2 replicas")
    >>> (one.mean, one.low, one.high)
    (0.5, 0.5, 0.5)
    """
    rows = np.random.default_rng(0).integers(0, mine.size, (DRAWS, mine.size))
    drawn = 1 - mine[rows].sum(axis=1) / theirs[rows].sum(axis=1)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = 1 - mine.sum() / theirs.sum()
    return FleetSaving(
        against=against, mean=float(mean), low=float(low), high=float(high), level=LEVEL, blocks=int(mine.size)
    )
