"""The two data sets of "The price reversal" (lchen001/pricing-reversal, MIT): replies with tokens by kind, cost, score.

One of them repeats the questions in five runs, two of them twice within a run, so that samples are numbered in the
order of rows. A row without tokens is a failed request. A cost of 0 beside recorded tokens means that the cost is
unknown.
"""

from __future__ import annotations

from math import nan
from pathlib import Path
from typing import Any

from comptroller.work.arrow import read_columns
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows

NEEDED = {"task", "model", "question", "prompt_tokens", "completion_tokens", "thinking_tokens", "cost"}


def _read(path: Path) -> Evidence:
    cells, _ = read_columns(path)
    generated, prompt = cells["completion_tokens"], cells["prompt_tokens"]
    reasoning = cells["thinking_tokens"]
    count = len(generated)
    failed = [generated[row] == 0 and prompt[row] == 0 for row in range(count)]
    columns: dict[str, list[Any]] = {
        "question": [f"{t}/{q}" for t, q in zip(cells["task"], cells["question"], strict=True)],
        "task": cells["task"],
        "model": cells["model"],
        "finish": ["failed" if bad else "" for bad in failed],
        "input_tokens": prompt,
        "output_tokens": [generated[row] - reasoning[row] for row in range(count)],
        "reasoning_tokens": reasoning,
        "usd": [nan if cost == 0 and generated[row] else cost for row, cost in enumerate(cells["cost"])],
    }
    columns |= {name: cells[name] for name in ("score", "sample") if name in cells}
    return evidence_of_rows(RawEvidence(range(1, count + 1), columns, path.name), path)


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind == "parquet" and peek.names >= NEEDED


READER = EvidenceReader("pricing_reversal", f"Parquet with {', '.join(sorted(NEEDED))}", _recognises, _read)
