"""Rows of evidence as a file has them, before anyone believes them, and the checks that make evidence of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isinf, isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import RecordError
from comptroller.work.evidence import (
    FINISHES,
    NUMBERS,
    REVISER,
    SOLVER,
    TOKENS,
    VERIFIER,
    Evidence,
    EvidenceColumns,
    EvidenceCounts,
    RecordedModel,
    RecordedQuestion,
)

SHOWN = 5
"""Bad rows that an error names; it counts the rest."""

ROLES = (SOLVER, VERIFIER, REVISER)
TEXTS = ("question", "text", "task", "model", "format", "effort", "role", "finish")
KNOWN = ("id", "parent", "sample", *TEXTS, "answer", "content", *NUMBERS, "logprobs")
"""Columns of evidence, as a user's own CSV or JSON lines name them."""

COUNTED = ("question", "text", "task", "model", "format", "effort", "n", "correct")
"""Columns of evidence of which only counts are known."""

Cells = Sequence[Any]


class EvidencePreview(NamedTuple):
    """What a reader is shown to recognise its format.

    kind: parquet, zip, json (one document), jsonl or csv.  names: of its columns, or of the keys of its first
    object.  first: the first object of jsonl, the document of json (a list's first object), else None.
    """

    path: Path
    kind: str
    names: frozenset[str]
    first: Any


@dataclass(frozen=True, slots=True)
class EvidenceReader:
    """A format that evidence is read from. A `general` one is asked last: it takes what it does not know for damage."""

    name: str
    looks_like: str
    recognises: Callable[[EvidencePreview], bool]
    read: Callable[[Path], Evidence | EvidenceCounts]
    general: bool = False


@dataclass(frozen=True, slots=True)
class RawEvidence:
    """Cells by column, None or NaN where one is missing. line: where each row stands in the file, from 1.

    Columns are those of `KNOWN`, or of `COUNTED`; `parent` names the `id` of a row.  source: what the file is.
    """

    line: Sequence[int]
    columns: Mapping[str, Cells]
    source: str


class EvidenceFaults:
    """What is wrong with which rows, to be raised together."""

    def __init__(self, path: Path, line: Sequence[int]) -> None:
        self._path, self._line = path, line
        self._found: dict[int, str] = {}

    def add(self, row: int, problem: str) -> None:
        """Notes the first problem of a row."""
        self._found.setdefault(row, problem)

    def check(self) -> None:
        """Raises RecordError if anything was noted; names the first rows and counts all."""
        if self._found:
            rows = [(int(self._line[row]), self._found[row]) for row in sorted(self._found)[:SHOWN]]
            raise RecordError(self._path.name, rows, len(self._found))


def unknown_columns(path: Path, names: Iterable[str], line: int) -> None:
    """Raises RecordError if a column is none of evidence; lists those that are."""
    strange = sorted(set(names) - set(KNOWN) - set(COUNTED))
    if strange:
        problem = f"unknown column{'s' * (len(strange) > 1)} {', '.join(strange)}; known: {', '.join(KNOWN)}"
        raise RecordError(path.name, [(line, problem)], 1)


def evidence_of_rows(raw: RawEvidence, path: Path) -> Evidence:
    """Evidence of sound rows, in its order; samples without a number are numbered as they come.

    Raises:
        RecordError: rows lack a question or model, a value is impossible (a score outside [0, 1], tokens negative
            or not whole), a sample is there twice, a parent is missing, or a question has two texts.
    """
    faults = EvidenceFaults(path, raw.line)
    count = len(raw.line)
    texts = {name: _texts(raw.columns.get(name), count) for name in TEXTS}
    numbers = {name: _numbers(raw.columns.get(name), count, name, faults) for name in NUMBERS}
    _require_fields(texts, faults)
    _plausible(numbers, faults)
    roles = [role or SOLVER for role in texts["role"]]
    for row, (role, finish) in enumerate(zip(roles, texts["finish"], strict=True)):
        if role not in ROLES:
            faults.add(row, f"role is {role!r}; known: {', '.join(ROLES)}")
        if finish not in FINISHES:
            faults.add(row, f"finish is {finish!r}; known: {', '.join(filter(None, FINISHES))}")
    items, question = _items(texts, faults)
    arms, arm = _arms(texts)
    parent = _parents(raw, count, faults)
    faults.check()
    ask = list(zip(question, arm, roles, parent, (numbers["temperature"] == 0.0).tolist(), strict=True))
    sample = _samples(raw.columns.get("sample"), ask, faults)
    faults.check()
    rows = EvidenceColumns(
        question=np.array(question, np.int64),
        arm=np.array(arm, np.int64),
        sample=np.array(sample, np.int64),
        role=np.array(roles, dtype="U8"),
        parent=np.array(parent, np.int64),
        answer=_objects(raw.columns.get("answer"), count),
        content=_objects(raw.columns.get("content"), count),
        finish=np.array(texts["finish"], dtype="U7"),
        **numbers,
    )
    return _ordered_evidence(rows, items, arms, raw)


def _ordered_evidence(
    rows: EvidenceColumns, items: tuple[RecordedQuestion, ...], arms: tuple[RecordedModel, ...], raw: RawEvidence
) -> Evidence:
    role = np.array([ROLES.index(name) for name in rows.role.tolist()])
    sampled = rows.temperature != 0.0
    order = np.lexsort((rows.sample, sampled, rows.parent, role, rows.arm, rows.question))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    parent = rows.parent[order]
    moved = np.where(parent >= 0, place[parent], -1) if len(parent) else parent
    table = {name: getattr(rows, name)[order] for name in EvidenceColumns.__dataclass_fields__}
    said = raw.columns.get("logprobs")
    logs = None
    if said is not None and any(cell is not None for cell in said):
        logs = tuple(None if said[row] is None else np.asarray(said[row], np.float32) for row in order)
    return Evidence(items, arms, EvidenceColumns(**{**table, "parent": moved}), logs, raw.source)


def counts_of_rows(raw: RawEvidence, path: Path) -> EvidenceCounts:
    """Counts of sound rows.

    Raises:
        RecordError: n is not a whole number above 0, correct is not between 0 and n, or a cell is there twice.
    """
    faults = EvidenceFaults(path, raw.line)
    count = len(raw.line)
    texts = {name: _texts(raw.columns.get(name), count) for name in TEXTS}
    _require_fields(texts, faults)
    numbers = {name: _numbers(raw.columns.get(name), count, name, faults) for name in ("n", "correct")}
    for row, (n, correct) in enumerate(zip(numbers["n"].tolist(), numbers["correct"].tolist(), strict=True)):
        if not n >= 1 or n != int(n):
            faults.add(row, f"n is {n:g}; it must be a whole number of samples above 0")
        elif not 0 <= correct <= n:
            faults.add(row, f"correct is {correct:g}; it must lie between 0 and n ({n:g})")
    items, question = _items(texts, faults)
    arms, arm = _arms(texts)
    _samples([0] * count, list(zip(question, arm, strict=True)), faults)
    faults.check()
    n = np.zeros((len(items), len(arms)), np.int64)
    correct = np.zeros(n.shape)
    n[question, arm], correct[question, arm] = numbers["n"].astype(np.int64), numbers["correct"]
    return EvidenceCounts(items, arms, n, correct, raw.source)


def _missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and isnan(cell)) or cell == ""


def _texts(cells: Cells | None, count: int) -> list[str]:
    if cells is None:
        return [""] * count
    known = {cell: cell.strip() for cell in {cell for cell in cells if isinstance(cell, str)}}
    return [known[cell] if isinstance(cell, str) else "" if _missing(cell) else str(cell) for cell in cells]


def _objects(cells: Cells | None, count: int) -> npt.NDArray[np.object_]:
    found = np.full(count, None, dtype=object)
    for row, cell in enumerate(cells or ()):
        found[row] = None if _missing(cell) else str(cell)
    return found


def _numbers(cells: Cells | None, count: int, name: str, faults: EvidenceFaults) -> npt.NDArray[np.float64]:
    if cells is None:
        return np.full(count, nan)
    found = _plain(cells)
    if found is not None:
        for row in np.flatnonzero(np.isinf(found)).tolist():
            faults.add(row, f"{name} is not finite")
        return found
    found = np.empty(count)
    for row, cell in enumerate(cells):
        found[row] = _number(cell)
        if isnan(found[row]) and not _missing(cell):
            faults.add(row, f"{name} is {cell!r}; it must be a number")
        elif isinf(found[row]):
            faults.add(row, f"{name} is not finite")
    return found


def _plain(cells: Cells) -> npt.NDArray[np.float64] | None:
    """Cells that are all numbers as they are, or missing; `None` where one needs a closer look."""
    if not set(map(type, cells)) <= PLAIN:
        return None
    try:
        return np.array(cells, float)
    except OverflowError:
        return None


PLAIN = frozenset((float, int, bool, type(None)))
"""Types of cells that are a number as they are, or missing."""

TRUTH = {"true": 1.0, "false": 0.0}


def _number(cell: Any) -> float:
    try:
        return TRUTH[cell.strip().lower()] if isinstance(cell, str) and cell.strip().lower() in TRUTH else float(cell)
    except (TypeError, ValueError, OverflowError):
        return nan


def _require_fields(texts: Mapping[str, list[str]], faults: EvidenceFaults) -> None:
    for name in ("question", "model"):
        for row, cell in enumerate(texts[name]):
            if not cell:
                faults.add(row, f"{name} is missing")


def _plausible(numbers: Mapping[str, npt.NDArray[np.float64]], faults: EvidenceFaults) -> None:
    score = numbers["score"]
    for row in np.flatnonzero((score < 0) | (score > 1)):
        faults.add(int(row), f"score is {score[row]:g}; it must lie between 0 and 1")
    for name in (*TOKENS, "usd", "ttft_s", "latency_s", "temperature"):
        for row in np.flatnonzero(numbers[name] < 0):
            faults.add(int(row), f"{name} is negative ({numbers[name][row]:g})")
    for name in TOKENS:
        column = numbers[name]
        for row in np.flatnonzero(np.isfinite(column) & (column != np.floor(column))):
            faults.add(int(row), f"{name} is not a whole number ({column[row]:g})")


def _items(texts: Mapping[str, list[str]], faults: EvidenceFaults) -> tuple[tuple[RecordedQuestion, ...], list[int]]:
    found: dict[str, RecordedQuestion] = {}
    place: dict[str, int] = {}
    codes = []
    for row, (name, text, task) in enumerate(zip(texts["question"], texts["text"], texts["task"], strict=True)):
        item = found.get(name)
        if item is None:
            place[name] = len(found)
            found[name] = RecordedQuestion(name, text, task)
        elif (text and item.text and text != item.text) or (task and item.task and task != item.task):
            faults.add(row, f"question {name!r} has another text or task than in an earlier row")
        elif (text and not item.text) or (task and not item.task):
            found[name] = RecordedQuestion(name, item.text or text, item.task or task)
        codes.append(place[name])
    return tuple(found.values()), codes


def _arms(texts: Mapping[str, list[str]]) -> tuple[tuple[RecordedModel, ...], list[int]]:
    known: dict[tuple[str, str, str], int] = {}
    keys = zip(texts["model"], texts["format"], texts["effort"], strict=True)
    codes = [known.setdefault(key, len(known)) for key in keys]
    return tuple(RecordedModel(*key) for key in known), codes


def _parents(raw: RawEvidence, count: int, faults: EvidenceFaults) -> list[int]:
    names = _texts(raw.columns.get("id"), count)
    at: dict[str, int] = {}
    for row, name in enumerate(names):
        if name and at.setdefault(name, row) != row:
            faults.add(row, f"id {name!r} is that of row {raw.line[at[name]]} too")
    found = []
    for row, parent in enumerate(_texts(raw.columns.get("parent"), count)):
        if parent and at.get(parent, row) == row:
            faults.add(row, f"parent {parent!r} is the id of no other row")
        found.append(at.get(parent, -1) if parent else -1)
    return found


def _samples(cells: Cells | None, ask: Sequence[Any], faults: EvidenceFaults) -> list[int]:
    """The number of each sample within its ask: as given, or counted in the order of rows."""
    if cells is None:
        seen: dict[Any, int] = {}
        numbers = []
        for key in ask:
            numbers.append(seen.get(key, 0))
            seen[key] = numbers[-1] + 1
        return numbers
    numbers, first = [], dict[Any, int]()
    for row, (cell, key) in enumerate(zip(cells, ask, strict=True)):
        number = _number(cell)
        if not (isfinite(number) and number == int(number) >= 0):
            faults.add(row, f"sample is {cell!r}; it must be a whole number from 0")
            number = -1 - row
        if first.setdefault((key, number), row) != row:
            faults.add(row, "is there twice: same question, model, format, effort, role, parent and sample")
        numbers.append(int(number))
    return numbers
