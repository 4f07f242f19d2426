"""Traces: requests over time, one array per column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from comptroller.work.trace_tasks import TraceTasks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NO_SESSION = -1
"""Session number of a request without a session."""

NO_ADAPTER = -1
"""Adapter number of a request that takes the model as it is."""


@dataclass(frozen=True, slots=True)
class TracePrefixBlocks:
    """Prefix blocks of all requests; those of request i are ids[offsets[i] : offsets[i + 1]].

    tokens: tokens per block. Equal ids mean that the block and all before it have equal content.
    """

    offsets: Ints
    ids: Ints
    tokens: int

    def take(self, rows: Ints) -> TracePrefixBlocks:
        """The blocks of the requests at some indices, in that order."""
        counts = np.diff(self.offsets)[rows]
        offsets = np.concatenate(([0], np.cumsum(counts)))
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return TracePrefixBlocks(offsets, self.ids[np.repeat(self.offsets[rows], counts) + within], self.tokens)

    @property
    def reuse(self) -> float:
        """Share of blocks that occurred before: the hit rate of an infinite cache, an upper bound for any.

        >>> TracePrefixBlocks(np.array([0, 2, 4]), np.array([7, 8, 7, 9]), 512).reuse
        0.25
        """
        return 1 - len(np.unique(self.ids)) / len(self.ids) if len(self.ids) else 0.0

    @property
    def shared_tokens(self) -> float:
        """Tokens of the different blocks that occur more than once.

        >>> TracePrefixBlocks(np.array([0, 2, 4]), np.array([7, 8, 7, 9]), 512).shared_tokens
        512.0
        """
        return float((np.unique(self.ids, return_counts=True)[1] > 1).sum() * self.tokens)


@dataclass(frozen=True, slots=True)
class TraceLatencies:
    """Measured time to first token and end-to-end latency, in s per request; NaN where unknown."""

    ttft_s: Floats
    e2e_s: Floats


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """Requests in order of arrival, all columns of shape (requests,).

    arrival_s: from the first arrival, from the start of the part that was read, or from the start of the client pool
    for formats that describe one.  session: number of the conversation, `NO_SESSION` for none.  dropped: bad rows left
    out.  tenant: place in `tenants` of who asked.  adapter: place in `adapters` of the weights beside the
    model that it wants, `NO_ADAPTER` for none.  priority: larger first.  notes: what was taken for granted in
    reading it, in sentences.  tasks: what requests wait for; the arrival of one that waits is when it was recorded.
    """

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    source: str = ""
    blocks: TracePrefixBlocks | None = None
    session: Ints | None = None
    measured: TraceLatencies | None = None
    dropped: int = 0
    tenant: Ints | None = None
    tenants: tuple[str, ...] = ()
    priority: Floats | None = None
    adapter: Ints | None = None
    adapters: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tasks: TraceTasks | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def span_s(self) -> float:
        """Seconds from the first to the last arrival."""
        return float(self.arrival_s[-1] - self.arrival_s[0]) if len(self) else 0.0

    @property
    def rate_per_s(self) -> float:
        """Requests per second, one over the mean gap between arrivals; NaN if all arrive at once.

        >>> RequestTrace(np.array([0.0, 0.5, 1.0]), np.ones(3, int), np.ones(3, int)).rate_per_s
        2.0
        """
        return (len(self) - 1) / self.span_s if self.span_s > 0 else float("nan")

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps between arrivals; 1 for a Poisson stream."""
        gaps = np.diff(self.arrival_s)
        return float(gaps.std() / gaps.mean()) if self.span_s > 0 else float("nan")

    def take(self, rows: Ints) -> RequestTrace:
        """The requests at some indices, in that order."""
        return replace(
            self,
            arrival_s=self.arrival_s[rows],
            input_tokens=self.input_tokens[rows],
            output_tokens=self.output_tokens[rows],
            blocks=self.blocks.take(rows) if self.blocks else None,
            session=None if self.session is None else self.session[rows],
            tenant=None if self.tenant is None else self.tenant[rows],
            priority=None if self.priority is None else self.priority[rows],
            adapter=None if self.adapter is None else self.adapter[rows],
            tasks=self.tasks.take(rows) if self.tasks else None,
            measured=TraceLatencies(self.measured.ttft_s[rows], self.measured.e2e_s[rows]) if self.measured else None,
        )

    def between(self, start_s: float, end_s: float) -> RequestTrace:
        """The requests with start_s <= arrival < end_s; start_s becomes second 0."""
        first, last = np.searchsorted(self.arrival_s, [start_s, end_s])
        part = self.take(np.arange(first, last))
        return replace(part, arrival_s=part.arrival_s - start_s)

    def scaled(self, factor: float) -> RequestTrace:
        """The same requests at `factor` times the rate, without the latencies, which were measured at another rate."""
        return replace(self, arrival_s=self.arrival_s / factor, measured=None)

    def repeated(self, times: int) -> RequestTrace:
        """The requests so often, each time after the last one's mean gap; sessions, prefixes and tasks are of one time
        alone and left out.

        >>> RequestTrace(np.array([0.0, 2.0]), np.ones(2, int), np.ones(2, int)).repeated(2).arrival_s.tolist()
        [0.0, 2.0, 4.0, 6.0]
        """
        if times == 1:
            return self
        period_s = self.span_s + 1 / self.rate_per_s
        arrival_s = (np.arange(times)[:, None] * period_s + self.arrival_s).ravel()
        return replace(
            self,
            arrival_s=arrival_s,
            input_tokens=np.tile(self.input_tokens, times),
            output_tokens=np.tile(self.output_tokens, times),
            tenant=None if self.tenant is None else np.tile(self.tenant, times),
            priority=None if self.priority is None else np.tile(self.priority, times),
            blocks=None,
            session=None,
            measured=None,
            tasks=None,
        )


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """Rate, variability and lengths of a trace; quantiles of lengths are keyed by per cent (50, 90, 99, 100)."""

    requests: int
    span_s: float
    rate_per_s: float
    cv: float
    mean_input_tokens: float
    mean_output_tokens: float
    input_tokens: Mapping[int, float] = field(hash=False)
    output_tokens: Mapping[int, float] = field(hash=False)
    block_reuse: float | None = None


def summary(trace: RequestTrace) -> TraceSummary:
    """The summary of a trace; its `block_reuse` is None if the trace has no prefix blocks."""
    percents = (50, 90, 99, 100)
    lengths = [
        dict(zip(percents, np.percentile(column, percents).tolist(), strict=True))
        for column in (trace.input_tokens, trace.output_tokens)
    ]
    return TraceSummary(
        requests=len(trace),
        span_s=trace.span_s,
        rate_per_s=trace.rate_per_s,
        cv=trace.cv,
        mean_input_tokens=float(trace.input_tokens.mean()),
        mean_output_tokens=float(trace.output_tokens.mean()),
        input_tokens=lengths[0],
        output_tokens=lengths[1],
        block_reuse=trace.blocks.reuse if trace.blocks else None,
    )
