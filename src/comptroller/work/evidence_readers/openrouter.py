"""The activity export of OpenRouter as CSV: one generation a row.

generation_id, created_at, cost_total ($), tokens_prompt, tokens_cached, tokens_completion, tokens_reasoning,
model_permaslug, provider_name, finish_reason_normalized, time_to_first_token_ms, generation_time_ms. Prompts include
what was cached and completions what was thought (openrouter.ai/docs, usage accounting). Neither questions nor answers
are exported, so every generation counts as a question of its own, and none is scored.
"""

from __future__ import annotations

import csv
from math import nan
from pathlib import Path
from typing import Any

from comptroller.work.documents import Object
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers.openai_log import FINISHED, table
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader
from comptroller.work.tabular import open_text

NEEDED = {"generation_id", "cost_total", "tokens_prompt", "tokens_completion", "model_permaslug"}


def _row_of_generation(row: Object) -> Object:
    cached, reasoning = _number(row.get("tokens_cached")), _number(row.get("tokens_reasoning"))
    return {
        "question": row["generation_id"],
        "model": row["model_permaslug"],
        "finish": FINISHED.get(str(row.get("finish_reason_normalized")), ""),
        "usd": row["cost_total"],
        "ttft_s": _number(row.get("time_to_first_token_ms"), nan) / 1e3,
        "latency_s": _number(row.get("generation_time_ms"), nan) / 1e3,
        "input_tokens": _number(row["tokens_prompt"], nan) - cached,
        "cached_tokens": cached,
        "output_tokens": _number(row["tokens_completion"], nan) - reasoning,
        "reasoning_tokens": reasoning,
    }


def _number(cell: Any, missing: float = 0.0) -> float:
    """A cell's number; `missing` where it is empty, NaN where it is no number."""
    if cell in (None, ""):
        return missing
    try:
        return float(cell)
    except ValueError:
        return nan


def _read(path: Path) -> Evidence:
    with open_text(path) as text:
        rows: list[Object] = list(csv.DictReader(text))
    return table(path, list(range(2, len(rows) + 2)), [[_row_of_generation(row)] for row in rows])


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind == "csv" and peek.names >= NEEDED


READER = EvidenceReader("openrouter", f"CSV with {', '.join(sorted(NEEDED))}", _recognises, _read)
