"""Scaling and power policies together: a table, records and a picture of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comptroller.planning.capped_scaling import CappedScaling
from comptroller.quantities import short
from comptroller.report.drawing import ChartPicture
from comptroller.report.figures import seconds, with_prefix
from comptroller.report.fleet_timeline import FleetTimeline, timeline_charts, timeline_of_rows
from comptroller.report.power_tables import order_records, watts
from comptroller.report.scaling_pictures import timeline_page
from comptroller.report.scaling_tables import ttft_p95_s
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right

PAIRS: SheetColumns[CappedScaling] = (
    left("scaling", None, lambda one: one.capped.scaled.settings.policy),
    left("power", None, lambda one: one.capped.rows.conditions.policy),
    right("within", "within objectives", lambda one: f"{one.capped.scaled.attainment:.2%}"),
    right("free_within", "uncapped", lambda one: f"{one.free.scaled.attainment:.2%}"),
    right("replica_h", "replica-hours", lambda one: f"{one.capped.scaled.outcome.replica_hours:.2f}"),
    right("ttft", "TTFT p95", lambda one: seconds(ttft_p95_s(one.capped.scaled.outcome))),
    right("share", "peak, of the budget", lambda one: f"{one.capped.rows.peak_share:.1%}"),
    right("free", "uncapped", lambda one: f"{one.free.rows.peak_share:.1%}"),
    right("over", "above it", lambda one: seconds(one.capped.rows.over_s) if one.capped.rows.over_s else "never"),
    right("brakes", None, lambda one: one.capped.rows.brakes),
    right("orders", "settings", lambda one: len(one.capped.rows.orders)),
    right("energy", "energy", lambda one: with_prefix(one.capped.energy_j, "J")),
)


def capped_scaling_sheet(found: Sequence[CappedScaling]) -> ReportSheet:
    """A row for each pair of policies."""
    first = found[0].capped
    rows, most = first.rows.conditions, len(first.scaled.outcome.outcome.fleet.replicas())
    words = f"{rows.rows} row{'s' if rows.rows > 1 else ''} of {watts(rows.row_budget_w)}"
    title = f"Scaling in {words}: {first.scaled.settings.first} to {most} replicas, "
    return ReportSheet.of(title + f"{first.scaled.settings.start_up_s:.3g} s until one takes calls", PAIRS, found)


def capped_scaling_records(found: Sequence[CappedScaling]) -> list[dict[str, Any]]:
    """A record for each pair, with its samples, what was set, and who came and went."""
    return [_record(one) for one in found]


def _record(one: CappedScaling) -> dict[str, Any]:
    scaled, rows = one.capped.scaled, one.capped.rows
    return {
        "scaling": scaled.settings.policy,
        "power": rows.conditions.policy,
        "row_budget_w": rows.conditions.row_budget_w,
        "within": short(scaled.attainment),
        "uncapped_within": short(one.free.scaled.attainment),
        "replica_h": short(scaled.outcome.replica_hours),
        "uncapped_replica_h": short(one.free.scaled.outcome.replica_hours),
        "usd": short(scaled.outcome.usd),
        "ttft_p95_s": short(ttft_p95_s(scaled.outcome)),
        "peak_share": short(rows.peak_share),
        "uncapped_peak_share": short(one.free.rows.peak_share),
        "over_s": rows.over_s,
        "brakes": rows.brakes,
        "energy_j": short(one.capped.energy_j),
        "uncapped_energy_j": short(one.free.energy_j),
        **order_records(rows),
        "events": [[short(each.at_s), each.replica, each.phase.name.lower()] for each in scaled.outcome.events],
    }


def _lines(found: Sequence[CappedScaling]) -> list[FleetTimeline]:
    return [
        timeline_of_rows(one.capped.scaled, one.capped.rows, f"{one.capped.scaled.settings.policy}, {power}")
        for one in found
        for power in [one.capped.rows.conditions.policy]
    ]


def capped_scaling_picture(found: Sequence[CappedScaling]) -> ChartPicture:
    """Watts of the highest row against the budget, replicas, queue and latencies over time, as a file."""
    return ChartPicture(timeline_charts(_lines(found)), capped_scaling_sheet(found).title)


def capped_scaling_page(found: Sequence[CappedScaling]) -> str:
    """The pictures and the table as a page."""
    words = f"{len(found[0].capped.scaled.trace):,} requests under {len(found)} pairs of policies"
    return timeline_page("scaling and power", words, _lines(found), (capped_scaling_sheet(found),))
