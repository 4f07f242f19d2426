"""Sample logs of lm-evaluation-harness (`--log_samples`): MODEL/samples_TASK_DATE.jsonl, one document per line.

Lines as `lm_eval.evaluator` of EleutherAI/lm-evaluation-harness writes them: doc_id, doc, target, arguments, resps,
filtered_resps, filter, metrics (names), and a value for each metric. The model is not in the file; it is the name of
its folder, with `__` for `/`. Of documents under several filters those of the file's first filter are read; the source
of the evidence names it. The score is the first metric, or the
one that is named.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from comptroller.errors import FactError
from comptroller.work.documents import Object, inside, last_message_text, objects, unpack_json
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows

NEEDED = {"doc_id", "target", "resps", "filtered_resps"}
BOOKKEEPING = NEEDED | {"doc", "arguments", "filter", "metrics", "doc_hash", "prompt_hash", "target_hash"}


def _read(path: Path) -> Evidence:
    return _read_scored(path, "")


def _read_scored(path: Path, score: str) -> Evidence:
    line, rows = objects(path)
    first_filter = rows[0].get("filter") if rows else None
    kept = [(number, row) for number, row in zip(line, rows, strict=True) if row.get("filter") == first_filter]
    named = re.match(r"samples_(.+?)(?:_\d{4}-\d{2}-\d{2}T.*)?\.jsonl", path.name)
    task = named[1] if named else path.stem
    model = path.resolve().parent.name.replace("__", "/")
    metric = _metric(path, kept[0][1], score) if kept else ""
    columns: dict[str, list[Any]] = {
        "question": [f"{task}/{row['doc_id']}" for _, row in kept],
        "text": [_prompt(row) for _, row in kept],
        "task": [task] * len(kept),
        "model": [model] * len(kept),
        "score": [row.get(metric) for _, row in kept],
        "answer": [_text_or_none(inside(row, "filtered_resps", 0)) for _, row in kept],
        "content": [_text_or_none(inside(row, "resps", 0, 0)) for _, row in kept],
        "temperature": [_temperature(row) for _, row in kept],
    }
    source = path.name + (f", filter {first_filter}" if len(kept) < len(rows) else "")
    return evidence_of_rows(RawEvidence([number for number, _ in kept], columns, source), path)


def _metric(path: Path, row: Object, score: str) -> str:
    named = [str(name) for name in row.get("metrics") or [name for name in row if name not in BOOKKEEPING]]
    if not named:
        raise FactError(path.name, "metrics", "no metric in its first line")
    if score and score not in named:
        raise FactError(path.name, "metrics", f"no metric {score!r}", ", ".join(named))
    return score or named[0]


def _arguments(row: Object) -> Any:
    """The arguments of the first request: a list, from either form of the log."""
    arguments = row.get("arguments")
    if isinstance(arguments, dict):
        first: Any = next(iter(arguments.values()), {})
        return list(first.values()) if isinstance(first, dict) else first
    return inside(arguments, 0)


def _prompt(row: Object) -> str:
    prompt = unpack_json(inside(_arguments(row), 0))
    return last_message_text(unpack_json(prompt[0]) if isinstance(prompt, list) and len(prompt) == 1 else prompt)


def _temperature(row: Object) -> Any:
    options = inside(_arguments(row), 1)
    if inside(options, "do_sample") is False:
        return 0.0
    return inside(options, "temperature")


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind in ("json", "jsonl") and peek.names >= NEEDED


READER = EvidenceReader(
    "lm_eval", "samples_*.jsonl of lm-evaluation-harness", _recognises, _read, read_scored=_read_scored
)
