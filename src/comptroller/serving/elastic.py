"""Replicas that come and go while calls are served: started cold, drained, or gone, at once or after a notice.

What a router may choose from is a list of the engine; it is rewritten between events, so that a fleet that never
changes is simulated as before, at the same speed. While nobody takes calls they wait and arrive again, in their order,
once somebody does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.serving.engine import EngineJob, EventEngine
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.open_replicas import offer_replicas, open_replicas
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.policies.view import ACTIVE, CAPACITY, COLUMNS, KV, QUEUED
from comptroller.serving.state import RequestState
from comptroller.serving.work_after_loss import CachePath, WorkAfterLoss
from comptroller.work.call import CallTable

Floats = npt.NDArray[np.float64]


class ReplicaPhase(IntEnum):
    """Where a replica is in its life. It is paid for in all but the first."""

    OFF = 0
    STARTING = 1
    OPEN = 2
    DRAINING = 3


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """A replica changed its phase."""

    at_s: float
    replica: int
    phase: ReplicaPhase


@dataclass
class ReplicaTimes:
    """When a replica became paid for, takes calls, is gone after a notice, and has sent its caches away; seconds that
    it was paid for before."""

    since_s: float = 0.0
    ready_s: float = 0.0
    gone_s: float = float("inf")
    sends_s: float = 0.0
    paid_s: float = 0.0
    work: WorkAfterLoss = WorkAfterLoss.RESTART


@dataclass(frozen=True, slots=True)
class ReplicaLease:
    """A time that a replica was paid for."""

    replica: int
    since_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class ReplicaLoss:
    """A replica that went with work on it. calls: that were there at its end, or moved.  moved: of them, with their
    cache.  tokens_lost: in caches, computed again elsewhere."""

    at_s: float
    replica: int
    calls: int
    moved: int
    tokens_lost: int


class _EndedCall(NamedTuple):
    """A call taken off a replica: its row, tokens made, tokens in its cache."""

    request: int
    made: int
    cached: int


@dataclass(frozen=True, eq=False)
class ElasticOutcome:
    """What came of calls on replicas that come and go.

    outcome: of the engine, with a row more for each time that a call was sent again.  origin: the call of each row.
    paid_s: seconds that each replica was paid for.  events: changes of phase, in time.  leases: what was paid for.
    losses: of replicas with work on them.
    """

    outcome: EngineOutcome
    origin: npt.NDArray[np.int64]
    paid_s: Floats
    events: tuple[FleetEvent, ...]
    leases: tuple[ReplicaLease, ...] = ()
    losses: tuple[ReplicaLoss, ...] = ()

    @property
    def replica_hours(self) -> float:
        """Hours of replicas that were paid for."""
        return float(self.paid_s.sum() / 3600)

    @property
    def usd(self) -> float:
        """Dollars for them."""
        tables = [replica.table for _, replica in self.outcome.fleet.replicas()]
        return float(sum(table.usd_per_s * seconds for table, seconds in zip(tables, self.paid_s, strict=True)))

    def latency_s(self, name: str) -> Floats:
        """A latency of each call, `ttft_s`, `tpot_s` or `e2e_s`: from its own arrival, whatever was lost between.

        A call that goes on elsewhere had its first token where it was; one that is begun anew has another.
        """
        return self._latencies[name]

    @cached_property
    def _latencies(self) -> dict[str, Floats]:
        ran, calls = self.outcome, int(self.origin.max(initial=-1)) + 1
        e2e, ttft = ran.e2e_s[:calls].copy(), ran.ttft_s[:calls].copy()
        rows = np.arange(calls, len(ran))
        of = self.origin[rows]
        waited = ran.arrival_s[rows] - ran.arrival_s[of]
        e2e[of] = ran.e2e_s[rows] + waited  # of several rows of a call the last one stands
        anew = ran.jobs.prompt[rows] == ran.jobs.prompt[of]
        ttft[of[anew]] = (ran.ttft_s[rows] + waited)[anew]
        after = np.where(ran.jobs.output[:calls] > 1, ran.jobs.output[:calls] - 1.0, np.nan)
        return {"ttft_s": ttft, "e2e_s": e2e, "tpot_s": (e2e - ttft) / after}


class ElasticEngine:
    """An event engine whose replicas have phases; `open_` of them take calls at first, of several services so many of
    each.

    service: of each replica.

    Raises:
        InputError: pools apart, several ranks in a replica, or prefixes kept, whose caches would have to be forgotten.
    """

    def __init__(
        self, fleet: SimulatedFleet, calls: CallTable, open_: int | Sequence[int], sample_s: float = 0.0
    ) -> None:
        opened = open_replicas(fleet, (open_,) if isinstance(open_, int) else open_)
        self.engine = EventEngine(fleet, sample_s)
        self.service = [fleet.services.index(service) for service, _ in fleet.replicas()]
        self.count = len(self.service)
        self.phases = [ReplicaPhase.OPEN if r in opened else ReplicaPhase.OFF for r in range(self.count)]
        self.times = [ReplicaTimes() for _ in range(self.count)]
        self.events: list[FleetEvent] = []
        self.leases: list[ReplicaLease] = []
        self.losses: list[ReplicaLoss] = []
        self._closed_ticks = [-1] * len(fleet.services)
        self._again: list[int] = []
        self.origin = list(range(len(calls)))
        self.engine.submit(calls)
        self._offer()

    @property
    def now_s(self) -> float:
        """The moment."""
        return self.engine.now_s

    def of(self, *phases: ReplicaPhase, service: int | None = None) -> list[int]:
        """Replicas in a phase, of a service or of all."""
        return [r for r, phase in enumerate(self.phases) if phase in phases and service in (None, self.service[r])]

    def paid_s(self) -> Floats:
        """Seconds that each replica was paid for up to now."""
        return np.array(
            [
                one.paid_s + (0.0 if phase == ReplicaPhase.OFF else self.now_s - one.since_s)
                for one, phase in zip(self.times, self.phases, strict=True)
            ]
        )

    def start(self, replica: int, start_up_s: float) -> None:
        """Begin to pay for a replica, which takes calls after its start-up.

        Raises:
            InputError: it is paid for already.
        """
        if self.phases[replica] != ReplicaPhase.OFF:
            raise InputError(f"replica {replica} is {self.phases[replica].name.lower()}; only one that is off starts")
        self.times[replica].since_s, self.times[replica].ready_s = self.now_s, self.now_s + start_up_s
        self._set(replica, ReplicaPhase.STARTING)

    def drain(self, replica: int) -> None:
        """Send a replica no more calls; it is off once it has none. One that is starting is off at once.

        Raises:
            InputError: nobody else takes calls.
        """
        if self.phases[replica] == ReplicaPhase.STARTING:
            self._end(replica)
            return
        self._require_others(replica)
        self._set(replica, ReplicaPhase.DRAINING)
        self._offer()

    def lose(self, replica: int, work: WorkAfterLoss = WorkAfterLoss.RESTART) -> None:
        """A replica is gone: its calls arrive again at once, on others; where nobody takes calls, they wait.

        A step under way ends first; what it computes is lost or kept as the rest.
        """
        self._end(replica)
        self._offer()
        ended = self._end_calls(replica)
        for one in ended:
            self._send_again(one, one.made if work != WorkAfterLoss.RESTART else 0)
        if ended:
            lost = sum(one.cached for one in ended)
            self.losses.append(ReplicaLoss(self.now_s, replica, len(ended), 0, lost))

    def notice(self, replica: int, notice_s: float, work: WorkAfterLoss, path: CachePath | None = None) -> None:
        """A replica will be gone in so many seconds: it takes no more calls and works on those it has.

        What is moved (`WorkAfterLoss.MOVE`) stops at once and arrives elsewhere with its cache; what does not get away
        within the notice, or all without a path, is resumed. One that is starting never takes calls.
        """
        times = self.times[replica]
        times.gone_s, times.work = self.now_s + notice_s, work
        if self.phases[replica] == ReplicaPhase.OPEN:
            self._set(replica, ReplicaPhase.DRAINING)
            self._offer()
        if work == WorkAfterLoss.MOVE and path is not None and self.phases[replica] == ReplicaPhase.DRAINING:
            self._move_calls(replica, path, notice_s)

    def advance(self, until_s: float) -> None:
        """Move on to a moment, with the replicas that are ready, gone or empty on the way; that one is empty is seen
        at the moments that are called for."""
        while (due_s := self._due_s()) <= until_s:
            self.engine.advance(due_s)
            for r in self.of(ReplicaPhase.STARTING, ReplicaPhase.DRAINING):
                times, starts = self.times[r], self.phases[r] == ReplicaPhase.STARTING
                if times.gone_s <= due_s:
                    self.lose(r, times.work)
                elif starts and times.ready_s <= due_s:
                    self._set(r, ReplicaPhase.OPEN if times.gone_s == float("inf") else ReplicaPhase.DRAINING)
                    self._offer()
        self.engine.advance(until_s)
        draining = self.of(ReplicaPhase.DRAINING)
        seen = self.seen() if draining else None
        for r in draining:
            if seen is not None and seen[ACTIVE, r] == 0 and self.times[r].sends_s <= until_s:
                self._end(r)

    def seen(self) -> Floats:
        """What a router sees now, by column and replica."""
        first, size = (int(self.engine._clock[name][0]) for name in ("seen", "ranks"))
        return np.asarray(self.engine._world.floats[first : first + size * COLUMNS]).reshape(COLUMNS, -1)

    def state(self, service: int = 0) -> dict[str, float]:
        """Of a service now: calls in it, calls that wait to be admitted, the share of the cache in use over the
        replicas that take calls, and how many those are."""
        seen, taking = self.seen(), self.of(ReplicaPhase.OPEN, service=service)
        room, own = seen[CAPACITY, taking].sum(), np.equal(self.service, service)
        return {
            "in_flight": float(seen[ACTIVE, own].sum()),
            "queued": float(seen[QUEUED, own].sum()),
            "cache": float(seen[KV, taking].sum() / room) if room else 0.0,
            "ready": len(taking),
        }

    def finish(self) -> ElasticOutcome:
        """What came of it, once nothing is left to happen; replicas are paid for until then."""
        outcome = self.engine.run()
        for r in range(self.count):
            if self.phases[r] != ReplicaPhase.OFF:
                self._end(r, outcome.horizon_s)
        paid = np.array([each.paid_s for each in self.times])
        ends = outcome.requests.copy().view(np.recarray)
        # The step that a replica was in when it went may have made a last token that nobody has seen.
        ends.state[self._again] = np.where(
            ends.state[self._again] == RequestState.DONE, RequestState.CANCELLED, ends.state[self._again]
        )
        origin = np.array(self.origin, np.int64)
        return ElasticOutcome(
            replace(outcome, requests=ends), origin, paid, tuple(self.events), tuple(self.leases), tuple(self.losses)
        )

    def _due_s(self) -> float:
        """The next moment at which a replica is ready or gone."""
        starting = self.of(ReplicaPhase.STARTING)
        moments = [self.times[r].ready_s for r in starting]
        moments += [self.times[r].gone_s for r in (*starting, *self.of(ReplicaPhase.DRAINING))]
        return min(moments, default=float("inf"))

    def _set(self, replica: int, phase: ReplicaPhase, at_s: float | None = None) -> None:
        self.phases[replica] = phase
        self.events.append(FleetEvent(self.now_s if at_s is None else at_s, replica, phase))

    def _end(self, replica: int, at_s: float | None = None) -> None:
        end_s = self.now_s if at_s is None else at_s
        times = self.times[replica]
        times.paid_s += end_s - times.since_s
        times.gone_s = float("inf")
        self.leases.append(ReplicaLease(replica, times.since_s, end_s))
        self._set(replica, ReplicaPhase.OFF, end_s)

    def _offer(self) -> None:
        """Tell the engine whom a router may choose; what waited while nobody of a service took calls arrives again."""
        world = self.engine._world
        for service, closed in enumerate(self._closed_ticks):
            taking = self.of(ReplicaPhase.OPEN, service=service)
            if not taking and closed < 0:
                self._closed_ticks[service] = int(world.clock[0].now) >> 2
            elif taking and closed >= 0:
                rows = len(self.origin)
                results, asked = world.results[:rows], world.jobs[:rows].service
                turned = (results.state == RequestState.REFUSED) & (results["last"] >= closed)
                self._closed_ticks[service] = -1
                for request in np.flatnonzero(turned & ((asked == 0) | (asked == service + 1))):
                    self._send_again(_EndedCall(int(request), 0, 0), 0)
        offer_replicas(self.engine, [self.of(ReplicaPhase.OPEN, service=one) for one in range(len(self._closed_ticks))])

    def _require_others(self, replica: int) -> None:
        if self.of(ReplicaPhase.OPEN, service=self.service[replica]) == [replica]:
            raise InputError(f"replica {replica} is the only one that takes calls; start another first")

    def _end_calls(self, replica: int) -> list[_EndedCall]:
        """End the calls of a replica, in their order: with the tokens that they had made and cached, less those of a
        step under way."""
        world = self.engine._world
        requests = world.requests
        alive = (requests.id >= 0) & (requests.state < RequestState.DONE) & (requests.token_rank == replica)
        alive &= requests.cancelled == 0
        slots = [int(slot) for slot in np.flatnonzero(alive) if world.results[requests.id[slot]].slot == slot]
        slots.sort(key=lambda slot: int(requests.id[slot]))
        before = [(slot, int(requests.id[slot]), *self._held(slot, replica)) for slot in slots]
        for _, request, _, _ in before:
            self.engine.cancel(request)
        self.engine.take_cancels()
        found = []
        for slot, request, made, cached in before:
            one = self.engine._world.requests[slot]
            # What decodes is settled to this moment by now; what waited is off its slot, with what it had.
            decodes = one["id"] == request and one["state"] == RequestState.DECODE
            found.append(_EndedCall(request, *(self._held(slot, replica) if decodes else (made, cached))))
        return found

    def _held(self, slot: int, replica: int) -> tuple[int, int]:
        """Tokens that a call has made, and has in cache."""
        one = self.engine._world.requests[slot]
        if one["state"] == RequestState.DECODE:
            cached = int(one["base"]) + int(self.engine._world.ranks[replica]["g"])
            return cached - int(one["prompt"]) + 1, cached  # one token is made and not cached yet
        return int(one["generated"]), int(one["done"]) if one["state"] == RequestState.PREFILL else 0

    def _move_calls(self, replica: int, path: CachePath, notice_s: float) -> None:
        """Let the calls of a replica go on elsewhere, each once its cache is there; those whose cache does not get away
        in time are computed again, at once."""
        table = self.engine.fleet.replicas()[replica][1].table
        ended = self._end_calls(replica)
        sizes_bytes = [one.cached * table.kv_bytes_per_token for one in ended]
        moved = lost = 0
        for one, size, after_s in zip(ended, sizes_bytes, path.arrivals_s(sizes_bytes, notice_s), strict=True):
            if after_s is None:
                self._send_again(one, one.made)
                lost += one.cached
                continue
            self._send_again(one, one.made, after_s, one.cached)
            moved += one.cached > 0
            self.times[replica].sends_s = max(self.times[replica].sends_s, self.now_s + path.out_s(size, after_s))
        if ended:
            self.losses.append(ReplicaLoss(self.now_s, replica, len(ended), moved, lost))

    def _send_again(self, one: _EndedCall, made: int, after_s: float = 0.0, cached: int = 0) -> None:
        """Let a call arrive again, whose first tokens, as many as were made, stand in its prompt."""
        job = self.engine._world.jobs[one.request]
        kept = min(made, int(job.output) - 1)
        again = EngineJob(
            arrival_s=self.now_s + after_s, priority=float(job.priority), session=int(job.session),
            prompt=int(job.prompt) + kept, output=int(job.output) - kept, predicted=max(int(job.predicted) - kept, 0),
            tenant=int(job.tenant), service=int(job.service), watched=0, adapter=int(job.adapter), kept=cached,
        )  # fmt: skip
        self.engine.ask([again])
        self._again.append(one.request)
        self.origin.append(self.origin[one.request])
