"""Evidence in a table of any tool: which of its columns holds what.

CSV with a heading, JSON objects, or Parquet. A dotted name (`usage.cost`) looks inside objects, also those written as
text; `*` and a number after a name changes the unit: `latency_s=latency_ms*0.001`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from comptroller.errors import FactError, InputError
from comptroller.work.arrow import read_columns
from comptroller.work.documents import inside, objects, unpack_json
from comptroller.work.evidence import Evidence, EvidenceCounts
from comptroller.work.evidence_rows import COUNTED, KNOWN, RawEvidence, counts_of_rows, evidence_of_rows
from comptroller.work.tabular import chunks, columns_of

NAMES = tuple(dict.fromkeys((*KNOWN, *COUNTED)))
"""What a column may hold."""

MOST_LISTED = 24
"""Columns of a file that an error lists: four lines of a terminal, and most tables have fewer."""

Cells = Sequence[Any]


@dataclass(frozen=True)
class EvidenceColumnNames:
    """The columns of a table by what they hold, in the words of `NAMES`.

    `score=NAME` alone chooses among the scores of a format that may hold several.

    Raises:
        InputError: a word is unknown, or the question or the model is not named.

    >>> EvidenceColumnNames.parse(["question=id,model=llm,score=correct"]).columns["score"]
    'correct'
    """

    columns: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in NAMES:
                raise InputError(f"map: {name!r} is nothing that evidence has; it has {', '.join(NAMES)}")
        if self.score:
            return
        if lacking := [name for name in ("question", "model") if name not in self.columns]:
            raise InputError(f"map: which column holds the {' and the '.join(lacking)}? Write {lacking[0]}=COLUMN")

    @property
    def score(self) -> str:
        """The score that is chosen of a file in a known format; empty where columns of a table are named."""
        return self.columns["score"] if self.columns.keys() == {"score"} else ""

    @classmethod
    def parse(cls, texts: Iterable[str]) -> EvidenceColumnNames:
        """From `question=canonical_id,score=correct`, in one text or several.

        Raises:
            InputError: a part is not NAME=COLUMN, or a name is there twice.
        """
        columns: dict[str, str] = {}
        for part in (part for text in texts for part in text.split(",") if part.strip()):
            name, equals, column = (piece.strip() for piece in part.partition("="))
            if not (name and equals and column) or name in columns:
                raise InputError(f"map {part.strip()!r}: write NAME=COLUMN, each name once")
            columns[name] = column
        return cls(columns)

    def read(self, path: Path, kind: str) -> Evidence | EvidenceCounts:
        """The evidence of a table. kind: of the file, as `EvidencePreview.kind`.

        Raises:
            FactError: the file is no table, or lacks a column; lists those that it has.
            RecordError: as `evidence_of_rows` and `counts_of_rows`.
        """
        table = _TABLES.get(kind)
        if table is None:
            raise FactError(path.name, "file", f"a {kind} file is no table of columns", "CSV, JSON objects or Parquet")
        line, cells = table(path, {column: _source(column) for column in self.columns.values()})
        raw = RawEvidence(line, {name: _in_unit(cells[text], text) for name, text in self.columns.items()}, path.name)
        return counts_of_rows(raw, path) if {"n", "correct"} <= raw.columns.keys() else evidence_of_rows(raw, path)


def _source(text: str) -> str:
    """The name of the column, without the factor."""
    return text.rpartition("*")[0].strip() if _factor(text) is not None else text


def _factor(text: str) -> float | None:
    """What the cells are multiplied by; None where there is no such factor."""
    _, star, number = text.rpartition("*")
    try:
        factor = float(number) if star else None
    except ValueError:
        return None
    return factor if factor is not None and isfinite(factor) else None


def _in_unit(cells: Cells, text: str) -> Cells:
    factor = _factor(text)
    if factor is None:
        return cells
    return [None if cell is None or cell == "" else _times(cell, factor) for cell in cells]


def _times(cell: Any, factor: float) -> Any:
    """The product; a cell that is no number stays, to be named as such."""
    try:
        return float(cell) * factor
    except (TypeError, ValueError):
        return cell


def _require(path: Path, wanted: Iterable[str], there: Sequence[str]) -> None:
    for column in wanted:
        if column not in there:
            more = f" and {len(there) - MOST_LISTED} more" if len(there) > MOST_LISTED else ""
            raise FactError(path.name, column, "no such column", ", ".join(there[:MOST_LISTED]) + more)


def _of_csv(path: Path, wanted: Mapping[str, str]) -> tuple[list[int], dict[str, Cells]]:
    sources = list(dict.fromkeys(wanted.values()))
    _require(path, sources, columns_of(path))
    parts = list(chunks(path, sources))
    by_source: dict[str, Cells] = {
        name: [cell for part in parts for cell in part[place]] for place, name in enumerate(sources)
    }
    count = len(next(iter(by_source.values())))
    return list(range(2, count + 2)), {text: by_source[source] for text, source in wanted.items()}


def _of_json(path: Path, wanted: Mapping[str, str]) -> tuple[list[int], dict[str, Cells]]:
    line, rows = objects(path)
    cells: dict[str, Cells] = {text: [_cell(row, source) for row in rows] for text, source in wanted.items()}
    there = list(dict.fromkeys(name for row in rows for name in row))
    _require(path, (wanted[text] for text, column in cells.items() if all(cell is None for cell in column)), there)
    return line, cells


def _of_parquet(path: Path, wanted: Mapping[str, str]) -> tuple[list[int], dict[str, Cells]]:
    columns, _ = read_columns(path)
    _require(path, (name for source in wanted.values() if (name := _top(source, columns)) not in columns), [*columns])
    count = len(next(iter(columns.values()), []))
    cells: dict[str, Cells] = {
        text: columns[source]
        if source in columns
        else [_cell({_top(source, columns): cell}, source) for cell in columns[_top(source, columns)]]
        for text, source in wanted.items()
    }
    return list(range(1, count + 1)), cells


def _top(source: str, columns: Mapping[str, Cells]) -> str:
    return source if source in columns else source.partition(".")[0]


def _cell(row: Mapping[str, Any], source: str) -> Any:
    """The value of a name, or of a dotted path into objects and lists."""
    if source in row:
        return row[source]
    value: Any = row
    for step in source.split("."):
        value = inside(unpack_json(value), int(step) if step.isdecimal() and isinstance(value, list) else step)
    return value


_TABLES = {"csv": _of_csv, "jsonl": _of_json, "json": _of_json, "parquet": _of_parquet}
