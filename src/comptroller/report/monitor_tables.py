"""Monitors of agents' runs: what each would have saved, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from comptroller.report.figures import dollars, number
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.strategies.monitor_study import MonitorFinding

MONITORS: SheetColumns[MonitorFinding] = (
    left("source"),
    left("monitor"),
    right("runs", None, lambda one: f"{one.runs} in {one.groups} groups"),
    right("lost", "solved runs lost", lambda one: f"{one.lost} of {one.successes}, {one.lost / one.successes:.1%}"),
    right("cut", "failing dollars cut", lambda one: f"{one.cut:.1%}"),
    right("hindsight", "best in hindsight", lambda one: "" if isnan(one.hindsight) else f"{one.hindsight:.1%}"),
    right("saved", "all dollars saved", lambda one: f"{one.saved:.1%}"),
    right("per_solved", "$ per solved", lambda one: dollars(one.usd_per_solved)),
    right("after", "$ with it", lambda one: dollars(one.usd_per_solved_after)),
    right("threshold", None, lambda one: number(one.threshold)),
)


def monitors_sheet(found: Sequence[MonitorFinding]) -> ReportSheet:
    """Monitors by source, those that cut most of the failing dollars first."""
    ranked = sorted(found, key=lambda one: (one.source, -one.cut))
    return ReportSheet.of(
        "Monitors, every run judged by what other groups taught, a file or a stated threshold as it is",
        MONITORS,
        ranked,
    )
