"""Nodes that fault under jobs: a job hangs unseen, loses what came after its checkpoint, its node is taken out.

A fault hits a GPU. The job on it makes no progress from then on and keeps its GPUs until the fault is seen; then it is
stopped and goes back to its last checkpoint. If the node is broken, its other jobs write a checkpoint and leave, and it
is away until it is mended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from comptroller.cluster.nodes import JobPlace, NodePool
from comptroller.costs.fault_causes import WATCHDOG_S, breaking_share
from comptroller.errors import InputError

NEVER = float("inf")
ATTEMPTS = 5.0
"""Times the mean time between faults of a job that a checkpoint of it may take: an interval without a fault then comes
once in 150 tries. At twice it once in 20,000."""


@dataclass(frozen=True, slots=True)
class JobFaults:
    """How nodes fault. device_s: of a GPU between two faults.  detect_s: from a fault until it is seen.  repair_s: from
    then until a broken node is back."""

    device_s: float
    detect_s: float = WATCHDOG_S
    repair_s: float = 86_400.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.device_s > 0 and self.detect_s >= 0 and 0 <= self.repair_s < NEVER):
            raise InputError(
                f"faults of a GPU {self.device_s:g} s apart, seen after {self.detect_s:g} s, mended after "
                f"{self.repair_s:g} s; allowed: above 0 s, from 0 s, from 0 s"
            )

    def require(self, gpus: float, checkpoint_s: float) -> None:
        """Refuse a job that would hardly ever reach its next checkpoint.

        Raises:
            InputError: it is so; says how far apart checkpoints may lie.
        """
        apart_s = self.device_s / gpus
        if checkpoint_s > ATTEMPTS * apart_s:
            raise InputError(
                f"a job of {gpus:g} GPUs faults every {apart_s:.3g} s; checkpoints {checkpoint_s:g} s apart are hardly "
                f"ever reached; allowed: up to {ATTEMPTS * apart_s:.3g} s (--checkpoint)"
            )


@dataclass(frozen=True, slots=True)
class NodeFault:
    """A fault of a GPU. job: that it hits, or -1.  breaks: whether the node has to be mended."""

    at_s: float
    node: int
    job: int
    breaks: bool


class FaultClock:
    """When the next fault comes, which are to be seen, and which nodes are to be mended.

    Exponential over all GPUs, where and when drawn whatever jobs do, so that policies meet the same faults; what comes
    while no job runs, or to a node that is away, does nothing.
    """

    def __init__(self, faults: JobFaults, pool: NodePool) -> None:
        self.faults, self.pool = faults, pool
        self.rng = np.random.default_rng(faults.seed)
        self.share, self.gpus = breaking_share(), int(pool.size.sum())
        self.ends = np.cumsum(pool.size)
        self.unseen: list[tuple[float, int, NodeFault]] = []
        self.mends: list[tuple[float, int]] = []
        self.count = 0
        self._fault_s, self._gpu, self._breaks = 0.0, 0, False
        self._draw()

    def _draw(self) -> None:
        self._fault_s += float(self.rng.exponential(self.faults.device_s / self.gpus))
        self._gpu, self._breaks = int(self.rng.integers(self.gpus)), bool(self.rng.random() < self.share)

    def next_s(self, clock_s: float, runs: bool) -> float:
        """The next moment at which anything happens; faults come only while jobs run."""
        while self._fault_s < clock_s:
            self._draw()
        seen_s = self.unseen[0][0] if self.unseen else NEVER
        mended_s = self.mends[0][0] if self.mends else NEVER
        return min(self._fault_s if runs else NEVER, seen_s, mended_s)

    def fault(self, clock_s: float, places: Mapping[int, JobPlace], hung: Collection[int]) -> NodeFault | None:
        """The fault of this moment, if there is one that does anything; it will be seen later. hung: jobs that hang,
        whom another fault does nothing."""
        if self._fault_s > clock_s:
            return None
        node = int(np.searchsorted(self.ends, self._gpu, side="right"))
        at, breaks = self._gpu - int(self.ends[node] - self.pool.size[node]), self._breaks
        self._draw()
        if self.is_away(node):
            return None
        found = NodeFault(clock_s, node, self._victim(node, at, places), breaks)
        if found.job in hung:
            return None
        heappush(self.unseen, (clock_s + self.faults.detect_s, self.count, found))
        self.count += 1
        return found

    def seen(self, clock_s: float) -> list[NodeFault]:
        """Faults that are seen by now."""
        found = []
        while self.unseen and self.unseen[0][0] <= clock_s:
            found.append(heappop(self.unseen)[2])
        return found

    def mended(self, clock_s: float) -> list[int]:
        """Nodes that are back by now."""
        found = []
        while self.mends and self.mends[0][0] <= clock_s:
            found.append(heappop(self.mends)[1])
        return found

    def take_out(self, node: int, clock_s: float) -> None:
        """A node is away until it is mended; nobody is on it."""
        self.pool.take_out(node)
        heappush(self.mends, (clock_s + self.faults.repair_s, node))

    def is_away(self, node: int) -> bool:
        """Whether a node is being mended."""
        return any(one == node for _, one in self.mends)

    @property
    def away_gpus(self) -> int:
        """GPUs of nodes that are being mended."""
        return sum(int(self.pool.size[node]) for _, node in self.mends)

    def _victim(self, node: int, at: int, places: Mapping[int, JobPlace]) -> int:
        """The job on a GPU of a node, by its number there; -1 where nobody is."""
        for job, place in places.items():
            at -= jobs_gpus_on(place, node, self.pool)
            if at < 0:
                return job
        return -1


def jobs_gpus_on(place: JobPlace, node: int, pool: NodePool) -> int:
    """GPUs of a node that a job is on; a share counts as one, of those that share a GPU each."""
    shared = place.share is not None and pool.shared[place.share[0]][0] == node
    return sum(gpus for at, gpus in place.nodes if at == node) + int(shared)
