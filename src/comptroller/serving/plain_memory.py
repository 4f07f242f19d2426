"""What the kernel works on where it is not compiled: arrays read and written as Python's numbers, functions by number.

The fields of a NumPy record are NumPy scalars: each costs about a microsecond, and products of 64-bit integers overflow
with a warning. A memory view of a column gives Python's numbers instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comptroller.serving.jit import COMPILED

_FUNCTIONS: dict[int, Callable[..., Any]] = {}
"""By number, the functions that the kernel calls; kept as long as the process lives, for any engine may call them."""


def function_number(function: Callable[..., Any]) -> int:
    """The number by which `call_at` calls a function: unique, and far above the places of shipped policies."""
    _FUNCTIONS[id(function)] = function
    return id(function)


def call_at(number: int, arguments: tuple[Any, ...]) -> Any:
    """What a function gives."""
    return _FUNCTIONS[number](*arguments)


def address_of(thing: Any) -> Any:
    """The thing itself, which needs no address."""
    return thing


def kernel_form(array: Any) -> Any:
    """An array as the kernel takes it: itself where the kernel is compiled, else a list of records or a memory view."""
    if COMPILED:
        return array
    return _record_list(array) if array.dtype.names else memoryview(array)


def _record_list(array: Any) -> list[Any]:
    """A record for each row of an array, whose attributes are the row's fields."""
    fields = {name: _column_property(memoryview(array[name])) for name in array.dtype.names or ()}
    record = type("UncompiledRecord", (), {"__slots__": ("row",), "__init__": _set_row, **fields})
    return [record(row) for row in range(array.size)]


def _set_row(record: Any, row: int) -> None:
    record.row = row


def _column_property(column: memoryview) -> property:
    def read(record: Any) -> Any:
        return column[record.row]

    def write(record: Any, value: Any) -> None:
        column[record.row] = value

    return property(read, write)
