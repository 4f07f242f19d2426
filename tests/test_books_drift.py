"""Drift by the books: what moved between two periods is told, and what varies by days is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from comptroller.books.drift import MEASURES, days_p_value, drift
from comptroller.books.ledger import CallLedger, CallQuote, ReservationPosting, SettlementPosting
from comptroller.books.query import LedgerScope
from comptroller.cli import main
from comptroller.costs.rating import CallReceipt
from comptroller.errors import InputError
from comptroller.work.call import Call

START = datetime(2026, 9, 1, 12, tzinfo=UTC)
DAYS = 7


def fill(where: Path, slower: float, days: int = 2 * DAYS) -> Path:
    """Two periods of a service whose days differ by themselves; in the second it is so many times as slow."""
    rng = np.random.default_rng(4)
    with CallLedger.open(str(where)) as ledger:
        at = [0]
        ledger.clock = lambda: at[0]
        for day in range(days):
            at[0] = int((START + timedelta(days=day)).timestamp() * 1e6)
            factor = rng.uniform(0.9, 1.1) * (slower if day >= DAYS else 1.0)
            for _ in range(6):
                begun_s, made = at[0] / 1e6, int(rng.integers(80, 120))
                call = Call(
                    call=ledger.new_id(), request=ledger.new_id(), service="small", arrival_s=begun_s,
                    started_s=begun_s, first_s=begun_s + 0.2 * factor,
                    last_s=begun_s + 3 * factor * rng.uniform(0.8, 1.2),
                    input_tokens=500, output_tokens=made, finish="stop",
                )  # fmt: skip
                pusd = made * 10**6
                receipt = CallReceipt(pusd)
                ledger.apply([ReservationPosting(call, CallQuote(pusd, pusd)), SettlementPosting(call, receipt)])
    return where


def periods(days: int = DAYS) -> tuple[LedgerScope, LedgerScope]:
    first = START.date()
    middle = first + timedelta(days=days)
    return LedgerScope(first, middle), LedgerScope(middle, middle + timedelta(days=days))


def test_a_slower_service_is_told_and_its_price_is_not(tmp_path: Path) -> None:
    with CallLedger.open(str(fill(tmp_path / "books.sqlite", 1.5))) as ledger:
        found = {one.measure: one for one in drift(ledger, *periods())}
    assert set(found) <= set(MEASURES) and "score" not in found
    assert found["ttft_s"].moved and found["e2e_s"].moved
    assert found["ttft_s"].after == pytest.approx(1.5 * found["ttft_s"].before, rel=0.1)
    assert not found["usd"].moved and not found["output_tokens"].moved


def test_days_that_differ_by_themselves_raise_an_alarm_as_rarely_as_said() -> None:
    rng = np.random.default_rng(0)
    found = [days_p_value(*rng.lognormal(size=(2, 5))) <= 0.05 for _ in range(600)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.025)


@given(st.lists(st.floats(0, 10), min_size=4, max_size=5), st.lists(st.floats(0, 10), min_size=4, max_size=5))
def test_p_values_are_those_of_scipy(one: list[float], other: list[float]) -> None:
    first, second = np.array(one), np.array(other)

    def gap(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.round(np.abs(a.mean(axis=axis) - b.mean(axis=axis)), 12)

    exact = permutation_test((first, second), gap, vectorized=True, n_resamples=np.inf, alternative="greater").pvalue
    assert days_p_value(np.round(first, 9), np.round(second, 9)) == pytest.approx(exact, abs=0.06)


def test_too_few_days_say_how_many_are_needed(tmp_path: Path) -> None:
    with (
        CallLedger.open(str(fill(tmp_path / "books.sqlite", 1.0, days=5))) as ledger,
        pytest.raises(InputError, match="4 days"),
    ):
        drift(ledger, *periods(2))


def test_the_command_names_what_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = fill(tmp_path / "books.sqlite", 1.5)
    words = ["books", "drift", str(where), "--before", "2026-09-01..2026-09-08", "--after", "2026-09-08..2026-09-15"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    assert not ended.value.code
    assert "moved" in json.dumps(json.loads(capsys.readouterr().out))
