"""Who shared a simulated fleet: a table by tenant, priority and adapter, and who was slowed by whom."""

from __future__ import annotations

import numpy as np

from comptroller.planning.fleet_sharing import SharingSlowdown
from comptroller.planning.simulation import PlanSimulation
from comptroller.report.figures import number, seconds
from comptroller.report.sharing_figures import Record, sharing_records
from comptroller.report.sheet import UNKNOWN, Cell, ReportSheet, SheetColumns, left, right

GROUPS: SheetColumns[Record] = (
    left("name", "", lambda one: one["name"]),
    right("requests", None, lambda one: one["requests"]),
    right("tokens", None, lambda one: one["tokens"]),
    right("within", None, lambda one: f"{one['within']:.1%}"),
    right("queue", "queue p99", lambda one: seconds(one["queue_p99_s"])),
    right("ttft_p50", "TTFT p50", lambda one: seconds(one["ttft_p50_s"])),
    right("ttft_p99", "TTFT p99", lambda one: seconds(one["ttft_p99_s"])),
    right("preemptions", None, lambda one: one["preemptions"]),
    right("pace", "tokens/s in the fleet", lambda one: number(one["pace_tokens_per_s"])),
)


def sharing_sheets(simulation: PlanSimulation) -> tuple[ReportSheet, ...]:
    """A table for each role that the calls can be grouped by."""
    return tuple(
        ReportSheet.of(f"By {one['role']}: Jain's index of paces {number(one['jain_pace'])}", GROUPS, one["groups"])
        for one in sharing_records(simulation)
    )


def slowdown_sheet(found: SharingSlowdown) -> ReportSheet:
    """Who was slowed by whom: against alone, and by how much later first tokens came because of each other group."""
    names = found.grouping.names
    columns = (
        left("name", ""),
        right("slowdown", "end to end, x alone"),
        right("ttft_p99", "TTFT p99, x alone"),
        *(right(f"by_{place}", f"later by {name}") for place, name in enumerate(names)),
    )
    rows: list[tuple[Cell, ...]] = []
    for group, name in enumerate(names):
        later = (UNKNOWN if np.isnan(value) else _later(float(value)) for value in found.later_s[group])
        rows.append((name, number(found.slowdown[group]), number(found.ttft_p99_ratio[group]), *later))
    title = f"Who was slowed by whom, by {found.grouping.role}: Jain's index of speeds {number(found.fairness)}"
    return ReportSheet(title, columns, tuple(rows))


def _later(value_s: float) -> str:
    """Signed, since who is left out may also have warmed a cache or filled a step."""
    return f"-{seconds(-value_s)}" if value_s < 0 else seconds(value_s)
