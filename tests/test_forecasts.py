"""Forecasts of a load: what must hold of every file of the folder, scores against published forms, the command."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from command_ends import ends
from comptroller.errors import FactError, InputError
from comptroller.work.forecast_scores import crps, forecast_findings, forecast_series, pinball, season_steps
from comptroller.work.forecasts import FORECASTS, fit_forecast, is_seasonal
from comptroller.work.forecasts.conformal import conformal_quantiles
from comptroller.work.load_frame import ForecastFrame
from comptroller.work.load_series import LoadColumns, LoadSeries, read_loads

DAY = 24
TREES = {"boosting", "blend"}
needs_trees = pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn (extra forecast) is absent")
NAMES = [pytest.param(name, marks=needs_trees if name in TREES else ()) for name in FORECASTS.names()]
SLOW_NAMES = [
    pytest.param(name, marks=(needs_trees, pytest.mark.slow) if name in TREES else ()) for name in FORECASTS.names()
]
FEW = (0.05, 0.5, 0.95)


def wave(days: int = 12, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    """A load with a day: ten about noon, two at night."""
    hours = np.arange(days * DAY)
    return 6 - 4 * np.cos(2 * np.pi * hours / DAY) + noise * np.random.default_rng(seed).standard_normal(hours.size)


# every file of the folder


@pytest.mark.parametrize("name", NAMES)
def test_quantiles_rise_and_have_their_shape(name: str) -> None:
    load, frame = wave(), ForecastFrame(5, DAY, FEW)
    found = fit_forecast(name, load[:200], frame)(load[:230])
    assert found.shape == (5, len(frame.levels)) and np.isfinite(found).all()
    assert (np.diff(found, axis=1) >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_future_is_read(name: str) -> None:
    load, frame = wave(), ForecastFrame(2, DAY, FEW)
    other = load.copy()
    other[220:] += 100
    one, two = (fit_forecast(name, values[:200], frame)(values[:220]) for values in (load, other))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", SLOW_NAMES)
@pytest.mark.parametrize("factor", [0.25, 8.0])
def test_a_load_in_another_unit_is_forecast_in_it(name: str, factor: float) -> None:
    load, frame = wave(), ForecastFrame(3, DAY, FEW)
    one, two = (fit_forecast(name, scale * load[:200], frame)(scale * load[:210]) for scale in (1.0, factor))
    np.testing.assert_allclose(two, factor * one, rtol=0.02, atol=0.02 * factor)


@pytest.mark.parametrize("name", SLOW_NAMES)
def test_intervals_of_a_load_with_a_day_hold_about_as_often_as_they_say(name: str) -> None:
    series = LoadSeries("wave", 3600.0, wave(40))
    frame = ForecastFrame(6, DAY)
    score = forecast_series(series, name, frame).score(1.0)
    assert 0.75 <= score.covered <= 1.0, score
    if is_seasonal(name):
        base = forecast_series(series, "persistence", frame).score(1.0)
        assert score.crps < 0.5 * base.crps, "what repeats by the day is known from the day before"


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_load_is_forecast_exactly(name: str) -> None:
    load = np.full(300, 7.0)
    np.testing.assert_allclose(fit_forecast(name, load[:200], ForecastFrame(2, DAY, FEW))(load[:250]), 7.0, atol=1e-9)


# scores


def test_the_crps_of_a_normal_forecast_is_the_closed_form() -> None:
    """Gneiting and Raftery 2007, eq. 21: at the mean of a standard normal it is sqrt(2/pi) - 1/sqrt(pi)."""
    levels = (np.arange(2000) + 0.5) / 2000
    found = crps(np.array([0.0]), norm.ppf(levels)[None, :], tuple(levels))
    assert float(found[0]) == pytest.approx(np.sqrt(2 / np.pi) - 1 / np.sqrt(np.pi), rel=1e-3)


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=40), st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_no_point_has_less_pinball_loss_than_the_quantile(values: list[float], level: float) -> None:
    drawn = np.array(values)
    best = np.quantile(drawn, level, method="inverted_cdf")
    losses = [float(pinball(drawn, point, level).mean()) for point in (best, *drawn)]
    assert losses[0] <= min(losses) + 1e-9


@given(st.integers(5, 60), st.floats(0.1, 0.9), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_conformal_quantile_is_an_order_statistic_of_the_right_rank(count: int, level: float, seed: int) -> None:
    errors = np.random.default_rng(seed).standard_normal(count)
    (found,) = conformal_quantiles(errors, (level,))
    below = int((errors <= found).sum())
    assert below >= min(level * (count + 1) - 1e-6, count) and below - 1 < level * (count + 1) + 1e-6


# refusals and the reader


def test_a_horizon_longer_than_the_data_is_refused_by_name() -> None:
    series = LoadSeries("short", 600.0, wave(3))
    with pytest.raises(InputError, match=r"short: a horizon of 80 steps .* is longer than the data: 72 steps"):
        forecast_series(series, "persistence", ForecastFrame(80))


def test_a_season_that_was_not_seen_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"1\.25 seasons of 24 steps in 30 steps to learn from; needed: 2"):
        fit_forecast("seasonal_naive", wave(2)[:30], ForecastFrame(2, DAY))
    with pytest.raises(InputError, match="no season in 30 steps"):
        fit_forecast("seasonal_quantile", wave(2)[:30], ForecastFrame(2))
    found = forecast_findings([LoadSeries("x", 3600.0, wave(2))], ["persistence", "seasonal_naive"], 2, 86400.0)
    assert [row[1] for row in found.refused] == ["seasonal_naive"] and len(found.found) == 1
    with pytest.raises(InputError, match=r"a season of 5000 s is 1\.389 steps"):
        season_steps(LoadSeries("x", 3600.0, wave(9)), 5000.0)


def table(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["date,service,load", *rows]) + "\n", encoding="utf-8")
    return path


def hours_of(load: np.ndarray, name: str) -> list[str]:
    start = np.datetime64("2026-01-05T00:00")
    return [f"{start + np.timedelta64(place, 'h')},{name},{value:.4f}" for place, value in enumerate(load)]


def test_a_table_is_read_by_group_and_gaps_are_told(tmp_path: Path) -> None:
    rows = [*hours_of(wave(3), "a"), *hours_of(2 * wave(3), "b")]
    del rows[10]
    one, two = read_loads(table(tmp_path / "load.csv", rows), LoadColumns("load", ("service",)))
    assert (one.name, two.name) == ("load a", "load b") and one.step_s == 3600 and one.values.size == 72
    assert "1 of 72 steps without a value" in one.note and not two.note
    assert one.values[10] == pytest.approx((wave(3)[9] + wave(3)[11]) / 2, abs=1e-3)
    with pytest.raises(FactError, match="no such column"):
        read_loads(tmp_path / "load.csv", LoadColumns("rate"))
    with pytest.raises(InputError, match="of 72 steps of 3600 s have no value"):
        read_loads(
            table(tmp_path / "holes.csv", hours_of(wave(3), "a")[:30] + hours_of(wave(3), "a")[45:]),
            LoadColumns("load"),
        )


def test_the_command_scores_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(table(tmp_path / "load.csv", hours_of(wave(14), "a")))
    words = ["fit", "forecasts", file, "--value", "load", "--forecast", "persistence", "--forecast", "seasonal_naive"]
    assert ends([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    scores = {one["forecast"]: one for one in found["scores"]}
    assert scores["seasonal_naive"]["crps"] < scores["persistence"]["crps"] and scores["persistence"]["relative"] == 1
    picture = tmp_path / "load.svg"
    assert ends([*words, "--png", str(picture), "--table", str(tmp_path / "load.md")]) == 0
    assert "seasonal_naive" in picture.read_text(encoding="utf-8") and (tmp_path / "load.md").exists()
    capsys.readouterr()
    for more, says in (
        (["--horizon", "9000"], "is longer than the data"),
        (["--forecast", "persistance"], "persistance"),
        (["--season", "0"], "allowed: above 0"),
        (["--out", "x.json"], "fit forecasts writes"),
    ):
        assert ends([*words, *more]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "step_s"),
    [("minute", 420.0), ("t (min)", 420.0), ("at_ms", 0.007), ("hour", 25_200.0), ("t_s", 7.0), ("moment", 7.0)],
)
def test_moments_are_in_the_unit_that_their_column_says(column: str, step_s: float, tmp_path: Path) -> None:
    file = tmp_path / "load.csv"
    file.write_text("\n".join([f"{column},load", *(f"{7 * step},{step}" for step in range(40))]) + "\n")
    (found,) = read_loads(file, LoadColumns("load", time=column))
    assert found.step_s == pytest.approx(step_s) and len(found.values) == 40


def test_a_table_without_a_column_of_moments_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "load.csv").write_text("minute,load\n0,1\n7,2\n")
    with pytest.raises(FactError, match="--time: no column is called"):
        read_loads(tmp_path / "load.csv", LoadColumns("load"))
