"""Which jobs move so that a larger one finds room on one node, or on whole nodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from comptroller.cluster.job_table import WHOLE
from comptroller.cluster.nodes import JobPlace, NodePool

JobMove = tuple[int, JobPlace]
"""A job, and where it goes."""


def defragment(pool: NodePool, places: Mapping[int, JobPlace], milli: int) -> list[JobMove]:
    """Moves of jobs that lie on one node, until a job of so many thousandths fits; none if that does not help.

    A node is emptied as far as needed, first the node with the most free GPUs, its smallest jobs first. On return the
    pool has the moves made where they help, and is as before where they do not.
    """
    largest = int(pool.size.max())
    gpus = -(-milli // WHOLE)
    trial, at = pool.copy(), dict(places)
    moves: dict[int, JobPlace] = {}
    while trial.copy().take(milli) is None:
        need = min(gpus, largest)
        node = _target(trial, need)
        if node is None or not _enough_room(trial, at, moves, node, need):
            return []
    _adopt(pool, trial)
    return list(moves.items())


def _target(pool: NodePool, need: int) -> int | None:
    """The node, large enough but without room, that has the most free GPUs."""
    free = np.where((pool.size >= need) & (pool.whole < need), pool.whole, -1)
    node = int(free.argmax())
    return node if free[node] >= 0 else None


def _enough_room(pool: NodePool, at: dict[int, JobPlace], moves: dict[int, JobPlace], node: int, need: int) -> bool:
    """Whether enough of the node was made free by moves."""
    here = [
        (place.nodes[0][1], job) for job, place in at.items() if len(place.nodes) == 1 and place.nodes[0][0] == node
    ]
    closed = np.zeros(len(pool.size), bool)
    closed[node] = True
    for gpus, job in sorted(here):
        if pool.whole[node] >= need:
            break
        elsewhere = pool.without(closed).take(gpus * WHOLE)
        if elsewhere is None:
            continue
        pool.give_back(at[job])
        for other, count in elsewhere.nodes:
            pool.whole[other] -= count
            pool.free_milli -= count * WHOLE
        at[job] = moves[job] = elsewhere
    return bool(pool.whole[node] >= need)


def _adopt(pool: NodePool, trial: NodePool) -> None:
    pool.whole, pool.shared = trial.whole, trial.shared
