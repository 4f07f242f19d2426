"""Evidence as this package writes it: Parquet, one row per reply (or per count)."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

from comptroller.work.arrow import read_columns, write_columns
from comptroller.work.evidence import NUMBERS, Evidence, EvidenceCounts
from comptroller.work.evidence_rows import (
    COUNTED,
    EvidencePreview,
    EvidenceReader,
    RawEvidence,
    counts_of_rows,
    evidence_of_rows,
    unknown_columns,
)

MARK = "comptroller.evidence"
DECIMALS = 3
"""Of log-probabilities in nats, a rounding of at most 0.0005. A random one takes 1.5 bytes in the file, at twice as
many decimals 5.5."""


def write_evidence(evidence: Evidence | EvidenceCounts, path: Path) -> None:
    """Writes evidence as Parquet that `read_evidence` reads; cells that are not recorded are null.

    Raises:
        UnsupportedError: pyarrow is not installed.
    """
    columns = _count_columns(evidence) if isinstance(evidence, EvidenceCounts) else _reply_columns(evidence)
    write_columns(path, columns, {MARK: "1", "source": evidence.source})


def _reply_columns(evidence: Evidence) -> Mapping[str, list[Any]]:
    rows = evidence.rows
    items = [evidence.items[code] for code in rows.question]
    arms = [evidence.arms[code] for code in rows.arm]
    parents = set(rows.parent.tolist())
    columns: dict[str, list[Any]] = {
        "id": [str(row) if row in parents else None for row in range(len(rows))],
        "parent": [str(row) if row >= 0 else None for row in rows.parent.tolist()],
        "question": [item.id for item in items],
        "text": [item.text or None for item in items],
        "task": [item.task or None for item in items],
        "context": [item.context or None for item in items],
        "model": [arm.model for arm in arms],
        "format": [arm.format or None for arm in arms],
        "effort": [arm.effort or None for arm in arms],
    }
    columns |= {name: getattr(rows, name).tolist() for name in ("role", "sample", "answer", "content", "finish")}
    for name in NUMBERS:
        columns[name] = [None if isnan(cell) else cell for cell in getattr(rows, name).tolist()]
    if evidence.logprobs is not None:
        columns["logprobs"] = [
            None if cell is None else [round(float(value), DECIMALS) for value in cell] for cell in evidence.logprobs
        ]
    return columns


def _count_columns(counts: EvidenceCounts) -> Mapping[str, list[Any]]:
    answered = zip(*counts.n.nonzero(), strict=True)
    rows = [
        (*counts.items[q][:3], *counts.arms[a], int(counts.n[q, a]), float(counts.correct[q, a])) for q, a in answered
    ]
    return {name: [row[place] for row in rows] for place, name in enumerate(COUNTED)}


def _read(path: Path) -> Evidence | EvidenceCounts:
    cells, notes = read_columns(path, (*NUMBERS, "sample"))
    unknown_columns(path, cells, 1)
    count = len(next(iter(cells.values()), []))
    raw = RawEvidence(range(1, count + 1), cells, notes.get("source", path.name))
    return counts_of_rows(raw, path) if "correct" in cells else evidence_of_rows(raw, path)


def _recognises(peek: EvidencePreview) -> bool:
    replies = {"question", "model", "score"} <= peek.names
    return peek.kind == "parquet" and (replies or {"question", "model", "n", "correct"} <= peek.names)


READER = EvidenceReader(
    "parquet",
    "Parquet with the columns of plain evidence, as `comptroller` writes it",
    _recognises,
    _read,
    general=True,
)
