"""Output of llama.cpp's `llama-bench -o json|jsonl|csv|md` (ggml-org/llama.cpp, MIT).

A generation test (tg) is one stream: a token's time is 1 / (tokens per second), at the depth of context it ran at. A
prompt test (pp) times the prefill alone, without the server around it, which is no time to first token: learnt as one
it would make every server's first token too early.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from math import nan
from pathlib import Path

from comptroller.measure.run_rows import (
    RunFile,
    RunFilePreview,
    RunFileReader,
    RunRow,
    RunRowCollector,
    day_of,
    without_empty,
)
from comptroller.work.documents import objects
from comptroller.work.tabular import open_text

NAME = "llama-bench"
TEST = re.compile(r"(pp|tg)\s*(\d+)(?:\s*@\s*d(\d+))?$")
FORMATS = {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}
QUANTS = re.compile(r"\b((?:I?Q\d_(?:0|1|K|NL|XS|XXS|S))|F16|BF16|F32)\b")
NEEDED = {"n_prompt", "n_gen", "avg_ts", "model_filename"}
REMARK = "a mixed quantisation (as Q4_K - Medium) is read as its main format; --weights says otherwise"

Row = Mapping[str, object]


def _weights(kind: str) -> str:
    """The main format in llama.cpp's name of a model."""
    found = QUANTS.search(kind)
    return FORMATS.get(found[1], found[1].lower()) if found else ""


def _whole(row: Row, name: str) -> int:
    text = str(row.get(name) or "0")
    return int(text) if text.lstrip("-").isdigit() else 0


def _run(number: int, row: Row) -> RunRow | str:
    if None in row or None in row.values():
        return "the row has not as many cells as the header"
    prompt, generated, depth = (_whole(row, name) for name in ("n_prompt", "n_gen", "n_depth"))
    rate = _rate(row.get("avg_ts"))
    if not rate > 0:
        return "avg_ts is not a number of tokens per second"
    if prompt and generated:
        return "a mixed test (pg) has one rate for prompt and generation, which cannot be told apart"
    if prompt:
        return "a prompt test (pp) times the prefill alone: no time to first token of a server"
    layers = _whole(row, "n_gpu_layers") if row.get("n_gpu_layers") not in (None, "") else -1
    stated = without_empty(
        engine="llama_cpp",
        version=row.get("build_commit"),
        measured=day_of(str(row.get("test_time") or "")),
        weights=_weights(str(row.get("model_type") or "")),
        gpu_layers=layers if layers >= 0 else "",
    )
    return RunRow(number, stated, float(max(depth, 1)), float(generated), 1.0, nan, 1.0 / rate)


def _rate(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return nan


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    with open_text(path) as text:
        start = text.read(1)
        text.seek(0)
        if start in ("{", "["):
            yield from zip(*objects(path), strict=True)
        elif start == "|":
            yield from _markdown(text.read())
        else:
            yield from enumerate(csv.DictReader(text), 2)


def _markdown(content: str) -> Iterator[tuple[int, Row]]:
    names: list[str] = []
    for number, line in enumerate(content.splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if "test" in cells and "t/s" in cells:
            names = cells
        elif names and len(cells) == len(names) and (test := TEST.match(cells[names.index("test")])):
            row = dict(zip(names, cells, strict=True))
            kind, count, depth = test.groups()
            yield (
                number,
                {
                    "model_type": row.get("model"),
                    "n_gpu_layers": row.get("ngl"),
                    "n_prompt": count if kind == "pp" else 0,
                    "n_gen": count if kind == "tg" else 0,
                    "n_depth": depth or 0,
                    "avg_ts": row["t/s"].partition("±")[0].strip(),
                },
            )


def _read(path: Path, columns: Mapping[str, str]) -> RunFile:
    found = RunRowCollector()
    for number, row in _rows(path):
        found.add(_run(number, row), number)
    return found.file(path, NAME, [REMARK] if any("_k" in row.stated.get("weights", "") for row in found.rows) else [])


def _recognises(preview: RunFilePreview) -> bool:
    table = preview.head.lstrip().startswith("|") and "t/s" in preview.head and " test " in preview.head
    return preview.names >= NEEDED or table


READER = RunFileReader(NAME, "JSON, CSV or the printed table of llama-bench", _recognises, _read)
