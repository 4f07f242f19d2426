"""What is, stays: the latest value, and how far values moved in as many steps before. The baseline of all others."""

from __future__ import annotations

import numpy as np

from comptroller.work.load_frame import Floats, ForecastFrame, ForecastQuantiles, ahead_of


def fit(past: Floats, frame: ForecastFrame) -> ForecastQuantiles:
    """The latest value and quantiles of past changes over each number of steps."""
    moved = ahead_of(past, frame.horizon)
    changes = np.quantile(moved - past[: len(moved), None], frame.levels, axis=0).T

    def quantiles(seen: Floats) -> Floats:
        return np.asarray(seen[-1] + changes)

    return quantiles
