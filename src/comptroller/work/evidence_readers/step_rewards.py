"""Steps of solutions scored by process-reward models beside truth (GAIR-NLP/ReasonEval; MR-GSM8K for marks, MIT).

Every step is one of its solution, after the one before; its score is whether no step so far is wrong, of the last one
whether the solution is right, and unknown where nobody says which step is the first wrong one. Each model's probability
that a step is valid is a verdict on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isnan, nan
from pathlib import Path
from typing import Any

from comptroller.work.arrow import read_columns
from comptroller.work.evidence import STEP, VERIFIER, Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows

KEYS = {"set", "item", "group", "step", "steps", "generator", "solution_right", "first_wrong_step"}
OTHER = KEYS | {"answer_right", "human_rating"}
REDUNDANT = "_redundant"
"""End of the columns that say how likely a step is redundant, not valid; they are left out."""


def _read(path: Path) -> Evidence:
    cells, _ = read_columns(path)
    scorers = [name for name in cells if name not in OTHER and not name.endswith(REDUNDANT)]
    lines: list[int] = []
    columns: dict[str, list[Any]] = {}
    for place in range(len(cells["step"])):
        step = {name: column[place] for name, column in cells.items()}
        for row in _rows(step, scorers):
            lines.append(place + 1)
            for name, cell in row.items():
                columns.setdefault(name, []).append(cell)
    return evidence_of_rows(RawEvidence(lines, columns or {"question": [], "model": []}, path.name), path)


def _rows(step: Mapping[str, Any], scorers: list[str]) -> Iterator[dict[str, Any]]:
    """A step, and what each reward model says of it."""
    solution, number = f"{step['set']}/{step['item']}", int(step["step"])
    own = f"{solution}/{number}"
    blank = {"id": None, "content": None, "answer": None, "score": nan, "judgement": nan}
    asked = {"question": f"{step['set']}/{step['group']}", "task": step["set"]}
    ends = number == int(step["steps"])
    yield (
        blank
        | asked
        | {
            "id": own,
            "parent": f"{solution}/{number - 1}" if number > 1 else None,
            "model": step["generator"],
            "role": STEP,
            "content": f"step {number} of {solution}",
            "answer": solution if ends else None,
            "score": _truth(step, number, ends),
        }
    )
    for scorer in scorers:
        judged = step[scorer]
        if judged is not None and not isnan(judged):
            yield blank | asked | {"parent": own, "model": scorer, "role": VERIFIER, "judgement": judged}


def _truth(step: Mapping[str, Any], number: int, ends: bool) -> float:
    """Whether the solution is right so far; NaN where it is not known."""
    right, wrong = step["solution_right"], step["first_wrong_step"]
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
