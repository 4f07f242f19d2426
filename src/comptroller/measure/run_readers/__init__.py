"""File formats of measured runs, one module each: every module in this folder has a `READER`."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from comptroller.errors import FactError
from comptroller.measure.run_rows import RunFile, RunFilePreview, RunFileReader
from comptroller.work.tabular import header, open_text

HEAD_CHARACTERS = 65536
"""Characters by which a format is recognised, as for traces: names stand in the first lines. Twice as many are read in
the same time."""

NAMED_COLUMNS = 12
"""Names that the error about an unknown format repeats: two lines of a terminal. Twice as many take four."""


@lru_cache(maxsize=1)
def readers() -> tuple[RunFileReader, ...]:
    """The readers of all formats, sorted by name, general ones last."""
    modules = (importlib.import_module(f"{__name__}.{item.name}") for item in pkgutil.iter_modules(__path__))
    loaded: list[RunFileReader] = [module.READER for module in modules]
    return tuple(sorted(loaded, key=lambda reader: (reader.general, reader.name)))


def reader_of(path: Path) -> RunFileReader:
    """The reader of a file's format, recognised by content.

    Raises:
        FactError: the file cannot be opened, or its format is unknown; describes the known ones.
    """
    preview = preview_of(path)
    for reader in readers():
        if reader.recognises(preview):
            return reader
    accepted = "; ".join(f"{reader.name}: {reader.looks_like}" for reader in readers())
    seen = ", ".join(sorted(preview.names)[:NAMED_COLUMNS]) or " ".join(preview.head[:60].split()) or "nothing"
    raise FactError(path.name, "file", f"no measured runs in a known format ({preview.kind} with {seen})", accepted)


def read_run_file(path: Path, columns: Mapping[str, str]) -> RunFile:
    """The rows of a file in any known format.

    columns: for tables, the name of ours -> the name of the file's column.

    Raises:
        FactError: the format is unknown, or the file as a whole has not what is needed; says what.
        RecordError: columns are missing or give a latency in two units.
    """
    return reader_of(path).read(path, columns)


def preview_of(path: Path) -> RunFilePreview:
    """The start of a file.

    Raises:
        FactError: it cannot be opened, is not text in UTF-8, or looks like JSON and is not.
    """
    try:
        with open_text(path) as text:
            head = text.read(HEAD_CHARACTERS)
            start = head.lstrip()[:1]
            content = head + text.read() if start in ("{", "[") else head
    except OSError as error:
        raise FactError(str(path), "file", error.strerror or "cannot be read") from error
    except (UnicodeDecodeError, EOFError) as error:
        raise FactError(path.name, "file", f"not text in UTF-8: {error}") from error
    if start not in ("{", "["):
        names = header(head.lstrip("\n"))
        kind = "csv" if len(names) > 1 else "text"
        return RunFilePreview(path, kind, frozenset(names) if kind == "csv" else frozenset(), None, head)
    return _preview_of_json(path, content)


def _preview_of_json(path: Path, content: str) -> RunFilePreview:
    kind, document = "json", _json_or_none(content)
    if document is None:
        kind, document = "jsonl", _json_or_none(content.strip().partition("\n")[0])
    if document is None:
        raise FactError(path.name, "file", "not readable as JSON, nor as one JSON object a line")
    first = document[0] if isinstance(document, list) and document else document
    names = frozenset(first) if isinstance(first, dict) else frozenset[str]()
    return RunFilePreview(path, kind, names, first if isinstance(first, dict) else None, content[:HEAD_CHARACTERS])


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
