"""CSV files read column by column, in chunks of rows, so that long traces need little memory."""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import StringIO
from itertools import islice, zip_longest
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import FactError
from comptroller.work.trace import Floats, Ints

CHUNK = 5_000
"""Rows that are held as text at a time. On 200,000 rows the peak is 12 MB and the time 0.5 s; at twice this 13 MB and
0.6 s, at 100,000 60 MB and 0.8 s. As many empty lines in a row end a file."""

Cells = Sequence[str]

UNREADABLE = (csv.Error, UnicodeDecodeError, EOFError, OSError, zlib.error)
"""What reading a file that is no CSV raises: no file, a directory, no UTF-8, packed badly."""


def open_text(path: Path) -> IO[str]:
    """The file as text, unpacked if its name ends in `.gz`; a byte-order mark is skipped."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


SEPARATORS = ",\t;"
"""What may part the cells of a line; the one that the first line has most of does."""


def separator(head: str) -> str:
    """What parts the cells of a file that begins like this.

    >>> separator("a;b,c;d\\n1;2,5;3")
    ';'
    """
    line = head.split("\n", 1)[0]
    return max(SEPARATORS, key=line.count)


def header(head: str) -> list[str]:
    """The cells of the first line."""
    try:
        return [cell.strip() for cell in next(csv.reader([head.split("\n", 1)[0]], delimiter=separator(head)), [])]
    except csv.Error:
        return []


def head_of(names: Sequence[str]) -> str:
    """The first line of a CSV file with these columns.

    >>> header(head_of(["a", "b, c"]))
    ['a', 'b, c']
    """
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def columns_of(path: Path) -> list[str]:
    """The column names of a CSV file with a header line.

    Raises:
        FactError: there is no such file, it is no text in UTF-8, or it is empty.
    """
    try:
        with open_text(path) as file:
            names = header(file.readline())
    except UNREADABLE as error:
        raise unreadable_table(path, error) from error
    if not any(names):
        raise FactError(path.name, "file", "its first line is empty", "a header line with the names of the columns")
    return names


def dict_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a short CSV file with a header line, each by its columns' names; missing cells are empty.

    Raises:
        FactError: there is no such file, or it is no CSV in UTF-8.
    """
    try:
        with open_text(path) as file:
            return list(csv.DictReader(file, restval=""))
    except UNREADABLE as error:
        raise unreadable_table(path, error) from error


def unreadable_table(path: Path, error: Exception) -> FactError:
    """What is said of a file that a table cannot be read from."""
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
        return FactError(str(path), "file", (error.strerror or str(error)).lower(), "a file in CSV")
    return FactError(path.name, "file", f"not readable as CSV: {error}", "text in UTF-8")


def chunks(path: Path, names: Sequence[str]) -> Iterator[list[Cells]]:
    """The named columns of a CSV file with a header line, in chunks of rows; missing cells of a short row are empty.

    Raises:
        FactError: the file is not CSV in UTF-8, or lacks a column.
    """
    try:
        with open_text(path) as file:
            first = file.readline()
            head = header(first)
            reader = csv.reader(file, delimiter=separator(first))
            missing = [name for name in names if name not in head]
            if missing:
                raise FactError(path.name, missing[0], "no such column", ", ".join(head))
            places = [head.index(name) for name in names]
            rows = list(islice(reader, CHUNK))
            while rows:
                following = list(islice(reader, CHUNK))
                if not any(following):
                    following = []
                    while rows and not rows[-1]:
                        rows.pop()
                columns = list(zip_longest(*rows, fillvalue=""))
                empty = ("",) * len(rows)
                yield [columns[place] if place < len(columns) else empty for place in places]
                rows = following
    except UNREADABLE as error:
        raise unreadable_table(path, error) from error


def numbers(cells: Cells) -> Floats:
    """The cells as numbers, NaN where one is not.

    >>> numbers(["1", "x", ""]).tolist()
    [1.0, nan, nan]
    """
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        return np.array([_number(cell) for cell in cells])


def _number(cell: str) -> float:
    try:
        return float(cell)
    except (ValueError, TypeError):
        return float("nan")


def json_numbers(values: Iterable[object]) -> Floats:
    """JSON values as numbers, NaN where one is not a finite number.

    >>> json_numbers([1, 2.5, "3", True, None, 10**400]).tolist()
    [1.0, 2.5, nan, nan, nan, nan]
    """
    return np.array([_json_number(value) for value in values], dtype=np.float64)


def _json_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    return float(value) if abs(value) < sys.float_info.max else float("nan")


def read_columns(
    path: Path, names: Sequence[str], convert: Sequence[Callable[[Cells], npt.NDArray[Any]]]
) -> tuple[Ints, list[npt.NDArray[Any]]]:
    """Line numbers (the header is line 1) and the named columns, each converted by the function at its place.

    Raises:
        FactError: as `chunks`.
    """
    parts: list[list[npt.NDArray[Any]]] = [[] for _ in names]
    for chunk in chunks(path, names):
        for part, function, cells in zip(parts, convert, chunk, strict=True):
            part.append(function(cells))
    columns = [np.concatenate(part) if part else function(()) for part, function in zip(parts, convert, strict=True)]
    return np.arange(len(columns[0]), dtype=np.int64) + 2, columns
