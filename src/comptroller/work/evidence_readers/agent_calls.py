"""Trajectories of agents with a row per call: each run is one reply, with what all of its calls took.

The columns are those of `work.trajectory_files`: the model is that of the calls, the task the repository or customer,
the score whether the run solved its instance. Tokens are those of all calls together, as they were sent; the seconds
those from the first call to the end of the last, tools included, where they are recorded.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers.openai_log import table
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader
from comptroller.work.trajectory_files import NEEDED, read_trajectories

TOGETHER = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "usd")
"""What a run took is the sum of these over its calls, unknown where one is."""


def _read(path: Path) -> Evidence:
    calls = read_trajectories(path)
    sums = {name: calls.total(getattr(calls, name)) for name in TOGETHER}
    # prompts and replies are recorded with cached and reasoning tokens in them; each token stands in one column
    sums["input_tokens"] -= np.nan_to_num(sums["cached_tokens"])
    sums["output_tokens"] -= np.nan_to_num(sums["reasoning_tokens"])
    sums["latency_s"] = calls.total(
        np.where(np.isnan(calls.to_next_s), calls.llm_s + calls.waits.seconds, calls.to_next_s)
    )
    rows = [
        {"question": run.instance, "task": run.group, "model": run.model or run.source, "score": run.score}
        | {name: float(column[place]) for name, column in sums.items()}
        for place, run in enumerate(calls.runs)
    ]
    lines = calls.line[calls.starts[:-1]].tolist()
    return replace(table(path, lines, [[row] for row in rows]), calls=calls)


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind in ("csv", "jsonl", "parquet") and peek.names >= set(NEEDED)


READER = EvidenceReader(
    "agent_calls",
    f"CSV, JSON lines or Parquet with {', '.join(NEEDED)}: a row per call of an agent",
    _recognises,
    _read,
)
