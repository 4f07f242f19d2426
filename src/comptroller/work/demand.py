"""The demand of a workload: requests one by one for the simulator, sizes and rates for the planner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from comptroller.errors import FactError
from comptroller.work.arrivals import gamma_arrivals, window_cv, window_rates
from comptroller.work.lengths import RequestSizeTable, bucketed_means, bucketed_sizes, edges_of, points
from comptroller.work.prefix_sharing import BLOCK_TOKENS, tokens_seen_before, whole_blocks
from comptroller.work.rows import TraceReadOptions
from comptroller.work.trace import Floats, RequestTrace, TracePrefixBlocks
from comptroller.work.traces import read_trace
from comptroller.work.workload import PeakQuantile, Workload

GRID = (8, 8)
"""Most buckets of input and of output lengths. Tokens are conserved at any number; what is lost is variance: the mean
square of lognormal lengths (sigma 0.8) is 5 % low at 8 buckets, 3.5 % at 16 and 15 % at 4. At twice this the planner's
program has up to four times the classes."""

DEFAULT_PEAK = PeakQuantile()

HOURS_OF_A_DAY = 24.0

TRACES_KEPT = 4
"""Traces in memory. The steps of a plan read that of its workload again and again; a million requests take 24 MB, so
that twice as many may take twice the memory, and help only whoever plans more than four traces in turn."""


@dataclass(frozen=True, slots=True)
class RequestSizeBucket:
    """Requests of similar size: mean lengths in tokens, rate, and the greatest lengths among them."""

    input_tokens: float
    output_tokens: float
    rate_per_s: float
    input_most: float
    output_most: float


@dataclass(frozen=True, slots=True)
class TrafficDemand:
    """The load that a fleet must serve.

    rate_per_s: the rate to size for, summed over buckets.  mean_rate_per_s, busiest_rate_per_s: mean and busiest window
    of the trace; without a trace both are the stated rate, the mean that of the day where its busiest hour is known.
    cv: coefficient of variation of the gaps between arrivals.  window_cv: that inside windows, without
    changes of the rate.  block_reuse: greatest share of prefix blocks that a cache can hit.  dropped: bad rows of the
    trace left out.  cached_tokens: of the prompts of each bucket, in the mean, found in a cache without end.
    working_tokens: of all different beginnings of prompts together.
    """

    rate_per_s: float
    mean_rate_per_s: float
    busiest_rate_per_s: float
    cv: float
    window_cv: float
    sizes: RequestSizeTable
    block_reuse: float = 0.0
    dropped: int = 0
    cached_tokens: Floats | None = None
    working_tokens: float = 0.0

    @property
    def rates_per_s(self) -> Floats:
        """Requests per second of each bucket."""
        return self.sizes.weight * self.rate_per_s

    @property
    def mean_input_tokens(self) -> float:
        """Mean input tokens of a request."""
        return float(self.sizes.weight @ self.sizes.input_tokens)

    @property
    def mean_output_tokens(self) -> float:
        """Mean output tokens of a request."""
        return float(self.sizes.weight @ self.sizes.output_tokens)

    @property
    def longest_tokens(self) -> float:
        """Greatest sum of input and output tokens of a request."""
        return float((self.sizes.input_most + self.sizes.output_most).max())

    def __len__(self) -> int:
        return len(self.sizes.weight)

    def __iter__(self) -> Iterator[RequestSizeBucket]:
        sizes = self.sizes
        columns = (sizes.input_tokens, sizes.output_tokens, self.rates_per_s, sizes.input_most, sizes.output_most)
        return (RequestSizeBucket(*map(float, row)) for row in zip(*columns, strict=True))


def recorded_trace(workload: Workload) -> RequestTrace:
    """The workload's trace, at the rate that the workload states if it does.

    Raises:
        FactError: it has none, its arrivals have no rate, or the file is malformed.
        RecordError: rows are bad and the workload does not say `skip_bad`.
    """
    if workload.trace is None:
        raise FactError(workload.name, "trace", "the workload has none")
    path = Path(workload.trace)
    trace = _read_cached(path, path.stat().st_mtime_ns, workload.reading, workload.seed)
    if not trace.rate_per_s > 0:
        raise FactError(path.name, "arrivals", "give no rate", "at least two requests at different times")
    factor = workload.rate_per_s / trace.rate_per_s if workload.rate_per_s else workload.scale
    return trace if factor is None or factor == 1 else trace.scaled(factor)


@lru_cache(maxsize=TRACES_KEPT)
def _read_cached(path: Path, changed_ns: int, reading: TraceReadOptions, seed: int) -> RequestTrace:
    return read_trace(path, reading, np.random.default_rng(seed))


def requests(workload: Workload, rng: np.random.Generator, n: int) -> RequestTrace:
    """The first n requests: those of the trace, or drawn from rate, variability and lengths.

    A trace of fewer requests is repeated, a mean gap after its last request. Repetitions have prefix blocks and
    sessions of their own, so that they share no prefix.

    Raises:
        FactError, RecordError: as `recorded_trace`.
    """
    if workload.trace is not None:
        return _repeated_trace(recorded_trace(workload), n)
    rate, sizes, cv = workload.rate_per_s, workload.lengths, workload.cv
    if rate is None or sizes is None:
        raise FactError(workload.name, "rate_per_s", "no arrivals", "rate_per_s and lengths, or trace")
    arrival_s = gamma_arrivals(rate, 1.0 if cv is None else cv, n, rng)
    inputs, outputs = sizes.draw(n, rng)
    blocks = None if workload.prefix is None else workload.prefix.blocks(inputs, rng)
    return RequestTrace(arrival_s, inputs, outputs, source=workload.name, blocks=blocks)


def _repeated_trace(trace: RequestTrace, n: int) -> RequestTrace:
    row = np.arange(n)
    lap, within = np.divmod(row, len(trace))
    once = trace.take(within)
    period_s = trace.span_s + 1 / trace.rate_per_s
    blocks, session = once.blocks, once.session
    if blocks is not None and n > len(trace):
        step = blocks.ids.max() + 1 - blocks.ids.min() if len(blocks.ids) else 0
        ids = blocks.ids + np.repeat(lap * step, np.diff(blocks.offsets))
        blocks = TracePrefixBlocks(blocks.offsets, ids, blocks.tokens)
    if session is not None and n > len(trace):
        session = np.where(session < 0, session, session + lap * (session.max() + 1))
    return replace(once, arrival_s=once.arrival_s + lap * period_s, blocks=blocks, session=session)


def demand(workload: Workload, grid: tuple[int, int] = GRID) -> TrafficDemand:
    """The demand of a workload, with sizes in at most grid[0] x grid[1] buckets of input and output length.

    Raises:
        FactError, RecordError: as `recorded_trace`.
    """
    if workload.trace is not None:
        return demand_of(recorded_trace(workload), workload.peak or DEFAULT_PEAK, grid)
    rate, lengths = workload.rate_per_s, workload.lengths
    if rate is None or lengths is None:
        raise FactError(workload.name, "rate_per_s", "no arrivals", "rate_per_s and lengths, or trace")
    cv = 1.0 if workload.cv is None else workload.cv
    sizes, bins = lengths.points(), lengths.edges()
    bins_fit = bins is not None and len(bins.input) < grid[0] and len(bins.output) < grid[1]
    edges = bins if bins is not None and bins_fit else edges_of(sizes, grid)
    share = workload.busiest_hour_share
    mean = rate / (HOURS_OF_A_DAY * share) if share else rate
    buckets, asked = bucketed_sizes(sizes, edges), workload.prefix
    cached, working = None, 0.0
    if asked is not None:
        cached = whole_blocks(asked.share * buckets.input_tokens, buckets.input_tokens, BLOCK_TOKENS)
        working = asked.groups * float(cached.max(initial=0.0))
    return TrafficDemand(rate, mean, rate, cv, cv, buckets, cached_tokens=cached, working_tokens=working)


def demand_of(trace: RequestTrace, peak: PeakQuantile = DEFAULT_PEAK, grid: tuple[int, int] = GRID) -> TrafficDemand:
    """The demand of a trace; the rate to size for is a quantile of its rate over windows.

    Raises:
        FactError: so few windows hold a request that the quantile is 0.
    """
    rates = window_rates(trace.arrival_s, peak.window_s)
    rate_per_s = float(np.quantile(rates, peak.quantile))
    if rate_per_s <= 0:
        idle = f"{(rates == 0).mean():.1%} of the windows of {peak.window_s:g} s hold no request, so there is no rate"
        raise FactError(trace.source, "peak", f"{idle} to size for", "a wider window_s, or a higher quantile")
    sizes = points(trace.input_tokens, trace.output_tokens)
    edges = edges_of(sizes, grid)
    cached = None
    if trace.blocks is not None:
        cached = bucketed_means(tokens_seen_before(trace), trace.input_tokens, trace.output_tokens, edges)
    return TrafficDemand(
        rate_per_s=rate_per_s,
        mean_rate_per_s=trace.rate_per_s,
        busiest_rate_per_s=float(rates.max()),
        cv=trace.cv,
        window_cv=window_cv(trace.arrival_s, peak.window_s),
        sizes=bucketed_sizes(sizes, edges),
        block_reuse=trace.blocks.reuse if trace.blocks else 0.0,
        dropped=trace.dropped,
        cached_tokens=cached,
        working_tokens=trace.blocks.shared_tokens if trace.blocks else 0.0,
    )
