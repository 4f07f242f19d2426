"""ServeGen's statistics of clients as two tables, CSV or Parquet, of one or several models.

`NAME_arrivals.*` has a row for each client and window (model, client, window_s, rate_rps, family, p1), `NAME_lengths.*`
the distributions of their lengths by window (model, client, window_s, quantity, value, probability). Either file, or a
folder that holds one pair, names the trace. Requests are drawn (`load_clients`); of a file with several models clients
have to be chosen, for requests to several models are no load of one service.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import FactError
from comptroller.work.load_clients import (
    ArrivalStatistics,
    LengthsOverTime,
    LoadClient,
    arrival_windows,
    length_distribution,
    rows_of_clients,
)
from comptroller.work.load_series import table_cells
from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows, chosen_tenants
from comptroller.work.tabular import header, numbers

ARRIVALS = ("model", "client", "window_s", "rate_rps", "family", "p1")
LENGTHS = ("model", "client", "window_s", "quantity", "value", "probability")
QUANTITIES = ("input_tokens", "output_tokens")
PARTS = ("_arrivals", "_lengths")
ENDINGS = (".csv", ".parquet")

Client = tuple[str, str]


def _pair(path: Path) -> tuple[Path, Path]:
    """The files of arrivals and of lengths that a path names.

    Raises:
        FactError: one of them is not there.
    """
    arrivals = next(iter(sorted(path.glob("*_arrivals.*"))), path) if path.is_dir() else path
    stem = next((arrivals.stem.removesuffix(part) for part in PARTS if arrivals.stem.endswith(part)), arrivals.stem)
    found = []
    for part in PARTS:
        names = [f"{stem}{part}{ending}" for ending in ENDINGS]
        file = next((arrivals.with_name(name) for name in names if arrivals.with_name(name).exists()), None)
        if file is None:
            raise FactError(
                path.name, "file", f"a load of clients is two tables; missing is {names[0]}", " or ".join(names)
            )
        found.append(file)
    return found[0], found[1]


def _cells(file: Path, names: Sequence[str]) -> Mapping[str, Sequence[Any]]:
    return dict(zip(names, table_cells(file, names), strict=True))


def _statistics(file: Path) -> dict[Client, list[ArrivalStatistics]]:
    cells = _cells(file, ARRIVALS)
    start_s, rate, shape = (numbers([str(cell) for cell in cells[name]]) for name in ("window_s", "rate_rps", "p1"))
    found: dict[Client, list[ArrivalStatistics]] = defaultdict(list)
    for row, (model, client, family) in enumerate(zip(cells["model"], cells["client"], cells["family"], strict=True)):
        if not np.isfinite(start_s[row]):
            raise FactError(file.name, f"row {row + 1}: window_s", "is not a number", "seconds")
        known = "" if family is None else str(family)
        found[str(model), str(client)].append(
            ArrivalStatistics(f"row {row + 1}", float(start_s[row]), float(rate[row]), known, float(shape[row]))
        )
    return {client: sorted(rows, key=lambda row: row.start_s) for client, rows in found.items()}


def _lengths(file: Path) -> dict[Client, dict[float, dict[str, list[tuple[float, float]]]]]:
    """Weights of token counts by client, window and quantity."""
    cells = _cells(file, LENGTHS)
    start_s, value, weight = (numbers([str(cell) for cell in cells[x]]) for x in ("window_s", "value", "probability"))
    found: dict[Client, dict[float, dict[str, list[tuple[float, float]]]]] = defaultdict(dict)
    bad = ~(np.isfinite(start_s) & (value >= 0) & (weight >= 0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise FactError(file.name, f"row {row + 1}", "has a cell that is no number from 0", ", ".join(LENGTHS[2:]))
    columns = (cells["model"], cells["client"], cells["quantity"], start_s.tolist(), value.tolist(), weight.tolist())
    for model, client, quantity, at_s, tokens, share in zip(*columns, strict=True):
        if quantity in QUANTITIES:
            of_window = found[str(model), str(client)].setdefault(at_s, {name: [] for name in QUANTITIES})
            of_window[quantity].append((tokens, share))
    return found


def _lengths_over_time(
    file: str, name: str, windows: dict[float, dict[str, list[tuple[float, float]]]]
) -> LengthsOverTime:
    """The distributions of a client, of the windows that have both."""
    whole = [
        (at_s, by) for at_s, by in sorted(windows.items()) if all(sum(w for _, w in by[q]) > 0 for q in QUANTITIES)
    ]
    if not whole:
        raise FactError(file, name, "gives no lengths", ", ".join(QUANTITIES))
    return [
        (at_s, (length_distribution(by["input_tokens"]), length_distribution(by["output_tokens"])))
        for at_s, by in whole
    ]


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    arrivals, lengths = _pair(path)
    statistics = _statistics(arrivals)
    names = {f"{model} client {client}": (model, client) for model, client in statistics}
    kept = chosen_tenants(path.name, tuple(names), reading.tenants)
    models = sorted({names[name][0] for name in kept})
    if len(models) > 1:
        raise FactError(
            path.name,
            "model",
            f"the clients ask {len(models)} models, {', '.join(models)}",
            "the tenants of one: " + ", ".join(names),
        )
    known = _lengths(lengths)
    clients = [
        LoadClient(
            name, arrival_windows(arrivals.name, statistics[names[name]], reading),
            partial(_lengths_over_time, lengths.name, name, known.get(names[name], {})),
        )
        for name in kept
    ]  # fmt: skip
    return rows_of_clients(path.name, clients, rng)


def _recognises(path: Path, head: str) -> bool:
    if path.is_dir():
        return any(path.glob("*_arrivals.*")) and any(path.glob("*_lengths.*"))
    return any(set(names) <= set(header(head.split("\n", 1)[0])) for names in (ARRIVALS, LENGTHS))


READER = TraceReader(
    "servegen_tables",
    "NAME_arrivals.csv or .parquet beside NAME_lengths, with model, client, window_s",
    _recognises,
    _read,
)
