"""The season's profile, what of today's departure from it lasts, and quantiles of the rest at that time of the season.

A departure a steps ahead is rho(a) times that of now, rho fitted to what was seen; what is left is pooled over all
seasons seen and over neighbours in the season, so that quiet hours have narrow intervals and busy ones wide. A season's
own values are left out of the profile that it departs from, or its departures would look smaller than the next one's.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.load_frame import Floats, ForecastFrame, ForecastQuantiles, ahead_of

SEASONAL = True
NEIGHBOURS = 48
"""Of a season a part of so many on either side is pooled: half an hour of a day, where three weeks then give 150
values for a quantile. Parts twice as wide blur the morning's rise."""


def fit(past: Floats, frame: ForecastFrame) -> ForecastQuantiles:
    """Everything is read off what was seen at the moment of the forecast; the past alone fixes nothing."""
    season, width = frame.season, max(1, frame.season // NEIGHBOURS)
    ahead = np.arange(1, frame.horizon + 1)

    def quantiles(seen: Floats) -> Floats:
        others, profile = _profiles(seen, season, width)
        departure = seen - others
        later = ahead_of(departure, frame.horizon)
        now, place = departure[: len(later)], (seen.size - 1) % season
        lasts = np.clip(now @ later / max(float(now @ now), 1e-300), 0.0, 1.0)
        off = (np.arange(len(later)) - place + season // 2) % season - season // 2
        rows = np.flatnonzero(np.abs(off) <= width)
        rest = later[rows] - now[rows, None] * lasts
        middle = profile[(seen.size - 1 + ahead) % season] + lasts * (seen[-1] - profile[place])
        return np.asarray(middle[:, None] + np.quantile(rest, frame.levels, axis=0).T)

    return quantiles


def _profiles(seen: Floats, season: int, width: int) -> tuple[Floats, Floats]:
    """Of each value the mean about its place in all other seasons, and the profile by place over all of them."""
    seasons = -(-seen.size // season)
    table = np.full(seasons * season, np.nan)
    table[: seen.size] = seen
    window = np.ones(2 * width + 1)
    known = np.convolve(np.pad(np.isfinite(table).astype(float), width, mode="reflect"), window, mode="valid")
    sums = np.convolve(np.pad(np.nan_to_num(table), width, mode="reflect"), window, mode="valid")
    sums, known = sums.reshape(seasons, season), known.reshape(seasons, season)
    whole, count = sums.sum(axis=0), known.sum(axis=0)
    others = (whole - sums) / np.maximum(count - known, 1)
    return others.ravel()[: seen.size], whole / count
