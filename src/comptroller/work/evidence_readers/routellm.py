"""MMLU and GSM8K data sets of RouteLLM (lm-sys/RouteLLM, Apache-2.0): scores of 0 or 1 of a weak and a strong model.

MMLU names the models weak and strong: Mixtral-8x7B-Instruct-v0.1 and gpt-4-1106-preview, as in the GSM8K set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comptroller.work.arrow import read_columns
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows

WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
REPLY_ENDING = "_response"
"""Ending of the name of a column of replies, after the model."""


def _read(path: Path) -> Evidence:
    cells, _ = read_columns(path)
    scores = {"weak_correct": WEAK, "strong_correct": STRONG, WEAK: WEAK, STRONG: STRONG}
    count = len(cells["prompt"])
    task = cells.get("subject", ["gsm8k"] * count)
    parts: dict[str, list[Any]] = {name: [] for name in ("question", "text", "task", "model", "score", "content")}
    for column, model in scores.items():
        if column in cells:
            parts["question"] += [f"{name}/{row}" for row, name in enumerate(task)]
            parts["text"] += cells["prompt"]
            parts["task"] += task
            parts["model"] += [model] * count
            parts["score"] += cells[column]
            parts["content"] += cells.get(model + REPLY_ENDING, [None] * count)
    lines = [row % count + 1 for row in range(len(parts["question"]))]
    return evidence_of_rows(RawEvidence(lines, parts, path.name), path)


def _recognises(peek: EvidencePreview) -> bool:
    wide = {"weak_correct", "strong_correct"} <= peek.names or {WEAK, STRONG} <= peek.names
    return peek.kind == "parquet" and "prompt" in peek.names and wide


READER = EvidenceReader("routellm", "Parquet with prompt and a column for each model", _recognises, _read)
