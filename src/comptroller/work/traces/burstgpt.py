"""BurstGPT traces (github.com/HPMLL/BurstGPT, CC-BY 4.0): requests to ChatGPT and GPT-4 on a campus, over months.

Files since release 2.0 have a session id and the elapsed time. A row whose `Response tokens` is 0 is a failed request
and counts as bad (the publisher's `without_fails` files leave those rows out).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.tabular import Cells, columns_of, header, numbers, read_columns
from comptroller.work.trace import NO_SESSION, Ints

COLUMNS = ("Timestamp", "Request tokens", "Response tokens")
SESSION = "Session ID"


class SessionNumbering:
    """Numbers sessions from 0 in the order of their first appearance; an empty name is `NO_SESSION`."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {"": NO_SESSION}

    def __call__(self, cells: Cells) -> Ints:
        """The number of each name; new names are added."""
        numbers = self.numbers
        return np.array([numbers.setdefault(cell, len(numbers) - 1) for cell in cells], dtype=np.int64)


def _recognises(path: Path, head: str) -> bool:
    return set(COLUMNS) <= set(header(head))


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    if SESSION in columns_of(path):
        line, (*columns, session) = read_columns(
            path, (*COLUMNS, SESSION), (numbers, numbers, numbers, SessionNumbering())
        )
    else:
        (line, columns), session = read_columns(path, COLUMNS, (numbers, numbers, numbers)), None
    failed = np.flatnonzero(columns[2] == 0)
    problems = dict.fromkeys(failed.tolist(), "Response tokens is 0: the request failed")
    return TraceRows(line, columns[0], columns[1], columns[2], problems=problems, session=session)


READER = TraceReader("burstgpt", f"CSV with {', '.join(COLUMNS)}", _recognises, _read)
