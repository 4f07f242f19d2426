"""Parquet files through pyarrow, an optional dependency, imported when a file is first read or written."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from comptroller.errors import FactError, UnsupportedError

PARQUET = (".parquet", ".pq")
"""How the names of Parquet files end."""

COMPRESSION_LEVEL = 19
"""Of zstd. The evidence that ships takes 373 kB and 2.3 s at this level, 388 kB and 0.4 s at 9; above 19 it does not
shrink further (22 is the highest)."""


def _pyarrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        needed = "Parquet and Zstandard need the package pyarrow: pip install 'comptroller[tables]'"
        raise UnsupportedError(needed) from error


def unpack_zstd(packed: bytes, size: int) -> bytes:
    """The `size` bytes that a frame of Zstandard holds.

    Raises:
        ValueError, OSError: it is damaged.
        UnsupportedError: pyarrow is not installed.
    """
    unpacked: bytes = _pyarrow("pyarrow").decompress(packed, size, "zstd", asbytes=True)
    return unpacked


def column_names(path: Path) -> frozenset[str]:
    """The column names of a Parquet file.

    Raises:
        FactError: it is not readable as Parquet.
        UnsupportedError: pyarrow is not installed.
    """
    parquet = _pyarrow("pyarrow.parquet")
    try:
        return frozenset(parquet.read_schema(path).names)
    except (_pyarrow("pyarrow").ArrowInvalid, OSError) as error:
        raise FactError(path.name, "file", f"not readable as Parquet: {error}") from error


def read_columns(path: Path, arrays: Collection[str] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """Cells by column as Python values, and the metadata of the file.

    arrays: columns that come as an array, where they hold numbers and no gaps.

    Raises:
        FactError: it is not readable as Parquet.
        UnsupportedError: pyarrow is not installed.
    """
    parquet = _pyarrow("pyarrow.parquet")
    try:
        table = parquet.read_table(path)
    except (_pyarrow("pyarrow").ArrowInvalid, OSError) as error:
        raise FactError(path.name, "file", f"not readable as Parquet: {error}") from error
    notes = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    cells = {name: table.column(name) for name in table.column_names}
    whole = {name: cells[name].to_numpy() for name in set(arrays) & set(cells) if not cells[name].null_count}
    numbers = {name: values for name, values in whole.items() if values.dtype.kind in "iuf"}
    return {name: numbers[name] if name in numbers else cells[name].to_pylist() for name in cells}, notes


def write_columns(path: Path, columns: Mapping[str, Sequence[Any]], notes: Mapping[str, str]) -> None:
    """Writes cells by column, and metadata, as Parquet with zstd compression.

    Raises:
        UnsupportedError: pyarrow is not installed.
    """
    arrow, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
    table = arrow.table({name: arrow.array(cells) for name, cells in columns.items()})
    noted = table.replace_schema_metadata(dict(notes))
    parquet.write_table(noted, path, compression="zstd", compression_level=COMPRESSION_LEVEL)
