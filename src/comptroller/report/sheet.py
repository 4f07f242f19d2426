"""A table before it is drawn: the same rows become a terminal table, Markdown, JSON or a part of a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from comptroller.report.figures import number

Cell = str | int | float | None
Item = TypeVar("Item")
UNKNOWN = "–"
"""What stands for a value that is not known."""


class SheetColumn(NamedTuple, Generic[Item]):
    """A column: its key in JSON (with the unit), its heading, its side, and what it prints of an item.

    Without `cell` it prints the item's attribute of the column's key.
    """

    key: str
    heading: str
    side: Literal["left", "right"] = "left"
    cell: Callable[[Item], Cell] | None = None


SheetColumns = tuple[SheetColumn[Item], ...]


@overload
def left(key: str, heading: str | None = None) -> SheetColumn[Any]: ...
@overload
def left(key: str, heading: str | None, cell: Callable[[Item], Cell]) -> SheetColumn[Item]: ...
def left(key: str, heading: str | None = None, cell: Callable[[Any], Cell] | None = None) -> SheetColumn[Any]:
    """A column of words, headed by its key if nothing else is given."""
    return SheetColumn(key, key if heading is None else heading, "left", cell)


@overload
def right(key: str, heading: str | None = None) -> SheetColumn[Any]: ...
@overload
def right(key: str, heading: str | None, cell: Callable[[Item], Cell]) -> SheetColumn[Item]: ...
def right(key: str, heading: str | None = None, cell: Callable[[Any], Cell] | None = None) -> SheetColumn[Any]:
    """A column of numbers, headed by its key if nothing else is given."""
    return SheetColumn(key, key if heading is None else heading, "right", cell)


@dataclass(frozen=True, slots=True)
class ReportSheet:
    """A titled table. Cells are raw values; `None` is unknown.

    >>> sheet = ReportSheet("Links", (left("name"), right("gb_per_s", "GB/s")), (("NVLink", 450.0),))
    >>> print(sheet.markdown())
    | name | GB/s |
    |---|---:|
    | NVLink | 450 |
    """

    title: str
    columns: tuple[SheetColumn[Any], ...]
    rows: tuple[tuple[Cell, ...], ...]

    @classmethod
    def of(cls, title: str, columns: SheetColumns[Item], items: Iterable[Item]) -> ReportSheet:
        """One row per item, each cell as its column prints it.

        >>> ReportSheet.of("Parts", (right("real"), left("kind", None, lambda x: type(x).__name__)), (1, 2.0)).rows
        ((1, 'int'), (2.0, 'float'))
        """
        reads = [column.cell or _attribute(column.key) for column in columns]
        return cls(title, columns, tuple(tuple(read(item) for read in reads) for item in items))

    def texts(self) -> list[list[str]]:
        """The cells as they are printed."""
        return [[cell_text(cell) for cell in row] for row in self.rows]

    def without(self, *keys: str) -> ReportSheet:
        """The sheet less some columns."""
        kept = [i for i, column in enumerate(self.columns) if column.key not in keys]
        rows = tuple(tuple(row[i] for i in kept) for row in self.rows)
        return ReportSheet(self.title, tuple(self.columns[i] for i in kept), rows)

    def without_empty(self, *keys: str) -> ReportSheet:
        """The sheet less those of the named columns (of all, if none is named) that say nothing in any row."""
        named = [i for i, column in enumerate(self.columns) if not keys or column.key in keys]
        empty = [i for i in named if all(row[i] in (UNKNOWN, "", None) for row in self.rows)]
        return self.without(*(self.columns[i].key for i in empty))

    def records(self) -> list[dict[str, Cell]]:
        """One table per row, by key."""
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]

    def to_json(self) -> str:
        """The records, two-space indented, ending in a newline."""
        return json.dumps(self.records(), indent=2, ensure_ascii=False) + "\n"

    def markdown(self) -> str:
        """A Markdown table."""
        heads = [column.heading for column in self.columns]
        rules = ["---:" if column.side == "right" else "---" for column in self.columns]
        lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(rules)}|"]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in self.texts()]
        return "\n".join(lines)


def _attribute(key: str) -> Callable[[Any], Cell]:
    def read(item: Any) -> Cell:
        value: Cell = getattr(item, key)
        return value

    return read


def cell_text(cell: Cell) -> str:
    """A cell as text: four significant digits for measures, whole numbers as they are.

    >>> cell_text(3350.0), cell_text(None), cell_text("x"), cell_text(128256)
    ('3,350', '–', 'x', '128,256')
    """
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else number(cell, 4)
