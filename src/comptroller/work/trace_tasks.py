"""Requests that wait for others: the calls of an agent's task, each after the reply to the one before and its tools."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NO_PARENT = -1
"""Parent of a request that waits for none."""


@dataclass(frozen=True, slots=True)
class TraceTasks:
    """What requests wait for; columns of shape (requests,).

    parent: place of the request whose reply one waits for, before its own, or `NO_PARENT`.  wait_s: seconds from that
    reply to it, of tools or of a user; of a first one, of the start of its task before it arrives.  score: of its task,
    1 for solved, NaN where unknown.  cached: of its prompt, tokens that the recorded cache knew, NaN where unknown.
    """

    parent: Ints
    wait_s: Floats
    score: Floats
    cached: Floats

    @classmethod
    def of(cls, parent: npt.ArrayLike, wait_s: npt.ArrayLike) -> TraceTasks:
        """Tasks of which nothing else is known."""
        waits = np.asarray(wait_s, np.float64)
        unknown = np.full(waits.shape, np.nan)
        return cls(np.asarray(parent, np.int64), waits, unknown, unknown)

    def take(self, rows: Ints) -> TraceTasks:
        """Those of the requests at some indices, in that order; one whose parent is not before it waits for nothing.

        >>> TraceTasks.of([-1, 0, 1], [0.0, 2.0, 3.0]).take(np.array([1, 2])).parent.tolist()
        [-1, 0]
        """
        places = np.full(len(self.parent), NO_PARENT)
        places[rows] = np.arange(len(rows))
        parent = np.where(self.parent[rows] >= 0, places[self.parent[rows]], NO_PARENT)
        parent = np.where(parent < np.arange(len(rows)), parent, NO_PARENT)
        cut = (parent == NO_PARENT) & (self.parent[rows] != NO_PARENT)
        return TraceTasks(parent, np.where(cut, 0.0, self.wait_s[rows]), self.score[rows], self.cached[rows])

    def path_s(self, call_s: Floats) -> Floats:
        """Seconds from the start of a task to the end of each call, along the calls and tools it waits for.

        call_s: of each call, from its arrival to its end.

        >>> TraceTasks.of([-1, 0, 0], [0.0, 2.0, 2.0]).path_s(np.array([1.0, 3.0, 4.0])).tolist()
        [1.0, 6.0, 7.0]
        """
        path = self.wait_s + call_s
        for row in np.flatnonzero(self.parent >= 0):
            path[row] += path[self.parent[row]]
        return path

    @property
    def task(self) -> Ints:
        """The place of the first request of each request's task.

        >>> TraceTasks.of([-1, -1, 0, 2], [0.0, 0.0, 1.0, 1.0]).task.tolist()
        [0, 1, 0, 0]
        """
        roots = np.where(self.parent < 0, np.arange(len(self.parent)), self.parent)
        while True:
            further = roots[roots]
            if np.array_equal(further, roots):
                return roots
            roots = further
