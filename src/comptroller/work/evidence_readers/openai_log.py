"""OpenAI-style request logs: JSON lines with a chat completion each, alone, with its request, or as a batch result.

Shapes read: {"request": {...}, "response": {...}}; {"custom_id", "response": {"status_code", "body"}, "error"}, the
output file of a batch; a bare `chat.completion` or `text_completion` object. Fields as in the API reference,
platform.openai.com/docs/api-reference/chat/object: usage.prompt_tokens includes the cached ones
(prompt_tokens_details.cached_tokens), usage.completion_tokens those of reasoning
(completion_tokens_details.reasoning_tokens). The id of a question is the batch's custom_id, else the digest of the
messages. A usage covers all choices of a reply; where there are several, their output tokens are not recorded.
"""

from __future__ import annotations

from math import isnan, nan
from pathlib import Path
from typing import Any

from comptroller.work.documents import Object, digest, inside, last_message_text, objects
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows

FINISHED = {
    "stop": "stop",
    "length": "length",
    "content_filter": "refused",
    "tool_calls": "stop",
    "function_call": "stop",
}
"""`finish_reason` -> finish."""

REPLIES = ("chat.completion", "text_completion")
"""Values of `object` of a bare reply."""


def tokens_of(usage: Any) -> dict[str, float]:
    """Tokens by kind of a `usage` object, each counted once; NaN where one is not recorded."""
    prompt, generated = count_inside(usage, "prompt_tokens"), count_inside(usage, "completion_tokens")
    cached = count_inside(usage, "prompt_tokens_details", "cached_tokens")
    reasoning = count_inside(usage, "completion_tokens_details", "reasoning_tokens")
    return {
        "input_tokens": prompt - (0.0 if isnan(cached) else cached),
        "cached_tokens": cached,
        "output_tokens": generated - (0.0 if isnan(reasoning) else reasoning),
        "reasoning_tokens": reasoning,
    }


def count_inside(usage: Any, *path: str) -> float:
    """The number at a path of keys; NaN where there is none."""
    count = inside(usage, *path)
    return float(count) if isinstance(count, int | float) and not isinstance(count, bool) else nan


def rows_of(request: Any, reply: Any) -> list[Object]:
    """One row of evidence for each choice of a reply; one with finish "failed" if there is none."""
    choices = inside(reply, "choices") or []
    usage = inside(reply, "usage")
    tokens = tokens_of(usage if len(choices) < 2 else None)
    if len(choices) >= 2:
        tokens["input_tokens"] = tokens_of(usage)["input_tokens"]
    rows = []
    for choice in choices:
        logs = inside(choice, "logprobs", "content")
        content = inside(choice, "message", "content")
        row = {
            "model": inside(reply, "model") or inside(request, "model"),
            "effort": inside(request, "reasoning_effort") or "",
            "temperature": inside(request, "temperature"),
            "content": choice.get("text") if content is None else content,
            "finish": FINISHED.get(str(choice.get("finish_reason")), ""),
            "logprobs": [token.get("logprob") for token in logs] if logs else None,
        }
        rows.append(row | tokens)
    return rows or [{"model": inside(reply, "model") or inside(request, "model"), "finish": "failed"} | tokens]


def _rows_of_entry(entry: Object) -> list[Object]:
    request = entry.get("request") or entry.get("body")
    reply = entry.get("response", entry)
    reply = reply.get("body", reply) if isinstance(reply, dict) else None
    messages = inside(request, "messages") or inside(request, "prompt")
    question = entry.get("custom_id") or (digest(messages) if messages else entry.get("id"))
    return [{"question": question, "text": last_message_text(messages)} | row for row in rows_of(request, reply)]


def table(path: Path, line: list[int], entries: list[list[Object]]) -> Evidence:
    """The evidence of rows, listed by the line of the file that they are from.

    Raises:
        RecordError: as `evidence_of_rows`.
    """
    flat = [(number, row) for number, rows in zip(line, entries, strict=True) for row in rows]
    names = sorted({name for _, row in flat for name in row})
    columns = {name: [row.get(name) for _, row in flat] for name in names}
    return evidence_of_rows(RawEvidence([number for number, _ in flat], columns, path.name), path)


def _read(path: Path) -> Evidence:
    line, entries = objects(path)
    return table(path, line, [_rows_of_entry(entry) for entry in entries])


def _recognises(peek: EvidencePreview) -> bool:
    if peek.kind not in ("json", "jsonl"):
        return False
    bare = inside(peek.first, "object") in REPLIES
    batch = "custom_id" in peek.names and "response" in peek.names
    return bare or batch or {"request", "response"} <= peek.names


READER = EvidenceReader(
    "openai_log", "JSON lines of chat completions, alone or with request, or a batch's output", _recognises, _read
)
