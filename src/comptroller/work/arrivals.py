"""Arrivals of requests: drawn with a given rate and variability, or counted in windows."""

from __future__ import annotations

import numpy as np

from comptroller.work.trace import Floats

CLOCK = 1e-6
"""Coefficient of variation below which gaps are equal, since the shape 1/cv^2 of the gamma distribution overflows as it
goes to 0. At this and at twice this, gaps differ by millionths of their mean either way."""

FEWEST_GAPS = 5
"""Fewest gaps of a window whose variability is counted. The CV of few gaps is too low: of Poisson arrivals it is 0.77
in the mean at 5 gaps, 0.88 at 10 and 0.5 at 2. At twice this the bias is half, but windows of fewer than 10 gaps drop
out, and where all do, the CV of the whole trace, with the changes of its rate, is taken."""


def gamma_arrivals(rate_per_s: float, cv: float, n: int, rng: np.random.Generator) -> Floats:
    """Times in s of n arrivals of a renewal process with gamma distributed gaps.

    cv: coefficient of variation of the gaps. Their mean is 1/rate and their standard deviation cv/rate (shape 1/cv^2,
    scale cv^2/rate); cv = 1 is a Poisson stream, cv = 0 a clock. ServeGen and `vllm bench serve --burstiness`
    (= 1/cv^2) use this form.
    """
    if cv < CLOCK:
        return np.arange(1, n + 1) / rate_per_s
    return np.cumsum(rng.gamma(1 / cv**2, cv**2 / rate_per_s, n))


def window_rates(arrival_s: Floats, window_s: float) -> Floats:
    """Requests per second in each whole window from the first arrival on; the mean rate if there is none.

    >>> window_rates(np.array([0.0, 0.5, 1.0, 1.1, 1.2, 2.0]), 1.0).tolist()
    [2.0, 3.0]
    """
    span_s = arrival_s[-1] - arrival_s[0]
    windows = int(span_s // window_s)
    if not windows:
        return np.array([(len(arrival_s) - 1) / span_s])
    edges = np.searchsorted(arrival_s - arrival_s[0], np.arange(windows + 1) * window_s)
    return np.diff(edges) / window_s


def window_cv(arrival_s: Floats, window_s: float) -> float:
    """Mean over windows, weighted by their gaps, of the coefficient of variation of the gaps inside a window.

    Changes of the rate from window to window do not count in it. Where no window has `FEWEST_GAPS` gaps, it is the
    coefficient of the whole trace.
    """
    gaps = np.diff(arrival_s)
    window = ((arrival_s - arrival_s[0]) // window_s).astype(np.int64)
    inside = window[1:] == window[:-1]
    label = window[1:][inside] - window[0]
    count = np.bincount(label)
    total = np.bincount(label, gaps[inside])
    square = np.bincount(label, gaps[inside] ** 2)
    full = (count >= FEWEST_GAPS) & (total > 0)
    if not full.any():
        return float(gaps.std() / gaps.mean())
    mean = total[full] / count[full]
    deviation = np.sqrt(np.maximum(square[full] / count[full] - mean**2, 0.0))
    return float(np.average(deviation / mean, weights=count[full]))
