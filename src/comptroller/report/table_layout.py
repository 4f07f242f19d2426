"""How a table fits into a page of so many columns: no number, unit or id is ever cut, words wrap, wide tables split.

A column is rigid where its cells are short or numbers: they stay on one line. A column of prose wraps between words.
Where the columns do not fit side by side even so, the table is split and its first column repeated; where that does not
fit either, every row is written as lines of `heading: cell`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from comptroller.report.sheet import ReportSheet

PROSE = 24
"""Characters beyond which a column of words may wrap; all others keep to one line, as five of them fit side by side.
Twice as many make tables split that would have been read at a glance."""

BETWEEN = 2
"""Characters between two columns: one that pads, one that divides."""


class ColumnRoom(NamedTuple):
    """Characters that a column needs at least, and those at which nothing in it wraps."""

    least: int
    whole: int


class TablePart(NamedTuple):
    """Columns of a table side by side, by number, and the width of each."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]


def table_parts(sheet: ReportSheet, width: int) -> tuple[TablePart, ...]:
    """The parts in which a table fits into a width; none where not even two columns do.

    >>> from comptroller.report.sheet import left, right
    >>> sheet = ReportSheet("s", (left("name"), right("a"), right("b")), (("mi300x", 12345, 12345),))
    >>> [part.columns for part in table_parts(sheet, 40)], [part.columns for part in table_parts(sheet, 15)]
    ([(0, 1, 2)], [(0, 1), (0, 2)])
    >>> table_parts(sheet, 12)
    ()
    """
    rooms = _rooms(sheet)
    first, groups = rooms[0], [[0]]
    for number in range(1, len(rooms)):
        if _row_length([rooms[i].least for i in (*groups[-1], number)]) > width and len(groups[-1]) > 1:
            groups.append([0])
        groups[-1].append(number)
    if any(_row_length([rooms[i].least for i in group]) > width for group in groups) or first.least > width:
        return ()
    return tuple(TablePart(tuple(group), _widths([rooms[i] for i in group], width)) for group in groups)


def _rooms(sheet: ReportSheet) -> list[ColumnRoom]:
    texts = sheet.texts()
    rooms = []
    for number, column in enumerate(sheet.columns):
        cells = [row[number] for row in texts]
        whole = max(map(cell_len, cells), default=0)
        wraps = number > 0 and column.side == "left" and whole > PROSE
        least = max((_longest_word(cell) for cell in cells), default=0) if wraps else whole
        rooms.append(ColumnRoom(max(least, _longest_word(column.heading)), max(whole, cell_len(column.heading))))
    return rooms


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _row_length(widths: Sequence[int]) -> int:
    return sum(widths) + BETWEEN * (len(widths) - 1)


def _widths(rooms: Sequence[ColumnRoom], width: int) -> tuple[int, ...]:
    """Each column's least, and what is left shared out to those that wrap, the narrowest first."""
    widths = [room.least for room in rooms]
    left = width - _row_length(widths)
    while left > 0:
        short = [i for i, room in enumerate(rooms) if widths[i] < room.whole]
        if not short:
            break
        narrowest = min(short, key=lambda i: widths[i])
        widths[narrowest] += 1
        left -= 1
    return tuple(widths)
