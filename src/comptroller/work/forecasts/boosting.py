"""Trees boosted on the pinball loss of each quantile, by scikit-learn (extra `forecast`), for all steps ahead at once.

Source of the method: Friedman 2001 with the quantile loss; `HistGradientBoostingRegressor(loss="quantile")`.
"""

from __future__ import annotations

import importlib

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.work.load_frame import Floats, ForecastFrame, ForecastQuantiles, first_moment, rising, signals

MOST_ROWS = 20_000
"""Moments times steps ahead that trees are grown on; twice as many took twice the time, for less than 1 % of CRPS."""
ROUNDS, LEAVES, RATE, LEAST_LEAF = 80, 15, 0.08, 40
"""Small trees and few rounds: with a leaf of 40 rows the outer quantiles still rest on data."""


def fit(past: Floats, frame: ForecastFrame) -> ForecastQuantiles:
    """A model for each level.

    Raises:
        UnsupportedError: scikit-learn is not installed.
    """
    try:
        ensemble = importlib.import_module("sklearn.ensemble")
    except ImportError as error:
        raise UnsupportedError("forecast boosting needs scikit-learn: pip install 'comptroller[forecast]'") from error
    seen, target = _rows(past, frame)
    models = [
        ensemble.HistGradientBoostingRegressor(
            loss="quantile", quantile=level, max_iter=ROUNDS, max_leaf_nodes=LEAVES, learning_rate=RATE,
            min_samples_leaf=min(LEAST_LEAF, max(2, len(seen) // 20)), early_stopping=False, random_state=0,
        ).fit(seen, target)
        for level in frame.levels
    ]  # fmt: skip

    def quantiles(values: Floats) -> Floats:
        now = np.concatenate([_with_clock(values, frame, step)[-1:] for step in range(1, frame.horizon + 1)])
        return rising(values[-1] + np.stack([model.predict(now) for model in models], axis=1))

    return quantiles


def _rows(past: Floats, frame: ForecastFrame) -> tuple[Floats, Floats]:
    """Signals and the changes that followed, of evenly spread moments."""
    first, parts, targets = first_moment(frame), [], []
    moments = past.size - first - frame.horizon
    every = max(1, -(-moments * frame.horizon // MOST_ROWS))
    for step in range(1, frame.horizon + 1):
        rows = np.arange(step % every, moments, every)
        parts.append(_with_clock(past, frame, step)[rows])
        targets.append(past[first + step + rows] - past[first + rows])
    return np.concatenate(parts), np.concatenate(targets)


def _with_clock(values: Floats, frame: ForecastFrame, step: int) -> Floats:
    """Signals as departures from the latest value, the place of the target in the season, and how far ahead it is."""
    known = signals(values, frame, step)
    place = (np.arange(first_moment(frame), values.size) + step) % max(frame.season, 1)
    return np.column_stack([known[:, 0], known[:, 1:] - known[:, :1], place, np.full(len(known), step)])
