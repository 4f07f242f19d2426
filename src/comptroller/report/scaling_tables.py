"""Scaling policies side by side, as a table and as records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from comptroller.costs.start_up import StartUpTime
from comptroller.planning.scaled_simulation import ScaledSimulation
from comptroller.quantities import short
from comptroller.report.figures import dollars, seconds
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.serving.elastic import ElasticOutcome


def ttft_p95_s(outcome: ElasticOutcome) -> float:
    """The 95th percentile of the time to the first token; calls without one are late without end."""
    values = outcome.latency_s("ttft_s")
    return float(np.quantile(np.where(np.isfinite(values), values, np.inf), 0.95, method="higher"))


def over_shifts(one: ScaledSimulation, read: Callable[[ScaledSimulation], float], words: Callable[[float], str]) -> str:
    """A figure, and its least and most over the moments that the trace was begun at."""
    values = [read(each) for each in (one, *one.again)]
    spread = f" ({words(min(values))} to {words(max(values))})" if one.again else ""
    return words(values[0]) + spread


def replica_hours(one: ScaledSimulation) -> float:
    """Hours of replicas that were paid for."""
    return one.outcome.replica_hours


SCALING: SheetColumns[ScaledSimulation] = (
    left("policy", None, lambda one: one.settings.policy),
    right("within", "within objectives", lambda one: over_shifts(one, lambda each: each.attainment, "{:.2%}".format)),
    right("replica_h", "replica-hours", lambda one: over_shifts(one, replica_hours, "{:.2f}".format)),
    right("usd", "dollars", lambda one: dollars(one.outcome.usd)),
    right("ttft", "TTFT p95", lambda one: seconds(ttft_p95_s(one.outcome))),
    right("most", "most at once", lambda one: one.most_paid),
    right("starts", None, lambda one: one.starts),
)


def start_up_words(parts: StartUpTime) -> str:
    """A start-up by its parts.

    >>> start_up_words(StartUpTime(100.0, 0.0, 30.3, 44.8))
    'boot 100 s, weights 30 s, warm up 45 s'
    """
    return ", ".join(f"{name.replace('_', ' ')} {value:.0f} s" for name, value in parts.parts_s().items() if value)


def scaling_sheet(simulations: Sequence[ScaledSimulation]) -> ReportSheet:
    """A row for each policy."""
    first = simulations[0]
    title = f"Scaling: {first.settings.start_up_s:.3g} s from a decision until a replica takes calls"
    title += f" ({start_up_words(first.start_up)})" if first.start_up else ""
    return ReportSheet.of(title, SCALING, simulations)


def scaling_records(simulations: Sequence[ScaledSimulation]) -> list[dict[str, Any]]:
    """A record for each policy, with what happened when."""
    return [
        {
            "policy": one.settings.policy,
            "target_per_s": short(one.settings.target_per_s),
            "target_calls": short(one.settings.target_calls),
            "start_up_s": short(one.settings.start_up_s),
            "start_up_parts_s": one.start_up and {name: short(value) for name, value in one.start_up.parts_s().items()},
            "within": short(one.attainment),
            "replica_h": short(one.outcome.replica_hours),
            "usd": short(one.outcome.usd),
            "ttft_p95_s": short(ttft_p95_s(one.outcome)),
            "again": [
                {"within": short(each.attainment), "replica_h": short(each.outcome.replica_hours)} for each in one.again
            ],
            "most": one.most_paid,
            "starts": one.starts,
            "events": [[short(event.at_s), event.replica, event.phase.name.lower()] for event in one.outcome.events],
        }
        for one in simulations
    ]
