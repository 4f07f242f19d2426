"""A user's own evidence: CSV, JSON lines or a JSON list with columns of evidence, one reply (or count) per row."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from comptroller.errors import FactError, RecordError
from comptroller.work.documents import objects
from comptroller.work.evidence import Evidence, EvidenceCounts
from comptroller.work.evidence_rows import (
    COUNTED,
    KNOWN,
    SHOWN,
    EvidencePreview,
    EvidenceReader,
    RawEvidence,
    counts_of_rows,
    evidence_of_rows,
    unknown_columns,
)
from comptroller.work.tabular import open_text

NEEDED = {"question", "model"}


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind in ("csv", "jsonl", "json") and peek.names >= NEEDED


def _read(path: Path) -> Evidence | EvidenceCounts:
    with open_text(path) as text:
        start = text.read(1)
    line, columns = _columns_of_json(path) if start in ("{", "[") else _columns_of_csv(path)
    raw = RawEvidence(line, columns, path.name)
    if {"n", "correct"} <= set(columns):
        extra = sorted(set(columns) - set(COUNTED))
        if extra:
            raise RecordError(path.name, [(1, f"counts have no column {', '.join(extra)}")], 1)
        return counts_of_rows(raw, path)
    strange = sorted({"n", "correct"} & set(columns))
    if strange:
        raise RecordError(path.name, [(1, f"{strange[0]}: counts need n and correct, replies neither")], 1)
    return evidence_of_rows(raw, path)


def _columns_of_csv(path: Path) -> tuple[list[int], dict[str, list[Any]]]:
    try:
        with open_text(path) as text:
            reader = csv.reader(text)
            names = [cell.strip() for cell in next(reader, [])]
            unknown_columns(path, names, 1)
            if len(set(names)) < len(names):
                raise RecordError(path.name, [(1, "a column is there twice")], 1)
            rows = [(reader.line_num, row) for row in reader if row]
    except (csv.Error, UnicodeDecodeError, EOFError) as error:
        raise FactError(path.name, "file", f"not readable as CSV: {error}") from error
    uneven = [(line, f"{len(row)} cells, {len(names)} columns") for line, row in rows if len(row) != len(names)]
    if uneven:
        raise RecordError(path.name, uneven[:SHOWN], len(uneven))
    columns: dict[str, list[Any]] = {name: [row[place] or None for _, row in rows] for place, name in enumerate(names)}
    if "logprobs" in columns:
        columns["logprobs"] = [_log_probabilities(path, cell) for cell in columns["logprobs"]]
    return [line for line, _ in rows], columns


def _log_probabilities(path: Path, cell: Any) -> list[float] | None:
    """The log-probabilities of a CSV cell, which are separated by spaces."""
    try:
        return None if cell is None else [float(part) for part in cell.split()]
    except ValueError:
        raise FactError(path.name, "logprobs", f"not numbers separated by spaces: {cell[:40]!r}") from None


def _columns_of_json(path: Path) -> tuple[list[int], dict[str, list[Any]]]:
    line, rows = objects(path)
    for number, row in zip(line, rows, strict=True):
        unknown_columns(path, row, number)
    names = [name for name in (*KNOWN, "n", "correct") if any(name in row for row in rows)]
    return line, {name: [row.get(name) for row in rows] for name in names}


READER = EvidenceReader(
    "plain", f"CSV or JSON lines with columns of {', '.join(KNOWN)}; or n and correct", _recognises, _read, general=True
)
