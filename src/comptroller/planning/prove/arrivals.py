"""Is the fleet really enough? Finalists are simulated on arrivals they have not seen, and raised until they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from comptroller.costs.capacity import LatencyTarget
from comptroller.costs.timing import TimingCalibration
from comptroller.facts.library import SHIPPED, FactLibrary
from comptroller.planning.ground.nouns import SimulatedQuantile
from comptroller.planning.ground.plan_document import ServiceDocument
from comptroller.planning.prove.simulated_fleet import calls_of, fleet_of
from comptroller.serving.engine import simulate
from comptroller.serving.jobs import fleet_for_trace
from comptroller.work.demand import TrafficDemand, recorded_trace, requests
from comptroller.work.trace import RequestTrace
from comptroller.work.workload import PeakQuantile, Workload

Array = npt.NDArray[np.float64]

FIRST, FAR = 2, 1.5
"""Draws after which a fleet is given up that misses an objective in each of them, surely and by such a factor: nearer
misses are seen in all draws, for their bound says how far to climb. With 3 in place of 1.5 nearly every fleet that
fails would be simulated to the end."""

SPAN_S = 600.0
FEWEST, MOST = 2_000, 40_000
"""A draw lasts ten minutes of arrivals within these bounds: a p99 of the fewest rests on 16 requests that are counted,
twice as many would rest it on 32 at twice the time; of the most the draws differ by less than the bound adds."""

WARM_UP = 0.2
"""Share of a draw that fills the fleet and is not counted: two of its ten minutes, many times what a request takes.
Twice as much would leave fewer requests to judge by."""


Bound = Callable[[int, float], float]
"""From the number of draws and a confidence to the sample deviations that a bound lies above their mean."""


def of_the_mean(draws: int, confidence: float) -> float:
    """Deviations from the mean of normal draws to the one-sided bound of the mean itself: t / sqrt(n).

    Student's; half of all further draws lie above the mean. n = draws, t the quantile at n - 1 degrees of freedom.

    >>> round(of_the_mean(8, 0.95), 4)
    0.6698
    """
    return float(stdtrit(draws - 1, confidence)) / float(np.sqrt(draws))


def of_a_further_draw(draws: int, confidence: float) -> float:
    """Deviations from the mean of normal draws to the one-sided bound of one more draw: t sqrt(1 + 1/n).

    Hahn and Meeker, Statistical Intervals (1991), section 4.8. n = draws, t the quantile at n - 1 degrees of freedom.

    >>> round(of_a_further_draw(8, 0.95), 4)
    2.0095
    """
    return float(stdtrit(draws - 1, confidence)) * float(np.sqrt(1 + 1 / draws))


@dataclass(frozen=True, slots=True)
class RehearsalSettings:
    """How a fleet is tried: independent draws of the arrivals, and the confidence that a further one holds."""

    draws: int = 8
    confidence: float = 0.95
    seed: int = 0
    bound: Bound = of_a_further_draw


def traces(workload: Workload, asked: TrafficDemand, rehearsal: RehearsalSettings) -> list[RequestTrace]:
    """Independent draws of the arrivals.

    Without a trace: gaps and lengths from the workload, at the rate to hold. With one: the trace as it was
    recorded, then draws of its windows with replacement, so that bursts and busy hours stay what they are.
    """
    if workload.trace is None:
        count = int(np.clip(asked.rate_per_s * SPAN_S, FEWEST, MOST))
        return [requests(workload, _draw(rehearsal, number), count) for number in range(rehearsal.draws)]
    whole = recorded_trace(workload)
    window_s = (workload.peak or PeakQuantile()).window_s
    drawn = [block_bootstrap(whole, window_s, _draw(rehearsal, number)) for number in range(1, rehearsal.draws)]
    return [whole, *drawn]


def _draw(rehearsal: RehearsalSettings, number: int) -> np.random.Generator:
    return np.random.default_rng([rehearsal.seed, number])


def block_bootstrap(trace: RequestTrace, window_s: float, rng: np.random.Generator) -> RequestTrace:
    """Windows of a trace drawn with replacement and put end to end (a block bootstrap)."""
    since = trace.arrival_s - trace.arrival_s[0]
    windows = max(int(np.ceil(trace.span_s / window_s)), 1)
    edges = np.searchsorted(since, np.arange(windows + 1) * window_s)
    rows, offset = [], []
    for place, window in enumerate(rng.integers(0, windows, windows)):
        part = np.arange(edges[window], edges[window + 1])
        rows.append(part)
        offset.append(np.full(len(part), (place - window) * window_s))
    chosen = np.concatenate(rows)
    taken = trace.take(chosen)
    return replace(taken, arrival_s=since[chosen] + np.concatenate(offset), blocks=None, session=None, measured=None)


def simulated_quantiles(
    services: Sequence[ServiceDocument],
    calibration: TimingCalibration,
    draws: Sequence[RequestTrace],
    targets: Sequence[LatencyTarget],
    seed: int,
    library: FactLibrary = SHIPPED,
) -> Iterator[Array]:
    """The objectives' quantiles, in seconds, draw by draw as each is simulated."""
    fleet = fleet_for_trace(fleet_of(services, calibration, library), draws[0])
    for row, trace in enumerate(draws):
        calls = calls_of(services, trace, np.random.default_rng([seed, row, 1]))
        outcome = simulate(fleet, calls)
        counted = trace.arrival_s >= trace.arrival_s[0] + WARM_UP * trace.span_s
        yield np.array([quantile(getattr(outcome, t.quantity)[counted], t) for t in targets])


def judge_draws(
    draws: Iterable[Array], targets: Sequence[LatencyTarget], rehearsal: RehearsalSettings
) -> tuple[SimulatedQuantile, ...]:
    """What draws show, as far as they need be simulated: where the first few all miss an objective by far, the fleet
    has failed, and their mean says by how much."""
    most, rows = np.array([target.most_s for target in targets]), list[Array]()
    for values in draws:
        rows.append(values)
        if len(rows) == FIRST and (np.stack(rows).min(axis=0) * _sure(rehearsal) > FAR * most).any():
            means = np.stack(rows).mean(axis=0).tolist()
            return tuple(SimulatedQuantile(target, mean, mean) for target, mean in zip(targets, means, strict=True))
    return quantile_bounds(np.stack(rows), targets, rehearsal)


def _sure(rehearsal: RehearsalSettings) -> float:
    """The least that a bound can be of all draws, for each second that the first few have at least.

    With m of n draws at F or more and the others at x, mean + k s = x + (F - x) c, c = m/n + k sqrt(m (n - m) / (n
    (n - 1))): at least F where c >= 1, and c F else.

    >>> _sure(RehearsalSettings(draws=8)), round(_sure(RehearsalSettings(draws=8, bound=of_the_mean)), 2)
    (1.0, 0.56)
    """
    n, k = rehearsal.draws, rehearsal.bound(rehearsal.draws, rehearsal.confidence)
    return min(1.0, FIRST / n + k * float(np.sqrt(FIRST * (n - FIRST) / (n * (n - 1)))))


def quantile_bounds(
    values: Array, targets: Sequence[LatencyTarget], rehearsal: RehearsalSettings
) -> tuple[SimulatedQuantile, ...]:
    """Quantiles by draw and target as their mean over draws and its bound, mean + k s, one-sided."""
    mean = values.mean(axis=0)
    never = ~np.isfinite(mean)
    spread = np.where(never, 0.0, values).std(axis=0, ddof=1)
    upper = mean + rehearsal.bound(len(values), rehearsal.confidence) * spread
    return tuple(SimulatedQuantile(t, float(m), float(u)) for t, m, u in zip(targets, mean, upper, strict=True))


def quantile(values: Array, target: LatencyTarget) -> float:
    """The quantile over all counted requests; those that never got there count as infinitely late.

    A single output token has no TPOT and is left out of it.
    """
    if target.quantity == "tpot_s":
        values = values[np.isfinite(values)]
    late = np.where(np.isfinite(values), values, np.inf)
    return float(np.quantile(late, target.quantile, method="higher")) if late.size else float("inf")
