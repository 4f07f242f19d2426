"""RouterBench (withmartian/routerbench) as CSV or Parquet: a row per question, three columns per model.

sample_id, prompt, eval_name, and of every model its score in a column of its name, `MODEL|model_response` and
`MODEL|total_cost` ($). The set is published as pickled frames, which run code when they are read: write them as Parquet
first (`pandas.read_pickle(FILE).to_parquet(OUT)`, in a place that may run foreign code).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from comptroller.work.arrow import read_columns
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows
from comptroller.work.tabular import open_text

COST, REPLY = "|total_cost", "|model_response"
KEYS = {"sample_id", "prompt", "eval_name"}


def _cells(path: Path) -> dict[str, list[Any]]:
    if path.suffix == ".parquet":
        return read_columns(path)[0]
    with open_text(path) as text:
        rows = list(csv.DictReader(text))
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _read(path: Path) -> Evidence:
    cells = _cells(path)
    models = [name.removesuffix(COST) for name in cells if name.endswith(COST)]
    count = len(cells["sample_id"])
    empty: list[Any] = [None] * count
    columns: dict[str, list[Any]] = {
        "question": cells["sample_id"] * len(models),
        "text": cells["prompt"] * len(models),
        "task": cells["eval_name"] * len(models),
        "model": [model for model in models for _ in range(count)],
        "score": [cell for model in models for cell in cells.get(model, empty)],
        "usd": [cell for model in models for cell in cells[model + COST]],
        "content": [cell for model in models for cell in cells.get(model + REPLY, empty)],
    }
    first = 1 if path.suffix == ".parquet" else 2
    return evidence_of_rows(
        RawEvidence([row % count + first for row in range(count * len(models))], columns, path.name), path
    )


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind in ("csv", "parquet") and peek.names >= KEYS and any(name.endswith(COST) for name in peek.names)


READER = EvidenceReader(
    "routerbench", "CSV or Parquet with sample_id, prompt, eval_name and MODEL|total_cost", _recognises, _read
)
