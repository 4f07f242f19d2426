"""Numbers for the different cells of columns, and for the different rows of several columns."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Cell = TypeVar("Cell", bound=Hashable)


def cell_numbers(cells: Sequence[Cell]) -> tuple[Ints, list[Cell]]:
    """A number for each different cell in the order of appearance, by row; and the cells by number."""
    if cells and cells.count(cells[0]) == len(cells):
        return np.zeros(len(cells), np.int64), [cells[0]]
    index = {cell: number for number, cell in enumerate(dict.fromkeys(cells))}
    return np.fromiter(map(index.__getitem__, cells), np.int64, len(cells)), list(index)


def different_rows(columns: Sequence[Sequence[str]]) -> tuple[list[int], Ints]:
    """Where each different row of several columns first stands, in that order; and which of them each row is.

    >>> first, kind = different_rows([["b", "a", "b"], ["", "", ""]])
    >>> first, kind.tolist()
    ([0, 1], [0, 1, 0])
    """
    key = np.zeros(len(columns[0]), np.int64)
    for codes, cells in map(cell_numbers, columns):
        # of at most as many kinds as rows, so that the product with the next column's stays an exact integer
        key = np.unique(key * max(len(cells), 1) + codes, return_inverse=True)[1]
    _, first, kind = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order].tolist(), np.argsort(order)[kind]
