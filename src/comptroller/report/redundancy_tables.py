"""Kinds of redundancy side by side: what copies cost and save, as a table and as records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from comptroller.planning.redundancy_simulation import RedundancySimulation
from comptroller.quantities import short
from comptroller.report.figures import seconds
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right


def latency_s(one: RedundancySimulation, name: str, percent: float) -> float:
    """A percentile of a latency over the calls that have one."""
    values = one.outcome.latency_s(name)
    values = values[np.isfinite(values)]
    return float(np.percentile(values, percent)) if values.size else float("nan")


def _quantile(name: str, percent: float) -> Callable[[RedundancySimulation], str]:
    return lambda one: seconds(latency_s(one, name, percent))


def redundancy_sheet(simulations: Sequence[RedundancySimulation]) -> ReportSheet:
    """A row for each kind, the first without copies; cost is replica time over that of the first."""
    plain_s = simulations[0].outcome.device_s
    calls = len(simulations[0].outcome.since_s)
    columns: SheetColumns[RedundancySimulation] = (
        left("redundancy", None, lambda one: one.name),
        right("within", "within objectives", lambda one: f"{one.within.mean():.2%}"),
        right("ttft_p50", "TTFT p50", _quantile("ttft_s", 50)),
        right("ttft_p99", "p99", _quantile("ttft_s", 99)),
        right("e2e_p99", "whole reply p99", _quantile("e2e_s", 99)),
        right("cost", "replica time", lambda one: f"{one.outcome.device_s / plain_s:.3g} x"),
        right("wasted", "of it unheard", lambda one: f"{one.outcome.wasted_s / one.outcome.device_s:.2%}"),
        right("sent", "copies sent", lambda one: f"{one.outcome.sent / calls:.2%}"),
        right("won", "won", lambda one: one.outcome.won),
        right("error", "error grows by", lambda one: f"{one.error_growth:.3g} x" if one.error_growth > 1 else ""),
    )
    return ReportSheet.of(f"Redundancy, {calls:,} calls", columns, simulations).without_empty("error")


def redundancy_records(simulations: Sequence[RedundancySimulation]) -> list[dict[str, Any]]:
    """A record for each kind."""
    plain_s = simulations[0].outcome.device_s
    return [
        {
            "redundancy": one.name, "within": short(float(one.within.mean())),
            **{
                f"{name[:-2]}_p{percent}_s": short(latency_s(one, name, percent))
                for name in ("ttft_s", "e2e_s")
                for percent in (50, 95, 99)
            },
            "replica_time": short(one.outcome.device_s / plain_s),
            "unheard": short(one.outcome.wasted_s / one.outcome.device_s), "sent": one.outcome.sent,
            "won": one.outcome.won, "error_growth": short(one.error_growth),
        }
        for one in simulations
    ]  # fmt: skip
