"""Replicas that come and go while calls are served: started cold, drained, or gone at once with the work on them.

What a router may choose from is a list of the engine; it is rewritten between events, so that a fleet that never
changes is simulated as before, at the same speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.serving.engine import EngineJob, EventEngine
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.policies.view import ACTIVE, CAPACITY, COLUMNS, KV, QUEUED
from comptroller.serving.state import PoolRole, RequestState
from comptroller.work.call import CallTable

Floats = npt.NDArray[np.float64]


class ReplicaPhase(IntEnum):
    """Where a replica is in its life. It is paid for in all but the first."""

    OFF = 0
    STARTING = 1
    OPEN = 2
    DRAINING = 3


class WorkAfterLoss(IntEnum):
    """What becomes of calls on a replica that is gone: begun anew, or gone on with, what was cached computed again."""

    RESTART = 0
    RESUME = 1


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """A replica changed its phase."""

    at_s: float
    replica: int
    phase: ReplicaPhase


@dataclass
class ReplicaTimes:
    """When a replica became paid for, and takes calls; seconds that it was paid for before."""

    since_s: float = 0.0
    ready_s: float = 0.0
    paid_s: float = 0.0


@dataclass(frozen=True, eq=False)
class ElasticOutcome:
    """What came of calls on replicas that come and go.

    outcome: of the engine, with a row more for each time that a call was moved.  origin: the call of each row.
    paid_s: seconds that each replica was paid for.  events: changes of phase, in time.
    """

    outcome: EngineOutcome
    origin: npt.NDArray[np.int64]
    paid_s: Floats
    events: tuple[FleetEvent, ...]

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
        """A latency of each call, `ttft_s`, `tpot_s` or `e2e_s`: from its own arrival, whatever was lost between."""
        values: Floats = getattr(self.outcome, name)
        calls = int(self.origin.max(initial=-1)) + 1
        found = values[:calls].copy()
        late = np.arange(len(self.outcome)) >= calls
        for row in np.flatnonzero(late):
            call = int(self.origin[row])
            waited = self.outcome.arrival_s[row] - self.outcome.arrival_s[call]
            found[call] = values[row] + (0.0 if name == "tpot_s" else waited)
        return found


class ElasticEngine:
    """An event engine whose replicas have phases; `open_` of them take calls at first.

    Raises:
        InputError: more than one service, pools apart, several ranks in a replica, or prefixes kept, whose caches would
            have to be forgotten.
    """

    def __init__(self, fleet: SimulatedFleet, calls: CallTable, open_: int) -> None:
        _require_plain(fleet, open_)
        self.engine = EventEngine(fleet)
        self.count = len(fleet.replicas())
        self.phases = [ReplicaPhase.OPEN if r < open_ else ReplicaPhase.OFF for r in range(self.count)]
        self.times = [ReplicaTimes() for _ in range(self.count)]
        self.events: list[FleetEvent] = []
        self.origin = list(range(len(calls)))
        self.engine.submit(calls)
        self._offer()

    @property
    def now_s(self) -> float:
        """The moment."""
        return self.engine.now_s

    def of(self, *phases: ReplicaPhase) -> list[int]:
        """Replicas in a phase."""
        return [r for r, phase in enumerate(self.phases) if phase in phases]

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
        """A replica is gone: its calls arrive again at once, on others.

        A step under way ends first; what it computes is lost or kept as the rest.

        Raises:
            InputError: nobody else takes calls.
        """
        if self.phases[replica] == ReplicaPhase.OPEN:
            self._require_others(replica)
        self._end(replica)
        self._offer()
        for request, made in self._end_calls(replica):
            self._send_again(request, made if work == WorkAfterLoss.RESUME else 0)

    def advance(self, until_s: float) -> None:
        """Move on to a moment, with the replicas that are ready or empty on the way, to the resolution of the calls."""
        while waiting := [self.times[r].ready_s for r in self.of(ReplicaPhase.STARTING)]:
            ready_s = min(waiting)
            if ready_s > until_s:
                break
            self.engine.advance(ready_s)
            for r in self.of(ReplicaPhase.STARTING):
                if self.times[r].ready_s <= ready_s:
                    self._set(r, ReplicaPhase.OPEN)
            self._offer()
        self.engine.advance(until_s)
        seen = self.seen()
        for r in self.of(ReplicaPhase.DRAINING):
            if seen[ACTIVE, r] == 0:
                self._end(r)

    def seen(self) -> Floats:
        """What a router sees now, by column and replica."""
        world = self.engine._world
        clock = world.clock[0]
        size = clock.ranks * COLUMNS
        return np.asarray(world.floats[clock.seen : clock.seen + size]).reshape(COLUMNS, -1)

    def cache_share(self) -> float:
        """Share of the cache in use, over the replicas that take calls."""
        seen, taking = self.seen(), self.of(ReplicaPhase.OPEN)
        room = seen[CAPACITY, taking].sum()
        return float(seen[KV, taking].sum() / room) if room else 0.0

    def queued(self) -> float:
        """Calls that wait to be admitted."""
        return float(self.seen()[QUEUED].sum())

    def finish(self) -> ElasticOutcome:
        """What came of it, once nothing is left to happen; replicas are paid for until then."""
        outcome = self.engine.run()
        for r in range(self.count):
            if self.phases[r] != ReplicaPhase.OFF:
                self._end(r, outcome.horizon_s)
        paid = np.array([each.paid_s for each in self.times])
        return ElasticOutcome(outcome, np.array(self.origin, np.int64), paid, tuple(self.events))

    def _set(self, replica: int, phase: ReplicaPhase, at_s: float | None = None) -> None:
        self.phases[replica] = phase
        self.events.append(FleetEvent(self.now_s if at_s is None else at_s, replica, phase))

    def _end(self, replica: int, at_s: float | None = None) -> None:
        end_s = self.now_s if at_s is None else at_s
        self.times[replica].paid_s += end_s - self.times[replica].since_s
        self._set(replica, ReplicaPhase.OFF, end_s)

    def _offer(self) -> None:
        """Tell the engine whom a router may choose."""
        world, taking = self.engine._world, self.of(ReplicaPhase.OPEN)
        table = int(world.clock[0].candidates)
        for entry in (table, table + 4):  # calls for any service, and for the only one
            first = int(world.ints[entry])
            world.ints[first : first + len(taking)] = taking
            world.ints[entry + 1] = len(taking)

    def _require_others(self, replica: int) -> None:
        if self.of(ReplicaPhase.OPEN) == [replica]:
            raise InputError(f"replica {replica} is the only one that takes calls; start another first")

    def _end_calls(self, replica: int) -> list[tuple[int, int]]:
        """End the calls of a replica: each with the tokens that it had made, less those of a step under way."""
        world = self.engine._world
        requests = world.requests
        alive = (requests.id >= 0) & (requests.state < RequestState.DONE) & (requests.token_rank == replica)
        slots = [int(slot) for slot in np.flatnonzero(alive) if world.results[requests.id[slot]].slot == slot]
        ended = [(slot, int(requests.id[slot]), int(requests.generated[slot])) for slot in slots]
        at_work = {slot for slot in slots if requests.state[slot] == RequestState.DECODE}
        for _, request, _ in ended:
            self.engine.cancel(request)
        self.engine.take_cancels()
        found, world = [], self.engine._world
        for slot, request, before in ended:
            made = before
            one = world.requests[slot]
            if slot in at_work and one["id"] == request and one["state"] == RequestState.DECODE:
                # What is cached now, beyond the prompt, and the token that is made but not cached yet.
                made = int(one["base"]) + int(world.ranks[replica]["g"]) - int(one["prompt"]) + 1
            found.append((request, made))
        return found

    def _send_again(self, request: int, made: int) -> None:
        """Let a call arrive again now, whose first tokens, as many as were made, stand in its prompt."""
        job = self.engine._world.jobs[request]
        kept = min(made, int(job.output) - 1)
        again = EngineJob(
            arrival_s=self.now_s, priority=float(job.priority), session=int(job.session),
            prompt=int(job.prompt) + kept, output=int(job.output) - kept, predicted=max(int(job.predicted) - kept, 0),
            tenant=int(job.tenant), service=int(job.service), watched=0, adapter=int(job.adapter),
        )  # fmt: skip
        self.engine.ask([again])
        self.origin.append(self.origin[request])


def _require_plain(fleet: SimulatedFleet, open_: int) -> None:
    replicas = [replica for _, replica in fleet.replicas()]
    problem = (
        "one service" if len(fleet.services) > 1
        else "replicas that do prefill and decode" if any(one.pool != PoolRole.MIXED for one in replicas)
        else "replicas of one rank" if any(one.ranks > 1 for one in replicas)
        else "no kept prefixes, whose caches go with a replica" if fleet.prefix_block_tokens
        else ""
    )  # fmt: skip
    if problem:
        raise InputError(f"a fleet whose replicas come and go has {problem}")
    if not 1 <= open_ <= len(replicas):
        raise InputError(f"{open_} of {len(replicas)} replicas take calls at first; allowed: 1 to {len(replicas)}")
