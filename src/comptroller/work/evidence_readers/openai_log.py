"""OpenAI-style request logs: JSON lines with a chat completion each, alone, with its request, or as a batch result.

Shapes read: {"request": {...}, "response": {...}}; {"custom_id", "response": {"status_code", "body"}, "error"}, the
output file of a batch; a bare `chat.completion` or `text_completion` object. Fields as in the API reference,
platform.openai.com/docs/api-reference/chat/object: usage.prompt_tokens holds the cached ones
(prompt_tokens_details.cached_tokens), usage.completion_tokens those of reasoning
(completion_tokens_details.reasoning_tokens). A question is the batch's custom_id, else the digest of the messages.
One usage covers all choices of a reply: with more than one, their tokens are not recorded.
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
REPLIES = ("chat.completion", "text_completion")


def tokens_of(usage: Any) -> dict[str, float]:
    """Tokens by kind, each in one bucket, of a `usage` object; NaN where it does not say."""
    prompt, made = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    cached = _count(usage, "prompt_tokens_details", "cached_tokens")
    thought = _count(usage, "completion_tokens_details", "reasoning_tokens")
    return {
        "input_tokens": prompt - (0.0 if isnan(cached) else cached),
        "cached_tokens": cached,
        "output_tokens": made - (0.0 if isnan(thought) else thought),
        "reasoning_tokens": thought,
    }


def _count(usage: Any, *path: str) -> float:
    found = inside(usage, *path)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else nan


def rows_of(request: Any, reply: Any) -> list[Object]:
    """One row for each choice of a reply."""
    choices = inside(reply, "choices") or []
    usage = inside(reply, "usage")
    known = tokens_of(usage if len(choices) < 2 else None)
    if len(choices) >= 2:
        known["input_tokens"] = tokens_of(usage)["input_tokens"]
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
        rows.append(row | known)
    return rows or [{"model": inside(reply, "model") or inside(request, "model"), "finish": "failed"} | known]


def _rows(entry: Object) -> list[Object]:
    request = entry.get("request") or entry.get("body")
    reply = entry.get("response", entry)
    reply = reply.get("body", reply) if isinstance(reply, dict) else None
    asked = inside(request, "messages") or inside(request, "prompt")
    name = entry.get("custom_id") or (digest(asked) if asked else entry.get("id"))
    return [{"question": name, "text": last_message_text(asked)} | row for row in rows_of(request, reply)]


def table(path: Path, line: list[int], entries: list[list[Object]]) -> Evidence:
    """Evidence of the rows that stand at each line."""
    flat = [(number, row) for number, rows in zip(line, entries, strict=True) for row in rows]
    names = sorted({name for _, row in flat for name in row})
    columns = {name: [row.get(name) for _, row in flat] for name in names}
    return evidence_of_rows(RawEvidence([number for number, _ in flat], columns, path.name), path)


def _read(path: Path) -> Evidence:
    line, entries = objects(path)
    return table(path, line, [_rows(entry) for entry in entries])


def _recognises(peek: EvidencePreview) -> bool:
    if peek.kind not in ("json", "jsonl"):
        return False
    bare = inside(peek.first, "object") in REPLIES
    batch = "custom_id" in peek.names and "response" in peek.names
    return bare or batch or {"request", "response"} <= peek.names


READER = EvidenceReader(
    "openai_log", "JSON lines of chat completions, alone or with request, or a batch's output", _recognises, _read
)
