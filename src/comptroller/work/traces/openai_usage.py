"""Logs of OpenAI-compatible replies with their `usage`, one JSON object per request: replies of chat completions or of
the Responses API, lines of a batch's output, and logs that hold the counts beside a time.

`created` is when the reply began, in whole seconds; for an upstream without a queue that is when the request arrived.
`user` is the tenant. The usage API of the organisation sums requests up by the minute or day and holds no requests.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from comptroller.errors import FactError
from comptroller.work.rows import TraceReadOptions, TraceRows
from comptroller.work.tabular import open_text
from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.trace_table import KEY, column_reader

CHAT = {"input": "usage.prompt_tokens", "output": "usage.completion_tokens"}
RESPONSES = {"input": "usage.input_tokens", "output": "usage.output_tokens"}
WITHIN = "response.body."
"""Where a line of a batch's output holds the reply."""
TIMES = ("created", "created_at", "timestamp", "time", "ts")
SUMS = "num_model_requests"
HEAD_CHARACTERS = 4096
"""Characters in which a page of the usage API counts requests: its first bucket. Twice as many hold the second."""


def _forms() -> list[TraceColumnNames]:
    plain = [{role: name.removeprefix("usage.") for role, name in counts.items()} for counts in (CHAT, RESPONSES)]
    named = [(time, counts) for counts in (CHAT, RESPONSES, *plain) for time in TIMES]
    inner = [
        (WITHIN + time, {role: WITHIN + name for role, name in counts.items()})
        for counts, time in ((CHAT, "created"), (RESPONSES, "created_at"))
    ]
    return [TraceColumnNames(arrival=time, tenant="user", **counts) for time, counts in (*named, *inner)]


TABLE = column_reader(
    "openai_usage", "JSON lines with created and usage.prompt_tokens, usage.completion_tokens", *_forms()
)


def _recognises(path: Path, head: str) -> bool:
    return TABLE.recognises(path, head) or SUMS in KEY.findall(head)


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    with open_text(path) as file:
        if SUMS in KEY.findall(file.read(HEAD_CHARACTERS)):
            raise FactError(path.name, SUMS, "sums of requests, not requests", "a log with one object per request")
    return TABLE.read(path, reading, rng)


READER = replace(TABLE, recognises=_recognises, read=_read)
