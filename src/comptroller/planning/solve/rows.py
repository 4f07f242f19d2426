"""A program written block by block: columns and rows have names, coefficients broadcast over arrays of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array, csc_array, vstack

from comptroller.highs import MixedIntegerProgram, scale_of
from comptroller.planning.ground.nouns import Floats, Ints


class ProgramBuilder:
    """Collects columns, rows and coefficients, and makes the program of them."""

    def __init__(self) -> None:
        self._columns: list[tuple[Floats, Floats, bool]] = []
        self._bounds: list[tuple[Floats, Floats]] = []
        self._names: list[tuple[str, int]] = []
        self._parts: list[tuple[Ints, Ints, Floats]] = []
        self._width = self._height = 0

    def columns(self, cost: Floats, most: Floats | float = np.inf, whole: bool = False) -> Ints:
        """Numbers of new columns, in the shape of their cost."""
        numbers = self._width + np.arange(cost.size).reshape(cost.shape)
        self._columns.append((cost.ravel(), np.broadcast_to(most, cost.shape).ravel(), whole))
        self._width += cost.size
        return numbers

    def rows(self, name: str, lower: Floats | float, upper: Floats | float, shape: Sequence[int]) -> Ints:
        """Numbers of new rows between two bounds, under one name."""
        size = int(np.prod(shape))
        self._bounds.append((np.broadcast_to(lower, shape).ravel(), np.broadcast_to(upper, shape).ravel()))
        self._names.append((name, size))
        self._height += size
        return self._height - size + np.arange(size).reshape(shape)

    def put(self, rows: Ints, columns: Ints, values: Floats | float) -> None:
        """Coefficients; columns that a row has twice add up."""
        arrays = np.broadcast_arrays(rows, columns, values)
        nonzero = arrays[2].ravel() != 0
        self._parts.append(tuple(array.ravel()[nonzero] for array in arrays))

    def program(self) -> MixedIntegerProgram:
        """The whole."""
        rows, columns, values = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        matrix = coo_array((values.astype(float), (rows, columns)), shape=(self._height, self._width))
        cost, most = (np.concatenate([column[n] for column in self._columns]) for n in (0, 1))
        lower, upper = (np.concatenate([bounds[n] for bounds in self._bounds]) for n in (0, 1))
        whole = np.concatenate([np.full(len(costs), is_whole) for costs, _, is_whole in self._columns])
        return MixedIntegerProgram(cost, csc_array(matrix), lower, upper, most, whole, row_names=tuple(self._names))


def with_row(program: MixedIntegerProgram, name: str, values: Floats, most: float) -> MixedIntegerProgram:
    """The program with one more row, scaled as costs are: values x <= most."""
    scale = scale_of(values)
    return replace(
        program,
        matrix=csc_array(vstack([program.matrix, scale * values[None, :]])),
        lower=np.append(program.lower, -np.inf),
        upper=np.append(program.upper, scale * most),
        row_names=(*program.row_names, (name, 1)),
    )
