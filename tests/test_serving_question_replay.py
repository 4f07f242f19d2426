"""Graphs of questions, recorded once and played by the engine, are the live simulation call by call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.question_graphs import QuestionGraphRecord
from comptroller.serving.question_replay import replay_stream, solve_recorded
from comptroller.serving.ticks import linear
from comptroller.serving.world import ELSEWHERE, Place, QuestionStream, QuestionStreamOutcome, SimulatedStrategy, solve
from comptroller.strategies.protocol import All, Answer, Ask, Next, QuestionBudget, Strategy
from comptroller.strategies.recorded_roles import uses
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker
from comptroller.strategies.replay import RecordedService as Recorded
from comptroller.strategies.spelling import parse
from comptroller.work.evidence_readers import read_evidence

EVIDENCE = read_evidence("own")
TIMES = (
    "arrival",
    "started",
    "first",
    "last",
    "cached",
    "computed",
    "prompt_rank",
    "generated",
    "preemptions",
    "state",
)
INDEPENDENT = (
    "once",
    "sample_and_vote(n=5)",
    "sequential_revision(rounds=2)",
    "stop_on_success(cap=4)",
    "adaptive_consistency(cap=8)",
    "adaptive_consistency(cap=8, doubling=true)",
    "difficulty_gate(threshold=0.4)",
    "sequential_revision(rounds=2, chains=3)",
    "generative_verification(s=3, v=2)",
)
CROWDED = (ServingPolicies(), ServingPolicies(routing="bounded_hash"), ServingPolicies(scheduling="shortest_job"))


def replay() -> EvidenceReplay:
    roles = dict.fromkeys(("solver", "verifier", "reviser"), Recorded(EVIDENCE.arms[0]))
    return EvidenceReplay(EVIDENCE, {"checker": ModelledChecker(tpr=0.9, fpr=0.2, seconds=0.2), **roles})


def fleet_of(replicas: int, policies: ServingPolicies = CROWDED[0], block: int = 0) -> SimulatedFleet:
    one = SimulatedService("one", (SimulatedReplica(linear(max_batch=4)),) * replicas)
    two = SimulatedService("two", (SimulatedReplica(linear(max_batch=3)),))
    return SimulatedFleet((one, two), policies, prefix_block_tokens=block)


def stream_of(
    strategy: str | Strategy, place: Place, seed: int = 0, count: int = 60, rate_per_s: float = 20.0
) -> QuestionStream:
    asked = parse(strategy) if isinstance(strategy, str) else strategy
    known = replay()
    question = known.covered(uses(asked))[:count]
    arrival_s = np.random.default_rng(seed).exponential(1 / rate_per_s, question.size).cumsum()
    return QuestionStream((SimulatedStrategy(asked, known, place),), arrival_s, question, seed=seed)


def by_question(number: int, role: str, prompt: int, output: int) -> int:
    return 1 + number % 2


def assert_same(live: QuestionStreamOutcome, played: QuestionStreamOutcome) -> None:
    """Every call of every question in the order of asking: same parents, sizes, places and ticks."""
    order = np.argsort(live.calls["request"], kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    for name in ("request", "role", "service", "input_tokens", "output_tokens", "session", "wait_s"):
        np.testing.assert_array_equal(live.calls[name][order], played.calls[name], err_msg=name)
    parent = live.calls["parent"][order]
    np.testing.assert_array_equal(np.where(parent >= 0, place[parent], -1), played.calls["parent"])
    for name in TIMES:
        np.testing.assert_array_equal(live.outcome.requests[name][order], played.outcome.requests[name], err_msg=name)
    np.testing.assert_array_equal(live.answer_s, played.answer_s)
    np.testing.assert_array_equal(live.score, played.score)


@pytest.mark.parametrize("strategy", INDEPENDENT)
@pytest.mark.parametrize("block", [0, 16])
def test_a_replay_is_the_live_simulation_call_by_call(strategy: str, block: int) -> None:
    record, stream = QuestionGraphRecord(), stream_of(strategy, by_question)
    for replicas, policies in ((1, CROWDED[0]), (3, CROWDED[1]), (2, CROWDED[2])):
        fleet = fleet_of(replicas, policies, block)
        played = replay_stream(fleet, stream, record)
        assert played is not None
        assert_same(solve(fleet, stream), played)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(INDEPENDENT), st.integers(0, 99), st.floats(0.5, 200.0), st.integers(1, 4))
def test_it_is_at_any_load(strategy: str, seed: int, rate_per_s: float, replicas: int) -> None:
    fleet, stream = fleet_of(replicas), stream_of(strategy, by_question, seed, 25, rate_per_s)
    played = replay_stream(fleet, stream, QuestionGraphRecord())
    assert played is not None
    assert_same(solve(fleet, stream), played)


@pytest.mark.parametrize("strategy", ["sequential_revision(rounds=1)", "stop_on_success(cap=3)"])
def test_calls_to_elsewhere_take_their_seconds(strategy: str) -> None:
    def place(number: int, role: str, prompt: int, output: int) -> int:
        return ELSEWHERE if prompt % 3 else 1

    stream = stream_of(strategy, place)
    assert stream.plays[0].replay.timed
    played = replay_stream(fleet_of(1, block=16), stream, QuestionGraphRecord())
    assert played is not None
    assert_same(solve(fleet_of(1, block=16), stream), played)


@dataclass(frozen=True)
class HurryStrategy:
    """Looks at what a fleet decides of its first reply, and asks again if it came late or was dear."""

    grid: ClassVar[Mapping[str, Any]] = {}
    looks_at: str = "done_s"

    def solve(self, question, budget, rng):  # type: ignore[no-untyped-def]
        (reply,) = yield All(Ask(content=question.content))
        seen = getattr(reply.cost if self.looks_at == "usd" else reply, self.looks_at)
        if seen > 1.0:
            (reply,) = yield All(Ask(content=question.content))
        return Answer.of(reply)


@dataclass(frozen=True)
class RaceStrategy:
    """Asks twice, and once more if the second reply comes first."""

    grid: ClassVar[Mapping[str, Any]] = {}

    def solve(self, question, budget, rng):  # type: ignore[no-untyped-def]
        asks = Ask(content=question.content).times(2)
        (first,) = yield Next(*asks)
        replies = yield All()
        if first.ask is asks[1]:
            replies = yield All(Ask(content=question.content))
        return Answer.of(replies[0])


@pytest.mark.parametrize(
    "strategy",
    [
        "stop_on_success(cap=4, width=2)",
        "adaptive_consistency(cap=8, width=4)",
        HurryStrategy(),
        HurryStrategy("usd"),
        RaceStrategy(),
    ],
    ids=str,
)
def test_what_a_clock_decides_is_solved_live(strategy: str | Strategy) -> None:
    stream, fleet = stream_of(strategy, by_question), fleet_of(1)
    live = solve(fleet, stream)
    assert replay_stream(fleet, stream, QuestionGraphRecord()) is None
    np.testing.assert_array_equal(solve_recorded(fleet, stream, QuestionGraphRecord()).answer_s, live.answer_s)


def test_a_refused_call_or_a_budget_is_solved_live() -> None:
    stream = stream_of("sequential_revision(rounds=2)", by_question)
    assert replay_stream(fleet_of(1), replace(stream, budget=QuestionBudget(s=5.0)), QuestionGraphRecord()) is None
    small = replace(linear(max_batch=4), context_tokens=int(EVIDENCE.rows.input_tokens.min()) + 2)
    fleet = SimulatedFleet.uniform(small, 2)
    free = replace(stream, plays=(replace(stream.plays[0], place=lambda *call: 0),))
    assert solve(fleet, free).outcome.counts()["refused"] > 0
    assert replay_stream(fleet, free, QuestionGraphRecord()) is None


DRIVEN: list[str] = []


@dataclass(frozen=True)
class CountedStrategy:
    """Asks twice, one after the other; notes that it was driven."""

    grid: ClassVar[Mapping[str, Any]] = {}

    def solve(self, question, budget, rng):  # type: ignore[no-untyped-def]
        DRIVEN.append(question.id)
        (reply,) = yield Next(Ask(content=question.content))
        if reply.answer is not None:
            (reply,) = yield All(Ask(content=question.content))
        return Answer.of(reply)


def test_a_strategy_is_driven_once_for_all_fleets() -> None:
    """Its asks do not depend on the fleet, so that what was recorded is what any other fleet plays."""
    stream, record = stream_of(CountedStrategy(), by_question), QuestionGraphRecord()
    del DRIVEN[:]
    for replicas in (1, 2, 3):
        assert replay_stream(fleet_of(replicas), stream, record) is not None
    assert len(DRIVEN) == np.unique(stream.question).size
