"""Agents as strategies: what a turn goes on from, who takes over, and how trials begin."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from comptroller.strategies.protocol import UNLIMITED, All, Answer, Ask, Reply, Strategy, StrategyQuestion
from comptroller.strategies.spelling import parse

QUESTION = StrategyQuestion("q", "How many?")


def played(strategy: Strategy, scores: Sequence[float]) -> tuple[list[Ask], Answer]:
    """The asks of a run whose checks give these scores in their order, and its answer."""
    run = strategy.solve(QUESTION, UNLIMITED, np.random.default_rng(0))
    verdicts, asks = iter(scores), list[Ask]()
    wait = next(run)
    while True:
        assert isinstance(wait, All)
        asks += wait.asks
        replies = tuple(_reply(ask, len(asks), verdicts) for ask in wait.asks)
        try:
            wait = run.send(replies)
        except StopIteration as ended:
            return asks, ended.value


def _reply(ask: Ask, number: int, verdicts: object) -> Reply:
    if ask.role == "checker":
        return Reply(ask, "stop", score=next(verdicts))  # type: ignore[call-overload]
    return Reply(ask, "stop", f"turn {number}", str(number))


def test_a_turn_goes_on_from_the_observation_and_ends_with_the_one_that_is_accepted() -> None:
    asks, answer = played(parse("react(steps=4)"), [0.0, 0.2, 1.0])
    assert [ask.role for ask in asks] == ["solver", "checker", "reviser", "checker", "reviser", "checker"]
    assert all(after.after is not None and after.after.ask is before for before, after in pairwise(asks))
    assert answer.confidence == 1.0 and answer.reply is not None and answer.reply.ask is asks[4]


def test_the_step_budget_ends_a_run_without_an_accepted_turn() -> None:
    asks, answer = played(parse("react(steps=2)"), [0.0, 0.0, 0.0])
    assert [ask.role for ask in asks] == ["solver", "checker", "reviser", "checker"] and answer.confidence == 0.0


def test_the_strong_model_takes_over_where_nothing_moves() -> None:
    asks, _ = played(parse("react(steps=5,swap_after=2)"), [0.1, 0.2, 0.2, 0.1, 0.1])
    turns = [ask.role for ask in asks if ask.role != "checker"]
    assert turns == ["solver", "reviser", "reviser", "reviser", "strong"]


def test_the_run_stays_with_the_strong_model_once_it_has_it() -> None:
    asks, _ = played(parse("react(steps=5,swap_after=1)"), [0.1, 0.1, 0.3, 0.3, 0.4])
    turns = [ask.role for ask in asks if ask.role != "checker"]
    assert turns == ["solver", "reviser", "strong", "strong", "strong"]


def test_a_new_trial_begins_with_what_was_learned_and_not_with_the_failed_one() -> None:
    asks, answer = played(parse("reflexion(trials=3,memory=1)"), [0.0, 0.0, 1.0])
    trials = [ask for ask in asks if ask.role == "solver"]
    assert [ask.after for ask in trials] == [None, None, None]
    assert trials[0].content == QUESTION.content
    assert [trial.content.count("Learned before") for trial in trials] == [0, 1, 1]
    assert answer.confidence == 1.0


def test_a_plan_is_carried_out_in_so_many_steps_and_then_answered() -> None:
    asks, answer = played(parse("plan_and_execute(steps=3)"), [])
    assert len(asks) == 5 and asks[0].after is None and "at most 3 short steps" in asks[0].content
    assert answer.reply is not None and answer.reply.ask is asks[-1]
