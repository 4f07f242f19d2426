"""Results of `vllm bench serve --save-result --save-detailed` (vllm/benchmarks/serve.py, Apache-2.0).

Each list has one entry per request in the order of sending; requests are sorted by the time they arrived at
the client (`start_times` minus `queue_times`, where the version saves those).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import FactError
from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.tabular import json_numbers, open_text
from comptroller.work.trace import TraceLatencies

NEEDED = ("input_lens", "output_lens", "start_times")
OPTIONAL = ("queue_times", "ttfts", "itls", "errors")

ERROR_CHARACTERS = 80
"""Characters of a request's error that are repeated, a line of a terminal; twice as many may wrap onto a second."""


def _recognises(path: Path, head: str) -> bool:
    return head.lstrip().startswith("{") and '"total_input_tokens"' in head and '"completed"' in head


def _json_document(path: Path) -> dict[str, Any]:
    try:
        with open_text(path) as file:
            document = json.load(file)
    except (ValueError, RecursionError) as error:
        runs = "one run a file; --append-result writes several" if "Extra data" in str(error) else "JSON"
        raise FactError(path.name, "file", f"not one JSON document: {error}", runs) from error
    if not isinstance(document, dict):
        raise FactError(path.name, "file", "is not a JSON object")
    return document


def _list_of(document: dict[str, Any], key: str, path: Path) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        hint = "a result saved with --save-detailed by a vLLM that records it"
        raise FactError(path.name, key, "is missing: no value per request", hint)
    if len(value) != len(document.get(NEEDED[0]) or ()):
        raise FactError(path.name, key, f"has {len(value)} entries", f"one for each of {NEEDED[0]}")
    return value


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    document = _json_document(path)
    inputs, outputs, starts = (json_numbers(_list_of(document, key, path)) for key in NEEDED)
    optional: dict[str, list[Any]] = {key: _list_of(document, key, path) for key in OPTIONAL if key in document}
    if "queue_times" in optional:
        starts = starts - np.nan_to_num(json_numbers(optional["queue_times"]))
    order = np.argsort(starts, kind="stable")
    earliest = np.nanmin(starts) if np.isfinite(starts).any() else 0.0
    errors = optional.get("errors", [])
    failed = {
        rank: f"the request failed: {' '.join(str(errors[row]).split())[:ERROR_CHARACTERS]}"
        for rank, row in enumerate(order.tolist())
        if errors and errors[row]
    }
    return TraceRows(
        order.astype(np.int64) + 1,
        (starts - earliest)[order],
        inputs[order],
        outputs[order],
        problems=failed,
        measured=_trace_latencies(optional, order),
    )


def _trace_latencies(optional: dict[str, list[Any]], order: np.typing.NDArray[np.intp]) -> TraceLatencies | None:
    if not {"ttfts", "itls"} <= set(optional):
        return None
    ttft_s = json_numbers(optional["ttfts"])
    gaps_s = [float(json_numbers(gaps).sum()) if isinstance(gaps, list) else np.nan for gaps in optional["itls"]]
    return TraceLatencies(ttft_s[order], (ttft_s + np.array(gaps_s))[order])


READER = TraceReader("vllm_bench", "JSON of vllm bench serve --save-detailed", _recognises, _read)
