"""What strategies ask where no clock decides it: recorded once on each question, and played on any fleet by the engine.

A run is recorded with a reply to every ask at second 0, whole waits at a time. It does not depend on the clock as long
as the strategy looks at no time and no metered cost of a reply, goes on only when all that it asked has come, and
cancels nothing. Of several replies that are awaited at once it may take one after the other as they come, in an order
that is the fleet's: such a run is driven again in that order, and has to ask the same. Whatever else there is, is
solved live (`serving.world`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.quantities import Cost
from comptroller.serving.state import JOB, records
from comptroller.serving.world import SimulatedStrategy, tokens_of, whole_ticks_s
from comptroller.strategies.drive import StrategyDriver
from comptroller.strategies.prefixes import CallTokenCounts, QuestionPrefixIndex
from comptroller.strategies.prepared_contexts import prepared_context, prepared_question
from comptroller.strategies.protocol import UNLIMITED, Ask, QuestionBudget, Reply, Run, Strategy, StrategyQuestion
from comptroller.strategies.replay import ModelledChecker

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

METERED = frozenset(item.name for item in fields(Cost)) - {"tokens"}
"""What of a cost the fleet decides: all but the tokens, which are those of the record."""

TIMED = frozenset(("started_s", "done_s"))
"""What of a reply the fleet decides."""

WaitOrders = Mapping[int, tuple[int, ...]]
"""By wait, the places of its asks in the order in which their replies come; as they were asked, if not given."""


@dataclass(frozen=True, slots=True)
class _WatchedCost(Cost):
    """A cost that notes what a fleet would have decided of it and was read."""

    noted: list[str] = field(default_factory=list, compare=False)

    def __getattribute__(self, name: str) -> Any:
        if name in METERED:
            object.__getattribute__(self, "noted").append(name)
        return object.__getattribute__(self, name)


@dataclass(frozen=True, slots=True, eq=False)
class _WatchedReply(Reply):
    """A reply that notes what a fleet would have decided of it and was read."""

    noted: list[str] = field(default_factory=list)

    def __getattribute__(self, name: str) -> Any:
        if name in TIMED:
            object.__getattribute__(self, "noted").append(name)
        return object.__getattribute__(self, name)


class _WatchedStrategy:
    """A strategy whose replies note what it reads of them."""

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def __init__(self, strategy: Strategy) -> None:
        self._strategy, self.noted = strategy, list[str]()

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """As the strategy does."""
        run = self._strategy.solve(question, budget, rng)
        replies: tuple[Reply, ...] | None = None
        while True:
            try:
                wait = next(run) if replies is None else run.send(replies)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            replies = tuple([self._watched(reply) for reply in (yield wait)])

    def _watched(self, reply: Reply) -> Reply:
        own = {item.name: getattr(reply, item.name) for item in fields(Reply)}
        cost = {item.name: getattr(reply.cost, item.name) for item in fields(Cost)}
        return _WatchedReply(**(own | {"cost": _WatchedCost(**cost, noted=self.noted)}), noted=self.noted)


class GraphCall(NamedTuple):
    """A call of a graph. wait: of the run, at which it was asked.  after: the call that it goes on from, or -1.

    prompt, output: tokens; 0 of a check.  seconds: what it takes where the fleet does not play it.
    """

    wait: int
    role: str
    prompt: int
    output: int
    seconds: float
    after: int
    content: str
    effort: str


@dataclass(frozen=True, eq=False)
class QuestionGraph:
    """All calls of a run in the order of asking, its score, and the asks with what their texts hold."""

    calls: tuple[GraphCall, ...]
    score: float
    asks: tuple[tuple[Ask, CallTokenCounts], ...]

    @cached_property
    def waits(self) -> tuple[range, ...]:
        """The calls of each wait."""
        at = [call.wait for call in self.calls]
        starts = [place for place, wait in enumerate(at) if place == 0 or at[place - 1] != wait]
        return tuple(range(start, end) for start, end in zip(starts, [*starts[1:], len(at)], strict=True))

    @cached_property
    def crowded(self) -> bool:
        """Whether several replies are awaited together anywhere."""
        return any(len(wait) > 1 for wait in self.waits)

    @cached_property
    def rows(self) -> Any:
        """Jobs of the calls and, between two waits of which the first has several, of the moment that all are there.

        parent, joins: as places among these rows.
        """
        jobs = records(JOB, len(self.calls) + sum(len(wait) > 1 for wait in self.waits[:-1]))
        jobs.parent, jobs.session = -1, -1
        row, before = 0, -1
        for number, wait in enumerate(self.waits):
            own = jobs[row : row + len(wait)]
            own.parent = before
            row, before = row + len(wait), row
            if len(wait) > 1 and number + 1 < len(self.waits):
                own.joins, jobs.awaits[row] = row + 1, len(wait)
                row, before = row + 1, row
        asked = jobs[self.of_call]
        asked.prompt = [call.prompt for call in self.calls]
        asked.output = asked.predicted = [call.output for call in self.calls]
        asked.wait_s = [call.seconds for call in self.calls]
        jobs[self.of_call] = asked
        return jobs

    @cached_property
    def of_call(self) -> Ints:
        """The row of every call."""
        joins = [len(wait) > 1 for wait in self.waits]
        before = np.concatenate([[0], np.cumsum(joins)])
        return np.asarray(np.arange(len(self.calls)) + before[[call.wait for call in self.calls]])

    def orders(self, last: Ints) -> tuple[tuple[int, ...], ...]:
        """The order in which the replies of each wait come. last: (calls,), when each call ended."""
        return tuple(tuple(np.argsort(last[wait.start : wait.stop], kind="stable").tolist()) for wait in self.waits)


def recorded_graph(
    play: SimulatedStrategy, question: int, rng: np.random.Generator, orders: WaitOrders | None = None
) -> QuestionGraph | None:
    """What a strategy asks on a question, where its replies come in given orders; `None` where a clock decides it.

    Raises:
        UnsupportedError: the strategy asks for what is not recorded, or the record lacks tokens.
    """
    prepared = prepared_context(play.strategy, play.replay, question)
    asked, known = prepared_question(play.replay, question, prepared)
    watched, world = _WatchedStrategy(play.strategy), play.replay.world_of(play.strategy, question, known)
    drive = StrategyDriver(watched, asked, UNLIMITED, rng)
    calls, asks, places = list[GraphCall](), list[tuple[Ask, CallTokenCounts]](), dict[Ask, int]()
    wait, ordered = 0, drive.start()
    while ordered.begin and not ordered.cut:
        replies = [world.reply(ask, 0.0) for ask in ordered.begin]
        for reply in replies:
            places[reply.ask] = len(calls)
            call = _graph_call(play, wait, reply, places)
            calls.append(call)
            asks.append((reply.ask, CallTokenCounts(float(call.prompt), CallTokenCounts.of(reply).kept)))
        for number, place in enumerate((orders or {}).get(wait, range(len(replies)))):
            ordered = drive.feed(replace(replies[place], done_s=float(number)))
            early = number + 1 < len(replies) and (ordered.begin or drive.answer is not None)
            if early or ordered.cut:
                return None
        wait += 1
    if watched.noted or ordered.cut or drive.answer is None:
        return None
    return QuestionGraph(tuple(calls), world.score(drive.answer), tuple(asks))


def _graph_call(play: SimulatedStrategy, wait: int, reply: Reply, places: Mapping[Ask, int]) -> GraphCall:
    ask = reply.ask
    checked = isinstance(play.replay.roles[ask.role], ModelledChecker)
    prompt, output = (0, 0) if checked else tokens_of(reply)
    after = -1 if ask.after is None else places.get(ask.after.ask, -1)
    return GraphCall(wait, ask.role, prompt, output, whole_ticks_s(reply.done_s), after, ask.content, ask.effort)


class SharedBlocks(NamedTuple):
    """Blocks of prompts and outputs of the calls on a question, by id from 0. counts: of each call."""

    ids: Ints
    counts: Ints
    made: int


def shared_blocks(play: SimulatedStrategy, graph: QuestionGraph, own: Bools, size: int) -> SharedBlocks:
    """The blocks of the calls that a fleet plays, the first of which are those of the call that each begins as.

    own: (calls,), whether the fleet plays it.  size: tokens of a block.
    """
    index, blocks, made = QuestionPrefixIndex(), dict[Ask, Ints](), 0
    counts = np.zeros(len(graph.calls), np.int64)
    for place in np.flatnonzero(own).tolist():
        (ask, text), call = graph.asks[place], graph.calls[place]
        earlier, common = index.add(ask, play.replay.roles[ask.role], text)
        known = np.zeros(0, np.int64) if earlier is None else blocks[earlier][: int(common) // size]
        fresh = (call.prompt + call.output) // size - known.size
        blocks[ask] = np.concatenate([known, np.arange(made, made + fresh)])
        made += fresh
        counts[place] = blocks[ask].size
    ids = np.concatenate([*blocks.values(), np.zeros(0, np.int64)])
    return SharedBlocks(ids, counts, made)


class QuestionGraphRecord:
    """Graphs of the runs of a stream's strategies, each recorded once, and once more for every order of replies."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[Any, ...], QuestionGraph | None] = {}
        self._by_number: set[tuple[Any, ...]] = set()
        self._blocks: dict[tuple[Any, ...], SharedBlocks] = {}
        self._scores: dict[tuple[Any, ...], float | None] = {}

    def graph(self, play: SimulatedStrategy, question: int, seeds: tuple[int, int]) -> QuestionGraph | None:
        """The graph of a run; seeds: of the strategy's own random numbers. `None` where a clock decides it."""
        key: tuple[Any, ...] = (play.replay, play.spelled, question)
        if key in self._by_number:
            key = (*key, *seeds)
        if key not in self._graphs:
            rng = np.random.default_rng(seeds)
            before = rng.bit_generator.state
            found = recorded_graph(play, question, rng)
            if rng.bit_generator.state != before:
                self._by_number.add(key[:3])
                key = (*key[:3], *seeds)
            self._graphs[key] = found
        return self._graphs[key]

    def blocks(self, play: SimulatedStrategy, graph: QuestionGraph, own: Bools, size: int) -> SharedBlocks:
        """As `shared_blocks`, made once."""
        key = (graph, own.tobytes(), size)
        if key not in self._blocks:
            self._blocks[key] = shared_blocks(play, graph, own, size)
        return self._blocks[key]

    def score(
        self,
        play: SimulatedStrategy,
        question: int,
        seeds: tuple[int, int],
        graph: QuestionGraph,
        orders: Sequence[tuple[int, ...]],
    ) -> float | None:
        """The score of a run whose replies came in such orders; `None` if it would have asked something else."""
        key = (graph, tuple(orders))
        if key not in self._scores:
            other = recorded_graph(play, question, np.random.default_rng(seeds), dict(enumerate(orders)))
            self._scores[key] = other.score if other is not None and other.calls == graph.calls else None
        return self._scores[key]
