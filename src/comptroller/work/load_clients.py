"""Clients whose load is known as statistics: rates and gaps by window, lengths as distributions; their requests, drawn.

In each window a client's gaps follow its family and are scaled to its rate; input and output lengths are drawn
independently, since only their marginals are known, and are at least one token. Each client is a tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import FactError
from comptroller.work.rows import TraceReadOptions, TraceRows
from comptroller.work.trace import Floats, Ints

FAMILIES = ("Gamma", "Weibull")
MOST_REQUESTS = 20_000_000
"""Most requests to draw. Each takes 138 bytes while reading and 1 us, in all 2.8 GB and 20 s; at twice this twice as
much."""

LAST_WINDOW_S = 600.0
"""Length of a client's last window, which has no end in the file; all others of the pools are ten minutes. Twice this
would add as many requests again at the end of each client."""


@dataclass(frozen=True, slots=True)
class ClientArrivalWindow:
    """A client's arrivals from start_s to end_s at a rate.

    family, shape: of the distribution of the gaps, whose scale follows from the rate.
    """

    start_s: float
    end_s: float
    rate_per_s: float
    family: str
    shape: float

    @property
    def expected(self) -> float:
        """Mean number of requests."""
        return self.rate_per_s * (self.end_s - self.start_s)

    def arrivals(self, rng: np.random.Generator) -> Floats:
        """Random arrivals in s, as many as expected (the fraction rounded at random)."""
        count = int(self.expected + rng.random())
        draw = rng.standard_gamma if self.family == FAMILIES[0] else rng.weibull
        gaps = draw(self.shape, count + 1)
        share: Floats = np.cumsum(gaps)[:count] / max(gaps.sum(), np.finfo(float).tiny)
        return self.start_s + share * (self.end_s - self.start_s)


@dataclass(frozen=True, slots=True)
class EmpiricalLengthDistribution:
    """Token counts of one field with their cumulative weights, in ascending order."""

    tokens: Floats
    cumulative: Floats

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Random token counts, at least one."""
        place = np.searchsorted(self.cumulative, rng.random(n) * self.cumulative[-1], side="right")
        drawn: Floats = self.tokens[place.clip(max=len(self.tokens) - 1)]
        return np.maximum(drawn, 1.0)


LengthsOverTime = list[tuple[float, tuple[EmpiricalLengthDistribution, EmpiricalLengthDistribution]]]
"""From a second on: the lengths of inputs and outputs."""


class ArrivalStatistics(NamedTuple):
    """What a file says of a client's arrivals from a second on; nan and an empty family where nothing arrives."""

    place: str
    start_s: float
    rate_per_s: float
    family: str
    shape: float


@dataclass(frozen=True, slots=True)
class LoadClient:
    """A client. lengths: read once it is known that its requests are drawn."""

    name: str
    windows: tuple[ClientArrivalWindow, ...]
    lengths: Callable[[], LengthsOverTime]


def arrival_windows(
    file: str, rows: Sequence[ArrivalStatistics], reading: TraceReadOptions
) -> tuple[ClientArrivalWindow, ...]:
    """The windows of a client, each until the next one begins, that overlap the part to read.

    Raises:
        FactError: windows do not increase, a family is unknown, a rate is below 0 or a shape not above it.
    """
    if any(later.start_s <= earlier.start_s for earlier, later in pairwise(rows)):
        raise FactError(file, "window start", "does not increase from line to line")
    windows = []
    for row, end_s in zip(rows, [*(row.start_s for row in rows[1:]), np.inf], strict=True):
        if row.family == "":
            continue
        if row.family not in FAMILIES:
            raise FactError(file, f"{row.place}: family", f"unknown {row.family!r}", ", ".join(FAMILIES))
        if not (row.rate_per_s >= 0 and row.shape > 0):
            told = f"rate {row.rate_per_s:g}, shape {row.shape:g}"
            raise FactError(file, row.place, told, "rate >= 0, shape > 0")
        last_s = row.start_s + LAST_WINDOW_S if end_s == np.inf else end_s
        windows.append(ClientArrivalWindow(row.start_s, last_s, row.rate_per_s, row.family, row.shape))
    return tuple(w for w in windows if w.end_s > reading.start_s and w.start_s < reading.end_s and w.rate_per_s > 0)


def length_distribution(weights: Iterable[tuple[float, float]]) -> EmpiricalLengthDistribution:
    """The distribution of token counts with these weights."""
    tokens, weight = np.array(sorted(weights), float).reshape(-1, 2).T
    return EmpiricalLengthDistribution(tokens, np.cumsum(weight))


def rows_of_clients(file: str, clients: Sequence[LoadClient], rng: np.random.Generator) -> TraceRows:
    """Requests of all clients, drawn.

    Raises:
        FactError: there is none, or there are too many.
    """
    active = [client for client in clients if client.windows]
    expected = sum(window.expected for client in active for window in client.windows)
    if expected > MOST_REQUESTS:
        raise FactError(file, "file", f"describes {expected:.3g} requests", f"a part with at most {MOST_REQUESTS:g}")
    parts = [_client_requests(client, rng) for client in active]
    if not parts:
        raise FactError(file, "file", "describes no request in the part to read")
    arrival_s, inputs, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
    order: npt.NDArray[np.intp] = np.argsort(arrival_s, kind="stable")
    line: Ints = np.arange(len(order), dtype=np.int64) + 1
    tenant = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])[order]
    names = tuple(client.name for client in active)
    return TraceRows(line, arrival_s[order], inputs[order], outputs[order], origin_s=0.0, tenant=tenant, tenants=names)


def _client_requests(client: LoadClient, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Arrivals, input and output tokens of one client."""
    lengths = client.lengths()
    starts = [start_s for start_s, _ in lengths]
    parts = []
    for window in client.windows:
        arrivals = window.arrivals(rng)
        latest = max(int(np.searchsorted(starts, window.start_s, side="right")) - 1, 0)
        parts.append((arrivals, *(each.draw(len(arrivals), rng) for each in lengths[latest][1])))
    arrival_s, inputs, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
    return arrival_s, inputs, outputs
