"""The GPUs of a cluster by node: what is free, and where a job finds room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.cluster.job_table import WHOLE, Ints
from comptroller.errors import InputError

NOWHERE = np.iinfo(np.int64).max
"""More free GPUs than any node has: a node that does not count."""


@dataclass(frozen=True, slots=True)
class JobPlace:
    """Where a job runs: whole GPUs by node, or a share of one GPU.

    nodes: (node, GPUs) pairs.  share: (number of the GPU among those that are shared, thousandths), or None.
    """

    nodes: tuple[tuple[int, int], ...]
    share: tuple[int, int] | None = None


class NodePool:
    """Free GPUs of nodes. A job of up to a node's GPUs lies on one node, the fullest that has room; a larger one takes
    empty nodes, and for what is left of it a node as before. A share lies on a shared GPU, the fullest with room.

    capacity_milli: thousandths of all GPUs.  free_milli: those that nobody has, of shared GPUs too.  whole: GPUs of
    each node that nobody has a part of, shape (nodes,).  kind: of the GPUs of each node, by number, shape (nodes,).

    >>> pool = NodePool([8, 8])
    >>> [pool.take(gpus * 1000).nodes for gpus in (2, 8, 4)], pool.take(4000)
    ([((0, 2),), ((1, 8),), ((0, 4),)], None)
    """

    def __init__(self, sizes: Sequence[int] | Ints, kinds: Sequence[int] | Ints = ()) -> None:
        self.size = np.array(sizes, np.int64)
        self.kind = np.array(kinds, np.int64) if len(kinds) else np.zeros(len(self.size), np.int64)
        if not len(self.size) or self.size.min() < 0 or not self.size.max():
            raise InputError("a cluster has at least one node with a GPU, and none with fewer than 0")
        self.whole = self.size.copy()
        self.shared: dict[int, tuple[int, int]] = {}
        self.capacity_milli = int(self.size.sum()) * WHOLE
        self.free_milli = self.capacity_milli
        self._next_shared = 0

    def copy(self) -> NodePool:
        """Another pool in the same state, for trials."""
        other = NodePool.__new__(NodePool)
        other.kind = self.kind
        other.size, other.whole, other.shared = self.size, self.whole.copy(), dict(self.shared)
        other.capacity_milli, other.free_milli = self.capacity_milli, self.free_milli
        other._next_shared = self._next_shared
        return other

    def could_hold(self, milli: int) -> bool:
        """Whether it fits an empty cluster."""
        return NodePool(self.size).take(milli) is not None

    def take(self, milli: int, kind: int = -1) -> JobPlace | None:
        """Room for a job, or None, of a kind alone where one is given. Above one GPU parts of GPUs are rounded up."""
        if milli > self.free_milli:
            return None
        size = milli if milli < WHOLE else -(-milli // WHOLE) * WHOLE
        place = self._share(milli, kind) if milli < WHOLE else self._gpus(size // WHOLE, kind)
        self.free_milli -= size if place is not None else 0
        return place

    def give_back(self, place: JobPlace) -> None:
        """What a job had is free again; a shared GPU that nobody has is whole."""
        for node, gpus in place.nodes:
            self.whole[node] += gpus
            self.free_milli += gpus * WHOLE
        if place.share is not None:
            number, milli = place.share
            node, free = self.shared[number]
            self.free_milli += milli
            if free + milli == WHOLE:
                del self.shared[number]
                self.whole[node] += 1
            else:
                self.shared[number] = node, free + milli

    def take_out(self, node: int) -> None:
        """A node that nobody is on has nothing free, until it is put back."""
        self.free_milli -= int(self.whole[node]) * WHOLE
        self.whole[node] = 0

    def put_back(self, node: int) -> None:
        """All of a node is free again."""
        self.whole[node] = self.size[node]
        self.free_milli += int(self.size[node]) * WHOLE

    def without(self, nodes: npt.NDArray[np.bool_]) -> NodePool:
        """A copy in which some nodes have nothing free."""
        other = self.copy()
        other.whole[nodes] = 0
        other.shared = {number: it for number, it in other.shared.items() if not nodes[it[0]]}
        return other

    def _share(self, milli: int, kind: int = -1) -> JobPlace | None:
        room = [
            (free, number)
            for number, (node, free) in self.shared.items()
            if free >= milli and kind in (-1, self.kind[node])
        ]
        if room:
            free, number = min(room)
            self.shared[number] = self.shared[number][0], free - milli
            return JobPlace((), (number, milli))
        opened = self._gpus(1, kind)
        if opened is None:
            return None
        number, self._next_shared = self._next_shared, self._next_shared + 1
        self.shared[number] = opened.nodes[0][0], WHOLE - milli
        return JobPlace((), (number, milli))

    def kinds_of(self, place: JobPlace) -> list[int]:
        """Numbers of the kinds that a place lies on."""
        nodes = [node for node, _ in place.nodes]
        nodes += [self.shared[place.share[0]][0]] if place.share is not None else []
        return [int(self.kind[node]) for node in nodes]

    def _gpus(self, gpus: int, kind: int = -1) -> JobPlace | None:
        whole = self.whole if kind < 0 else np.where(self.kind == kind, self.whole, 0)
        pairs, left, others = [], gpus, whole
        if gpus > self.size.max():
            others = whole.copy()
            for node in np.lexsort((np.arange(len(self.size)), -self.size)):
                if 0 < self.size[node] == whole[node] and self.size[node] <= left:
                    pairs.append((int(node), int(self.size[node])))
                    left -= int(self.size[node])
                    others[node] = 0
        if left:
            node = _fullest_of(others, left)
            if node is None:
                return None
            pairs.append((node, left))
        return self._taken(pairs)

    def _taken(self, pairs: Sequence[tuple[int, int]]) -> JobPlace:
        for node, gpus in pairs:
            self.whole[node] -= gpus
        return JobPlace(tuple(pairs))


def _fullest_of(free: Ints, gpus: int) -> int | None:
    """The node with the fewest free GPUs that are enough, the first of several."""
    room = np.where(free >= gpus, free, NOWHERE)
    node = int(room.argmin())
    return node if room[node] != NOWHERE else None
