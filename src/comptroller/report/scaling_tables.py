"""Scaling policies side by side, as a table and as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from comptroller.planning.scaled_simulation import ScaledSimulation
from comptroller.quantities import short
from comptroller.report.figures import dollars, seconds
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right


def _ttft_s(simulation: ScaledSimulation) -> float:
    values = simulation.outcome.latency_s("ttft_s")
    return float(np.quantile(np.where(np.isfinite(values), values, np.inf), 0.95, method="higher"))


SCALING: SheetColumns[ScaledSimulation] = (
    left("policy", None, lambda one: one.settings.policy),
    right("within", "within objectives", lambda one: f"{one.attainment:.2%}"),
    right("replica_h", "replica-hours", lambda one: f"{one.outcome.replica_hours:.2f}"),
    right("usd", "dollars", lambda one: dollars(one.outcome.usd)),
    right("ttft", "TTFT p95", lambda one: seconds(_ttft_s(one))),
    right("most", "most at once", lambda one: one.most_paid),
    right("starts", None, lambda one: one.starts),
)


def scaling_sheet(simulations: Sequence[ScaledSimulation]) -> ReportSheet:
    """A row for each policy."""
    title = f"Scaling: {simulations[0].settings.start_up_s:g} s from a decision until a replica takes calls"
    return ReportSheet.of(title, SCALING, simulations)


def scaling_records(simulations: Sequence[ScaledSimulation]) -> list[dict[str, Any]]:
    """A record for each policy, with what happened when."""
    return [
        {
            "policy": one.settings.policy,
            "target_per_s": short(one.settings.target_per_s),
            "target_calls": short(one.settings.target_calls),
            "start_up_s": one.settings.start_up_s,
            "within": short(one.attainment),
            "replica_h": short(one.outcome.replica_hours),
            "usd": short(one.outcome.usd),
            "ttft_p95_s": short(_ttft_s(one)),
            "most": one.most_paid,
            "starts": one.starts,
            "events": [[short(event.at_s), event.replica, event.phase.name.lower()] for event in one.outcome.events],
        }
        for one in simulations
    ]
