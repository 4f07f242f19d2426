"""As a season ago: the value then, and how far values of two seasons differ. The baseline of loads with a day."""

from __future__ import annotations

import numpy as np

from comptroller.work.load_frame import Floats, ForecastFrame, ForecastQuantiles

SEASONAL = True


def fit(past: Floats, frame: ForecastFrame) -> ForecastQuantiles:
    """The value of the latest season that is known at each step, and quantiles of past differences to it."""
    steps = np.arange(1, frame.horizon + 1)
    seasons = -(-steps // frame.season) * frame.season
    spread = {
        int(back): np.quantile(past[back:] - past[:-back], frame.levels)
        for back in np.unique(seasons)
        if back < past.size
    }
    widest = spread[max(spread)]
    changes = np.stack([spread.get(int(back), widest) for back in seasons])

    def quantiles(seen: Floats) -> Floats:
        return np.asarray(seen[seen.size - 1 + steps - seasons, None] + changes)

    return quantiles
