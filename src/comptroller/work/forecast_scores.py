"""Forecasts on time that they have not seen: pinball loss, CRPS, and how often their intervals held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.work.forecasts import LEAST_SEASONS, fit_forecast, is_seasonal
from comptroller.work.load_frame import Floats, ForecastFrame
from comptroller.work.load_series import LoadSeries

HELD_OUT = 0.3
"""Last share of a series that forecasts are judged on; HARMONY leaves 20 % to test and 10 % to choose by."""

MOST_ORIGINS = 100
"""Moments of the held-out time that are forecast from, evenly spread: at twice as many no score moved by 1 %."""


def pinball(value: npt.ArrayLike, quantile: npt.ArrayLike, level: npt.ArrayLike) -> Floats:
    """Pinball loss max(level (y - q), (level - 1) (y - q)) of a quantile (Koenker and Bassett 1978), in units of y.

    >>> pinball([10.0, 10.0], [8.0, 12.0], 0.9).round(3).tolist()
    [1.8, 0.2]
    """
    short = np.asarray(value, np.float64) - np.asarray(quantile, np.float64)
    return np.asarray(np.maximum(np.asarray(level) * short, (np.asarray(level) - 1) * short))


def crps(values: Floats, quantiles: Floats, levels: Sequence[float]) -> Floats:
    """Continuous ranked probability score of quantiles (..., levels): twice the mean pinball loss over evenly spread
    levels (Gneiting and Raftery 2007), in units of the values. For one point it is the absolute error.

    >>> crps(np.array([10.0]), np.array([[8.0]]), (0.5,)).tolist()
    [2.0]
    """
    return np.asarray(2 * pinball(values[..., None], quantiles, np.asarray(levels)).mean(axis=-1))


class ForecastScore(NamedTuple):
    """A forecast on held-out time of one series.

    crps: mean, in units of the series.  pinball: at the median, and at the highest level.  covered: share within the
    outermost quantiles, which are to hold `nominal`.  relative: CRPS over that of persistence.
    """

    series: str
    forecast: str
    crps: float
    pinball_median: float
    pinball_high: float
    covered: float
    nominal: float
    relative: float


@dataclass(frozen=True, eq=False)
class SeriesForecast:
    """Forecasts of a series on held-out time. quantiles: (origins, horizon, levels).  values: what came."""

    series: LoadSeries
    name: str
    frame: ForecastFrame
    origins: npt.NDArray[np.int64]
    quantiles: Floats
    values: Floats

    def score(self, persistence: float) -> ForecastScore:
        """Its scores beside the CRPS of persistence."""
        levels = np.array(self.frame.levels)
        middle = int(np.argmin(np.abs(levels - 0.5)))
        mean = float(crps(self.values, self.quantiles, self.frame.levels).mean())
        held = (self.values >= self.quantiles[..., 0]) & (self.values <= self.quantiles[..., -1])
        return ForecastScore(
            series=self.series.name,
            forecast=self.name,
            crps=mean,
            pinball_median=self._loss(middle),
            pinball_high=self._loss(len(levels) - 1),
            covered=float(held.mean()),
            nominal=float(levels[-1] - levels[0]),
            relative=mean / persistence if persistence else float("nan"),
        )

    def _loss(self, place: int) -> float:
        return float(pinball(self.values, self.quantiles[..., place], self.frame.levels[place]).mean())


@dataclass(frozen=True, slots=True)
class ForecastFindings:
    """Every forecast on every series, those first that can do it; refused: series, forecast and why it could not."""

    found: tuple[SeriesForecast, ...]
    refused: tuple[tuple[str, str, str], ...]

    @property
    def scores(self) -> list[ForecastScore]:
        """A score for each, in the order of series and of skill."""
        bases = {one.series.name: one.score(0.0).crps for one in self.found if one.name == "persistence"}
        all_scores = [one.score(bases.get(one.series.name, 0.0)) for one in self.found]
        places = {name: place for place, name in enumerate(dict.fromkeys(one.series for one in all_scores))}
        return sorted(all_scores, key=lambda one: (places[one.series], one.crps))


def season_steps(series: LoadSeries, season_s: float) -> int:
    """Steps of a season, 0 where half of the series' learning time does not hold one.

    Raises:
        InputError: the season is no whole number of steps.
    """
    steps = season_s / series.step_s
    if abs(steps - round(steps)) > 1e-6:
        raise InputError(
            f"{series.name}: a season of {season_s:g} s is {steps:.4g} steps of {series.step_s:g} s; allowed: "
            "whole steps"
        )
    learnt = int((1 - HELD_OUT) * series.values.size)
    return round(steps) if LEAST_SEASONS * round(steps) <= learnt else 0


def forecast_series(series: LoadSeries, name: str, frame: ForecastFrame) -> SeriesForecast:
    """A forecast that learnt from the first part of a series, from moments spread over the rest.

    Raises:
        InputError: the horizon is longer than the series bears; says the longest.
        UnsupportedError: as `fit_forecast`.
    """
    count = series.values.size
    cut = int((1 - HELD_OUT) * count)
    most = min(count - cut - 1, cut // 2)
    if frame.horizon > most:
        raise InputError(
            f"{series.name}: a horizon of {frame.horizon:,} steps ({frame.horizon * series.step_s:,g} s) is longer "
            f"than the data: {count:,} steps of {series.step_s:g} s, of which {HELD_OUT:.0%} are held out; "
            f"at most {max(most, 0):,} steps"
        )
    forecast = fit_forecast(name, series.values[:cut], frame)
    last = count - frame.horizon
    origins = np.unique(np.linspace(cut, last, min(MOST_ORIGINS, last - cut + 1)).astype(np.int64))
    found = np.stack([forecast(series.values[:origin]) for origin in origins])
    came = np.stack([series.values[origin : origin + frame.horizon] for origin in origins])
    return SeriesForecast(series, name, frame, origins, found, came)


def forecast_findings(
    all_series: Sequence[LoadSeries], forecasts: Sequence[str], horizon: int, season_s: float
) -> ForecastFindings:
    """Every forecast on every series; a seasonal one is refused for a series that lacks seasons.

    Raises:
        InputError: as `forecast_series`, or nothing could be forecast.
    """
    found, refused = [], []
    for series in all_series:
        season = season_steps(series, season_s)
        for name in forecasts:
            if is_seasonal(name) and not season:
                reason = (
                    f"{series.values.size:,} steps of {series.step_s:g} s do not hold two seasons of {season_s:g} s"
                )
                refused.append((series.name, name, f"{reason} before what is held out"))
                continue
            found.append(forecast_series(series, name, ForecastFrame(horizon, season)))
    if not found:
        raise InputError("; ".join(f"{series}, {name}: {why}" for series, name, why in refused))
    return ForecastFindings(tuple(found), tuple(refused))
