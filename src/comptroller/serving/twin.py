"""The engine's twin in plain Python: the same fleet, one step after another, to be read and compared with."""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.jobs import check, fill, parents_of
from comptroller.serving.outcome import EngineOutcome, RankSample
from comptroller.serving.policies.view import RouterState, View
from comptroller.serving.state import (
    ARRIVE,
    END,
    FOREVER,
    JOB,
    OVER,
    START,
    TICKS_PER_S,
    RequestState,
    Row,
    records,
    ticks,
)
from comptroller.serving.twin_books import jobs_of, meters, results_of, series
from comptroller.serving.twin_call import TwinRequest
from comptroller.serving.twin_dispatch import (
    RouterView,
    at_home,
    holds,
    off_prompt,
    pair_of,
    ranks_of,
    send,
    take_over,
    take_shared,
)
from comptroller.serving.twin_rank import LockstepGroup, TwinRank
from comptroller.work.call import CallTable


class EngineTwin:
    """A fleet under load, at one moment, with the methods of `Engine`."""

    def __init__(self, fleet: SimulatedFleet, sample_s: float = 0.0) -> None:
        self.fleet = fleet
        self.now = 0
        self.calls: list[TwinRequest] = []
        self._jobs: list[Any] = []
        self._blocks: list[int] = []
        self._fresh: list[tuple[TwinRequest, int]] = []
        self._cancels: list[TwinRequest] = []
        self._timed: list[tuple[int, int]] = []
        self._poked: list[LockstepGroup] = []
        self._ended: list[int] = []
        self._ended_at = (0, 0)
        self._phase = 0
        self._turns = [0] * (len(fleet.services) + 1)
        self._sample_every = self._next_sample = ticks(sample_s)
        self._every = self._next_snapshot = ticks(fleet.telemetry.period_s)
        self._delay = ticks(fleet.telemetry.delay_s)
        self._series: list[RankSample] = []
        self.ranks, self.groups = ranks_of(fleet, self._later)
        self._snapshots = [self._view()]

    @property
    def now_s(self) -> float:
        """The moment."""
        return self.now / TICKS_PER_S

    def submit(self, calls: CallTable, watch: bool = False) -> npt.NDArray[np.int64]:
        """As `Engine.submit`."""
        check(calls)
        jobs = records(JOB, len(calls))
        first = len(self.calls)
        parents = parents_of(calls, first)
        fill(jobs, calls, self.fleet)
        jobs.parent, jobs.watched = parents, watch
        for place, job in enumerate(jobs):
            self._enter(job, calls.blocks(place).tolist())
        return np.arange(first, first + len(calls))

    def ask(self, jobs: Any) -> range:
        """As `Engine.ask`."""
        first = len(self.calls)
        made = records(JOB, len(jobs))
        for place, job in enumerate(jobs):
            made[place] = job
            self._enter(made[place], self._blocks[job.blocks : job.blocks + job.block_count])
        return range(first, len(self.calls))

    def add_blocks(self, ids: npt.NDArray[np.int64]) -> int:
        """As `Engine.add_blocks`."""
        self._blocks += ids.tolist()
        return len(self._blocks) - ids.size

    def _enter(self, job: Any, blocks: list[int]) -> None:
        call = TwinRequest(
            len(self.calls),
            int(job.arrival_s * TICKS_PER_S + 0.5),
            int(job.wait_s * TICKS_PER_S + 0.5),
            int(job.prompt),
            int(job.output),
            int(job.predicted),
            int(job.session),
            float(job.priority),
            int(job.tenant),
            int(job.service),
            blocks,
            bool(job.watched),
        )
        self.calls.append(call)
        self._jobs.append(job)
        self._fresh.append((call, int(job.parent)))

    def cancel(self, request: int) -> None:
        """As `Engine.cancel`."""
        if not 0 <= request < len(self.calls):
            raise InputError(f"cancel: no request {request}; there are {len(self.calls)}")
        self._cancels.append(self.calls[request])

    def row(self, request: int) -> Any:
        """As `Engine.row`."""
        return Row(*results_of([self.calls[request]])[0].item())

    def run(self) -> EngineOutcome:
        """As `Engine.run`."""
        while self.advance().size:
            pass
        return self.outcome()

    def advance(self, until_s: float = math.inf) -> npt.NDArray[np.int64]:
        """As `Engine.advance`."""
        until = FOREVER if math.isinf(until_s) else ticks(until_s)
        for call, parent in self._fresh:
            self._take_in(call, parent)
        for call in self._cancels:
            self._cancel(call)
        self._fresh.clear()
        self._cancels.clear()
        while self._happens(until):
            pass
        ended, self._ended = self._ended, []
        return np.array(ended, np.int64)

    def _happens(self, until: int) -> bool:
        """Let the next thing happen; whether there was one that may."""
        found = [(*group.at, group.id) for group in self.groups if group.at]
        arrival = (self._timed[0][0], ARRIVE, self._timed[0][1]) if self._timed else None
        event = min(found + ([arrival] if arrival else []), default=None)
        if self._ended and (event is None or event[:2] > self._ended_at):
            return False
        if event and self._observe(min(event[:2], (until, ARRIVE))):
            return True
        if event is None or event[0] > until:
            if until < FOREVER:
                self.now, self._phase = max((self.now, self._phase), (until, OVER))
            return False
        self.now, self._phase = event[:2]
        if event == arrival:
            self._arrive(self.calls[heapq.heappop(self._timed)[1]])
        else:
            group = next(item for item in self.groups if item.id == event[2])
            if self._phase == END:
                self._end(group)
            else:
                self._start(group)
        self._look()
        return True

    def _observe(self, last: tuple[int, int]) -> bool:
        """Take the snapshot or the sample that is due."""
        shot = self._next_snapshot if self._every else FOREVER
        sample = self._next_sample if self._sample_every else FOREVER
        if (min(shot, sample), ARRIVE) > last:
            return False
        self.now, self._phase = min(shot, sample), ARRIVE
        if shot <= sample:
            self._next_snapshot += self._every
            self._snapshots.append(self._view())
        else:
            self._next_sample += self._sample_every
            self._series.append(series(self.now, self.ranks))
        return True

    def _take_in(self, call: TwinRequest, parent: int) -> None:
        call.arrival = max(self.now + (self._phase >= START), call.arrival)
        before = self.calls[parent] if parent >= 0 else None
        if before is None or before.state == RequestState.DONE:
            self._later(call, call.arrival)
        elif before.state > RequestState.DONE:
            self._close(call, RequestState.CANCELLED)
        else:
            call.state = RequestState.BLOCKED
            before.children.append(call)

    def _later(self, call: TwinRequest, tick: int) -> None:
        heapq.heappush(self._timed, (tick, call.id))

    def _poke(self, group: LockstepGroup) -> None:
        self._poked.append(group)

    def _poke_peer(self, rank: TwinRank) -> None:
        if rank.peer:
            self._poke(rank.peer.group)

    def _look(self) -> None:
        """Groups that rest and have something new to do act at once."""
        for group in self._poked:
            if group.at is None:
                group.at = (self.now, START)
        self._poked.clear()

    def _arrive(self, call: TwinRequest) -> None:
        if call.state == RequestState.MOVING:
            self._land(call)
        elif call.state == RequestState.WAITS:
            call.first = self.now
            self._close(call, RequestState.DONE)
        elif call.prompt == 0:
            call.state, call.started = RequestState.WAITS, self.now
            self._later(call, self.now + call.wait)
        else:
            self._dispatch(call)

    def _start(self, group: LockstepGroup) -> None:
        lengths = []
        for rank in group.ranks:
            self._settle(rank)
            lengths.append(rank.begin(self.now))
            if rank.freed:
                rank.freed = False
                self._poke_peer(rank)
        group.since = self.now
        group.at = (self.now + max(lengths), END) if max(lengths) else None
        for rank in [] if group.at else group.ranks:
            sender = take_over(rank)
            if sender or rank.disturbed:
                group.at = (self.now, START)
                self._poke(sender.group if sender else group)

    def _settle(self, rank: TwinRank) -> None:
        """Who is in the batch before anybody is admitted."""
        rank.stall, rank.disturbed = 0, False
        for call in rank.landed:
            rank.join(call)
        rank.landed = []
        for call in [item for item in rank.prefilling if item.cancelled] + sorted(
            (item for item in rank.decoding if item.cancelled), key=lambda item: item.id
        ):
            rank.release(call, rank.leave(call))
            rank.freed = True
            self._close(call, RequestState.CANCELLED)
        take_shared(rank)
        rank.make_room()
        while rank.peer and not rank.decoding and rank.intake and not rank.full:
            take_shared(rank)
            rank.make_room()

    def _end(self, group: LockstepGroup) -> None:
        for rank in group.ranks:
            rank.finish(self.now - group.since)
        group.at = (self.now, START)
        for rank in group.ranks:
            rank.reserved = 0
            for call in sorted((item for item in rank.decoding if item.left <= 0), key=lambda c: (c.left, c.id)):
                self._finish(rank, call)
            for call in [item for item in rank.prefilling if item.context == item.goal]:
                self._first_token(rank, call)

    def _first_token(self, rank: TwinRank, call: TwinRequest) -> None:
        rank.publish(call, call.goal)
        call.generated += 1
        rank.decode_done += 1
        if call.first < 0 and call.prompt_rank:
            call.first = self.now
            call.prompt_rank.pending -= call.prompt
        if call.generated == call.output:
            self._finish(rank, call)
            return
        rank.prefilling.remove(call)
        if rank is not call.prompt_rank or rank is call.token_rank or call.token_rank is None:
            rank.join(call)
        elif call.cancelled:
            rank.release(call, rank.private(call))
            self._close(call, RequestState.CANCELLED)
            self._poke_peer(rank)
        else:
            call.state = RequestState.HANDED
            call.token_rank.intake.append(call)
            self._poke(call.token_rank.group)

    def _finish(self, rank: TwinRank, call: TwinRequest) -> None:
        rank.publish(call, min(call.context, call.prompt + call.output - 1))
        goal = call.context
        rank.leave(call)
        call.goal = call.context = goal
        rank.release(call, rank.private(call))
        self._close(call, RequestState.DONE)
        self._poke_peer(rank)

    def _land(self, call: TwinRequest) -> None:
        sender, taker = call.prompt_rank, call.token_rank
        if sender is None or taker is None:
            return
        sender.release(call, sender.private(call))
        off_prompt(call)
        self._poke(sender.group)
        taker.moving -= 1
        if call.cancelled:
            taker.used -= taker.pages(call.goal)
            self._close(call, RequestState.CANCELLED)
        else:
            call.state, call.rank, call.home = RequestState.LANDED, taker, taker
            taker.landed.append(call)
        self._poke(taker.group)

    def _cancel(self, call: TwinRequest) -> None:
        if call.state >= RequestState.DONE or call.cancelled:
            return
        if call.state in (RequestState.QUEUED, RequestState.SWAPPED) and call.rank:
            call.rank.queue.remove(call)
            if call.state == RequestState.SWAPPED:
                call.rank.swapped -= call.rank.pages(call.goal)
        elif call.state == RequestState.HANDED and call.rank and call.token_rank:
            call.token_rank.intake.remove(call)
            call.rank.release(call, call.rank.private(call))
            self._poke(call.rank.group)
            self._poke_peer(call.rank)
        elif call.state >= RequestState.QUEUED:
            call.cancelled = True
            if call.state != RequestState.MOVING and call.rank:
                self._poke(call.rank.group)
            self._look()
            return
        self._timed = [item for item in self._timed if item[1] != call.id]
        heapq.heapify(self._timed)
        self._close(call, RequestState.CANCELLED)
        self._look()

    def _close(self, call: TwinRequest, state: RequestState) -> None:
        call.state, call.last = state, self.now
        if call.prompt_rank and call.token_rank:
            if call.first < 0:
                call.prompt_rank.pending -= call.prompt
            off_prompt(call)
            call.token_rank.active -= 1
            call.token_rank.promised -= call.prompt + call.predicted
            at_home(call.token_rank)
        if call.watched:
            if not self._ended:
                self._ended_at = (self.now, self._phase)
            self._ended.append(call.id)
        for child in call.children:
            if child.state == RequestState.BLOCKED and state == RequestState.DONE:
                child.state, child.arrival = RequestState.PENDING, max(child.arrival, self.now)
                self._later(child, child.arrival)
            elif child.state == RequestState.BLOCKED:
                self._close(child, RequestState.CANCELLED)

    def _dispatch(self, call: TwinRequest) -> None:
        members = [rank for rank in self.ranks if call.service in (0, rank.service)]
        able = [rank for rank in members if holds(rank, call)]
        if not able:
            self._close(call, RequestState.REFUSED)
            return
        policies = self.fleet.policies
        router = RouterState(self._turns[call.service], policies.seed, policies.bound, policies.overlap)
        sight = RouterView(self._visible(), able, call, router)
        if any(rank.replica.pool for rank in members):
            pair = pair_of(self.fleet, able, sight)
            if pair is None:
                self._close(call, RequestState.REFUSED)
                return
            prompt, token = pair
        else:
            prompt = token = sight.pick(policies.routing, able)
        self._turns[call.service] += 1
        send(self.fleet, call, prompt, token)
        self._poke(prompt.group)

    def _view(self) -> View:
        return np.array([rank.seen() for rank in self.ranks], np.float64)

    def _visible(self) -> View:
        if not self._every:
            return self._view()
        return self._snapshots[max(0, (self.now - self._delay) // self._every)]

    def outcome(self) -> EngineOutcome:
        """As `Engine.outcome`."""
        jobs, results = jobs_of(self._jobs), results_of(self.calls)
        return EngineOutcome(self.fleet, jobs, results, meters(self.ranks), self.now_s, tuple(self._series))
