"""Forecasts of a load with intervals: one file each, a function `fit` of what was seen; the folder is the registry.

`fit(past, frame)` learns from values at equal steps and gives a function that, told all values up to a moment, gives
the quantiles of the next `frame.horizon` steps. One's own is named by the path to its file or by a dotted path. A file
that sets SEASONAL needs a season, of which it has seen two.
"""

from __future__ import annotations

from collections.abc import Callable

from comptroller.errors import InputError
from comptroller.own_code import PlugInRegistry
from comptroller.work.load_frame import Floats, ForecastFrame, ForecastQuantiles

LEAST_SEASONS = 2
"""Seasons that a seasonal forecast has to have seen: one says nothing of how they differ."""


FORECASTS = PlugInRegistry(__name__, "forecast", "fit")


def is_seasonal(name: str) -> bool:
    """Whether a forecast needs a season."""
    return bool(getattr(FORECASTS.module(name), "SEASONAL", False))


def fit_forecast(name: str, past: Floats, frame: ForecastFrame) -> ForecastQuantiles:
    """A forecast that has learnt from the past.

    Raises:
        UnknownIdError: there is no such forecast.
        InputError: a season that is needed is not given or not seen twice; a file without `fit`.
        UnsupportedError: what it needs is not installed.
    """
    seasons = past.size / frame.season if frame.season else 0.0
    if is_seasonal(name) and seasons < LEAST_SEASONS:
        seen = f"{seasons:.3g} seasons of {frame.season} steps" if frame.season else "no season"
        raise InputError(
            f"forecast {name}: {seen} in {past.size} steps to learn from; needed: {LEAST_SEASONS} (a longer series, a "
            "shorter season, or persistence)"
        )
    fit: Callable[[Floats, ForecastFrame], ForecastQuantiles] = FORECASTS.module(name).fit
    return fit(past, frame)
