"""What a fleet over time saves, with an interval: blocks of the unseen part drawn anew, the same of both fleets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from comptroller.planning.ground.over_time_document import FleetSaving
from comptroller.planning.over_time_play import Floats, PlayedPart
from comptroller.planning.spot_simulation import ReplicaPrices
from comptroller.serving.elastic import ElasticOutcome
from comptroller.serving.elastic_energy import replica_j
from comptroller.serving.spot import ON_DEMAND

BLOCKS = 12
"""Blocks of the unseen part that are drawn anew for the interval of the saving."""

LEVEL, DRAWS = 0.9, 2000
"""Of that interval, and how often the blocks are drawn."""


def blocks_of(played: PlayedPart, count: int, objective: str, prices: ReplicaPrices | None = None) -> Floats:
    """What is minimised, by equal blocks of a part's time: rent as replicas were paid for; joules and grams of steps
    with the calls that they were for, by arrival, and the rest as replicas were paid for. Sums to the whole."""
    ran = played.simulation.outcome
    leases = ran.leases
    edges = np.linspace(0.0, max([one.until_s for one in leases], default=0.0), count + 1)
    rent = [1.0] * len(leases)
    if played.spot is not None and prices is not None:
        by_place = {True: prices.on_demand_usd_per_h, False: prices.spot_usd_per_h}
        rent = [by_place[zone == ON_DEMAND] for zone in played.spot.places]
    since_s, until_s = (np.array([getattr(one, name) for one in leases]) for name in ("since_s", "until_s"))
    inside = [np.minimum(until_s, high) - np.maximum(since_s, low) for low, high in pairwise(edges.tolist())]
    paid = np.maximum(inside, 0.0) @ np.array(rent)
    total = getattr(played.figures, objective)
    if objective == "usd":
        return np.asarray(paid / paid.sum() * total)
    worked = _work_by_block(ran, edges)
    share = ran.outcome.meters.step_j.sum() / replica_j(ran).sum()
    return np.asarray(total * (share * worked / worked.sum() + (1 - share) * paid / paid.sum()))


def _work_by_block(ran: ElasticOutcome, edges: Floats) -> Floats:
    joules = ran.outcome.request_j + ran.outcome.waste_j
    return np.asarray(np.histogram(ran.outcome.arrival_s, edges, weights=joules)[0])


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
