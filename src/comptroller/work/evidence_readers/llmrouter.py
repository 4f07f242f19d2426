"""The data set of LLMRouter (ulab-uiuc/LLMRouter, MIT): question text and one column of scores per model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comptroller.work.arrow import read_columns
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows

KEYS = {"split", "question_id", "question"}


def _read(path: Path) -> Evidence:
    cells, _ = read_columns(path)
    models = [name for name in cells if name not in KEYS]
    names = [f"{part}/{number}" for part, number in zip(cells["split"], cells["question_id"], strict=True)]
    columns: dict[str, list[Any]] = {
        "question": names * len(models),
        "text": cells["question"] * len(models),
        "task": cells["split"] * len(models),
        "model": [model for model in models for _ in names],
        "score": [score for model in models for score in cells[model]],
    }
    lines = [row % len(names) + 1 for row in range(len(columns["model"]))] if names else []
    return evidence_of_rows(RawEvidence(lines, columns, path.name), path)


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind == "parquet" and peek.names > KEYS


READER = EvidenceReader("llmrouter", "Parquet with split, question_id, question and models", _recognises, _read)
