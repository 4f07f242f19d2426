"""A ridge regression of the change over each number of steps, and errors of values that it has not seen.

Split conformal prediction (Lei et al. 2018, algorithm 2) with signed errors: the regression is fitted on the first part
of the past, the errors are those of the latest moments up to now, so that they widen and shrink with the load.
"""

from __future__ import annotations

import math

import numpy as np

from comptroller.work.load_frame import Floats, ForecastFrame, ForecastQuantiles, first_moment, rising, signals

FITTED_SHARE = 0.6
"""Of the past that the regression is fitted to; the rest are the first errors. At half of it neither has enough."""
ERRORS = 1000
"""Latest errors that are kept: a week of ten-minute windows. Twice as many follow a change half as fast."""
RIDGE = 0.03
"""Of the variance of the signals, enough that columns which are alike share their weight."""


def fit(past: Floats, frame: ForecastFrame) -> ForecastQuantiles:
    """A regression for each step ahead."""
    cut, first = max(int(FITTED_SHARE * past.size), frame.horizon + first_moment(frame) + 1), first_moment(frame)
    weights = [_ridge(past[:cut], frame, step) for step in range(1, frame.horizon + 1)]

    def quantiles(seen: Floats) -> Floats:
        rows = []
        for step, (middle, slope) in enumerate(weights, 1):
            kept = seen[max(0, seen.size - ERRORS - step - first) :]
            told = kept[first:] + middle + _departures(kept, frame, step) @ slope
            errors = kept[first + step :] - told[: told.size - step]
            unseen = errors[max(0, cut - (seen.size - kept.size) - first - step) :]
            rows.append(told[-1] + conformal_quantiles(unseen if unseen.size else errors, frame.levels))
        return rising(np.stack(rows))

    return quantiles


def conformal_quantiles(errors: Floats, levels: tuple[float, ...]) -> Floats:
    """Errors at the ranks that one more error, exchangeable with them, is below with at least each level's odds: the
    ceil(level (n + 1))-th smallest, at most the largest.

    >>> conformal_quantiles(np.array([3.0, 1.0, 2.0, 4.0]), (0.2, 0.5, 0.9)).tolist()
    [1.0, 3.0, 4.0]
    """
    ordered = np.sort(errors)
    ranks = [min(max(math.ceil(level * (ordered.size + 1) - 1e-9), 1), ordered.size) for level in levels]
    return np.asarray(ordered[np.array(ranks) - 1])


def _ridge(values: Floats, frame: ForecastFrame, step: int) -> tuple[float, Floats]:
    """Constant and slopes of the change over `step` on the departures of signals from the latest value, so that what
    the ridge shrinks towards is persistence."""
    seen = _departures(values, frame, step)[: -step or None]
    target = values[first_moment(frame) + step :] - values[first_moment(frame) : -step or None]
    centre, mean = seen.mean(axis=0), float(target.mean())
    scatter = (seen - centre).T @ (seen - centre)
    scatter[np.diag_indices_from(scatter)] += RIDGE * max(float(np.trace(scatter)) / len(scatter), 1e-12)
    slope = np.linalg.solve(scatter, (seen - centre).T @ (target - mean))
    return mean - float(centre @ slope), slope


def _departures(values: Floats, frame: ForecastFrame, step: int) -> Floats:
    known = signals(values, frame, step)
    return np.asarray(known[:, 1:] - known[:, :1])
