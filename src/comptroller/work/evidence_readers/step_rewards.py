"""Steps of solutions scored by process-reward models beside truth (GAIR-NLP/ReasonEval; MR-GSM8K for marks, MIT).

Every step is one of its solution, after the one before; its score is whether no step so far is wrong, of the last one
whether the solution is right, and unknown where nobody says which step is the first wrong one. Each model's probability
that a step is valid is a verdict on it. Every solution is there to its end, so no search leaves the record; after the
last step that goes on from another a refused one says that no more are recorded.

Solutions in which one step was changed on purpose are those of the question whose untouched ones stand in a set of
their own, and what they have in common with them is one path. The file has no words: there a step is the same if every
model gives it, and all steps before it, the same scores. Their first wrong step is counted from 0, and 0 left empty:
the scores of 361 of the 375 solutions with a changed number, changed operation or swapped steps are those of the
untouched one up to just that step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

from comptroller.work.arrow import read_columns
from comptroller.work.evidence import STEP, VERIFIER, Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows

KEYS = {"set", "item", "group", "step", "steps", "generator", "solution_right", "first_wrong_step"}
OTHER = KEYS | {"answer_right", "human_rating"}
REDUNDANT = "_redundant"
"""End of the columns that say how likely a step is redundant, not valid; they are left out."""
CHANGED, UNTOUCHED = "perturbed", "perturbed-original"
"""Sets of solutions with a step changed on purpose, and of the same without a change."""
CHANGE = ", one step changed"
"""What follows the name of the generator whose solution was changed."""


class _FileStep(NamedTuple):
    """A row of the file. line: its number.  cells: by column.  scores: by model, of those that scored it."""

    line: int
    cells: Mapping[str, Any]
    scores: Mapping[str, float]

    @property
    def solution(self) -> str:
        return f"{self.cells['set']}/{self.cells['item']}"

    @property
    def ends(self) -> bool:
        return int(self.cells["step"]) == int(self.cells["steps"])


def _read(path: Path) -> Evidence:
    cells, _ = read_columns(path)
    scorers = [name for name in cells if name not in OTHER and not name.endswith(REDUNDANT)]
    steps = []
    for place in range(len(cells["step"])):
        step = {name: column[place] for name, column in cells.items()}
        told = {name: step[name] for name in scorers if step[name] is not None and not isnan(step[name])}
        steps.append(_FileStep(place + 1, step, told))
    steps.sort(key=lambda step: step.cells["set"] != UNTOUCHED)
    lines: list[int] = []
    columns: dict[str, list[Any]] = {}
    for line, row in _rows(steps):
        lines.append(line)
        for name, cell in row.items():
            columns.setdefault(name, []).append(cell)
    read = evidence_of_rows(RawEvidence(lines, columns or {"question": [], "model": []}, path.name), path)
    return replace(read, exchangeable=True)


def _rows(steps: list[_FileStep]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Steps with their lines, what each reward model says of them, and the end of what goes on from each."""
    ids: dict[tuple[Any, ...], str] = {}
    before: dict[str, str] = {}
    ends: dict[tuple[Any, ...], tuple[int, dict[str, Any]]] = {}
    for step in steps:
        parent = before.get(step.solution) if int(step.cells["step"]) > 1 else None
        row = _step(step, parent)
        of_changed = step.cells["set"] in (CHANGED, UNTOUCHED)
        same = (row["question"], row["model"], parent, step.ends, tuple(step.scores.items()))
        own = ids.setdefault(same, row["id"]) if of_changed else row["id"]
        before[step.solution] = own
        if own != row["id"]:
            continue
        yield step.line, row
        asked = {name: row[name] for name in ("question", "task")}
        for scorer, judged in step.scores.items():
            verdict = {"parent": own, "model": scorer, "role": VERIFIER, "judgement": judged}
            yield step.line, BLANK | asked | verdict
        last = asked | {"parent": parent, "model": row["model"], "role": STEP, "finish": "refused"}
        ends[row["question"], row["model"], parent] = step.line, BLANK | last
    yield from ends.values()


BLANK = {"id": None, "content": None, "answer": None, "score": nan, "judgement": nan, "finish": "stop"}


def _step(step: _FileStep, parent: str | None) -> dict[str, Any]:
    cells, number = step.cells, int(step.cells["step"])
    task = CHANGED if cells["set"] == UNTOUCHED else cells["set"]
    return BLANK | {
        "id": f"{step.solution}/{number}",
        "parent": parent,
        "question": f"{task}/{cells['group']}",
        "task": task,
        "model": cells["generator"].partition(CHANGE)[0],
        "role": STEP,
        "content": f"{step.solution}/{number}",
        "answer": step.solution if step.ends else None,
        "score": _truth(cells, number, step.ends),
    }


def _truth(cells: Mapping[str, Any], number: int, ends: bool) -> float:
    """Whether the solution is right so far; NaN where it is not known."""
    right, wrong = cells["solution_right"], cells["first_wrong_step"]
    if cells["set"] == CHANGED:
        wrong = 1 + (0 if wrong is None or isnan(wrong) else wrong)
    if ends and right is not None:
        return float(right)
    if right:
        return 1.0
    return nan if wrong is None or isnan(wrong) else float(number < wrong)


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind == "parquet" and peek.names >= KEYS


READER = EvidenceReader(
    "step_rewards",
    "Parquet with set, item, step, steps, generator, first_wrong_step and scores of reward models",
    _recognises,
    _read,
)
