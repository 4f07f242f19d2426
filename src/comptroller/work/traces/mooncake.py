"""Mooncake traces (github.com/kvcache-ai/Mooncake, Apache-2.0): arrivals, lengths and hashes of prefix blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.tabular import json_numbers, open_text
from comptroller.work.trace import TracePrefixBlocks

KEYS = ("timestamp", "input_length", "output_length")
BLOCK_TOKENS = 512
"""Tokens of a block, as published. At twice this nearly every request would fail the check that its hashes cover its
input."""


def _recognises(path: Path, head: str) -> bool:
    return all(f'"{key}"' in head.split("\n", 1)[0] for key in KEYS)


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _block_fault(record: dict[str, Any]) -> str | None:
    """The fault of a request's block hashes; None if there is none.

    >>> _block_fault({"input_length": 1000, "hash_ids": [1]}) is None
    True
    >>> _block_fault({"input_length": 1100, "hash_ids": [1]})
    'hash_ids covers 512 tokens, input_length is 1100'
    """
    ids = record.get("hash_ids", [])
    if not isinstance(ids, list) or not all(type(block) is int and abs(block) < 2**63 for block in ids):
        return "hash_ids is not a list of whole numbers"
    covered = len(ids) * BLOCK_TOKENS
    if ids and abs(covered - json_numbers([record.get("input_length")])[0]) >= BLOCK_TOKENS:
        return f"hash_ids covers {covered} tokens, input_length is {record['input_length']}"
    return None


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    with open_text(path) as file:
        lines = file.read().rstrip().split("\n")
    problems: dict[int, str] = {}
    records: list[dict[str, Any]] = []
    for index, line in enumerate(lines):
        record = _json_object(line)
        fault = "is not a JSON object" if record is None else _block_fault(record)
        if fault:
            problems[index] = fault
        records.append(record or {})
    columns = [json_numbers(record.get(key) for record in records) for key in KEYS]
    return TraceRows(
        np.arange(len(records), dtype=np.int64) + 1,
        columns[0] / 1e3,
        columns[1],
        columns[2],
        problems=problems,
        blocks=_prefix_blocks(
            [[] if i in problems else record.get("hash_ids", []) for i, record in enumerate(records)]
        ),
    )


def _prefix_blocks(ids: list[list[int]]) -> TracePrefixBlocks | None:
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in ids], dtype=np.int64)))
    flat = np.fromiter((block for row in ids for block in row), np.int64, int(offsets[-1]))
    return TracePrefixBlocks(offsets, flat, BLOCK_TOKENS) if len(flat) else None


READER = TraceReader("mooncake", f"JSON lines with {', '.join(KEYS)}", _recognises, _read)
