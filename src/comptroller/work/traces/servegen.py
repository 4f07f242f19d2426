"""ServeGen client pools (github.com/alibaba/ServeGen, Apache-2.0): the load of many clients, as statistics of each.

A pool is a folder of `chunk-N-trace.csv` (window start in s, rate per s, CV, gap family, two parameters; no
header; an empty family means no requests) and `chunk-N-dataset.json` (window start -> field -> probability of
each token count). A path to one `chunk-N-trace.csv` reads that client alone. Requests are drawn: in each
window the client's gaps follow its family and are scaled to its rate; input and output lengths are drawn
independently, since only their marginals are published, and are at least one token. Each client is a tenant.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import FactError
from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.trace import Floats, Ints

FAMILIES = ("Gamma", "Weibull")
FIELDS = ("input_tokens", "output_tokens")
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


Dataset = list[tuple[float, tuple[EmpiricalLengthDistribution, EmpiricalLengthDistribution]]]


def _windows(path: Path) -> Iterator[ClientArrivalWindow]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    starts = [_finite_cell(path, number, row, 0) for number, row in rows]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise FactError(path.name, "window start", "does not increase from line to line")
    for (number, row), start_s, end_s in zip(rows, starts, [*starts[1:], float("inf")], strict=True):
        if len(row) != 6:
            raise FactError(path.name, f"line {number}", f"has {len(row)} cells", "start, rate, cv, family, 2 values")
        if row[3] == "":
            continue
        if row[3] not in FAMILIES:
            raise FactError(path.name, f"line {number}: family", f"unknown {row[3]!r}", ", ".join(FAMILIES))
        rate, shape = _finite_cell(path, number, row, 1), _finite_cell(path, number, row, 4)
        if rate < 0 or shape <= 0:
            raise FactError(path.name, f"line {number}", f"rate {rate:g}, shape {shape:g}", "rate >= 0, shape > 0")
        yield ClientArrivalWindow(
            start_s, min(end_s, start_s + LAST_WINDOW_S) if end_s == np.inf else end_s, rate, row[3], shape
        )


def _finite_cell(path: Path, number: int, row: list[str], place: int) -> float:
    try:
        value = float(row[place])
    except (ValueError, IndexError):
        value = float("nan")
    if not np.isfinite(value):
        raise FactError(path.name, f"line {number}", f"cell {place + 1} is not a number", "a finite number")
    return value


def _dataset(path: Path) -> Dataset:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FactError(path.name, "file", f"not readable as JSON: {error}") from error
    dataset: Dataset = []
    for start, fields in sorted(document.items(), key=lambda item: float(item[0])):
        missing = [name for name in FIELDS if name not in fields]
        if missing:
            raise FactError(
                path.name, f"{start}.{missing[0]}", f"is missing among {', '.join(fields)}", ", ".join(FIELDS)
            )
        tables = [_probabilities(path, f"{start}.{name}", fields[name]) for name in FIELDS]
        if all(tables):
            dataset.append((float(start), (_length_distribution(tables[0]), _length_distribution(tables[1]))))
    if not dataset:
        raise FactError(path.name, "file", "gives no lengths", ", ".join(FIELDS))
    return dataset


def _probabilities(path: Path, field: str, value: Any) -> dict[float, float]:
    """The weights of token counts of one field, which the pools write as the text of a Python dictionary."""
    try:
        table: dict[Any, Any] = dict(ast.literal_eval(value) if isinstance(value, str) else value)
        pairs = {float(tokens): float(weight) for tokens, weight in table.items()}
    except (ValueError, SyntaxError, TypeError) as error:
        raise FactError(path.name, field, "is not a table of token counts", "{tokens: probability}") from error
    sound = all(tokens >= 0 and weight >= 0 for tokens, weight in pairs.items())
    if pairs and not (sound and sum(pairs.values()) > 0):
        raise FactError(path.name, field, "has negative or no weights", "{tokens: probability}")
    return pairs


def _length_distribution(table: dict[float, float]) -> EmpiricalLengthDistribution:
    tokens = np.array(sorted(table))
    return EmpiricalLengthDistribution(tokens, np.cumsum([table[count] for count in tokens]))


def _overlapping_windows(
    windows: Iterator[ClientArrivalWindow], reading: TraceReadOptions
) -> list[ClientArrivalWindow]:
    """The windows that overlap the part to read."""
    return [w for w in windows if w.end_s > reading.start_s and w.start_s < reading.end_s and w.rate_per_s > 0]


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    files = [path] if path.is_file() else sorted(path.glob("chunk-*-trace.csv"), key=_client_number)
    clients = [(file, _overlapping_windows(_windows(file), reading)) for file in files]
    clients = [(file, windows) for file, windows in clients if windows]
    expected = sum(window.expected for _, windows in clients for window in windows)
    if expected > MOST_REQUESTS:
        raise FactError(
            path.name, "file", f"describes {expected:.3g} requests", f"a part with at most {MOST_REQUESTS:g}"
        )
    parts = [_client_requests(file, windows, rng) for file, windows in clients]
    if not parts:
        raise FactError(path.name, "file", "describes no request in the part to read")
    arrival_s, inputs, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
    order: npt.NDArray[np.intp] = np.argsort(arrival_s, kind="stable")
    line: Ints = np.arange(len(order), dtype=np.int64) + 1
    tenant = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])[order]
    names = tuple(f"client {_client_number(file)}" for file, _ in clients)
    return TraceRows(line, arrival_s[order], inputs[order], outputs[order], origin_s=0.0, tenant=tenant, tenants=names)


def _client_requests(
    file: Path, windows: list[ClientArrivalWindow], rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Arrivals, input and output tokens of one client."""
    dataset = _dataset(file.with_name(file.name.replace("-trace.csv", "-dataset.json")))
    starts = [start_s for start_s, _ in dataset]
    parts = []
    for window in windows:
        arrivals = window.arrivals(rng)
        latest = max(int(np.searchsorted(starts, window.start_s, side="right")) - 1, 0)
        parts.append((arrivals, *(lengths.draw(len(arrivals), rng) for lengths in dataset[latest][1])))
    arrival_s, inputs, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
    return arrival_s, inputs, outputs


def _client_number(path: Path) -> int:
    number = path.name.split("-")[1]
    return int(number) if number.isdigit() else 0


def _recognises(path: Path, head: str) -> bool:
    if path.is_dir():
        return any(path.glob("chunk-*-trace.csv"))
    return path.name.startswith("chunk-") and path.name.endswith("-trace.csv")


READER = TraceReader("servegen", "folder of chunk-N-trace.csv and chunk-N-dataset.json", _recognises, _read)
