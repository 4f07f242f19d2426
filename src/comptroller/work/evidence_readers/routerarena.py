"""Cached results of RouterArena (RouteWorks/RouterArena): JSON lines, one reply each with its evaluation.

global_index, question, llm_selected, generated_answer, token_usage (input_tokens, output_tokens), success, and
evaluation_result (extracted_answer, score, inference_cost in $). The task is the index before its last underscore.
"""

from __future__ import annotations

from pathlib import Path

from comptroller.work.documents import Object, inside, objects
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers.openai_log import table
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader

NEEDED = {"global_index", "llm_selected", "token_usage", "evaluation_result"}


def _row_of_entry(entry: Object) -> Object:
    index = str(entry.get("global_index") or "")
    return {
        "question": index,
        "task": index.rpartition("_")[0],
        "model": entry.get("llm_selected"),
        "content": entry.get("generated_answer"),
        "answer": inside(entry, "evaluation_result", "extracted_answer"),
        "score": inside(entry, "evaluation_result", "score"),
        "usd": inside(entry, "evaluation_result", "inference_cost"),
        "finish": "failed" if entry.get("success") is False else "",
        "input_tokens": inside(entry, "token_usage", "input_tokens"),
        "output_tokens": inside(entry, "token_usage", "output_tokens"),
    }


def _read(path: Path) -> Evidence:
    line, entries = objects(path)
    return table(path, line, [[_row_of_entry(entry)] for entry in entries])


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind in ("json", "jsonl") and peek.names >= NEEDED


READER = EvidenceReader("routerarena", f"JSON lines with {', '.join(sorted(NEEDED))}", _recognises, _read)
