"""Redundant calls: a second copy at another replica where the first is late, or groups of calls in coded copies.

Whoever makes a first token first is heard, and the other is called off after the step under way. Of a coded group, as
many replies as it has calls are enough (`serving/berrut.py`); the rest are called off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.serving.engine import EngineJob, EventEngine
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.hedge_timer import HedgeTimer
from comptroller.serving.open_replicas import offer_replicas
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.state import TICKS_PER_S, PoolRole
from comptroller.work.call import CallTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RedundantOutcome:
    """What came of calls with copies. outcome: of the engine, a row for each copy.

    heard: the row that answered each call, or completed its group, shape (calls,).  since_s: when each call was asked,
    shape (calls,).  unheard: rows that nobody needed, shape (rows,).  sent, won: copies beyond the first, and those of
    them that were heard.  decoded_s: of coded calls, when their group was answered, as the engine tells moments.
    """

    outcome: EngineOutcome
    heard: Ints
    since_s: Floats
    unheard: npt.NDArray[np.bool_]
    sent: int
    won: int
    decoded_s: Floats | None = None

    def latency_s(self, name: str) -> Floats:
        """A latency of each call, `ttft_s`, `tpot_s` or `e2e_s`, from when it was asked, shape (calls,)."""
        ran = self.outcome
        if self.decoded_s is not None and name != "tpot_s":
            return self.decoded_s - self.since_s + ran.outside_s[self.heard]
        values: Floats = getattr(ran, name)[self.heard]
        return values if name == "tpot_s" else values + ran.arrival_s[self.heard] - self.since_s

    @property
    def device_s(self) -> float:
        """Replica-seconds of all rows."""
        return float(self.outcome.requests.device_s.sum())

    @property
    def wasted_s(self) -> float:
        """Replica-seconds of rows that nobody heard."""
        return float(self.outcome.requests.device_s[self.unheard].sum())


def serve_hedged(fleet: SimulatedFleet, calls: CallTable, timer: HedgeTimer) -> RedundantOutcome:
    """What comes of calls of which the late ones get a second copy at another replica.

    Raises:
        InputError: there is no other replica, the fleet has several services, pools or ranks apart, or calls wait for
            others, which a copy would answer twice.
    """
    _require_copies(fleet, calls)
    return _HedgedRun(EventEngine(fleet), timer, len(fleet.replicas())).run(calls)


def _require_copies(fleet: SimulatedFleet, calls: CallTable) -> None:
    placed = [replica for _, replica in fleet.replicas()]
    if len(fleet.services) > 1 or any(one.pool != PoolRole.MIXED or one.ranks > 1 for one in placed):
        raise InputError("copies of calls go to one service whose replicas do prefill and decode, of one rank each")
    if len(placed) < 2:
        raise InputError("a copy goes to another replica; the fleet has one")
    if "parent" in calls.columns and (np.asarray(calls["parent"]) >= 0).any():
        raise InputError("calls that wait for others have no copies: give a trace whose requests do not wait")


@dataclass
class _HedgedRun:
    """open_: calls without a first token.  pairs: copies by call.  due: (moment, call) at which one is late."""

    engine: EventEngine
    timer: HedgeTimer
    replicas: int
    open_: list[int] = field(default_factory=list)
    pairs: dict[int, int] = field(default_factory=dict)
    due: list[tuple[float, int]] = field(default_factory=list)
    heard: dict[int, int] = field(default_factory=dict)

    def run(self, calls: CallTable) -> RedundantOutcome:
        self.engine.submit(calls)
        arrivals = np.asarray(calls["arrival_s"], np.float64)
        order = np.argsort(arrivals, kind="stable")
        place = 0
        while place < len(order) or self.due or self.pairs:
            next_s = float(arrivals[order[place]]) if place < len(order) else np.inf
            due_s = self.due[0][0] if self.due else np.inf
            if self.pairs and self.engine.next_s < min(next_s, due_s):
                self.engine.step()
                self._hear()
                continue
            self.engine.advance(min(next_s, due_s))
            self._hear()
            if next_s <= due_s:
                self._ask(int(order[place]), next_s)
                place += 1
            else:
                self._copy(heappop(self.due)[1])
        outcome = self.engine.run()
        heard = np.arange(len(arrivals))
        for call, row in self.heard.items():
            heard[call] = row
        unheard = np.ones(len(outcome), bool)
        unheard[heard] = False
        counts = self.timer.counts
        return RedundantOutcome(outcome, heard, arrivals, unheard, counts.hedged, counts.won)

    def _ask(self, call: int, at_s: float) -> None:
        self.open_.append(call)
        delay_s = self.timer.delay_s(streamed=True)
        self.timer.began()
        if delay_s is not None:
            heappush(self.due, (at_s + delay_s, call))

    def _hear(self) -> None:
        """Take note of calls that have a first token, and call off what lost."""
        if not self.open_:
            return
        waits = np.array(self.open_)
        first = self.engine.first_ticks(waits)
        copies = np.array([self.pairs.get(call, call) for call in self.open_])
        other = self.engine.first_ticks(copies)
        came = (first >= 0) | (other >= 0)
        if not came.any():
            return
        for call, one, two in zip(waits[came].tolist(), first[came].tolist(), other[came].tolist(), strict=True):
            self._settle(call, one, two)
        self.open_ = waits[~came].tolist()

    def _settle(self, call: int, first: int, other: int) -> None:
        row = self.pairs.pop(call, None)
        won = row is not None and other >= 0 and (first < 0 or other < first)
        arrival = float(self.engine._world.results[call].arrival) / TICKS_PER_S
        self.timer.record(True, (other if won else first) / TICKS_PER_S - arrival)
        if row is None:
            return
        self.heard[call] = row if won else call
        self.timer.counts.won += won
        self.engine.cancel(call if won else row)
        self.engine.take_cancels()

    def _copy(self, call: int) -> None:
        """Send a second copy of a call that is late, if it may have one, to another replica than its own."""
        if self.engine.first_ticks(np.array([call]))[0] >= 0 or not self.timer.take():
            return
        job, own = self.engine._world.jobs[call], self._replica_of(call)
        others = [replica for replica in range(self.replicas) if replica != own]
        offer_replicas(self.engine, [others])
        copy = EngineJob(
            self.engine.now_s, 0.0, float(job.priority), int(job.session), int(job.blocks), -1, int(job.prompt),
            int(job.output), int(job.predicted), int(job.block_count), int(job.tenant), int(job.service), 0, 0, 0,
            int(job.adapter), 0,
        )  # fmt: skip
        (row,) = self.engine.ask([copy])
        self.engine.take_jobs()
        offer_replicas(self.engine, [range(self.replicas)])
        self.pairs[call] = row

    def _replica_of(self, call: int) -> int:
        world = self.engine._world
        slot = int(world.results[call].slot)
        return int(world.requests[slot].prompt_rank)


def serve_coded(fleet: SimulatedFleet, calls: CallTable, group: int, copies: int) -> RedundantOutcome:
    """What comes of calls in groups, each as so many coded copies of its longest, of which as many as it has calls are
    enough.

    Calls are grouped as they come; a group is sent once its last call has come, and answered as a whole. Calls that are
    left over at the end go as they are.

    Raises:
        InputError: replies of more than one token, which cannot be decoded; groups or copies out of range; else as
            `serve_hedged`.
    """
    _require_copies(fleet, calls)
    if not 2 <= group < copies:
        raise InputError(f"coded calls: {group} of {copies}; allowed: from 2 calls in more copies")
    outputs = np.asarray(calls["output_tokens"])
    if (outputs > 1).any():
        raise InputError(
            f"coded calls: {int((outputs > 1).sum())} of {len(calls)} reply with more than one token; what is decoded "
            "is a vector (an embedding, scores of classes), so that each reply has to be one"
        )
    arrivals, prompts = (np.asarray(calls[name], np.float64) for name in ("arrival_s", "input_tokens"))
    order = np.argsort(arrivals, kind="stable")
    groups = [order[at : at + group] for at in range(0, len(order), group)]
    engine = EventEngine(fleet)
    jobs, of_group = list[EngineJob](), list[int]()
    for number, members in enumerate(groups):
        count = copies if len(members) == group else len(members)
        prompt = int(prompts[members].max())
        jobs += [EngineJob(float(arrivals[members].max()), prompt=prompt, output=1, predicted=1)] * count
        of_group += [number] * count
    engine.ask(jobs)
    return _CodedRun(engine, groups, np.array(of_group)).run(arrivals)


@dataclass
class _CodedRun:
    """groups: calls of each.  of_group: group of each row.  spare: rows that were not waited for."""

    engine: EventEngine
    groups: list[Ints]
    of_group: Ints
    spare: list[int] = field(default_factory=list)

    def run(self, arrivals: Floats) -> RedundantOutcome:
        left = np.array([len(members) for members in self.groups])
        heard, decoded_s = np.zeros(len(arrivals), np.int64), np.full(len(arrivals), np.nan)
        first = np.searchsorted(self.of_group, np.arange(len(self.groups)))
        while (ended := self.engine.advance()).size:
            for row in ended.tolist():
                number = int(self.of_group[row])
                left[number] -= self.engine.first_ticks(np.array([row]))[0] >= 0
                if left[number] == 0 and np.isnan(decoded_s[self.groups[number]]).all():
                    self._decode(number, row, heard, decoded_s, int(first[number]))
        outcome = self.engine.outcome()
        sent = len(self.of_group) - len(arrivals)
        unheard = np.zeros(len(outcome), bool)
        unheard[self.spare] = True
        return RedundantOutcome(outcome, heard, arrivals, unheard, sent, 0, decoded_s)

    def _decode(self, number: int, row: int, heard: Ints, decoded_s: Floats, first: int) -> None:
        """A group has enough: its calls are answered, what still runs is called off."""
        members = self.groups[number]
        heard[members] = row
        decoded_s[members] = self.engine.first_ticks(np.array([row]))[0] / TICKS_PER_S
        rows = np.flatnonzero(self.of_group[first:] == number) + first
        for other in rows[self.engine.first_ticks(rows) < 0].tolist():
            self.spare.append(other)
            self.engine.cancel(other)
        self.engine.take_cancels()
