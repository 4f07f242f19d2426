"""Azure LLM inference traces, 2023 and 2024 (github.com/Azure/AzurePublicDataset, CC-BY 4.0)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.tabular import Cells, header, numbers, read_columns
from comptroller.work.trace import Floats

Stamps = npt.NDArray[np.datetime64]
STAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?")
COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def stamps(cells: Cells) -> Stamps:
    """UTC timestamps; not-a-time where a cell is not one, or is outside 1970 to 2261, which nanoseconds can count.

    >>> stamps(["1970-01-01 00:00:01.5000000", "1970-01-01 00:00:02+00:00", "soon"]).astype(int)[:2].tolist()
    [1500000000, 2000000000]
    """
    plain = [cell.removesuffix("Z").removesuffix("+00:00") for cell in cells]
    try:
        if all(map(_plausible, plain)):
            return np.array(plain, dtype="datetime64[ns]")
    except ValueError:
        pass
    return np.array([_stamp_or_nat(cell) for cell in plain], dtype="datetime64[ns]")


def _plausible(cell: str) -> bool:
    return STAMP.fullmatch(cell) is not None and "1970" <= cell[:4] < "2262"


def _stamp_or_nat(cell: str) -> np.datetime64:
    try:
        return np.datetime64(cell if _plausible(cell) else "NaT", "ns")
    except ValueError:
        return np.datetime64("NaT", "ns")


def seconds(times: Stamps) -> Floats:
    """Seconds after the earliest timestamp, NaN for not-a-time."""
    valid = ~np.isnat(times)
    nanoseconds = times.astype(np.int64)
    start = nanoseconds[valid].min() if valid.any() else 0
    return np.where(valid, (nanoseconds - start) / 1e9, np.nan)


def _recognises(path: Path, head: str) -> bool:
    return set(COLUMNS) <= set(header(head))


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    line, (times, inputs, outputs) = read_columns(path, COLUMNS, (stamps, numbers, numbers))
    return TraceRows(line, seconds(times), inputs, outputs)


READER = TraceReader("azure", f"CSV with {', '.join(COLUMNS)}", _recognises, _read)
