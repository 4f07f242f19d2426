"""One suite over every file in `strategies/rules`, and over strategies of kinds that no file has yet."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from comptroller.strategies.drive import MEASURES, StrategyDriver, play
from comptroller.strategies.protocol import UNLIMITED, Answer, QuestionBudget, Strategy
from comptroller.strategies.spelling import model_id, names, parse, settings, spell
from comptroller_lab.drawn_replies import JUDGES
from strategy_kinds import KINDS
from strategy_worlds import QUESTION, DrawnWorld, run, trace

SHIPPED = [parse(name) for name in names()]
VARIANTS = [
    parse(text)
    for text in (
        "adaptive_consistency(cap=12,width=4)",
        "adaptive_consistency(cap=12,doubling=true,rule=share,threshold=0.75)",
        "adaptive_consistency(cap=9,rule=dirichlet)",
        "best_of_n(n=4,by=reward)",
        "best_of_n(n=4,by=likelihood)",
        "generative_verification(s=3,v=2,pick=vote)",
        "sample_and_vote(n=5,weight=likelihood)",
        "sequential_revision(rounds=2,chains=3,pick=vote)",
        "stop_on_success(cap=9,width=3,accept=0.9)",
        "sleep_time(n=3)",
        "beam_search(width=6,keep=2,depth=4,ends=never)",
        "dvts(width=6,branch=2,depth=4,ends=never,by=likelihood)",
        "rebase(width=6,depth=4,ends=never,pick=best)",
        "ets(width=6,depth=4,ends=never,by=score)",
        "particle_filtering(width=6,depth=4,ends=never)",
        "best_first(expansions=5,branch=2,ends=never)",
        "mcts(rounds=5,branch=2,ends=never,pick=vote)",
        "route(spend=0.7,by=mmlu_nearest)",
        "route(spend=0.1,by=mmlu_domain)",
    )
]
EVERY = [pytest.param(item, id=spell(item)) for item in [*SHIPPED, *VARIANTS]] + [
    pytest.param(item, id=type(item).__name__) for item in KINDS
]


@pytest.mark.parametrize("strategy", SHIPPED, ids=spell)
def test_both_spellings_read_alike_at_every_point_of_the_grid(strategy):
    for point in settings(strategy):
        assert parse(spell(point)) == point
        assert parse(model_id(point)) == point


@pytest.mark.parametrize("strategy", EVERY)
def test_it_holds_to_the_protocol(strategy):
    assert isinstance(strategy, Strategy)
    played = run(strategy, DrawnWorld())
    assert isinstance(played.answer, Answer)
    assert played.answer.reply in played.replies


@pytest.mark.parametrize("strategy", EVERY)
def test_same_seed_same_run(strategy):
    first, second = run(strategy, DrawnWorld(3)), run(strategy, DrawnWorld(3))
    assert trace(first) == trace(second)
    assert first.answer.answer == second.answer.answer


def limits(strategy, world, unit):
    """Budgets that cut a run before, in and after every reply."""
    spent, points = 0.0, {0.0}
    for reply in run(strategy, world).replies:
        amount = 0.0 if unit == "s" else MEASURES[unit](reply.cost)
        points |= {reply.done_s, reply.done_s - 0.5} if unit == "s" else {spent + amount, spent + amount / 2}
        spent += amount
    return sorted(point for point in points if point >= 0)


@pytest.mark.parametrize("strategy", EVERY)
@pytest.mark.parametrize("unit", ["tokens", "usd", "j", "s"])
def test_the_budget_may_cut_it_at_every_point(strategy, unit):
    for limit in limits(strategy, DrawnWorld(5), unit):
        drive = StrategyDriver(strategy, QUESTION, QuestionBudget(**{unit: limit}), np.random.default_rng(7))
        played = play(drive, DrawnWorld(5))
        assert drive.settled
        assert set(drive.asked) == {reply.ask for reply in played.replies}
        assert len(drive.asked) == len(played.replies)
        if unit == "s":
            assert played.elapsed_s <= limit
        else:
            step = {"tokens": 6, "usd": 0.001, "j": 2.0}[unit]  # one token more of each call, and its prompt
            assert MEASURES[unit](played.cost) <= limit + step * len(played.replies) + 1e-9
        if limit == 0:
            assert played.answer.reply is None
            assert all(reply.finish == "budget" for reply in played.replies)
        reply = played.answer.reply
        assert reply is None or reply.finish in ("stop", "length")


@pytest.mark.parametrize("strategy", EVERY)
@pytest.mark.parametrize("seed", range(20))
def test_it_lives_with_failures_and_truncated_replies(strategy, seed):
    played = run(strategy, DrawnWorld(seed, failing=0.3, truncated=0.3))
    reply = played.answer.reply
    assert reply is None or reply.finish in ("stop", "length")
    assert len({reply.ask for reply in played.replies}) == len(played.replies)


class CutWorld(DrawnWorld):
    """Every generation is truncated, with what reads like an answer; every check accepts all that it is shown."""

    def reply(self, ask, at_s):
        drawn = super().reply(ask, at_s)
        if ask.role in JUDGES or ask.role in ("judge", "planner"):
            return replace(drawn, score=1.0)
        return replace(drawn, finish="length", content="the answer is a", answer="a")


@pytest.mark.parametrize("strategy", EVERY)
def test_a_truncated_reply_is_no_answer_and_is_not_checked(strategy):
    played = run(strategy, CutWorld(2))
    assert played.answer.answer is None
    assert all(reply.answer is None for reply in played.replies if reply.finish == "length")
    judged = [reply.ask.after for reply in played.replies if reply.ask.role in JUDGES and reply.ask.after]
    assert not [reply for reply in judged if reply.finish == "length"]


@pytest.mark.parametrize("strategy", EVERY)
@pytest.mark.parametrize("seed", range(5))
def test_a_truncated_reply_has_no_vote(strategy, seed):
    """Truncated replies that all read the same change nothing beside ones that read differently."""
    played = [run(strategy, HalfCutWorld(seed, truncated=0.5, said=said)) for said in ("a", "z")]
    assert played[0].answer.answer == played[1].answer.answer != "z"


@dataclass
class HalfCutWorld(DrawnWorld):
    """Some generations are truncated; all of those read like the same answer."""

    said: str = "z"

    def reply(self, ask, at_s):
        drawn = super().reply(ask, at_s)
        return replace(drawn, answer=self.said) if drawn.finish == "length" else drawn


@pytest.mark.parametrize("strategy", EVERY)
def test_where_everything_fails_there_is_no_answer(strategy):
    played = run(strategy, DrawnWorld(failing=1.0))
    assert played.answer.reply is None
    assert played.replies
    assert played.cost.tokens.total > 0


@pytest.mark.parametrize("strategy", EVERY)
def test_an_answer_that_cannot_be_compared_is_still_an_answer(strategy):
    assert run(strategy, DrawnWorld(silent=True)).answer.reply is not None


@pytest.mark.parametrize("strategy", EVERY)
def test_every_token_is_booked_once(strategy):
    played = run(strategy, DrawnWorld(9), UNLIMITED)
    tokens = sum(reply.cost.tokens.total for reply in played.replies)
    assert played.cost.tokens.total == pytest.approx(tokens)


@pytest.mark.parametrize(
    "text",
    [
        'budget_forcing(limit=0,efforts=(none,""),by=(question_text,reply_length))',
        "difficulty_gate(fast=best_of_n(n=2,by=likelihood),slow=sample_and_vote(n=3,weight=likelihood))",
        'cascade(roles=(a,b,"the third"),samples=2)',
        'once(greedy=false,effort="None")',
    ],
)
def test_every_kind_of_value_reads_back(text):
    strategy = parse(text)
    assert parse(spell(strategy)) == strategy
    assert parse(model_id(strategy)) == strategy
