"""Unchecked rows of an evidence file, and the checks that turn them into evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isinf, isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import RecordError
from comptroller.work.cell_codes import cell_numbers, different_rows
from comptroller.work.evidence import (
    ASIDE,
    FINISHES,
    NUMBERS,
    REVISER,
    SLEEPER,
    SOLVER,
    STEP,
    TOKENS,
    VERIFIER,
    Evidence,
    EvidenceColumns,
    EvidenceCounts,
    RecordedModel,
    RecordedQuestion,
)

SHOWN = 5
"""Bad rows that an error names; it states the number of all. Twice as many make the message twice as long."""

ROLES = (SOLVER, VERIFIER, REVISER, STEP, SLEEPER, *ASIDE)
TEXTS = ("question", "text", "task", "context", "model", "format", "effort", "role", "finish")
KNOWN = ("id", "parent", "sample", *TEXTS, "answer", "content", *NUMBERS, "logprobs")
"""Columns of evidence, as a user's own CSV or JSON lines name them."""

COUNTED = ("question", "text", "task", "model", "format", "effort", "n", "correct")
"""Columns of evidence of which only counts are recorded."""

Cells = Sequence[Any] | npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


class EvidencePreview(NamedTuple):
    """The start of a file, by which readers recognise their format.

    kind: parquet, zip, folder (names are endings of its files), json (one document), jsonl or csv. names: of the
    columns, or of the keys of the first object. first: the first object of a jsonl file, the document of a json file
    (of a list its first object), else None.
    """

    path: Path
    kind: str
    names: frozenset[str]
    first: Any


@dataclass(frozen=True, slots=True)
class EvidenceReader:
    """A file format of evidence. A `general` one is tried last, because it refuses columns that it does not know.

    read_scored: reads with the score of a name, of formats that may hold several.
    """

    name: str
    looks_like: str
    recognises: Callable[[EvidencePreview], bool]
    read: Callable[[Path], Evidence | EvidenceCounts]
    general: bool = False
    read_scored: Callable[[Path, str], Evidence] | None = None


@dataclass(frozen=True, slots=True)
class RawEvidence:
    """Unchecked cells by column, None or NaN where one is missing.

    line: number of each row in the file, from 1.  columns: of `KNOWN`, or of `COUNTED`; `parent` has the `id` of a row.
    source: name of the file.
    """

    line: Sequence[int]
    columns: Mapping[str, Cells]
    source: str


class EvidenceFaults:
    """Collects the faults of rows, to raise them together."""

    def __init__(self, path: Path, line: Sequence[int]) -> None:
        self._path, self._line = path, line
        self._problems: dict[int, str] = {}

    def add(self, row: int, problem: str) -> None:
        """Adds a problem of a row; only its first is kept."""
        self._problems.setdefault(row, problem)

    def check(self) -> None:
        """Does nothing if there are no faults.

        Raises:
            RecordError: there are; names the first rows and the number of all.
        """
        if self._problems:
            rows = [(int(self._line[row]), self._problems[row]) for row in sorted(self._problems)[:SHOWN]]
            raise RecordError(self._path.name, rows, len(self._problems))


def unknown_columns(path: Path, names: Iterable[str], line: int) -> None:
    """Checks names of columns.

    Raises:
        RecordError: a column is neither in `KNOWN` nor in `COUNTED`; says the map that leaves it out.
    """
    named = list(names)
    strange = sorted(set(named) - set(KNOWN) - set(COUNTED))
    if strange:
        rest = ",".join(f"{name}={name}" for name in named if name not in strange)
        told = f"unknown column{'s' * (len(strange) > 1)} {', '.join(strange)}"
        problem = f"{told}; known: {', '.join(KNOWN)}; to leave out what is not: --map {rest}"
        raise RecordError(path.name, [(line, problem)], 1)


def evidence_of_rows(raw: RawEvidence, path: Path) -> Evidence:
    """The evidence of a file's rows, sorted; samples without a number are numbered in the order of the file.

    Raises:
        RecordError: rows lack a question or model, a value is impossible (a score outside [0, 1], tokens negative
            or not whole), a sample is there twice, a parent is missing, or a question has two texts.
    """
    faults = EvidenceFaults(path, raw.line)
    count = len(raw.line)
    texts = {name: _texts(raw.columns.get(name), count) for name in TEXTS}
    numbers = {name: _numbers(raw.columns.get(name), count, name, faults) for name in NUMBERS}
    _require_fields(texts, faults)
    _check_ranges(numbers, faults)
    role, named_roles = cell_numbers([role or SOLVER for role in texts["role"]])
    finish, ends = cell_numbers(texts["finish"])
    _require_words("role", role, named_roles, ROLES, faults)
    _require_words("finish", finish, ends, FINISHES, faults)
    items, question = _questions_of(texts, faults)
    arms, arm = _arms_of(texts)
    parent = _parent_rows(raw, count, faults)
    faults.check()
    role = np.array([ROLES.index(name) for name in named_roles], np.int64)[role]
    ask = np.stack([question, arm, role, parent, numbers["temperature"] == 0.0], axis=1).astype(np.int64)
    sample = _sample_numbers(raw.columns.get("sample"), ask, faults)
    faults.check()
    rows = EvidenceColumns(
        question=question,
        arm=arm,
        sample=np.asarray(sample, np.int64),
        role=np.array(ROLES, dtype="U8")[role],
        parent=np.array(parent, np.int64),
        answer=_texts_or_none(raw.columns.get("answer"), count),
        content=_texts_or_none(raw.columns.get("content"), count),
        finish=np.array(ends, dtype="U7")[finish],
        **numbers,
    )
    return _ordered_evidence(rows, role, items, arms, raw)


def _ordered_evidence(
    rows: EvidenceColumns,
    role: Ints,
    items: tuple[RecordedQuestion, ...],
    arms: tuple[RecordedModel, ...],
    raw: RawEvidence,
) -> Evidence:
    """The evidence with rows in its order and parents renumbered. role: of each row, its place in `ROLES`."""
    sampled = rows.temperature != 0.0
    order = np.lexsort((rows.sample, sampled, rows.parent, role, rows.arm, rows.question))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    parent = rows.parent[order]
    new_parent = np.where(parent >= 0, place[parent], -1) if len(parent) else parent
    some: Any = slice(None) if (np.diff(order) == 1).all() else order  # rows that are in order are not copied
    table = {name: getattr(rows, name)[some] for name in EvidenceColumns.__dataclass_fields__}
    logprobs = raw.columns.get("logprobs")
    ordered_logprobs = None
    if logprobs is not None and any(cell is not None for cell in logprobs):
        ordered_logprobs = tuple(
            None if logprobs[row] is None else np.asarray(logprobs[row], np.float32) for row in order
        )
    return Evidence(items, arms, EvidenceColumns(**{**table, "parent": new_parent}), ordered_logprobs, raw.source)


def counts_of_rows(raw: RawEvidence, path: Path) -> EvidenceCounts:
    """The counts of a file's rows.

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
    items, question = _questions_of(texts, faults)
    arms, arm = _arms_of(texts)
    _sample_numbers([0] * count, np.stack([question, arm], axis=1), faults)
    faults.check()
    n = np.zeros((len(items), len(arms)), np.int64)
    correct = np.zeros(n.shape)
    n[question, arm], correct[question, arm] = numbers["n"].astype(np.int64), numbers["correct"]
    return EvidenceCounts(items, arms, n, correct, raw.source)


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and isnan(cell)) or cell == ""


def _texts(cells: Cells | None, count: int) -> list[str]:
    if cells is None:
        return [""] * count
    if set(map(type, cells)) == {str}:
        stripped = {cell: cell.strip() for cell in set(cells)}
        return [stripped[cell] for cell in cells]
    stripped = {cell: cell.strip() for cell in {cell for cell in cells if isinstance(cell, str)}}
    return [stripped[cell] if isinstance(cell, str) else "" if _is_missing(cell) else str(cell) for cell in cells]


def _texts_or_none(cells: Cells | None, count: int) -> npt.NDArray[np.object_]:
    objects = np.full(count, None, dtype=object)
    if set(map(type, cells or ())) == {str}:
        objects[:] = cells
        objects[objects == ""] = None
        return objects
    for row, cell in enumerate(cells or ()):
        objects[row] = None if _is_missing(cell) else str(cell)
    return objects


def _numbers(cells: Cells | None, count: int, name: str, faults: EvidenceFaults) -> npt.NDArray[np.float64]:
    if cells is None:
        return np.full(count, nan)
    values = _plain_numbers(cells)
    if values is not None:
        for row in np.flatnonzero(np.isinf(values)).tolist():
            faults.add(row, f"{name} is not finite")
        return values
    values = np.empty(count)
    for row, cell in enumerate(cells):
        values[row] = _number(cell)
        if isnan(values[row]) and not _is_missing(cell):
            faults.add(row, f"{name} is {cell!r}; it must be a number")
        elif isinf(values[row]):
            faults.add(row, f"{name} is not finite")
    return values


def _plain_numbers(cells: Cells) -> npt.NDArray[np.float64] | None:
    """The cells as numbers if all are numbers or missing; None if one must be parsed."""
    if isinstance(cells, np.ndarray):
        return cells.astype(float)
    if not set(map(type, cells)) <= PLAIN:
        return None
    try:
        return np.array(cells, float)
    except OverflowError:
        return None


PLAIN = frozenset((float, int, bool, type(None)))
"""Types of cells that numpy converts without parsing."""

TRUTH = {"true": 1.0, "false": 0.0}
"""Words for scores of 1 and 0."""


def _number(cell: Any) -> float:
    try:
        return TRUTH[cell.strip().lower()] if isinstance(cell, str) and cell.strip().lower() in TRUTH else float(cell)
    except (TypeError, ValueError, OverflowError):
        return nan


def _require_fields(texts: Mapping[str, list[str]], faults: EvidenceFaults) -> None:
    for name in ("question", "model"):
        if all(texts[name]):
            continue
        for row, cell in enumerate(texts[name]):
            if not cell:
                faults.add(row, f"{name} is missing")


def _require_words(name: str, codes: Ints, words: Sequence[str], known: Sequence[str], faults: EvidenceFaults) -> None:
    strange = [code for code, word in enumerate(words) if word not in known]
    for row in np.flatnonzero(np.isin(codes, strange)).tolist():
        faults.add(row, f"{name} is {words[codes[row]]!r}; known: {', '.join(filter(None, known))}")


def _check_ranges(numbers: Mapping[str, npt.NDArray[np.float64]], faults: EvidenceFaults) -> None:
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


def _questions_of(texts: Mapping[str, list[str]], faults: EvidenceFaults) -> tuple[tuple[RecordedQuestion, ...], Ints]:
    by_id: dict[str, RecordedQuestion] = {}
    columns = [texts[name] for name in ("question", "text", "task", "context")]
    first, kind = different_rows(columns)
    for number, start in enumerate(first):
        told_item = RecordedQuestion(*(column[start] for column in columns))
        item = by_id.setdefault(told_item.id, told_item)
        if told_item != item:
            if any(new and old and new != old for new, old in zip(told_item, item, strict=True)):
                problem = f"question {item.id!r} has another text, task or context than in an earlier row"
                for row in np.flatnonzero(kind == number).tolist():
                    faults.add(row, problem)
            by_id[item.id] = RecordedQuestion(*(old or new for new, old in zip(told_item, item, strict=True)))
    for row, name in enumerate(texts["context"]) if any(texts["context"]) else ():
        if name and name not in by_id:
            faults.add(row, f"context {name!r} is the id of no question; its text and notes are rows of its own")
    index = {name: number for number, name in enumerate(by_id)}
    return tuple(by_id.values()), np.array([index[texts["question"][start]] for start in first], np.int64)[kind]


def _arms_of(texts: Mapping[str, list[str]]) -> tuple[tuple[RecordedModel, ...], Ints]:
    columns = [texts[name] for name in ("model", "format", "effort")]
    first, arm = different_rows(columns)
    return tuple(RecordedModel(*(column[start] for column in columns)) for start in first), arm


def _parent_rows(raw: RawEvidence, count: int, faults: EvidenceFaults) -> list[int]:
    if raw.columns.get("parent") is None and raw.columns.get("id") is None:
        return [-1] * count
    names = _texts(raw.columns.get("id"), count)
    row_of_id: dict[str, int] = {}
    for row, name in enumerate(names):
        if name and row_of_id.setdefault(name, row) != row:
            faults.add(row, f"id {name!r} is that of row {raw.line[row_of_id[name]]} too")
    parents = []
    for row, parent in enumerate(_texts(raw.columns.get("parent"), count)):
        if parent and row_of_id.get(parent, row) == row:
            faults.add(row, f"parent {parent!r} is the id of no other row")
        parents.append(row_of_id.get(parent, -1) if parent else -1)
    return parents


def _sample_numbers(cells: Cells | None, ask: Ints, faults: EvidenceFaults) -> Sequence[int] | Ints:
    """The number of each sample among the replies to its request: as given, or counted in the order of rows.

    ask: (rows, parts) what tells requests apart.
    """
    if cells is None:
        seen: dict[Any, int] = {}
        numbers = []
        for key in map(tuple, ask.tolist()):
            numbers.append(seen.get(key, 0))
            seen[key] = numbers[-1] + 1
        return numbers
    if (whole := _different_numbers(cells, ask)) is not None:
        return whole
    numbers, first = [], dict[Any, int]()
    given = cells.tolist() if isinstance(cells, np.ndarray) else cells
    for row, (cell, key) in enumerate(zip(given, map(tuple, ask.tolist()), strict=True)):
        number = _number(cell)
        if not (isfinite(number) and number == int(number) >= 0):
            faults.add(row, f"sample is {cell!r}; it must be a whole number from 0")
            number = -1 - row
        if first.setdefault((key, number), row) != row:
            faults.add(row, "is there twice: same question, model, format, effort, role, parent and sample")
        numbers.append(int(number))
    return numbers


def _different_numbers(cells: Cells, ask: Ints) -> Ints | None:
    """Numbers of samples as given, if all are whole numbers and none is there twice; else None."""
    values = _plain_numbers(cells)
    if values is None or not (np.isfinite(values) & (values == np.floor(values)) & (values >= 0)).all():
        return None
    keys = [*ask.T, values]
    order = np.lexsort(keys)
    twice = np.all([key[order][1:] == key[order][:-1] for key in keys], axis=0)
    return None if twice.any() else values.astype(np.int64)
