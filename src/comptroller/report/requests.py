"""The call record as a file: one row per request, CSV or Parquet by the name's ending."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import InputError
from comptroller.report.tables import parquet_of
from comptroller.work.call import FINISH, LABELS, SOURCE, CallTable

CODED = {"finish": FINISH, "source": SOURCE}


def columns(calls: CallTable) -> dict[str, Any]:
    """Every column of the calls as values or texts; prefix blocks are left out."""
    texts: dict[str, Any] = {}
    for name, column in calls.columns.items():
        if name in LABELS:
            texts[name] = calls.text(name)
        elif name in CODED:
            texts[name] = np.asarray(CODED[name])[column]
        else:
            texts[name] = column
    return texts


def as_csv(calls: CallTable) -> bytes:
    """Comma-separated, a heading first; unknown numbers are empty."""
    table = columns(calls)
    cells = [_texts(column) for column in table.values()]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*cells, strict=True))
    return out.getvalue().encode()


def _texts(column: Any) -> list[Any]:
    values: list[Any] = column.tolist()
    return ["" if isnan(v) else v for v in values] if column.dtype.kind == "f" else values


def as_parquet(calls: CallTable) -> bytes:
    """Parquet, unknown numbers as null."""
    table = {name: np.ascontiguousarray(column) for name, column in columns(calls).items()}
    return parquet_of({name: c.tolist() if c.dtype.kind == "U" else c for name, c in table.items()})


WRITERS: Mapping[str, Callable[[CallTable], bytes]] = {".csv": as_csv, ".parquet": as_parquet}


def writer_of(path: Path) -> Callable[[CallTable], bytes]:
    """What makes the bytes of a file of this name.

    Raises:
        InputError: neither CSV nor Parquet.
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise InputError(f"{path.name}: calls are written as {' or '.join(WRITERS)}, by the file's ending")
    return writer
