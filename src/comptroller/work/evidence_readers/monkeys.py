"""Counts published with "How Do Large Language Monkeys Get Their Power": correct ones of n samples per problem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.work import arrow
from comptroller.work.evidence import EvidenceCounts
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, counts_of_rows
from comptroller.work.tabular import Cells, numbers, read_columns

NAMES = ("Model", "Benchmark", "Problem Idx", "Num. Samples Total", "Num. Samples Correct")


def _read(path: Path) -> EvidenceCounts:
    if path.suffix == ".parquet":
        cells, _ = arrow.read_columns(path)
        model, task, problem, n, correct = (np.array(cells[name], dtype=object) for name in NAMES)
        line = np.arange(1, len(model) + 1)
    else:
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
    return peek.kind in ("csv", "parquet") and set(NAMES) <= peek.names


READER = EvidenceReader("monkeys", f"CSV or Parquet with {', '.join(NAMES)}", _recognises, _read)
