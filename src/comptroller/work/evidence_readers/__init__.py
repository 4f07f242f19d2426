"""File formats of evidence, one module each: every module in this folder has a `READER`."""

from __future__ import annotations

import importlib
import json
import pkgutil
from functools import lru_cache
from pathlib import Path
from typing import Any

from comptroller.errors import FactError, InputError
from comptroller.own_code import own_module
from comptroller.work.arrow import column_names
from comptroller.work.data_files import found_evidence
from comptroller.work.evidence import Evidence, EvidenceCounts
from comptroller.work.evidence_columns import EvidenceColumnNames
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader
from comptroller.work.tabular import header, open_text

SHIPPED = Path(__file__).parents[1] / "evidence_data"
OWN = ".py:"
"""Between the file of a user's own reader and what it reads."""

PARQUET, ZIP = b"PAR1", b"PK"
"""First bytes of a Parquet and of a zip file."""

NAMED_COLUMNS = 12
"""Columns of a file of unknown format that the error names: two lines of a terminal. Twice as many take four."""


@lru_cache(maxsize=1)
def readers() -> tuple[EvidenceReader, ...]:
    """The readers of all formats, sorted by name, general ones last."""
    modules = (importlib.import_module(f"{__name__}.{item.name}") for item in pkgutil.iter_modules(__path__))
    loaded: list[EvidenceReader] = [module.READER for module in modules]
    return tuple(sorted(loaded, key=lambda reader: (reader.general, reader.name)))


def reader_of(path: Path) -> EvidenceReader:
    """The reader of a file's format, recognised by content.

    Raises:
        FactError: the file cannot be opened, or its format is unknown; describes the known ones.
    """
    preview = _preview(path)
    for reader in readers():
        if reader.recognises(preview):
            return reader
    accepted = "; ".join(f"{reader.name}: {reader.looks_like}" for reader in readers())
    seen = ", ".join(sorted(preview.names)[:NAMED_COLUMNS]) or "nothing"
    told = f"not evidence in a known format ({preview.kind} with {seen}); --map says which column holds what"
    raise FactError(path.name, "file", told, accepted)


def packaged_evidence() -> tuple[str, ...]:
    """Names of the evidence files that ship with the package, sorted."""
    return tuple(sorted(item.stem for item in SHIPPED.glob("*.parquet")))


def read_evidence(path: Path | str, columns: EvidenceColumnNames | None = None) -> Evidence | EvidenceCounts:
    """The evidence of a file in any known format, or of any table whose columns are named.

    path: a path, the name of a file in a data folder, or the name of evidence that ships with the package; with
    `mine.py:` before it, read by the `READER` of that file.

    Raises:
        FactError: the format is unknown or the file as a whole is malformed.
        RecordError: rows are bad; names the first of them.
        UnsupportedError: a package that the format needs is not installed.
    """
    own, path = own_reader(str(path))
    if not path.exists() and str(path) in packaged_evidence():
        path = SHIPPED / f"{path}.parquet"
    path = found_evidence(path)
    if columns is not None and not columns.score:
        return columns.read(path, _preview(path).kind)
    reader = own or reader_of(path)
    if columns is None:
        return reader.read(path)
    if reader.read_scored is None:
        raise FactError(
            path.name, "map", f"{reader.name} has one score; name the question and the model too", "a table"
        )
    return reader.read_scored(path, columns.score)


def own_reader(text: str) -> tuple[EvidenceReader | None, Path]:
    """The reader in a user's own file and the evidence of `mine.py:FILE`; no reader and the file where none is named.

    The file has a `READER`, an `EvidenceReader`.

    Raises:
        InputError: the file cannot be imported, or has no reader.
    """
    place = text.find(OWN)
    if place < 0:
        return None, Path(text)
    code, rest = text[: place + len(OWN) - 1], text[place + len(OWN) :]
    reader = getattr(own_module(code), "READER", None)
    if not isinstance(reader, EvidenceReader):
        raise InputError(f"{code}: no READER, an EvidenceReader of comptroller.work.evidence_rows")
    return reader, Path(rest)


def _preview(path: Path) -> EvidencePreview:
    if path.is_dir():
        return EvidencePreview(path, "folder", frozenset(file.suffix for file in path.rglob("*.*")), None)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == PARQUET:
            return EvidencePreview(path, "parquet", column_names(path), None)
        if magic[:2] == ZIP:
            return EvidencePreview(path, "zip", frozenset(), None)
        with open_text(path) as text:
            line = text.readline()
            while line and not line.strip():
                line = text.readline()
    except OSError as error:
        raise FactError(str(path), "file", error.strerror or "cannot be read") from error
    except (UnicodeDecodeError, EOFError) as error:
        raise FactError(path.name, "file", f"not text in UTF-8: {error}") from error
    if line.lstrip()[:1] not in ("{", "["):
        return EvidencePreview(path, "csv", frozenset(header(line)), None)
    return _preview_of_json(path, line)


def _preview_of_json(path: Path, line: str) -> EvidencePreview:
    first = _json_or_none(line)
    if isinstance(first, dict):
        with open_text(path) as text:
            more = sum(1 for other in text if other.strip()) > 1
        return EvidencePreview(path, "jsonl" if more or path.suffix != ".json" else "json", frozenset(first), first)
    with open_text(path) as text:
        document = _json_or_none(text.read())
    if document is None:
        raise FactError(path.name, "file", "not readable as JSON, nor as one JSON object a line")
    head = document[0] if isinstance(document, list) and document else document
    return EvidencePreview(path, "json", frozenset(head) if isinstance(head, dict) else frozenset(), head)


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
