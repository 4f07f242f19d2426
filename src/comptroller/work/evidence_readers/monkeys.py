"""Counts published with "How Do Large Language Monkeys Get Their Power": correct ones of n samples per problem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.work.evidence import EvidenceCounts
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, counts_of_rows
from comptroller.work.tabular import Cells, numbers, read_columns

NAMES = ("Model", "Benchmark", "Problem Idx", "Num. Samples Total", "Num. Samples Correct")


def _read(path: Path) -> EvidenceCounts:
    line, (model, task, problem, n, correct) = read_columns(path, NAMES, (*(_as_objects,) * 3, numbers, numbers))
    columns = {
        "question": [f"{name}/{number}" for name, number in zip(task, problem, strict=True)],
        "task": task,
        "model": model,
        "n": n.tolist(),
        "correct": correct.tolist(),
    }
    return counts_of_rows(RawEvidence(line.tolist(), columns, path.name), path)


def _as_objects(cells: Cells) -> npt.NDArray[np.object_]:
    return np.array(cells, dtype=object)


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind == "csv" and set(NAMES) <= peek.names


READER = EvidenceReader("monkeys", f"CSV with {', '.join(NAMES)}", _recognises, _read)
