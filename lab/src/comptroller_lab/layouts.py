"""Replicas made from step tables: speculative decoding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.steptable import StepTable
from comptroller.serving.fleet import SimulatedReplica

Floats = npt.NDArray[np.float64]


def speculative(table: StepTable, draft: StepTable, draft_tokens: int, acceptance: float) -> SimulatedReplica:
    """A replica that drafts and verifies.

    A decode step is k steps of the draft model and one step of the target over B (k + 1) tokens:
    t(B, K) = k * draft(B, K) + mixed(B (k + 1)) + decode(B, K) - decode(B, 0); joules likewise. Each sequence
    keeps the draft tokens before the first that is rejected, drawn at each step by the policies' seed.
    """
    batches = np.arange(table.max_batch + 1)
    tokens = batches * (draft_tokens + 1.0)
    draft_rows = np.minimum(batches, draft.max_batch)
    values = {}
    for unit in ("s", "j"):
        own, linear = getattr(table, f"decode_{unit}"), getattr(table, f"mixed_{unit}")
        drafted = _resample(draft, getattr(draft, f"decode_{unit}")[draft_rows], table.kv_knots_tokens)
        verified = np.array([_line(table.token_knots, linear, count) for count in tokens])
        values[f"decode_{unit}"] = draft_tokens * drafted + verified[:, None] + own - own[:, :1]
    return SimulatedReplica(replace(table, **values), draft_tokens=draft_tokens, acceptance=acceptance)


def _resample(table: StepTable, rows: Floats, knots: Floats) -> Floats:
    return np.array([[_line(table.kv_knots_tokens, row, knot) for knot in knots] for row in rows])


def _line(knots: Floats, values: Floats, x: float) -> float:
    left = int(np.clip(np.searchsorted(knots, x, side="right") - 1, 0, knots.size - 2))
    slope = (values[left + 1] - values[left]) / (knots[left + 1] - knots[left])
    return float(values[left] + slope * (x - knots[left]))
