"""The two sets of "The price reversal" (lchen001/pricing-reversal, MIT): replies with tokens by kind, cost, score.

The repeats ask the same questions in five runs; two questions were asked again within a run, so the samples are
numbered as they come. A row without any token is a request that failed. Where tokens are recorded and the cost is
0, the cost was not recorded: it is unknown, not nothing.
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
    made, prompt = cells["completion_tokens"], cells["prompt_tokens"]
    thought = cells["thinking_tokens"]
    count = len(made)
    failed = [made[row] == 0 and prompt[row] == 0 for row in range(count)]
    columns: dict[str, list[Any]] = {
        "question": [f"{t}/{q}" for t, q in zip(cells["task"], cells["question"], strict=True)],
        "task": cells["task"],
        "model": cells["model"],
        "finish": ["failed" if bad else "" for bad in failed],
        "input_tokens": prompt,
        "output_tokens": [made[row] - thought[row] for row in range(count)],
        "reasoning_tokens": thought,
        "usd": [nan if cost == 0 and made[row] else cost for row, cost in enumerate(cells["cost"])],
    }
    columns |= {name: cells[name] for name in ("score", "sample") if name in cells}
    return evidence_of_rows(RawEvidence(range(1, count + 1), columns, path.name), path)


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind == "parquet" and peek.names >= NEEDED


READER = EvidenceReader("pricing_reversal", f"Parquet with {', '.join(sorted(NEEDED))}", _recognises, _read)
