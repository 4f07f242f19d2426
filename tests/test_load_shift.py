"""Work that may wait on an hourly signal: the optimum of small cases, what moves nothing, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from comptroller.cli import main
from comptroller.errors import InputError
from comptroller.work.load_series import LoadSeries
from comptroller.work.load_shift import KNOWN, ShiftableWork, cheapest_hours, shifted_hours, shifted_work

HOURS = 24 * 30


def daily(noise: float = 0.0) -> LoadSeries:
    clock = np.arange(HOURS)
    drawn = np.random.default_rng(0).normal(0, noise, HOURS) if noise else np.zeros(HOURS)
    return LoadSeries("grid", 3600.0, np.maximum(300 - 100 * np.cos(2 * np.pi * clock / 24) + drawn, 0.0))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=7),
    st.lists(st.integers(1, 9), min_size=7, max_size=7),
    st.integers(2, 6),
)
def test_the_cheapest_hours_are_the_optimum_of_the_linear_program(due: list[int], cost: list[int], room: int) -> None:
    """min c x, x at most `room`, by every hour k as much as is due until then, all in all what is due."""
    amounts, prices = np.array(due, float), np.array(cost[: len(due)], float)
    until = np.tril(np.ones((len(due), len(due))))
    whole = linprog(
        prices, A_ub=-until, b_ub=-np.cumsum(amounts), A_eq=np.ones((1, len(due))), b_eq=[amounts.sum()],
        bounds=[(0, room)] * len(due),
    )  # fmt: skip
    if not whole.success:
        with pytest.raises(InputError, match="does not fit"):
            cheapest_hours(amounts, prices, room)
        return
    assert cheapest_hours(amounts, prices, room) @ prices == pytest.approx(whole.fun)


def test_all_work_is_done_in_time_and_within_the_room() -> None:
    work = ShiftableWork(12, 2.5, tuple(range(24)))
    signal = daily(40.0).values
    released, done, wait_h = shifted_hours(signal, 0, work, lambda now: np.full(11, signal[now]))
    assert done.sum() == pytest.approx(released.sum()) and done.max() <= 2.5 + 1e-9 and 0 <= wait_h <= 11
    assert (np.cumsum(done) <= np.cumsum(released) + 1e-9).all()
    assert (np.cumsum(done)[11:] >= np.cumsum(released)[:-11] - 1e-9).all()


def test_knowing_is_best_a_deadline_of_an_hour_and_a_flat_grid_save_nothing() -> None:
    found = {one.outlook: one for one in shifted_work(daily(60.0), ShiftableWork(), ("persistence", "seasonal_naive"))}
    assert found[KNOWN].mean <= min(one.mean for one in found.values()) + 1e-9
    assert 0 < found["seasonal_naive"].saved[0] < found[KNOWN].saved[0]
    assert found[KNOWN].saved[1] <= found[KNOWN].saved[0] <= found[KNOWN].saved[2]
    now = shifted_work(daily(60.0), ShiftableWork(1), ("persistence",))
    assert all(one.saved[0] == pytest.approx(0.0) and one.wait_h == 0 for one in now)
    flat = LoadSeries("flat", 3600.0, np.full(HOURS, 400.0))
    assert all(one.saved[0] == pytest.approx(0.0) for one in shifted_work(flat, ShiftableWork(), ("persistence",)))


def test_a_day_that_repeats_itself_is_forecast_as_well_as_known() -> None:
    found = {one.outlook: one.mean for one in shifted_work(daily(), ShiftableWork(), ("seasonal_naive",))}
    assert found["seasonal_naive"] == pytest.approx(found[KNOWN])


def test_more_room_saves_no_less() -> None:
    known = [shifted_work(daily(60.0), ShiftableWork(24, room), ())[-1].mean for room in (1.0, 2.0, 4.0, 24.0)]
    assert known == sorted(known, reverse=True)


def test_what_cannot_be_moved_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"a capacity of 0\.5; at least the most that is released, 1"):
        ShiftableWork(24, 0.5)
    with pytest.raises(InputError, match="a deadline of 0 h; from 1"):
        ShiftableWork(0)
    with pytest.raises(InputError, match="steps of 600 s; work is moved by the hour"):
        shifted_work(LoadSeries("x", 600.0, np.ones(200)), ShiftableWork(), ())
    with pytest.raises(InputError, match="held-out hours"):
        shifted_work(LoadSeries("x", 3600.0, np.ones(60)), ShiftableWork(), ())


def test_the_command_reads_a_table_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = daily(30.0)
    start = np.datetime64("2026-01-01T00:00")
    rows = [f"{start + np.timedelta64(hour, 'h')},home,{value:.2f}" for hour, value in enumerate(series.values)]
    (tmp_path / "grid.csv").write_text("\n".join(["utc,region,g_per_kwh", *rows]) + "\n", encoding="utf-8")
    words = ["cluster", "shift", str(tmp_path / "grid.csv"), "--value", "g_per_kwh", "--by", "region"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--forecast", "seasonal_naive", "--json"])
    told = json.loads(capsys.readouterr().out)["work"]
    assert not ended.value.code and [one["outlook"] for one in told] == ["at release", "seasonal_naive", KNOWN]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--released", "1,x"])
    assert ended.value.code == 2 and "24 numbers" in capsys.readouterr().err
