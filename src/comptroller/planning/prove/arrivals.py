"""Is the fleet really enough? Finalists are simulated on arrivals they have not seen, and raised until they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from comptroller.costs.capacity import LatencyTarget
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.facts.library import SHIPPED, FactLibrary
from comptroller.planning.ground.executor import side_by_side
from comptroller.planning.ground.nouns import SimulatedQuantile
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.prove.simulated_fleet import StepTableCache, calls_of, fleet_for_prefixes
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.jit import COMPILED
from comptroller.serving.jobs import fleet_for_trace
from comptroller.serving.outcome import EngineOutcome
from comptroller.work.demand import TrafficDemand, recorded_trace, requests
from comptroller.work.trace import RequestTrace, TracePrefixBlocks
from comptroller.work.workload import PeakQuantile, Workload

Array = npt.NDArray[np.float64]

NEAR, FURTHER = 0.05, 2
"""A fleet whose bound misses by less than this share is simulated on so many times as many further draws before it is
said to fail: of 8 draws the bound lies 2.01 sample deviations above the mean, of 24 in all 1.75, and the deviation
itself is known twice as well. Twice the share would draw more for fleets of which few hold in the end."""

FAR = 1.0 + NEAR
"""Factor by which a fleet must surely miss an objective to be given up before all draws are simulated: no bound of all
of them would be a near miss. With twice the excess more fleets that fail would be simulated to the end."""

FIRST, SURELY = 2, 1.1
"""A queue that in each of so many first draws is so many times below what it may grow to, or above, is not drawn
further: one that grows does so in each. With twice the distance most stable fleets would be drawn to the end."""

SPAN_S = 600.0
FEWEST, MOST = 2_000, 40_000
"""A draw lasts ten minutes of arrivals within these bounds: a p99 of the fewest rests on 16 requests that are counted,
twice as many would rest it on 32 at twice the time; of the most the draws differ by less than the bound adds."""

GROWTH = 1.2
"""Without a latency objective the p95 of TTFT may be so many times as long in the last quarter of the counted arrivals
as in the first, in the geometric mean of the draws: a steady queue gives 1 and some noise; one that grows over ten
minutes gave 74 and more. At twice this a queue that doubles within minutes would pass."""

QUARTERS = 2
"""The first and the last quarter of what is counted: what stands for the objectives where there are none."""

WATCHED = LatencyTarget("ttft_s", 0.95, float("inf"))
"""What shows whether a queue grows: everything that waits waits for its first token."""

WARM_UP = 0.2
"""Share of a draw that fills the fleet and is not counted: two of its ten minutes, many times what a request takes.
Twice as much would leave fewer requests to judge by."""


QuantityReader = Callable[[str, npt.NDArray[np.bool_]], Array]
"""From the name of a quantity and a mask of what arrived to its values."""

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

    @property
    def most_draws(self) -> int:
        """Draws of a fleet that nearly holds."""
        return self.draws * (1 + FURTHER)


def traces(workload: Workload, asked: TrafficDemand, rehearsal: RehearsalSettings) -> list[RequestTrace]:
    """Independent draws of the arrivals.

    Without a trace: gaps and lengths from the workload, at the rate to hold. With one: the trace as it was
    recorded, then draws of its windows with replacement, so that bursts and busy hours stay what they are.
    """
    if workload.trace is None:
        count = int(np.clip(asked.rate_per_s * SPAN_S, FEWEST, MOST))
        return [requests(workload, _draw(rehearsal, number), count) for number in range(rehearsal.most_draws)]
    whole = recorded_trace(workload)
    window_s = (workload.peak or PeakQuantile()).window_s
    drawn = [block_bootstrap(whole, window_s, _draw(rehearsal, number)) for number in range(1, rehearsal.most_draws)]
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
    blocks = taken.blocks and with_own_blocks(taken.blocks, [len(part) for part in rows])
    return replace(taken, arrival_s=since[chosen] + np.concatenate(offset), blocks=blocks, session=None, measured=None)


def with_own_blocks(blocks: TracePrefixBlocks, requests_of: Sequence[int]) -> TracePrefixBlocks:
    """Blocks of windows put end to end, so that a window finds only its own: one that was drawn twice is not known the
    second time. What windows have in common is lost, and so hits are too few rather than too many."""
    place = np.repeat(np.arange(len(requests_of)), requests_of)
    step = int(blocks.ids.max(initial=0)) + 1
    return replace(blocks, ids=blocks.ids + np.repeat(place, np.diff(blocks.offsets)) * step)


def simulated_quantiles(
    services: Sequence[ServiceDocument],
    calibration: TimingCalibration,
    draws: Sequence[RequestTrace],
    targets: Sequence[LatencyTarget],
    seed: int,
    library: FactLibrary = SHIPPED,
) -> Iterator[Array]:
    """The objectives' quantiles, in seconds, draw by draw as each is simulated."""
    tables = StepTableCache(calibration, library)
    return draw_quantiles(fleet_for_prefixes(services, tables, draws[0]), services, draws, targets, seed)


def draw_quantiles(
    fleet: SimulatedFleet,
    services: Sequence[ServiceDocument],
    draws: Sequence[RequestTrace],
    targets: Sequence[LatencyTarget],
    seed: int,
) -> Iterator[Array]:
    """The same of a fleet that is ready to be simulated.

    The first draw alone, as it is often enough; then as many side by side as there are cores, in their order.
    """
    ready = fleet_for_trace(fleet, draws[0])

    def quantiles_of(row: int) -> Array:
        outcome = draw_outcome(ready, services, draws[row], [seed, row, 1])
        return observed_quantiles(draws[row].arrival_s, targets, reader_of(outcome))

    together = (os.cpu_count() or 1) if COMPILED else 1
    yield quantiles_of(0)
    for first in range(1, len(draws), together):
        rows = range(first, min(first + together, len(draws)))
        yield from side_by_side(partial(quantiles_of, row) for row in rows)


@dataclass(frozen=True)
class DrawnOutcome:
    """One draw on a fleet: when each request or question arrived, how a quantity is read, and what came of it."""

    arrival_s: Array
    read: QuantityReader
    outcome: EngineOutcome


def draw_outcome(
    ready: SimulatedFleet, services: Sequence[ServiceDocument], draw: RequestTrace, seed: Sequence[int]
) -> EngineOutcome:
    """What comes of one draw on a fleet; seed: of the services that its requests go to."""
    return simulate(ready, calls_of(services, draw, np.random.default_rng(seed)))


def reader_of(outcome: EngineOutcome) -> QuantityReader:
    """Quantities of the requests of an outcome."""
    return lambda quantity, chosen: np.asarray(getattr(outcome, quantity)[chosen])


def observed_quantiles(arrival_s: Array, targets: Sequence[LatencyTarget], read: QuantityReader) -> Array:
    """The objectives' quantiles over what arrived after the warm-up; without objectives the p95 of TTFT in the first
    and in the last quarter of it.

    read: a quantity, in seconds, of what arrived within a mask.
    """
    since = (arrival_s - arrival_s[0]) / max(float(arrival_s[-1] - arrival_s[0]), 1e-9)
    if targets:
        return np.array([quantile(read(t.quantity, since >= WARM_UP), t) for t in targets])
    quarter = (1.0 - WARM_UP) / 4.0
    ends = ((WARM_UP, WARM_UP + quarter), (1.0 - quarter, np.inf))
    masks = [(since >= start) & (since < end) for start, end in ends]
    return np.array([quantile(read(WATCHED.quantity, mask), WATCHED) for mask in masks])


class DrawRecord:
    """What draws showed of one fleet, (draws, objectives), simulated no sooner than somebody asks for them."""

    def __init__(self, draws: Iterator[Array]) -> None:
        self._draws, self._rows = draws, list[Array]()

    @property
    def count(self) -> int:
        """How many draws were simulated."""
        return len(self._rows)

    def first(self, count: int) -> Array:
        """The first so many draws."""
        self._rows += islice(self._draws, max(count - len(self._rows), 0))
        return np.stack(self._rows[:count])


def judge_draws(
    record: DrawRecord, targets: Sequence[LatencyTarget], rehearsal: RehearsalSettings
) -> tuple[SimulatedQuantile, ...]:
    """What draws show, as far as they need be simulated: where those so far miss an objective by far whatever others
    show, the fleet has failed, and the least that its bound can be is told; where all nearly hold it, more decide."""
    if not targets:
        return (_judge_growth(record, rehearsal),)
    few = surely_beyond(record, targets, rehearsal, FAR)
    found = _shown_by(record, few, targets, rehearsal)
    if not few and 1.0 < max((item.excess for item in found), default=0.0) < 1.0 + NEAR:
        further = replace(rehearsal, draws=rehearsal.most_draws)
        found = _shown_by(record, surely_beyond(record, targets, further, 1.0), targets, further)
    return found


def _shown_by(
    record: DrawRecord, few: int, targets: Sequence[LatencyTarget], rehearsal: RehearsalSettings
) -> tuple[SimulatedQuantile, ...]:
    """What so few draws show, or all where it is none."""
    if not few:
        return quantile_bounds(record.first(rehearsal.draws), targets, rehearsal)
    values = record.first(few)
    mean = values.mean(axis=0)
    upper = np.maximum(mean, least_bound(values, rehearsal))
    return tuple(SimulatedQuantile(t, float(m), float(u)) for t, m, u in zip(targets, mean, upper, strict=True))


def surely_beyond(
    record: DrawRecord, targets: Sequence[LatencyTarget], rehearsal: RehearsalSettings, share: float
) -> int:
    """After how many draws it is sure that the bound of all of them is more than a share of an objective; 0 where it is
    not, or all must be seen. Draws are simulated one by one until it is."""
    most = np.array([target.most_s for target in targets])
    for count in range(1, rehearsal.draws):
        if (least_bound(record.first(count), rehearsal) > share * most).any():
            return count
    return 0


def _judge_growth(record: DrawRecord, rehearsal: RehearsalSettings) -> SimulatedQuantile:
    """Whether the queue grows, by the first draws where they all say the same by far."""
    few = record.first(FIRST)
    growth = np.maximum(few[:, 1], 1e-9) / np.maximum(few[:, 0], 1e-9)
    sure = (growth < GROWTH / SURELY).all() or (growth > GROWTH * SURELY).all()
    return queue_growth(few if sure else record.first(rehearsal.draws))


def queue_growth(values: Array) -> SimulatedQuantile:
    """Whether the queue grows: the last quarter's p95 of TTFT, as the mean ratio of all draws to the first quarter's
    says, against `GROWTH` times the first's. values: (draws, 2), the first and the last quarter.

    >>> queue_growth(np.array([[0.1, 0.1], [0.2, 0.2]])).holds, queue_growth(np.array([[0.1, 74.0]])).holds
    (True, False)
    """
    first, last = np.maximum(values, 1e-9).T
    mean = float(first.mean())
    if not np.isfinite(values).all():
        return SimulatedQuantile(replace(WATCHED, most_s=mean if np.isfinite(mean) else 0.0), np.inf, np.inf)
    grown = mean * float(np.exp(np.log(last / first).mean()))
    return SimulatedQuantile(replace(WATCHED, most_s=GROWTH * mean), grown, grown)


def least_bound(values: Array, rehearsal: RehearsalSettings) -> Array:
    """The least that the bound of all draws can be, whatever the draws that are left show, by objective.

    values: (m, objectives), of the first m of n draws, with mean a and sum of squares S about it. With the others all
    at a + d, which makes their spread least, mean + k s is

        a + (n - m) d / n + k sqrt((S + m (n - m) d^2 / n) / (n - 1)),

    convex in d >= -a, so that its minimum stands where its slope is zero or at d = -a.

    >>> few = np.array([[1.0], [1.2]])
    >>> least_bound(few, RehearsalSettings(draws=8)).round(3).tolist()
    [1.164]
    >>> least_bound(few[:1], RehearsalSettings(draws=8, bound=of_the_mean)).round(3).tolist()
    [0.362]
    """
    m, n, k = len(values), rehearsal.draws, rehearsal.bound(rehearsal.draws, rehearsal.confidence)
    mean, never = values.mean(axis=0), ~np.isfinite(values).all(axis=0)
    center = np.where(never, 0.0, mean)
    spread = (np.where(never, 0.0, values - center) ** 2).sum(axis=0) / (n - 1)
    slope, bend = (n - m) / n, m * (n - m) / (n * (n - 1))
    steep = k * k * bend - slope * slope
    lower = -slope * np.sqrt(spread / (bend * steep)) if steep > 0 else np.full(len(mean), -np.inf)
    d = np.maximum(lower, -center)
    return np.where(never, np.inf, center + slope * d + k * np.sqrt(spread + bend * d * d))


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
