"""The drive core: ordering, waiting, cancellation, budgets, booking, and drivers of other kinds."""

import asyncio
from dataclasses import dataclass, replace
from math import nan
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.errors import InputError, ProtocolError, UnknownIdError, UnsupportedError
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.drive import StrategyDriver, play, total
from comptroller.strategies.protocol import All, Answer, Ask, Next, QuestionBudget, Reply, StrategyQuestion
from comptroller.strategies.spelling import model_id, parse, spell
from comptroller.strategies.stopping import beta_majority, dirichlet_majority
from comptroller.work.call import CallTable
from comptroller_lab.run_calls import calls
from strategy_worlds import QUESTION, DrawnWorld, run, signature

UNLIMITED = QuestionBudget()


@dataclass
class Timed:
    """Each ask takes as many seconds and output tokens as its content says."""

    def reply(self, ask, at_s):
        length = float(ask.content)
        cost = Cost(tokens=TokenCounts(input=1.0, output=length), usd=nan)
        return Reply(ask, "stop", ask.content, ask.content, cost=cost, started_s=at_s, done_s=at_s + length)

    def cut(self, reply, at_s):
        made = float(int(at_s - reply.started_s))
        cost = Cost(tokens=TokenCounts(input=1.0, output=made), usd=nan)
        return replace(reply, finish="cancelled", content="", answer=None, cost=cost, done_s=at_s)


class Scripted:
    """A strategy made of a generator function."""

    grid: ClassVar = {}

    def __init__(self, body):
        self.solve = lambda question, budget, rng: body()


def drive(body, budget=UNLIMITED):
    return play(StrategyDriver(Scripted(body), QUESTION, budget, np.random.default_rng(0)), Timed())


def asks(*lengths):
    return [Ask(content=str(length)) for length in lengths]


def test_all_receives_in_the_order_of_asking_whatever_ends_first():
    seen = []

    def body():
        for reply in (yield All(*asks(3, 1, 2, 1))):
            seen.append((reply.content, reply.done_s))
        return Answer()

    played = drive(body)
    assert seen == [("3", 3.0), ("1", 1.0), ("2", 2.0), ("1", 1.0)]
    assert [reply.ask.content for reply in played.replies] == ["1", "1", "2", "3"]
    assert played.elapsed_s == 3.0


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.data())
def test_waiting_one_by_one_receives_what_waiting_for_all_does(lengths, data):
    one_by_one = []

    def singly():
        due = yield Next(*asks(*lengths))
        while due:
            one_by_one.extend(due)
            due = yield Next()
        return Answer()

    def together():
        replies = yield All(*asks(*lengths))
        assert [reply.content for reply in replies] == list(map(str, lengths))
        by_end = sorted(replies, key=lambda reply: reply.done_s)
        assert [(r.content, r.done_s) for r in by_end] == [(r.content, r.done_s) for r in one_by_one]
        return Answer()

    drive(singly)
    drive(together)
    assert len(one_by_one) == len(lengths)


def test_next_leaves_the_rest_running_and_all_collects_it():
    def body():
        (first,) = yield Next(*asks(1, 5, 9))
        assert first.content == "1"
        rest = yield All(*asks(2))
        assert [(reply.content, reply.done_s) for reply in rest] == [("5", 5.0), ("9", 9.0), ("2", 3.0)]
        return Answer.of(first)

    assert drive(body).elapsed_s == 9.0


def test_returning_cancels_the_rest_and_books_its_partial_tokens():
    def body():
        (first,) = yield Next(*asks(3, 10))
        return Answer.of(first)

    played = drive(body)
    assert [reply.finish for reply in played.replies] == ["stop", "cancelled"]
    assert played.cost.tokens == TokenCounts(input=2.0, output=6.0)
    assert played.elapsed_s == 3.0


def test_a_cancelled_ask_is_paid_for_and_not_received():
    def body():
        slow = asks(10)
        yield Next(*asks(4), *slow)
        rest = yield All(*asks(1), cancel=slow)
        assert [reply.content for reply in rest] == ["1"]
        return Answer()

    played = drive(body)
    assert sorted(reply.cost.tokens.output for reply in played.replies) == [1.0, 4.0, 4.0]


def test_an_ask_called_off_before_it_began_costs_nothing():
    def body():
        yield Next(*asks(1, 1))
        yield All(cancel=[])
        yield Next(*asks(1, 2))
        (second,) = yield Next()
        assert second.content == "2"
        due = yield Next(*asks(3))
        assert due[0].content == "3"
        return Answer()

    def hurried():
        yield Next(*asks(4, 4, 9))
        (twin,) = yield Next(*asks(7))
        assert twin.content == "4"
        return Answer()

    assert drive(body).cost.tokens == TokenCounts(input=5.0, output=8.0)
    assert drive(hurried).cost.tokens.output == 4 + 4 + 4


def test_a_budget_ends_everything_in_the_moment_it_is_reached():
    finishes = []

    def body():
        for reply in (yield All(*asks(2, 8, 8))):
            finishes.append((reply.finish, reply.cost.tokens.output, reply.done_s))
        late = yield All(*asks(5))
        finishes.append((late[0].finish, late[0].cost.tokens.total, late[0].done_s))
        return Answer()

    played = drive(body, QuestionBudget(tokens=3 + 2 + 2 * 5))
    assert finishes == [("stop", 2.0, 2.0), ("budget", 5.0, 5.0), ("budget", 5.0, 5.0), ("budget", 0.0, 5.0)]
    assert played.expired
    assert played.cost.tokens.total == 15


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 80))
def test_what_is_spent_never_passes_the_budget_by_more_than_a_token_a_call(lengths, limit):
    def body():
        return Answer.of((yield All(*asks(*lengths)))[0])

    played = drive(body, QuestionBudget(tokens=limit))
    whole = sum(lengths) + len(lengths)
    spent = played.cost.tokens.total
    assert spent <= limit + 2 * len(lengths)
    assert spent == whole or spent >= min(limit, whole)


def test_a_limit_on_dollars_needs_replies_that_tell_dollars():
    def body():
        return Answer.of((yield All(*asks(1)))[0])

    with pytest.raises(UnsupportedError, match="limits usd"):
        drive(body, QuestionBudget(usd=1.0))


def endless():
    while True:
        yield All(*asks(1))


def waits_for_nothing():
    while True:
        yield Next()


def asks_twice():
    ask = Ask(content="1")
    yield All(ask, ask)


def cancels_a_stranger():
    yield All(*asks(1), cancel=asks(1))


def yields_an_ask():
    yield Ask(content="1")


def returns_text():
    yield All(*asks(1))
    return "42"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (endless, "must return"),
        (waits_for_nothing, "must return"),
        (asks_twice, "asked twice"),
        (cancels_a_stranger, "never asked"),
        (yields_an_ask, "yields All"),
        (returns_text, "returns an Answer"),
    ],
)
def test_what_breaks_the_protocol_is_said(body, message):
    with pytest.raises(ProtocolError, match=message):
        drive(body, QuestionBudget(tokens=10))


def test_a_reply_that_nobody_waits_for_is_refused():
    core = StrategyDriver(parse("once"), QUESTION, UNLIMITED, np.random.default_rng(0))
    core.start()
    with pytest.raises(ProtocolError, match="not outstanding"):
        core.feed(Reply(Ask(), "stop"))


async def drive_async(core, world):
    """An asynchronous driver: every call a task, cancelled calls told to stop."""
    loop, tasks = asyncio.get_running_loop(), {}
    begun = loop.time()

    async def call(ask):
        at_s = loop.time() - begun
        whole = world.reply(ask, at_s)
        try:
            await asyncio.sleep((whole.done_s - at_s) / 1000)
        except asyncio.CancelledError:
            return world.cut(whole, at_s)
        return whole

    orders = core.start()
    while True:
        for ask in orders.begin:
            tasks[ask] = asyncio.create_task(call(ask))
        await asyncio.sleep(0)
        for ask in orders.cut:
            tasks[ask].cancel()
        if core.settled:
            return core.answer
        done, _ = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        reply = min((task.result() for task in done), key=lambda reply: reply.done_s)
        del tasks[reply.ask]
        orders = core.feed(reply)


@pytest.mark.parametrize("text", ["sample_and_vote(n=6)", "stop_on_success(cap=6,width=3)", "repair"])
def test_an_asynchronous_driver_needs_only_start_and_feed(text):
    core = StrategyDriver(parse(text), QUESTION, UNLIMITED, np.random.default_rng(0))
    answer = asyncio.run(drive_async(core, DrawnWorld(2)))
    assert core.settled
    assert answer.reply in core.replies
    assert len(core.asked) == len(core.replies)


def test_identical_asks_carry_the_whole_branch():
    played = run(parse("sequential_revision(rounds=2)"), DrawnWorld())
    last = signature(played.replies[-1].ask)
    assert last[0] == "reviser"
    assert last[-1][-1][0] == "solver"


def test_total_is_the_sum():
    costs = [Cost(tokens=TokenCounts(input=1.0, output=2.0), j=3.0), Cost(usd=1.0, device_s=2.0), Cost(flops=5.0)]
    assert total(costs) == costs[0] + costs[1] + costs[2]
    assert total([]) == Cost()


@pytest.mark.parametrize("text", ["", "5", "5 apples", "-1 usd", "1 usd, 2 usd", "1.2.3 j"])
def test_a_budget_that_cannot_be_read_is_refused(text):
    if text == "":
        assert QuestionBudget.parse(text) == UNLIMITED
        return
    with pytest.raises(InputError, match="budget"):
        QuestionBudget.parse(text)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("best_of_m(n=8)", UnknownIdError, "best_of_n"),
        ("best_of_n(k=8)", UnknownIdError, "parameter of best_of_n"),
        ("best_of_n(n=eight)", InputError, "must be int"),
        ("best_of_n(n=0)", InputError, "at least 1"),
        ("best_of_n(n=1,n=2)", InputError, "each once"),
        ("best_of_n(8)", InputError, "parameter=value"),
        ("best_of_n(n=8", InputError, "write it as"),
        ("best_of_n:n=(8", InputError, "brackets"),
        ("best_of_n(by=luck)", UnknownIdError, "luck"),
        ("adaptive_consistency(threshold=2)", InputError, "between 0 and 1"),
        ("", InputError, "write it as"),
        ("os:path", UnknownIdError, "strategy"),
        ("nowhere.at_all:Rule", UnknownIdError, "strategy"),
        ("comptroller.strategies.votes:Votes", InputError, "no class Votes"),
    ],
)
def test_a_strategy_that_cannot_be_read_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        parse(text)


def test_a_users_own_file_is_a_strategy(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from comptroller.strategies.rules.once import OnceStrategy\n"
        "@dataclass(frozen=True)\n"
        "class Twice(OnceStrategy):\n"
        "    grid = {'times': (1, 2)}\n"
        "    times: int = 2\n"
    )
    found = parse(f"{path}:Twice(times=1)")
    assert found.times == 1
    assert run(found, DrawnWorld()).answer.reply is not None


def test_a_dotted_path_is_a_strategy():
    found = parse("strategy_kinds:TreeSearch(width=2)")
    assert found.width == 2
    assert parse(spell(found)) == found
    assert parse(model_id(found)) == found


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_dirichlet_rule_of_two_answers_is_the_beta_rule(first, second):
    first, second = max(first, second), min(first, second)
    assert dirichlet_majority((first, second)) == pytest.approx(beta_majority(first, second), abs=1e-6)


@given(st.lists(st.integers(0, 12), min_size=2, max_size=4))
def test_the_chances_of_all_answers_to_be_the_most_probable_add_to_one(counts):
    chances = [dirichlet_majority((counts[i], *counts[:i], *counts[i + 1 :])) for i in range(len(counts))]
    assert sum(chances) == pytest.approx(1.0, abs=1e-6)


def test_beta_stops_with_the_fourth_identical_answer():
    played = run(parse("adaptive_consistency"), Same())
    assert len(played.replies) == 4
    assert played.answer.confidence == 0.96875


class Same(DrawnWorld):
    """Every answer is the same."""

    def reply(self, ask, at_s):
        return replace(super().reply(ask, at_s), answer="x")


def test_a_question_may_carry_what_was_prepared():
    offline = parse("sleep_time(n=2)").offline
    notes = run(offline, DrawnWorld()).answer.reply
    prepared = StrategyQuestion("q", "What?", "text", prepared=notes)
    core = StrategyDriver(parse("sleep_time(n=2)"), prepared, UNLIMITED, np.random.default_rng(0))
    played = play(core, DrawnWorld(1))
    assert all(reply.ask.after is notes for reply in played.replies)
    assert len(played.replies) == 2


def test_calls_of_a_run_carry_tree_tokens_and_services():
    played = run(parse("generative_verification(s=2,v=2)"), DrawnWorld())
    rows = calls(played, "gv", {"solver": "a", "verifier": "b"}, request=7)
    assert [row.call for row in rows] == list(range(6))
    assert [row.parent for row in rows[:2]] == [-1, -1]
    assert sorted(row.parent for row in rows[2:]) == [0, 0, 1, 1]
    assert [row.service for row in rows] == ["a"] * 2 + ["b"] * 4
    assert sum(row.output_tokens for row in rows) == played.cost.tokens.output
    assert all(row.request == 7 and row.finish == "stop" and row.last_s > row.arrival_s for row in rows)
    assert len(CallTable.from_rows(rows)) == 6
    cut = run(parse("sample_and_vote(n=3)"), DrawnWorld(), QuestionBudget(tokens=20))
    assert {row.finish for row in calls(cut, "v", {})} <= {"stop", "budget"}
