"""LiteLLM spend logs: rows of the table LiteLLM_SpendLogs as JSON (`GET /spend/logs`) or CSV.

Columns as in `schema.prisma` of BerriAI/litellm (commit 029f645f): request_id, spend ($), prompt_tokens,
completion_tokens, startTime, endTime, completionStartTime, model, messages, response, status; the details of usage
are in metadata.usage_object (litellm/proxy/_types.py, SpendLogsMetadata). Messages and responses are logged only
if `store_prompts_in_spend_logs` is set (docs.litellm.ai/docs/proxy/ui_logs); without them every request counts as a
separate question. The logs have no scores.
"""

from __future__ import annotations

import csv
from datetime import datetime
from math import nan
from pathlib import Path
from typing import Any

from comptroller.work.documents import Object, digest, inside, last_message_text, objects, unpack_json
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers.openai_log import rows_of, table, tokens_of
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader
from comptroller.work.tabular import open_text

NEEDED = {"request_id", "spend", "prompt_tokens", "completion_tokens", "startTime", "endTime"}


def _row_of_entry(entry: Object) -> Object:
    response = unpack_json(entry.get("response"))
    messages = unpack_json(entry.get("messages"))
    usage = inside(unpack_json(entry.get("metadata")), "usage_object") or inside(response, "usage")
    totals = {name: _whole_number(entry.get(name)) for name in ("prompt_tokens", "completion_tokens")}
    reply = rows_of({}, response)[0] if inside(response, "choices") else {}
    failed = str(entry.get("status") or "").lower() == "failure"
    return {
        "question": digest(messages) if messages else entry.get("request_id"),
        "text": last_message_text(messages),
        "model": entry.get("model"),
        "content": reply.get("content"),
        "finish": "failed" if failed else reply.get("finish", ""),
        "usd": entry.get("spend"),
        "ttft_s": seconds_since_start(entry, "completionStartTime"),
        "latency_s": seconds_since_start(entry, "endTime"),
        **tokens_of(totals | {name: inside(usage, name) for name in DETAILS}),
    }


DETAILS = ("prompt_tokens_details", "completion_tokens_details")


def _whole_number(cell: Any) -> Any:
    return int(cell) if isinstance(cell, str) and cell.strip().isdigit() else cell


def seconds_since_start(entry: Object, until: str) -> float:
    """Seconds from an entry's `startTime` to the time in another of its fields; NaN where one is missing."""
    started, ended = _moment(entry.get("startTime")), _moment(entry.get(until))
    return nan if started is None or ended is None else (ended - started).total_seconds()


def _moment(cell: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(cell).replace(" ", "T", 1))
    except ValueError:
        return None
    return moment.replace(tzinfo=None)


def _read(path: Path) -> Evidence:
    with open_text(path) as text:
        start = text.read(1)
        if start not in ("{", "["):
            text.seek(0)
            rows: list[Object] = list(csv.DictReader(text))
            return table(path, list(range(2, len(rows) + 2)), [[_row_of_entry(row)] for row in rows])
    line, rows = objects(path)
    return table(path, line, [[_row_of_entry(row)] for row in rows])


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind in ("json", "jsonl", "csv") and peek.names >= NEEDED


READER = EvidenceReader("litellm_spend", f"JSON or CSV with {', '.join(sorted(NEEDED))}", _recognises, _read)
