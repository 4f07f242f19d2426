"""Traces that are tables: CSV with a heading, JSON objects or Parquet, read by the names of their columns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from gzip import BadGzipFile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import FactError
from comptroller.work.arrow import PARQUET
from comptroller.work.arrow import read_columns as read_parquet
from comptroller.work.documents import inside, unpack_json
from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.tabular import header, numbers, open_text, read_columns
from comptroller.work.trace import NO_SESSION, Floats, Ints, TracePrefixBlocks
from comptroller.work.trace_columns import TraceColumnNames, unused_note
from comptroller.work.trace_times import ArrivalCells, arrival_seconds

Cells = Sequence[Any]
Record = dict[str, Any]
Converter = Callable[[Cells], npt.NDArray[Any]]

NEEDED = ("arrival", "input", "output")
SEEN = 1000
"""JSON objects whose keys are the columns of a file: keys that are there now and then (`user`) are in one of the first
thousand. Twice as many take twice the time, a millisecond."""
KEY = re.compile(r'"([^"\\]+)"\s*:')


class CellNumbering:
    """Numbers texts from 0 in the order of their first appearance; an empty one is `NO_SESSION`."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {"": NO_SESSION}

    def __call__(self, cells: Cells) -> Ints:
        """The number of each text; new ones are added."""
        numbers = self.numbers
        texts = [str(cell).strip() for cell in cells]
        return np.array([numbers.setdefault(text, len(numbers) - 1) for text in texts], dtype=np.int64)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts in the order of their numbers."""
        return tuple(self.numbers)[1:]


@dataclass(frozen=True, slots=True)
class TraceTable:
    """A trace file as a table. names: of its columns.  records: of a JSON file, with the numbers of their lines.
    stored: columns of a Parquet file, with the numbers of their rows."""

    path: Path
    names: tuple[str, ...]
    line: Ints | None = None
    records: tuple[Record | None, ...] = ()
    stored: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def columns(self, names: Sequence[str], convert: Sequence[Converter]) -> tuple[Ints, list[npt.NDArray[Any]]]:
        """Line numbers and the named columns, each converted by the function at its place."""
        if self.line is None:
            return read_columns(self.path, names, convert)
        cells = [self._cells(name) for name in names]
        return self.line, [function(column) for function, column in zip(convert, cells, strict=True)]

    def _cells(self, name: str) -> list[Any]:
        path = name.split(".")
        if self.stored:
            own, within = (name, []) if name in self.stored else (path[0], path[1:])
            return [_cell(inside(value, *within)) for value in self.stored[own]]
        return [_cell(_value(record, name, path)) for record in self.records]

    def problems(self) -> dict[int, str]:
        """Lines of a JSON file that are no objects, by their place."""
        return {place: "is not a JSON object" for place, record in enumerate(self.records) if record is None}


def trace_table(path: Path) -> TraceTable:
    """The table of a CSV file with a heading, of JSON lines, of a JSON list of objects, or of a Parquet file.

    Raises:
        FactError: the file is none of them.
        UnsupportedError: it is Parquet, and pyarrow is not installed.
    """
    if path.suffix in PARQUET:
        return _stored_table(path)
    try:
        with open_text(path) as file:
            start = file.readline()
            if start.lstrip()[:1] not in ("{", "["):
                return TraceTable(path, tuple(header(start)))
            content = start + file.read()
    except (UnicodeDecodeError, EOFError, BadGzipFile) as error:
        raise FactError(path.name, "file", f"not text in UTF-8: {error}") from error
    lines, records = _json_records(content)
    names = dict.fromkeys(name for record in records[:SEEN] for name in leaves(record or {}))
    return TraceTable(path, tuple(names), np.array(lines, np.int64), tuple(records))


def _stored_table(path: Path) -> TraceTable:
    stored, _ = read_parquet(path)
    cells = {name: column if isinstance(column, list) else column.tolist() for name, column in stored.items()}
    firsts = {name: next((cell for cell in column[:SEEN] if cell is not None), None) for name, column in cells.items()}
    count = len(next(iter(cells.values()), ()))
    return TraceTable(path, tuple(leaves(firsts)), np.arange(1, count + 1), stored=cells)


def _json_records(content: str) -> tuple[list[int], list[Record | None]]:
    whole = _json_value(content) if content.lstrip().startswith("[") else None
    if isinstance(whole, list):
        values = list(enumerate(whole, 1))
    else:
        lines = content.rstrip().split("\n")
        values = [(number, _json_value(line)) for number, line in enumerate(lines, 1)]
    return [number for number, _ in values], [value if isinstance(value, dict) else None for _, value in values]


def _json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def leaves(record: Mapping[str, Any], before: str = "") -> Iterable[str]:
    """Dotted names of the values of an object that are no objects themselves.

    >>> list(leaves({"id": 1, "usage": {"prompt_tokens": 3}}))
    ['id', 'usage.prompt_tokens']
    """
    for key, value in record.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{before}{key}.")
        else:
            yield before + key


def _value(record: Record | None, name: str, path: Sequence[str]) -> Any:
    """A value by its name, or by a dotted name inside."""
    return None if record is None else record[name] if name in record else inside(record, *path)


def _cell(value: Any) -> Any:
    """A value as a cell of a CSV file would be: text; lists and objects as they are, times as ISO 8601 has them."""
    if isinstance(value, str | list | dict):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    return "" if value is None or isinstance(value, bool) else repr(value)


def names_of_head(head: str) -> frozenset[str]:
    """Names of the columns of a file that begins like this; without dots where its first object is not whole."""
    text = head.lstrip()
    if text[:1] not in ("{", "["):
        return frozenset(header(head))
    try:
        first, _ = json.JSONDecoder().raw_decode(text, max(text.find("{"), 0))
    except (ValueError, RecursionError):
        return frozenset(KEY.findall(text.split("\n", 1)[0]))
    return frozenset(leaves(first)) if isinstance(first, dict) else frozenset()


def column_reader(name: str, looks_like: str, *usual: TraceColumnNames) -> TraceReader:
    """The reader of a format that is a table with columns of known names, of its first form that fits the file."""
    forms = [TraceColumnNames(**_names_needed(form)) for form in usual]

    def recognises(path: Path, head: str) -> bool:
        return not path.is_dir() and any(set(form.by_role.values()) <= names_of_head(head) for form in forms)

    def read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
        table = trace_table(path)
        fitting = (form for form in usual if set(_names_needed(form).values()) <= set(table.names))
        return rows_of_table(table, reading, next(fitting, usual[0]), rng)

    return TraceReader(name, looks_like, recognises, read, has_columns=True)


def _names_needed(form: TraceColumnNames) -> dict[str, str]:
    return {role: name for role, name in form.by_role.items() if role in NEEDED}


def rows_of_table(
    table: TraceTable, reading: TraceReadOptions, usual: TraceColumnNames, rng: np.random.Generator
) -> TraceRows:
    """The rows of a table: the columns that the options name, else those usual in its format that it has.

    Raises:
        FactError: a column is not there, the unit of arrivals is not known, or the blocks' size is not.
    """
    chosen = reading.columns.over(usual)
    asked = set(reading.columns.by_role) | set(_names_needed(usual))
    roles = {role: name for role, name in chosen.by_role.items() if role in asked or name in table.names}
    file = table.path.name
    for role, name in roles.items():
        if name not in table.names:
            raise FactError(file, f"columns.{role}", f"no column {name!r}", ", ".join(table.names))
    cells, numbering = ArrivalCells(), {role: CellNumbering() for role in ("session", "tenant", "adapter")}
    convert: dict[str, Converter] = {"arrival": cells, "blocks": _as_they_are, **numbering}
    line, columns = table.columns(list(roles.values()), [convert.get(role, numbers) for role in roles])
    by_role = dict(zip(roles, columns, strict=True))
    problems = table.problems()
    arrival_s, read_as = np.zeros(len(line)), ""
    if "arrival" in roles:
        arrival_s, read_as = arrival_seconds(file, roles["arrival"], cells, by_role["arrival"], chosen.unit)
        read_as = "" if roles["arrival"] == usual.arrival and not cells.zoned and cells.plain else read_as
    blocks = None
    if "blocks" in roles:
        blocks = _prefix_blocks(file, by_role["blocks"], by_role["input"], chosen.block_tokens, problems)
    tenant, tenants = _tenants(by_role.get("tenant"), numbering["tenant"])
    rows = TraceRows(
        line,
        arrival_s,
        by_role["input"],
        by_role["output"],
        problems=problems,
        blocks=blocks,
        session=by_role.get("session"),
        tenant=tenant,
        tenants=tenants,
        priority=by_role.get("priority"),
        adapter=by_role.get("adapter"),
        adapters=numbering["adapter"].texts if "adapter" in by_role else (),
        notes=(*filter(None, [read_as]), *unused_note(file, table.names, roles.values())),
    )
    return rows if "arrival" in roles else with_random_arrivals(rows, table.path, reading, rng)


def _as_they_are(cells: Cells) -> npt.NDArray[Any]:
    column = np.empty(len(cells), object)
    column[:] = cells
    return column


def _tenants(column: Ints | None, numbering: CellNumbering) -> tuple[Ints | None, tuple[str, ...]]:
    """Tenants from 0; requests without one are a tenant of their own, the last."""
    if column is None:
        return None, ()
    if (column >= 0).all():
        return column, numbering.texts
    return np.where(column < 0, len(numbering.texts), column), (*numbering.texts, "")


def _prefix_blocks(
    file: str, cells: npt.NDArray[Any], inputs: Floats, tokens: int | None, problems: dict[int, str]
) -> TracePrefixBlocks | None:
    if tokens is None:
        raise FactError(file, "columns.block_tokens", "is missing", "the tokens of one prefix block")
    lists = [_hashes(cell) for cell in cells]
    for place, (hashes, length) in enumerate(zip(lists, inputs.tolist(), strict=True)):
        if place not in problems and (fault := _block_fault(hashes, length, tokens)):
            problems[place] = fault
    return prefix_blocks([[] if i in problems else hashes or [] for i, hashes in enumerate(lists)], tokens)


def _hashes(cell: Any) -> list[int] | None:
    """The hashes of a cell: a list, the text of one, or whole numbers with spaces between; None if it is none of them.

    >>> _hashes("[1, 2]"), _hashes("3 4"), _hashes(""), _hashes([0.5])
    ([1, 2], [3, 4], [], None)
    """
    value = unpack_json(cell)
    if isinstance(value, str):
        value = [int(part) if part.lstrip("-").isdecimal() else None for part in value.split()]
    whole = isinstance(value, list) and all(type(block) is int and abs(block) < 2**63 for block in value)
    return value if whole else None


def _block_fault(hashes: list[int] | None, length: float, tokens: int) -> str | None:
    """The fault of a request's block hashes; None if there is none.

    >>> _block_fault([1], 1000, 512) is None
    True
    >>> _block_fault([1], 1100, 512)
    'hash_ids covers 512 tokens, input_length is 1100 (columns.block_tokens is 512)'
    """
    if hashes is None:
        return "hash_ids is not a list of whole numbers"
    covered = len(hashes) * tokens
    if hashes and abs(covered - length) >= tokens:
        return f"hash_ids covers {covered} tokens, input_length is {length:g} (columns.block_tokens is {tokens})"
    return None


def prefix_blocks(hashes: Sequence[Sequence[int]], tokens: int) -> TracePrefixBlocks | None:
    """The blocks of requests by their hashes; None if no request has one."""
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in hashes], dtype=np.int64)))
    flat = np.fromiter((block for row in hashes for block in row), np.int64, int(offsets[-1]))
    return TracePrefixBlocks(offsets, flat, tokens) if len(flat) else None


def with_random_arrivals(rows: TraceRows, path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    """The rows of a file without arrival times, as a Poisson stream; of a session in the order of the file.

    Raises:
        FactError: the options give no rate.
    """
    if reading.rate_per_s is None:
        raise FactError(path.name, "arrival", "the file has no arrival times", "rate_per_s of the workload, or --rate")
    count = len(rows.line)
    place = rng.permutation(count)
    if rows.session is not None:
        own = np.where(rows.session == NO_SESSION, -1 - np.arange(count), rows.session)
        place[np.lexsort((np.arange(count), own))] = place[np.lexsort((place, own))]
    arrivals = np.cumsum(rng.exponential(1 / reading.rate_per_s, count))
    note = f"{path.name} has no arrival times: a Poisson stream of {reading.rate_per_s:g}/s, in random order"
    return replace(rows, arrival_s=arrivals[place], notes=(*rows.notes, note), in_file_order=False)
