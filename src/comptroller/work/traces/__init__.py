"""Public trace formats, one module each: a module with a `READER` in this folder is a format that is read."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from pathlib import Path

import numpy as np

from comptroller.errors import FactError
from comptroller.work.rows import TraceReader, TraceReadOptions, trace_of_rows
from comptroller.work.tabular import open_text
from comptroller.work.trace import RequestTrace

HEAD_CHARACTERS = 65536
WHOLE = TraceReadOptions()


@lru_cache(maxsize=1)
def readers() -> tuple[TraceReader, ...]:
    """The formats this package reads, by name."""
    modules = (importlib.import_module(f"{__name__}.{item.name}") for item in pkgutil.iter_modules(__path__))
    found: list[TraceReader] = [module.READER for module in modules]
    return tuple(sorted(found, key=lambda reader: reader.name))


def reader_of(path: Path) -> TraceReader:
    """The format of a file or folder, told from its content.

    Raises:
        FactError: it cannot be opened, or no format recognises it; lists what each looks like.
    """
    head = _head(path)
    for reader in readers():
        if reader.recognises(path, head):
            return reader
    accepted = "; ".join(f"{reader.name}: {reader.looks_like}" for reader in readers())
    start = " ".join(head[:60].split()) or "nothing"
    raise FactError(path.name, "file", f"not a trace format that is known (starts with {start!r})", accepted)


def read_trace(
    path: Path | str, reading: TraceReadOptions = WHOLE, rng: np.random.Generator | None = None
) -> RequestTrace:
    """The trace of a file in any known format.

    rng: what formats that describe a load statistically (ServeGen) draw from; seed 0 if none is given.

    Raises:
        FactError: the format is unknown or the file as a whole is malformed.
        RecordError: rows are bad and `reading.skip_bad` is not set.
    """
    path = Path(path)
    rows = reader_of(path).read(path, reading, rng or np.random.default_rng(0))
    trace = trace_of_rows(rows, path, reading.skip_bad)
    if reading.start_s == 0.0 and reading.end_s == float("inf"):
        return trace
    part = trace.between(reading.start_s, reading.end_s)
    if not len(part):
        whole = f"between 0 and {trace.span_s:.6g} s"
        raise FactError(path.name, "part", f"no request in [{reading.start_s:g}, {reading.end_s:g}) s", whole)
    return part


def _head(path: Path) -> str:
    if path.is_dir():
        return ""
    try:
        with open_text(path) as file:
            return file.read(HEAD_CHARACTERS)
    except OSError as error:
        raise FactError(str(path), "file", error.strerror or "cannot be read") from error
    except (UnicodeDecodeError, EOFError) as error:
        raise FactError(path.name, "file", f"not text in UTF-8: {error}") from error
