"""The simulated world: evidence answers, the fleet's clock runs, and strategies create their calls while it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError, UnsupportedError
from comptroller.quantities import Cost, TokenCounts
from comptroller.serving.engine import EngineJob, EventEngine
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.state import TICKS_PER_S, RequestState, ticks
from comptroller.strategies.drive import DriverOrders, StrategyDriver
from comptroller.strategies.prefixes import CallTokenCounts, QuestionPrefixIndex
from comptroller.strategies.prepared_contexts import offline_of, prepared_question
from comptroller.strategies.protocol import NOTHING, UNLIMITED, Ask, QuestionBudget, Reply, Strategy, StrategyQuestion
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, PreparedContext, ReplayWorld
from comptroller.strategies.spelling import spell
from comptroller.work.call import CallTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Place = Callable[[int, str, int, int], int]
"""Where a call goes: (number of the question, role, prompt tokens, output tokens) -> `ELSEWHERE`, 0 any service of the
fleet, else one more than the service's place."""

NO_BLOCKS: Ints = np.zeros(0, np.int64)

ELSEWHERE = -1
"""Not to the fleet: it takes the seconds and costs what the record says, as a call to an API does."""


def anywhere(number: int, role: str, prompt: int, output: int) -> int:
    """To whichever service the router takes."""
    return 0


@dataclass(frozen=True, eq=False)
class SimulatedStrategy:
    """A way to solve a question: the strategy, who plays its roles in the evidence, and where their calls go."""

    strategy: Strategy
    replay: EvidenceReplay
    place: Place = anywhere

    @cached_property
    def spelled(self) -> str:
        """The strategy as it is written."""
        return spell(self.strategy)


@dataclass(frozen=True, eq=False)
class QuestionStream:
    """Questions over time: when each arrives, which of the evidence it is, how it is solved, and on what budget.

    play: of each question, a place in `plays`; the first for all, if none is given.
    lead_s: before its first question a context is known, and what a strategy prepares of it is begun.
    A budget in seconds ends a run at that moment; one in tokens, dollars or joules is looked at when a call ends.
    """

    plays: tuple[SimulatedStrategy, ...]
    arrival_s: Floats
    question: Ints
    budget: QuestionBudget = UNLIMITED
    seed: int = 0
    play: Ints | None = None
    lead_s: float = math.inf

    def of(self, number: int) -> SimulatedStrategy:
        """How a question is solved."""
        return self.plays[0 if self.play is None else int(self.play[number])]

    def __post_init__(self) -> None:
        if self.arrival_s.shape != self.question.shape or not self.question.size:
            raise InputError("questions over time: as many arrivals as questions, at least one of each")


@dataclass(frozen=True, eq=False)
class QuestionStreamOutcome:
    """What came of it. calls: every call that was made, `request` its question's place; outcome: what came of the
    calls. score, answer_s: of each question, NaN where it was never scored; seconds from arrival to answer."""

    calls: CallTable
    outcome: EngineOutcome
    score: Floats
    answer_s: Floats


class _Run(NamedTuple):
    number: int
    play: SimulatedStrategy
    drive: StrategyDriver
    world: ReplayWorld
    prefixes: QuestionPrefixIndex
    blocks: dict[Ask, Ints]
    context: str = ""


class _IssuedCall(NamedTuple):
    run: _Run
    ask: Ask
    reply: Reply
    job: EngineJob


def whole_ticks_s(seconds: float) -> float:
    """A time to the engine's ticks, so that sums of times are exact in any order.

    Raises:
        InputError: the time is beyond what can be simulated.
    """
    return ticks(seconds) / TICKS_PER_S


def whole_tick_reply(reply: Reply, at_s: float) -> Reply:
    """A reply to an ask at second 0, as it comes to one at another moment, after whole ticks."""
    return replace(reply, started_s=at_s, done_s=at_s + whole_ticks_s(reply.done_s))


def tokens_of(reply: Reply) -> tuple[int, int]:
    """Prompt and output tokens of a recorded reply, at least one of each.

    Raises:
        UnsupportedError: they are not recorded.
    """
    tokens = reply.cost.tokens
    read = float(tokens.input + tokens.cached + tokens.cache_write)
    made = float(tokens.output + tokens.reasoning)
    if not math.isfinite(read + made):
        raise UnsupportedError(f"the role {reply.ask.role!r} has replies whose tokens are not recorded")
    return max(1, round(read)), max(1, round(made))


def require_seconds(play: SimulatedStrategy, role: str) -> None:
    """Checks that a role which the fleet does not play has recorded seconds.

    Raises:
        UnsupportedError: it has none.
    """
    if not play.replay.timed:
        raise UnsupportedError(f"the role {role!r} is not played by the fleet and has no recorded seconds")


def solve(fleet: SimulatedFleet, thinking: QuestionStream, sample_s: float = 0.0) -> QuestionStreamOutcome:
    """Every question solved by its strategy on the fleet; its calls share blocks where their texts begin alike.

    Raises:
        UnsupportedError: the strategy asks for what is not recorded, or the record lacks tokens.
    """
    return _World(fleet, thinking, sample_s).solved()


class _World:
    def __init__(self, fleet: SimulatedFleet, thinking: QuestionStream, sample_s: float) -> None:
        self._fleet, self._thinking = fleet, thinking
        self._engine = EventEngine(fleet, sample_s)
        self._going: dict[int, _IssuedCall] = {}
        self._ids: dict[Ask, int] = {}
        self._cut: set[Ask] = set()
        self._issued: list[_IssuedCall] = []
        self._deadlines: list[tuple[float, int, _Run]] = []
        self._to_come: list[tuple[float, int]] = []
        self._prepared: dict[tuple[SimulatedStrategy, str], _Run] = {}
        self._blocks_made = 0
        self._outside: dict[tuple[int, int], float] = {}
        count = thinking.question.size
        self._score, self._answer_s = np.full(count, np.nan), np.full(count, np.nan)

    def solved(self) -> QuestionStreamOutcome:
        """Play all questions to their end."""
        for number in range(self._thinking.question.size):
            self._expect(number)
        for context in list(self._prepared.values()):
            self._obey(context, context.drive.start(), context.drive.start_s)
        while True:
            while self._deadlines and self._deadlines[0][2].drive.settled:
                heappop(self._deadlines)
            comes_s = self._to_come[0][0] if self._to_come else math.inf
            until_s = min(comes_s, self._deadlines[0][0] if self._deadlines else math.inf)
            ended = self._engine.advance(until_s)
            # What ends at one moment goes on by question, whatever number its request has.
            for _, request in sorted((self._going[request].run.number, request) for request in ended.tolist()):
                self._end(request)
            if not ended.size:
                if until_s == math.inf:
                    break
                if comes_s == until_s:
                    self._begin(heappop(self._to_come)[1])
                else:
                    self._expire(heappop(self._deadlines)[2])
        return QuestionStreamOutcome(self._calls(), self._engine.outcome(), self._score, self._answer_s)

    def _expect(self, number: int) -> None:
        """Begins a question, or what is prepared for it, in which case the question waits until it arrives."""
        thinking, play = self._thinking, self._thinking.of(number)
        offline, evidence = offline_of(play.strategy), play.replay.evidence
        name = evidence.items[int(thinking.question[number])].context
        if offline is None or not name:
            self._begin(number)
            return
        arrival_s = whole_ticks_s(float(thinking.arrival_s[number]))
        heappush(self._to_come, (arrival_s, number))
        known = self._prepared.get((play, name))
        start_s = max(0.0, arrival_s - thinking.lead_s)
        if known is None or start_s < known.drive.start_s:
            place = evidence.item(name)
            rng, text = (
                np.random.default_rng([thinking.seed, place]),
                StrategyQuestion(name, context=evidence.items[place].text),
            )
            drive = StrategyDriver(offline, text, UNLIMITED, rng, start_s)
            self._prepared[play, name] = _Run(
                number, play, drive, play.replay.world(place), QuestionPrefixIndex(), {}, name
            )

    def _begin(self, number: int) -> None:
        thinking = self._thinking
        place, start_s = int(thinking.question[number]), whole_ticks_s(float(thinking.arrival_s[number]))
        rng, play = np.random.default_rng([thinking.seed, number]), thinking.of(number)
        known, prefixes, blocks = None, QuestionPrefixIndex(), dict[Ask, Ints]()
        made = self._prepared.get((play, play.replay.evidence.items[place].context))
        if made is not None and made.drive.answer is not None:  # else the question came before the notes were ready
            known = PreparedContext(made.drive.answer.reply, NOTHING, made.world.records)
            prefixes, blocks = made.prefixes.copy(), dict(made.blocks)
        question, records = prepared_question(play.replay, place, known)
        drive = StrategyDriver(play.strategy, question, thinking.budget, rng, start_s)
        run = _Run(number, play, drive, play.replay.world_of(play.strategy, place, records), prefixes, blocks)
        if drive.deadline_s < math.inf:
            heappush(self._deadlines, (drive.deadline_s, number, run))
        self._obey(run, drive.start(), start_s)

    def _obey(self, run: _Run, orders: DriverOrders, at_s: float) -> None:
        replies = [whole_tick_reply(run.world.reply(ask, 0.0), at_s) for ask in orders.begin]
        issued = [_IssuedCall(run, reply.ask, reply, self._job(run, reply)) for reply in replies]
        for request, call in zip(self._engine.ask([call.job for call in issued]), issued, strict=True):
            self._ids[call.ask] = request
            if call.job.watched:
                self._going[request] = call
        self._issued += issued
        for ask in orders.cut:
            self._engine.cancel(self._ids[ask])
            self._cut.add(ask)
        for call in issued:
            if not call.job.watched:
                reply = run.world.cut(call.reply, at_s) if call.ask in self._cut else call.reply
                self._obey(run, run.drive.feed(reply), at_s)
        if run.drive.answer is not None and not run.context and math.isnan(self._answer_s[run.number]):
            self._answer_s[run.number] = at_s - run.drive.start_s
            self._score[run.number] = run.world.score(run.drive.answer)
            run.blocks.clear()

    def _job(self, run: _Run, reply: Reply) -> EngineJob:
        role, at_s, player = reply.ask.role, reply.started_s, run.play.replay.roles[reply.ask.role]
        wait = EngineJob(at_s, wait_s=reply.done_s - at_s, watched=int(reply.done_s > at_s))
        if isinstance(player, ModelledChecker):
            return wait
        prompt, output = tokens_of(reply)
        service = run.play.place(run.number, role, prompt, output)
        if service == ELSEWHERE:
            require_seconds(run.play, role)
            return wait
        common = self._known(run, reply, (prompt, output))
        return EngineJob(
            at_s + self._outside_s(service, prompt),
            session=run.number,
            blocks=self._engine.add_blocks(common),
            prompt=prompt,
            output=output,
            predicted=output,
            block_count=common.size,
            service=service,
        )

    def _outside_s(self, service: int, prompt: int) -> float:
        """Seconds before a call reaches the engine: what its server takes outside delays the calls that wait for it."""
        if (service, prompt) not in self._outside:
            self._outside[service, prompt] = whole_ticks_s(self._fleet.outside_s(service, prompt))
        return self._outside[service, prompt]

    def _known(self, run: _Run, reply: Reply, tokens: tuple[int, int]) -> Ints:
        """The blocks of a call's prompt and output, whose first are those of the call that it begins as."""
        size = self._fleet.prefix_block_tokens
        if not size:
            return NO_BLOCKS
        text = CallTokenCounts(float(tokens[0]), CallTokenCounts.of(reply).kept)
        earlier, common = run.prefixes.add(reply.ask, run.play.replay.roles[reply.ask.role], text)
        shared = NO_BLOCKS if earlier is None else run.blocks[earlier][: int(common) // size]
        fresh = sum(tokens) // size - shared.size
        ids = np.concatenate([shared, np.arange(self._blocks_made, self._blocks_made + fresh)])
        self._blocks_made += fresh
        run.blocks[reply.ask] = ids
        return ids

    def _end(self, request: int) -> None:
        """A call is over: its reply goes to who asked."""
        run, _, reply, job = self._going.pop(request)
        row, now_s, whole = self._engine.row(request), self._engine.now_s, reply
        if row.state != RequestState.DONE:
            reply = run.world.cut(reply, now_s)
            if row.state == RequestState.REFUSED:
                reply = replace(reply, finish="refused")
        if job.prompt:
            tokens = TokenCounts(row.computed, row.cached, output=row.generated)
            if row.state == RequestState.DONE:
                tokens = whole.cost.tokens
            joules = row.j_prefill + row.j_decode + row.j_waste
            cost = Cost(row.device_s, tokens, math.nan, math.nan, joules, row.usd, math.nan)
            reply = replace(reply, cost=cost)
        self._obey(run, run.drive.feed(replace(reply, done_s=now_s)), now_s)

    def _expire(self, run: _Run) -> None:
        """The seconds of a run are up."""
        if run.drive.answer is None:
            run.drive.now_s = self._engine.now_s
            self._obey(run, run.drive.expire(), self._engine.now_s)

    def _calls(self) -> CallTable:
        """What was asked, as call records."""
        roles = code_texts(call.ask.role for call in self._issued)
        questions = code_texts(call.run.drive.question.id for call in self._issued)
        spelled = code_texts(call.run.play.spelled for call in self._issued)
        names = {
            "role": roles[0],
            "question": questions[0],
            "strategy": spelled[0],
            "service": ("", *(service.name for service in self._fleet.services)),
        }
        of = {name: [getattr(call.job, name) for call in self._issued] for name in EngineJob._fields}
        parents = [call.ask.after.ask if call.ask.after else None for call in self._issued]
        return CallTable.of(
            names,
            None,
            request=[call.run.number for call in self._issued],
            parent=[-1 if ask is None else self._ids.get(ask, -1) for ask in parents],
            role=roles[1],
            strategy=spelled[1],
            question=questions[1],
            session=of["session"],
            service=of["service"],
            arrival_s=of["arrival_s"],
            wait_s=of["wait_s"],
            input_tokens=of["prompt"],
            output_tokens=of["output"],
        )


def code_texts(texts: Iterable[str]) -> tuple[tuple[str, ...], list[int]]:
    """Distinct texts, and the place of each among them."""
    places: dict[str, int] = {}
    codes = [places.setdefault(text, len(places)) for text in texts]
    return tuple(places), codes
