"""A service whose replicas fault, under several times of detection: a table and records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from comptroller.planning.fault_simulation import FaultSimulation, replica_faults_per_day
from comptroller.quantities import short
from comptroller.report.figures import seconds
from comptroller.report.scaling_tables import start_up_words, ttft_p95_s
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right


def _name(one: FaultSimulation) -> str:
    return f"seen after {one.settings.detect_s:g} s" if np.isfinite(one.fault_s) else "no faults"


FAULTS: SheetColumns[FaultSimulation] = (
    left("faults", None, _name),
    right("within", "within objectives", lambda one: f"{one.attainment:.2%}"),
    right("goodput", "goodput", lambda one: f"{one.goodput_per_s:.4g}/s"),
    right("healthy", "all replicas work", lambda one: f"{one.outcome.healthy:.2%}"),
    right("hung", "replica time hung", lambda one: f"{one.outcome.hung_s / 3600:.3g} h"),
    right("ttft", "TTFT p95", lambda one: seconds(ttft_p95_s(one.outcome.elastic))),
    right("count", "faults hit", lambda one: len(one.outcome.faults)),
    right("calls", "calls begun anew", lambda one: sum(loss.calls for loss in one.outcome.elastic.losses)),
)


def faults_sheet(simulations: Sequence[FaultSimulation]) -> ReportSheet:
    """A row without faults, then one for each time of detection."""
    first, last = simulations[0], simulations[-1]
    how = last.settings
    words = f" ({start_up_words(first.start_up)})" if first.start_up else ""
    title = (
        f"{how.target} replicas and {how.spares} spares, {replica_faults_per_day(simulations):.3g} faults a day, "
        f"{how.start_up_s:.3g} s start-up{words}, broken nodes back after {how.repair_s / 3600:.3g} h"
    )
    return ReportSheet.of(title, FAULTS, simulations)


def fault_records(simulations: Sequence[FaultSimulation]) -> list[dict[str, Any]]:
    """A record for each row, with every fault that hit."""
    return [_record(one) for one in simulations]


def _record(one: FaultSimulation) -> dict[str, Any]:
    ran, how = one.outcome, one.settings
    return {
        "replica_fault_s": short(one.fault_s) if np.isfinite(one.fault_s) else None,
        "detect_s": how.detect_s if np.isfinite(one.fault_s) else None, "repair_s": how.repair_s,
        "target": how.target, "spares": how.spares, "start_up_s": short(how.start_up_s),
        "within": short(one.attainment), "goodput_per_s": short(one.goodput_per_s), "healthy": short(ran.healthy),
        "hung_s": short(ran.hung_s), "ttft_p95_s": short(ttft_p95_s(ran.elastic)),
        "replica_h": short(ran.elastic.replica_hours), "causes": dict(Counter(hit.fault.cause for hit in ran.faults)),
        "faults": [
            {
                "at_s": short(hit.fault.at_s), "replica": hit.fault.replica, "cause": hit.fault.cause,
                "breaks": hit.fault.breaks, "seen_s": short(hit.seen_s), "calls": hit.calls,
            }
            for hit in ran.faults
        ],
    }  # fmt: skip
