"""Exports of Langfuse: observations as JSON, JSON lines or CSV (`GET /api/public/observations`, or of its table).

Of observations of type GENERATION: traceId, model, input, output, modelParameters, startTime, endTime,
completionStartTime, usageDetails (input, output, input_cached_tokens, output_reasoning_tokens; input and output are
what is left beside those), calculatedTotalCost or totalCost or costDetails.total ($), level (langfuse.com/docs/api;
the older usage has input and output, promptTokens and completionTokens). The id of a question is the digest of its
input. Scores are kept apart from observations there, so that none is read: join them in a table and name its
columns by a map.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from comptroller.errors import FactError
from comptroller.work.documents import Object, digest, inside, last_message_text, objects, unpack_json
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers.litellm_spend import seconds_since_start
from comptroller.work.evidence_readers.openai_log import table
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader
from comptroller.work.tabular import open_text

NEEDED = {"traceId", "type", "startTime", "endTime"}


def _row_of_observation(one: Object) -> Object:
    asked, usage = unpack_json(one.get("input")), unpack_json(one.get("usageDetails") or one.get("usage"))
    asked_of = inside(asked, "messages") or asked
    return {
        "question": digest(asked_of) if asked_of else one.get("id") or one.get("traceId"),
        "text": last_message_text(asked_of),
        "model": one.get("model") or one.get("providedModelName"),
        "temperature": inside(unpack_json(one.get("modelParameters")), "temperature"),
        "content": _text(unpack_json(one.get("output"))),
        "finish": "failed" if one.get("level") == "ERROR" else "",
        "usd": _cost(one),
        "ttft_s": seconds_since_start(one, "completionStartTime"),
        "latency_s": seconds_since_start(one, "endTime"),
        "input_tokens": _first(usage, "input", "promptTokens", "prompt_tokens"),
        "cached_tokens": _first(usage, "input_cached_tokens", "cache_read_input_tokens"),
        "output_tokens": _first(usage, "output", "completionTokens", "completion_tokens"),
        "reasoning_tokens": _first(usage, "output_reasoning_tokens", "reasoning_tokens"),
    }


def _text(output: Any) -> str:
    told = inside(output, "content") or inside(output, "message", "content")
    return told if isinstance(told, str) else last_message_text(output)


def _first(usage: Any, *names: str) -> Any:
    return next((inside(usage, name) for name in names if inside(usage, name) is not None), None)


def _cost(one: Object) -> Any:
    told = (one.get("calculatedTotalCost"), one.get("totalCost"), inside(unpack_json(one.get("costDetails")), "total"))
    return next((each for each in told if each not in (None, "")), None)


def _read(path: Path) -> Evidence:
    with open_text(path) as text:
        is_table = text.read(1) not in ("{", "[")
    if is_table:
        with open_text(path) as text:
            rows: list[Object] = list(csv.DictReader(text))
        line = list(range(2, len(rows) + 2))
    else:
        line, rows = objects(path)
    kept = [(number, row) for number, row in zip(line, rows, strict=True) if row.get("type") == "GENERATION"]
    if not kept:
        raise FactError(path.name, "type", "no observation is a GENERATION")
    return table(path, [number for number, _ in kept], [[_row_of_observation(row)] for _, row in kept])


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind in ("json", "jsonl", "csv") and peek.names >= NEEDED


READER = EvidenceReader("langfuse", "observations of Langfuse as JSON, JSON lines or CSV", _recognises, _read)
