"""The ledger on SQLite and PostgreSQL: never lost, never twice, no budget overspent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from math import nan
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from books_databases import postgres, where  # noqa: F401
from comptroller.books import schema
from comptroller.books.budgets import SpendBudget
from comptroller.books.clock import now_us
from comptroller.books.daily import NAMES, amounts
from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger, CallQuote
from comptroller.books.postings import ReleasePosting, ReservationPosting, SettlementPosting
from comptroller.books.query import in_force
from comptroller.books.rates import RateClaim, RateExceededError
from comptroller.books.schema import daily, entry
from comptroller.books.verify import verify
from comptroller.books.writer import LedgerWriter
from comptroller.costs.carbon import CallEnergy
from comptroller.costs.rating import PUSD, CallReceipt
from comptroller.errors import BudgetExceededError, DuplicateCallError, InputError
from comptroller.work.call import Call

MIDDLE_US = int(datetime(2026, 9, 15, 12, 30, tzinfo=UTC).timestamp()) * 1_000_000


def made(ledger: CallLedger, **about: object) -> Call:
    return Call(call=ledger.new_id(), request=7, service="p/m", key="shop", project="web", role="sample", **about)


def done(call: Call, **about: object) -> Call:
    return replace(call, finish="stop", input_tokens=100, output_tokens=20, last_s=2.0, **about)


def rows(ledger: CallLedger) -> list[dict[str, object]]:
    with ledger.engine.connect() as connection:
        return [dict(row) for row in connection.execute(entry.select().order_by(entry.c.number)).mappings()]


def balance(ledger: CallLedger) -> tuple[int, int]:
    (found,) = ledger.balances()
    return found.spent_pusd, found.held_pusd


def mid_period() -> Callable[[], int]:
    """A clock that goes on from the middle of an hour, a day and a month, so that no test sees one of them end."""
    began = now_us()
    return lambda: MIDDLE_US + now_us() - began


@pytest.fixture
def ledger(where: str) -> CallLedger:  # noqa: F811
    with CallLedger.open(where, mid_period()) as books:
        yield books
        assert verify(books).faults == ()


def test_a_call_is_held_then_booked_with_all_that_is_known(ledger: CallLedger) -> None:
    ledger.set_budget(SpendBudget("key", "shop", "day", 10 * PUSD))
    call = made(ledger, question="q1", strategy="best_of_n(n=2)", arrival_s=1.0)
    assert ledger.reserve(call, CallQuote(2 * PUSD, PUSD // 2, "plan7")) == 2 * PUSD
    assert balance(ledger) == (0, 2 * PUSD)
    energy = CallEnergy(1.5, 2.5, 3.0, 6.0, 0.25, 1e12, "nvml")
    assert (
        ledger.settle(done(call, reasoning_tokens=5, device_s=0.5), CallReceipt(PUSD // 4, energy=energy)) == PUSD // 4
    )
    assert balance(ledger) == (PUSD // 4, 0)
    (row,) = rows(ledger)
    known = {"id": call.call, "kind": "settled", "finish": "stop", "pusd": PUSD // 4, "estimate_pusd": PUSD // 2}
    known |= {"input_tokens": 100, "reasoning_tokens": 5, "j_decode": 2.5, "high_j": 6.0, "energy": "nvml"}
    assert known.items() <= row.items()
    assert row["started_s"] is None and row["price"] == "" and len(row["hash"]) == 32


def test_nothing_is_taken_twice(ledger: CallLedger) -> None:
    ledger.set_budget(SpendBudget("all", "", "total", 10 * PUSD))
    call = made(ledger)
    for _ in range(3):
        assert ledger.reserve(call, CallQuote(PUSD)) == PUSD
    assert balance(ledger) == (0, PUSD)
    for price in (5, 9, 9):
        assert ledger.settle(done(call), CallReceipt(price)) == 5
    assert ledger.release(call, "late") == 5 and balance(ledger) == (5, 0) and len(rows(ledger)) == 1
    with pytest.raises(DuplicateCallError, match="settled"):
        ledger.reserve(call, CallQuote(PUSD))


def test_a_released_call_costs_nothing_and_is_still_a_row(ledger: CallLedger) -> None:
    ledger.set_budget(SpendBudget("project", "web", "month", PUSD))
    call = made(ledger)
    ledger.reserve(call, CallQuote(PUSD))
    assert ledger.release(replace(call, finish="failed"), "HTTP 429") == 0 and balance(ledger) == (0, 0)
    (row,) = rows(ledger)
    assert (row["kind"], row["finish"], row["pusd"], row["note"]) == ("released", "failed", 0, "HTTP 429")


def test_the_refusal_names_budget_limit_and_spend(ledger: CallLedger) -> None:
    ledger.set_budget(SpendBudget("key", "shop", "day", PUSD))
    ledger.set_budget(SpendBudget("project", "web", "total", 50 * PUSD))
    first = made(ledger)
    ledger.reserve(first, CallQuote(PUSD * 9 // 10))
    ledger.settle(done(first), CallReceipt(PUSD * 8 // 10))
    with pytest.raises(BudgetExceededError) as refused:
        ledger.reserve(made(ledger), CallQuote(PUSD * 3 // 10))
    assert "key shop per day: limit $1.00, spent $0.80, held by open calls $0.00" in str(refused.value)
    assert [item.held_pusd for item in ledger.balances()] == [0, 0]  # the other budget was not touched
    with pytest.raises(BudgetExceededError, match="no known price"):
        ledger.reserve(made(ledger), CallQuote(None))
    elsewhere = replace(made(ledger), key="", project="")
    assert ledger.reserve(elsewhere, CallQuote(None)) == 0


def test_unknown_is_not_zero(ledger: CallLedger) -> None:
    ledger.set_budget(SpendBudget("key", "shop", "day", PUSD))
    call = made(ledger)
    ledger.reserve(call, CallQuote(PUSD // 2))
    silent = replace(call, finish="stop", input_tokens=-1, output_tokens=-1, reasoning_tokens=-1)
    assert ledger.settle(silent, CallReceipt.unknown("no usage in the stream")) == PUSD // 2  # the worst case counts
    (row,) = rows(ledger)
    assert row["pusd"] is None and row["output_tokens"] is None and row["note"] == "no usage in the stream"


def test_a_correction_points_at_the_row_and_the_last_one_counts(ledger: CallLedger) -> None:
    ledger.set_budget(SpendBudget("key", "shop", "total", 10 * PUSD))
    call = made(ledger)
    ledger.reserve(call, CallQuote(PUSD))
    ledger.settle(done(call), CallReceipt(PUSD))
    for amount in (PUSD // 2, PUSD // 4):
        assert ledger.correct(done(call, cached_tokens=50), CallReceipt(amount), "cached tokens were missing") == amount
    first, second, third = rows(ledger)
    assert (second["corrects"], third["corrects"]) == (first["id"], second["id"])
    assert balance(ledger) == (PUSD // 4, 0) and first["pusd"] == PUSD
    with pytest.raises(InputError, match="not booked"):
        ledger.correct(made(ledger), CallReceipt(1), "why not")
    with pytest.raises(InputError, match="reason"):
        ledger.correct(call, CallReceipt(1), "")


def test_only_calls_of_dead_writers_are_given_up(where: str) -> None:  # noqa: F811
    alive, dead = CallLedger.open(where), CallLedger.open(where)
    alive.set_budget(SpendBudget("key", "shop", "day", 10 * PUSD))
    open_call, lost = made(alive), made(dead)
    alive.reserve(open_call, CallQuote(PUSD))
    dead.reserve(lost, CallQuote(2 * PUSD))
    with CallLedger.open(where) as third:
        assert third.recover() == 0
        dead.close()
        assert third.recover() == 1 and third.recover() == 0
        assert balance(third) == (2 * PUSD, PUSD)  # it may have been billed: the worst case
        with pytest.raises(DuplicateCallError, match="lost"):
            third.reserve(lost, CallQuote(PUSD))
        assert third.settle(done(lost), CallReceipt(PUSD // 2)) == PUSD // 2  # it was not dead after all
        assert third.settle(done(lost), CallReceipt(PUSD // 2)) == PUSD // 2
        assert [row["kind"] for row in rows(third)] == ["lost", "correction"]
        assert balance(third) == (PUSD // 2, PUSD) and verify(third).faults == ()
    alive.settle(done(open_call), CallReceipt(1))
    alive.close()


def test_a_call_counts_for_the_period_in_which_it_was_reserved(where: str) -> None:  # noqa: F811
    days = [1_790_000_000_000_000]
    with CallLedger.open(where, lambda: days[0]) as books:
        books.set_budget(SpendBudget("all", "", "day", PUSD))
        call = made(books)
        books.reserve(call, CallQuote(PUSD))
        days[0] += 86_400 * 10**6
        assert balance(books) == (0, 0)  # a new day
        books.settle(done(call), CallReceipt(PUSD))
        assert balance(books) == (0, 0) and verify(books).faults == ()


def test_a_clock_that_goes_back_is_tolerated(where: str) -> None:  # noqa: F811
    now = [1_790_000_000_000_000]
    with CallLedger.open(where, lambda: now[0]) as books:
        ids = []
        for back in (0, 5_000_000, 59_000_000):
            now[0] = 1_790_000_000_000_000 - back
            call = made(books)
            ids.append(call.call)
            books.reserve(call, CallQuote(1))
            books.settle(done(call), CallReceipt(1))
        assert ids == sorted(set(ids))
        times = [row["at_us"] for row in rows(books)]
        assert times == sorted(times) and verify(books).faults == ()
    with CallLedger.open(where, lambda: now[0] - 10) as again:
        assert again.pen.at_us == times[-1]


def test_a_clock_that_was_ahead_for_one_call_does_not_charge_tomorrow(where: str) -> None:  # noqa: F811
    now = [1_790_000_000_000_000]
    with CallLedger.open(where, lambda: now[0]) as books:
        books.set_budget(SpendBudget("all", "", "day", 10))
        for ahead in (0, 23 * 3_600_000_000, 0):
            now[0] = 1_790_000_000_000_000 + ahead
            call = made(books)
            books.reserve(call, CallQuote(1))
            books.settle(done(call), CallReceipt(1))
        assert balance(books) == (2, 0) and verify(books).faults == ()


def test_a_limit_counts_what_was_spent_in_its_period_before_it_was_set(ledger: CallLedger) -> None:
    early, late = made(ledger), made(ledger)
    for call in (early, late):
        ledger.reserve(call, CallQuote(3 * PUSD))
    ledger.settle(done(early), CallReceipt(PUSD))
    for scope, name in (("key", "shop"), ("model", "p/m"), ("all", "")):
        for period in ("hour", "month", "total"):
            ledger.set_budget(SpendBudget(scope, name, period, 4 * PUSD))  # type: ignore[arg-type]
    ledger.set_budget(SpendBudget("key", "other", "month", PUSD))
    mine = [item for item in ledger.balances() if item.budget.name != "other"]
    assert {(item.spent_pusd, item.held_pusd) for item in mine} == {(PUSD, 3 * PUSD)} and len(mine) == 9
    assert (ledger.balances()[-1].spent_pusd, ledger.balances()[-1].held_pusd) == (0, 0)
    with pytest.raises(BudgetExceededError, match=r"limit \$4.00, spent \$1.00, held by open calls \$3.00"):
        ledger.reserve(made(ledger), CallQuote(1))
    ledger.settle(done(late), CallReceipt(2 * PUSD))
    assert {(item.spent_pusd, item.held_pusd) for item in ledger.balances()[:-1]} == {(3 * PUSD, 0)}


def test_limits_by_user_and_tag(ledger: CallLedger) -> None:
    ledger.set_budget(SpendBudget("user", "ann", "day", 2))
    ledger.set_budget(SpendBudget("tag", "team=search", "day", 3))
    ledger.reserve(made(ledger), CallQuote(2, user="ann", tags="env=prod;team=search"))
    with pytest.raises(BudgetExceededError, match="user ann per day"):
        ledger.reserve(made(ledger), CallQuote(1, user="ann"))
    with pytest.raises(BudgetExceededError, match="tag team=search per day"):
        ledger.reserve(made(ledger), CallQuote(2, user="bob", tags="team=search"))
    ledger.reserve(made(ledger), CallQuote(9, user="bob", tags="team=shop"))


def test_a_limit_per_minute_holds_for_all_writers_and_gives_back_what_was_not_taken(where: str) -> None:  # noqa: F811
    now = [1_790_000_000_000_000]
    with CallLedger.open(where, lambda: now[0]) as one, CallLedger.open(where, lambda: now[0]) as other:
        claim = RateClaim("shop", "usd", 60.0, 25.0)
        call = made(one)
        one.reserve(call, CallQuote(1, claims=(claim,)))
        other.reserve(made(other), CallQuote(1, claims=(claim,)))
        with pytest.raises(RateExceededError, match="60 usd per minute") as refused:
            one.reserve(made(one), CallQuote(1, claims=(claim,)))
        assert refused.value.wait_s == pytest.approx(15.0, rel=1e-6)
        given_back = replace(claim, amount=-20.0)
        one.apply([SettlementPosting(done(call), CallReceipt(1), (given_back,))])
        other.reserve(made(other), CallQuote(1, claims=(claim,)))
        now[0] += 20_000_000
        other.reserve(made(other), CallQuote(1, claims=(claim,)))


def test_statements_of_a_request_at_one_connection(tmp_path: Path) -> None:
    """The settlement before and the hold after it, with BEGIN and COMMIT: they were fourteen and two."""
    with CallLedger.open(str(tmp_path / "books.sqlite")) as books:
        seen: list[str] = []

        def request(late: list[SettlementPosting]) -> list[SettlementPosting]:
            call = replace(made(books), request=books.new_id())
            assert all(isinstance(item, int) for item in books.apply([*late, ReservationPosting(call, CallQuote(1))]))
            return [SettlementPosting(done(call), CallReceipt(1))]

        late = request(request([]))
        raw = books.engine.raw_connection()
        raw.dbapi_connection.set_trace_callback(seen.append)  # type: ignore[union-attr]
        raw.close()
        late = request(late)
        assert len(seen) == 8
        books.set_budget(SpendBudget("key", "shop", "day", 10 * PUSD))
        late = request(late)
        del seen[:]
        late = request(late)
        assert len(seen) == 10
        books.apply(late)
        assert verify(books).faults == ()


def test_one_bad_posting_does_not_spoil_the_others(ledger: CallLedger) -> None:
    good, nul, large = made(ledger), made(ledger, question="a\0b"), replace(made(ledger), request=1 << 70)
    outcomes = ledger.apply(
        [
            ReservationPosting(nul, CallQuote(1)),
            ReservationPosting(good, CallQuote(1)),
            ReservationPosting(large, CallQuote(1)),
        ]
    )
    assert outcomes[1] == 1 and all(isinstance(outcomes[n], InputError) for n in (0, 2))
    assert isinstance(ledger.apply([SettlementPosting(made(ledger), CallReceipt(1))])[0], InputError)
    assert ledger.apply([SettlementPosting(done(good), CallReceipt(1)), ReleasePosting(good, "")]) == [1, 1]


def test_a_hundred_concurrent_requests_never_spend_more_than_the_dollar_that_is_left(where: str) -> None:  # noqa: F811
    async def spend(books: CallLedger) -> list[int | BaseException]:
        async with LedgerWriter(books) as writer:

            async def request() -> int:
                call = made(books)
                await writer.reserve(call, CallQuote(PUSD // 30))
                await asyncio.sleep(0.001)
                return await writer.settle(done(call), CallReceipt(PUSD // 31))

            return await asyncio.gather(*(request() for _ in range(100)), return_exceptions=True)

    with CallLedger.open(where, clock := mid_period()) as one, CallLedger.open(where, clock) as other:  # two gateways
        one.set_budget(SpendBudget("key", "shop", "day", PUSD))

        async def both() -> list[int | BaseException]:
            return [item for half in await asyncio.gather(spend(one), spend(other)) for item in half]

        outcomes = asyncio.run(both())
        served = [item for item in outcomes if isinstance(item, int)]
        refused = [item for item in outcomes if isinstance(item, BudgetExceededError)]
        assert len(served) + len(refused) == 200 and 29 <= len(served) <= 31
        assert balance(one) == (sum(served), 0) and sum(served) <= PUSD
        assert all("key shop per day: limit $1.00, spent $" in str(item) for item in refused)
        assert verify(one).faults == ()


def test_a_cancelled_waiter_is_written_and_a_closed_writer_refuses(ledger: CallLedger) -> None:
    async def play() -> None:
        call = made(ledger)
        async with LedgerWriter(ledger) as writer:
            waiting = asyncio.ensure_future(writer.reserve(call, CallQuote(5)))
            await asyncio.sleep(0)
            waiting.cancel()
        with pytest.raises(Exception, match="closed"):
            await writer.reserve(made(ledger), CallQuote(5))
        assert ledger.settle(done(call), CallReceipt(3)) == 3

    asyncio.run(play())


def test_keys_are_hashed_rotated_and_revoked(ledger: CallLedger) -> None:
    keys = ApiKeyStore(ledger)
    secret = keys.create("shop", "web")
    with ledger.engine.connect() as connection:
        stored = str(connection.execute(text('SELECT * FROM "key"')).all())
    assert secret not in stored and secret.startswith("ck-")
    assert (found := keys.find(secret)) is not None and (found.name, found.project) == ("shop", "web")
    assert keys.find("ck-guess") is None
    with pytest.raises(InputError, match="exists"):
        keys.create("shop")
    newer = keys.rotate("shop", grace_s=60)
    assert keys.find(secret) and keys.find(newer)
    last = keys.rotate("shop")
    assert keys.find(newer) is None and keys.find(last).project == "web"
    keys.revoke("shop")
    assert keys.find(last) is None and keys.all() == []
    with pytest.raises(InputError, match="no valid key"):
        keys.revoke("shop")


def test_budgets_are_checked_changed_and_dropped(ledger: CallLedger) -> None:
    for wrong in (("team", "x", "day", 1), ("key", "", "day", 1), ("all", "x", "day", 1), ("key", "x", "year", 1)):
        with pytest.raises(InputError, match=r"allowed|has a name"):
            SpendBudget(*wrong)
    with pytest.raises(InputError, match="limit"):
        SpendBudget("all", "", "day", 10**19)
    ledger.set_budget(SpendBudget("key", "shop", "day", PUSD))
    call = made(ledger)
    ledger.reserve(call, CallQuote(PUSD))
    ledger.set_budget(SpendBudget("key", "shop", "day", 3 * PUSD))
    ledger.reserve(made(ledger), CallQuote(2 * PUSD))
    assert len(ledger.budgets()) == 1 and ledger.balances()[0].left_pusd == 0
    ledger.drop_budget(SpendBudget("key", "shop", "day", 0))
    assert ledger.settle(done(call), CallReceipt(1)) == 1 and ledger.budgets() == []
    with pytest.raises(InputError, match="no budget"):
        ledger.drop_budget(SpendBudget("key", "shop", "day", 0))


def test_scores_lie_between_zero_and_one(ledger: CallLedger) -> None:
    ledger.score(7, 0.5)
    for wrong in (-0.1, 1.1, nan):
        with pytest.raises(InputError, match="scores lie"):
            ledger.score(7, wrong)


STEPS = st.lists(
    st.tuples(st.sampled_from(("reserve", "settle", "release", "correct")), st.integers(0, 5), st.integers(0, 40)),
    max_size=30,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_the_books_balance(
    steps: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a model of one budget of 100 picodollars and six calls."""
    folder: Path = tmp_path_factory.mktemp("books")
    with CallLedger.open(str(folder / "books.sqlite")) as books:
        books.set_budget(SpendBudget("all", "", "total", 100))
        calls = [made(books) for _ in range(6)]
        held: dict[int, int] = {}
        spent: dict[int, int] = {}
        for what, who, amount in steps:
            try:
                if what == "reserve":
                    books.reserve(calls[who], CallQuote(amount))
                    held.setdefault(who, amount)
                elif what == "correct":
                    books.correct(done(calls[who]), CallReceipt(amount), "test")
                    spent[who] = amount
                else:
                    ended = (
                        books.settle(done(calls[who]), CallReceipt(amount))
                        if what == "settle"
                        else books.release(calls[who])
                    )
                    if held.pop(who, None) is not None:
                        spent[who] = amount if what == "settle" else 0
                    assert ended == spent[who]
            except BudgetExceededError:
                assert who not in spent and sum(spent.values()) + sum(held.values()) + amount > 100
            except DuplicateCallError:
                assert who in spent and what == "reserve"
            except InputError:
                assert who not in spent and who not in held if what != "correct" else who not in spent
            assert balance(books) == (sum(spent.values()), sum(held.values()))
        assert verify(books).faults == ()
        with books.engine.connect() as connection:
            current = connection.execute(schema.entry.select().where(in_force())).mappings().all()
            sums = connection.execute(daily.select()).mappings().all()
        for position, name in enumerate(NAMES):
            assert sum(row[name] for row in sums) == sum(amounts(row)[position] for row in current), name
