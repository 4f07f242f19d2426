"""How prices and demand are drawn: by measured ratios, by resampled windows of a trace, or by declared bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from comptroller.planning.offer.intervals import RelativeInterval
from comptroller.planning.risk.price_drift import drift, strata
from comptroller.work.arrivals import window_rates
from comptroller.work.demand import DEFAULT_PEAK, recorded_trace
from comptroller.work.uncertainty import UncertaintyRange, WorkloadUncertainty
from comptroller.work.workload import Workload

Floats = npt.NDArray[np.float64]

CELLS = 4_000_000
"""Windows that are resampled together, over all draws of a part: 32 MB at once; the result does not depend on it."""


@dataclass(frozen=True)
class FactorDistribution:
    """How a factor is drawn. draw: so many of them.  rests_on: what the draws are, in words.  known: it is 1."""

    draw: Callable[[int, np.random.Generator], Floats]
    rests_on: str
    known: bool = False


def taken_as_given(count: int, rng: np.random.Generator) -> Floats:
    """Factors of what is not drawn."""
    return np.ones(count)


def declared_chance(bounds: UncertaintyRange) -> FactorDistribution:
    """That of declared 80 % bounds."""

    def draw(count: int, rng: np.random.Generator) -> Floats:
        return RelativeInterval(bounds.low, bounds.high).of_deviates(ndtri(strata(count, rng)))

    return FactorDistribution(draw, f"declared: {bounds.low:g}x to {bounds.high:g}x", bounds.low == bounds.high)


def price_chance(term: str, declared: WorkloadUncertainty | None) -> FactorDistribution:
    """How far the next quote of an offer may lie from the one that it was priced with."""
    if declared is not None and declared.prices is not None:
        return declared_chance(declared.prices)
    found = drift(term)
    said = f"{len(found.ratios)} changes of dated quotes ({found.of.replace('_', '-')})"
    return FactorDistribution(found.draw, f"{said}, a median of {np.median(found.days):.0f} days apart")


def demand_chance(workload: Workload, declared: WorkloadUncertainty | None) -> FactorDistribution:
    """How far the rate to hold may lie from that of the plan: declared, or its windows resampled one by one.

    Windows are taken for independent of each other, so a trend over the trace counts as chance.
    """
    if declared is not None and declared.demand is not None:
        return declared_chance(declared.demand)
    if workload.trace is None:
        return FactorDistribution(taken_as_given, "the rate is taken as given", known=True)
    peak = workload.peak or DEFAULT_PEAK
    rates = window_rates(recorded_trace(workload).arrival_s, peak.window_s)
    held = float(np.quantile(rates, peak.quantile))

    def draw(count: int, rng: np.random.Generator) -> Floats:
        peak_rates, step = np.empty(count), max(1, CELLS // len(rates))
        for start in range(0, count, step):
            rows = min(step, count - start)
            windows = rates[rng.integers(0, len(rates), (rows, len(rates)))]
            peak_rates[start : start + rows] = np.quantile(windows, peak.quantile, axis=1) / held
        return peak_rates

    return FactorDistribution(
        draw, f"{len(rates):,} windows of the trace, {peak.window_s:g} s each, resampled", len(rates) < 2
    )
