"""What a policy of jobs sees of a cluster, and how it grants GPUs."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np

from comptroller.cluster.job_goodput import JobGoodput
from comptroller.cluster.job_outcome import JobOutcomeRows
from comptroller.cluster.job_table import WHOLE, Floats, Ints, JobTable
from comptroller.cluster.nodes import NodePool

JobGrant = tuple[int, int]
"""Place of a job in a view, and the thousandths of a GPU that it is to have from now on; 0 stops it."""

JobKindGrant = tuple[int, int, int]
"""The same, and the kind of GPU, -1 where it does not matter; a job that is to change its kind is stopped first."""


class JobState(Protocol):
    """What a simulation knows of all its jobs, columns of shape (jobs,), of which a view shows those that live."""

    jobs: JobTable
    held: Ints
    since_s: Floats
    speeds: Floats
    kind: Ints
    on_kind_s: Floats
    goodput: JobGoodput | None
    rows: JobOutcomeRows

    def done_s(self, live: Ints) -> Floats:
        """Progress of jobs, in seconds at all their GPUs."""


class JobView:
    """A cluster at one moment: its jobs that have not ended, in the order of submission, columns of shape (live,).

    asked: thousandths of a GPU.  held: those it has, 0 where it waits.  since_s: since when it holds them.
    received_gpu_s: work done so far.  remaining_s: at all its GPUs; only policies with "durations" in NEEDS may
    read it.  promise: share of its GPU-hours that its tier promises.  quota: thousandths of each tenant, shape
    (tenants,), empty without quotas.  pool: the nodes; what tries places does so on a copy.  away_milli: what
    serving has. Columns are made when they are first read.
    """

    def __init__(
        self, clock_s: float, live: Ints, state: JobState, quota: Ints, pool: NodePool, away_milli: int
    ) -> None:
        self.clock_s, self.quota, self.pool, self.away_milli = clock_s, quota, pool, away_milli
        self._live, self._state = live, state

    @cached_property
    def asked(self) -> Ints:
        """Thousandths of a GPU that each asks for."""
        return self._state.jobs.milli[self._live]

    @cached_property
    def held(self) -> Ints:
        """Thousandths of a GPU that each has."""
        return self._state.held[self._live]

    @cached_property
    def submitted_s(self) -> Floats:
        """When each was submitted."""
        return self._state.jobs.submitted_s[self._live]

    @cached_property
    def since_s(self) -> Floats:
        """Since when each holds what it holds; of one that waits, since when it was stopped, 0 if it never ran."""
        return self._state.since_s[self._live]

    @cached_property
    def tenant(self) -> Ints:
        """Number of the tenant of each."""
        return self._state.jobs.tenant[self._live]

    @cached_property
    def speeds(self) -> Floats:
        """Speed of each on each kind of GPU, shape (live, kinds)."""
        return self._state.speeds[self.tenant]

    @cached_property
    def kind(self) -> Ints:
        """Kind of GPU that each runs on, -1 where it waits."""
        return np.where(self.held > 0, self._state.kind[self._live], -1)

    @cached_property
    def on_kind_s(self) -> Floats:
        """Seconds that each has been on each kind, shape (live, kinds)."""
        found = self._state.on_kind_s[self._live].copy()
        runs = np.flatnonzero(self.held > 0)
        found[runs, self.kind[runs]] += self.clock_s - self.since_s[runs]
        return found

    @cached_property
    def kind_milli(self) -> Ints:
        """Thousandths of the GPUs of each kind, shape (kinds,); what serving has and what is mended are part of it."""
        return (
            np.bincount(self.pool.kind, weights=self.pool.size, minlength=self.speeds.shape[1]).astype(np.int64) * WHOLE
        )

    @cached_property
    def restarts(self) -> Ints:
        """How often each was stopped, or given other GPUs."""
        return self._state.rows.stops[self._live]

    def growth(self, gpus: int) -> tuple[Ints, Floats]:
        """GPUs that a job may have of so many, and goodput of each at those, shape (live, sizes), 0 where it cannot
        train; only policies with "goodput" in NEEDS may read it."""
        of = self._state.goodput
        assert of is not None  # the simulation refuses such policies without it
        sizes = of.sizes(gpus)
        return sizes, of.at_sizes(sizes)[of.of_job[self._live]]

    @cached_property
    def promise(self) -> Floats:
        """Share of its GPU-hours that each is promised."""
        return self._state.jobs.promise[self._live]

    @cached_property
    def _done_s(self) -> Floats:
        return self._state.done_s(self._live)

    @property
    def received_gpu_s(self) -> Floats:
        """GPU-seconds of work that each has behind it."""
        return self._done_s * self.asked / WHOLE

    @property
    def remaining_s(self) -> Floats:
        """Seconds that each still takes at all its GPUs."""
        return self._state.jobs.duration_s[self._live] - self._done_s

    @cached_property
    def queue(self) -> Ints:
        """Places of those that wait."""
        return np.flatnonzero(self.held == 0)

    @property
    def fraction(self) -> Floats:
        """GPU-hours received over those asked for since submission; 1 for what was submitted this moment."""
        age_s = self.clock_s - self.submitted_s
        return np.divide(self._done_s, age_s, out=np.ones_like(age_s), where=age_s > 0)


def starts(view: JobView, order: Ints, skips: bool) -> list[JobGrant]:
    """All GPUs for those that wait, in an order, where they find room. skips: those behind one without room may start.

    What is as large as something that found no room finds none either, so that it is not tried.
    """
    grants: list[JobGrant] = []
    pool, tries = view.pool.copy(), order
    while len(tries):
        for at, place in enumerate(tries):
            asked = int(view.asked[place])
            if pool.take(asked) is None:
                tries = tries[at + 1 :]
                tries = tries[view.asked[tries] < asked] if skips else tries[:0]
                break
            grants.append((int(place), asked))
        else:
            break
    return grants


def turns(view: JobView, order: Ints) -> list[JobGrant]:
    """All GPUs for the first of an order that fit together by their number; who runs and is not among them is stopped.

    A job that the GPUs left are too few for is passed over.
    """
    left, at = view.pool.capacity_milli - view.away_milli, 0
    chosen = np.zeros(len(order), bool)
    asked = view.asked[order]
    while at < len(order) and left > 0:
        sums = np.cumsum(asked[at:])
        full = int(np.searchsorted(sums, left, "right"))
        chosen[at : at + full] = True
        left -= int(sums[full - 1]) if full else 0
        fits = np.flatnonzero(asked[at + full :] <= left)
        at += full + (int(fits[0]) if len(fits) else len(order))
    runs = np.zeros(len(order), bool)
    runs[order[chosen]] = True
    stops = [(int(place), 0) for place in np.flatnonzero((view.held > 0) & ~runs)]
    first = order[chosen]
    return stops + [(int(place), int(view.asked[place])) for place in first[view.held[first] != view.asked[first]]]
