"""Which jobs move so that a larger one finds room on one node, or on whole nodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from comptroller.cluster.job_table import WHOLE
from comptroller.cluster.nodes import JobPlace, NodePool

Bools = npt.NDArray[np.bool_]

JobMove = tuple[int, JobPlace]
"""A job, and where it goes."""


def defragment(pool: NodePool, places: Mapping[int, JobPlace], milli: int) -> list[JobMove]:
    """Moves of jobs that lie on one node, until a job of so many thousandths fits; none if that does not help.

    A node is emptied as far as needed, first the node with the most free GPUs, its smallest jobs first; nobody moves to
    a node that was emptied, or that is free and part of the room. On return the pool has the moves made where they
    help, and is as before where they do not.
    """
    trial, at = pool.copy(), dict(places)
    moves: dict[int, JobPlace] = {}
    kept = np.zeros(len(pool.size), bool)
    while trial.copy().take(milli) is None:
        need = _lacking(trial, -(-milli // WHOLE), kept)
        node = _target(trial, need, kept)
        if node is None:
            return []
        kept[node] = True
        if not _enough_room(trial, at, moves, node, need, kept):
            return []
    _adopt(pool, trial)
    return list(moves.items())


def _lacking(pool: NodePool, gpus: int, kept: Bools) -> int:
    """GPUs that the next node has to give, of a job on whole nodes those that free nodes leave; free nodes are kept.

    >>> _lacking(NodePool((8, 8)), 12, np.zeros(2, bool))
    4
    """
    left, largest = gpus, int(pool.size.max())
    if gpus > largest:
        for node in np.lexsort((np.arange(len(pool.size)), -pool.size)):
            if 0 < pool.size[node] == pool.whole[node] and pool.size[node] <= left:
                kept[node] = True
                left -= int(pool.size[node])
    return min(left, largest)


def _target(pool: NodePool, need: int, kept: Bools) -> int | None:
    """The node, large enough but without room, that has the most free GPUs."""
    free = np.where((pool.size >= need) & (pool.whole < need) & ~kept, pool.whole, -1)
    node = int(free.argmax())
    return node if free[node] >= 0 else None


def _enough_room(
    pool: NodePool, at: dict[int, JobPlace], moves: dict[int, JobPlace], node: int, need: int, kept: Bools
) -> bool:
    """Whether enough of the node was made free by moves to nodes that are not kept."""
    here = [
        (place.nodes[0][1], job) for job, place in at.items() if len(place.nodes) == 1 and place.nodes[0][0] == node
    ]
    for gpus, job in sorted(here):
        if pool.whole[node] >= need:
            break
        elsewhere = pool.without(kept).take(gpus * WHOLE)
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
