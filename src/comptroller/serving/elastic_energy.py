"""What replicas that come and go draw and emit, and when: their steps, and waiting while they were paid for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from comptroller.facts.grid import GridOnClock
from comptroller.serving.elastic import ElasticOutcome, Floats, ReplicaLease


def waiting_j(outcome: ElasticOutcome) -> Floats:
    """Joules of each replica while it was paid for and worked on no step; a started one waits until it is ready."""
    idle_w = np.array([replica.table.idle_w for _, replica in outcome.outcome.fleet.replicas()])
    return np.asarray(idle_w * np.maximum(outcome.paid_s - outcome.outcome.meters.busy_s, 0.0))


def replica_j(outcome: ElasticOutcome) -> Floats:
    """Joules of each replica, of its steps and of waiting."""
    return np.asarray(outcome.outcome.meters.step_j + waiting_j(outcome))


def emitted_gco2e(outcome: ElasticOutcome, grid: GridOnClock | None = None) -> float:
    """Grams that those joules emit: by the hours of a grid in which they are spent, else at the mean of each site."""
    if grid is not None:
        until_s = _last_s(outcome)
        return float(emitted_by_block(outcome, np.array([0.0, until_s]), grid).sum())
    per_j = np.array([replica.table.gco2e_per_j for _, replica in outcome.outcome.fleet.replicas()])
    return float((replica_j(outcome) * per_j).sum())


def emitted_by_block(outcome: ElasticOutcome, edges: Floats, grid: GridOnClock) -> Floats:
    """Grams between each two of the edges (s), which hold all that was paid for, by the hours of a grid."""
    fine = np.union1d(edges, grid.hour_edges(float(edges[-1])))
    intensity = np.array([grid.at(low, high) for low, high in pairwise(fine.tolist())])
    block = np.searchsorted(edges, fine[:-1], "right") - 1
    return np.asarray(np.bincount(block, joules_by_window(outcome, fine) * intensity, edges.size - 1), float)


def joules_by_window(outcome: ElasticOutcome, edges: Floats) -> Floats:
    """Joules between each two of the edges (s), which hold all that was paid for.

    Those of a call are spread evenly from its first step to its last; a replica waits while it is paid for and has no
    call. Sums to those of all.
    """
    ran, whole_j = outcome.outcome, float(replica_j(outcome).sum())
    steps_j = float(ran.meters.step_j.sum())
    begun_s = ran.arrival_s + np.nan_to_num(ran.queue_s)
    ended_s = np.fmax(ran.arrival_s + ran.e2e_s - ran.outside_s, begun_s)
    worked = spread_by_window(begun_s, ended_s, ran.request_j + ran.waste_j, edges)
    idle_w = np.array([replica.table.idle_w for _, replica in ran.fleet.replicas()])
    held, waiting = np.zeros(edges.size - 1), np.zeros(edges.size - 1)
    for lease in outcome.leases:
        held += idle_w[lease.replica] * paid_by_window(lease, edges)
    for rank in np.unique(ran.requests.prompt_rank[ran.requests.prompt_rank >= 0]):
        there = ran.requests.prompt_rank == rank
        low, high = _union(begun_s[there], ended_s[there])
        waiting -= idle_w[rank] * spread_by_window(low, high, high - low, edges)
    waiting = np.maximum(held + waiting, 0.0)
    return np.asarray(_in_shares(worked, steps_j) + _in_shares(waiting if waiting.any() else held, whole_j - steps_j))


def _in_shares(weights: Floats, total: float) -> Floats:
    return np.asarray(total * weights / max(float(weights.sum()), 1e-300))


def _union(begun_s: Floats, ended_s: Floats) -> tuple[Floats, Floats]:
    """Times in which at least one of the spans lasts.

    >>> [times.tolist() for times in _union(np.array([4.0, 0.0, 1.0]), np.array([5.0, 3.0, 2.0]))]
    [[0.0, 4.0], [3.0, 5.0]]
    """
    order = np.argsort(begun_s, kind="stable")
    begun_s, reach_s = begun_s[order], np.maximum.accumulate(ended_s[order])
    opens = np.append(True, begun_s[1:] > reach_s[:-1])
    return begun_s[opens], reach_s[np.append(opens[1:], True)]


def paid_by_window(lease: ReplicaLease, edges: Floats) -> Floats:
    """Seconds between each two of the edges that a replica was paid for.

    >>> paid_by_window(ReplicaLease(0, 5.0, 12.0), np.array([0.0, 10.0, 20.0])).tolist()
    [5.0, 2.0]
    """
    inside = np.minimum(lease.until_s, edges[1:]) - np.maximum(lease.since_s, edges[:-1])
    return np.asarray(np.maximum(inside, 0.0))


def _last_s(outcome: ElasticOutcome) -> float:
    return max((lease.until_s for lease in outcome.leases), default=0.0)


def spread_by_window(begun_s: Floats, ended_s: Floats, amounts: Floats, edges: Floats) -> Floats:
    """Amounts, each spread evenly over its span, between each two of the edges (s).

    >>> spread_by_window(np.array([5.0, 1.0]), np.array([25.0, 1.0]), np.array([4.0, 7.0]), np.arange(0, 40, 10.0))
    array([8., 2., 1.])
    """
    windows = edges.size - 1
    first = np.clip(np.searchsorted(edges, begun_s, "right") - 1, 0, windows - 1)
    more = np.clip(np.searchsorted(edges, ended_s, "left") - 1, first, windows - 1) - first
    found = np.asarray(np.bincount(first[more == 0], amounts[more == 0], windows), float)
    for place in range(int(more.max(initial=0)) + 1):
        over = (more > 0) & (more >= place)
        window = first[over] + place
        inside = np.minimum(ended_s[over], edges[window + 1]) - np.maximum(begun_s[over], edges[window])
        found += np.bincount(window, amounts[over] * inside / (ended_s - begun_s)[over], windows)
    return found
