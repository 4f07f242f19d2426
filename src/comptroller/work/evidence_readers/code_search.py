"""Search over programs (LATS and depth-first on HumanEval), one row a task: tests of its own, and whether it is solved.

The last program is a sample of its model at the effort of its method; its score is whether the hidden tests pass. A
task whose first program passed the model's own tests has no outcome in the file and is left out. What those own tests
say of the last program, the share that passes, is a verdict on it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from comptroller.errors import FactError, RecordError
from comptroller.work.evidence import SOLVER, VERIFIER, Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows
from comptroller.work.tabular import open_text

KEYS = {"model", "method", "task", "searched", "last_own_passed", "last_own_failed", "solved"}


def _read(path: Path) -> Evidence:
    try:
        with open_text(path) as text:
            tasks = list(csv.DictReader(text))
    except (csv.Error, UnicodeDecodeError, EOFError) as error:
        raise FactError(path.name, "file", f"not readable as CSV: {error}") from error
    rows = [(line, row) for line, task in enumerate(tasks, 2) if task["solved"] for row in _rows(path, line, task)]
    columns = {name: [row[name] for _, row in rows] for name in rows[0][1]} if rows else {"question": [], "model": []}
    return evidence_of_rows(RawEvidence([line for line, _ in rows], columns, path.name), path)


def _rows(path: Path, line: int, task: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """A program and what its own tests say."""
    own = f"{task['model']} {task['method']}/{task['task']}"
    asked = {"question": task["task"], "task": "HumanEval", "model": task["model"], "effort": task["method"]}
    blank = {"id": None, "parent": None, "answer": None, "content": None, "score": None, "judgement": None}
    program = {"id": own, "role": SOLVER, "answer": own, "content": own, "score": task["solved"]}
    yield blank | asked | program
    if task["last_own_passed"]:
        try:
            passed, failed = float(task["last_own_passed"]), float(task["last_own_failed"])
        except ValueError:
            raise RecordError(path.name, [(line, "last_own_passed or last_own_failed is no number")], 1) from None
        share = passed / (passed + failed) if passed + failed else 0.0
        yield blank | asked | {"parent": own, "role": VERIFIER, "judgement": share}


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind == "csv" and peek.names >= KEYS


READER = EvidenceReader(
    "code_search", "CSV with model, method, task, last_own_passed, last_own_failed and solved", _recognises, _read
)
