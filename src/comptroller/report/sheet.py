"""A table before it is drawn: the same rows become a terminal table, Markdown or JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, NamedTuple

from comptroller.report.figures import number

Cell = str | int | float | None


class SheetColumn(NamedTuple):
    """A column: its key in JSON (with the unit), its heading, and the side its cells keep to."""

    key: str
    heading: str
    side: Literal["left", "right"] = "left"


def right(key: str, heading: str) -> SheetColumn:
    """A column of numbers."""
    return SheetColumn(key, heading, "right")


@dataclass(frozen=True, slots=True)
class ReportSheet:
    """A titled table. Cells are raw values; `None` is unknown.

    >>> sheet = ReportSheet("Links", (SheetColumn("name", "name"), right("gb_per_s", "GB/s")), (("NVLink", 450.0),))
    >>> print(sheet.markdown())
    | name | GB/s |
    |---|---:|
    | NVLink | 450 |
    """

    title: str
    columns: tuple[SheetColumn, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def texts(self) -> list[list[str]]:
        """The cells as they are printed."""
        return [[cell_text(cell) for cell in row] for row in self.rows]

    def without(self, *keys: str) -> ReportSheet:
        """The sheet less some columns."""
        kept = [i for i, column in enumerate(self.columns) if column.key not in keys]
        rows = tuple(tuple(row[i] for i in kept) for row in self.rows)
        return ReportSheet(self.title, tuple(self.columns[i] for i in kept), rows)

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


def cell_text(cell: Cell) -> str:
    """A cell as text: four significant digits for measures, whole numbers as they are.

    >>> cell_text(3350.0), cell_text(None), cell_text("x"), cell_text(128256)
    ('3,350', '–', 'x', '128,256')
    """
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else number(cell, 4)
