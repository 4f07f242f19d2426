"""Policies of pools of requests side by side: a table, records and a picture of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comptroller.planning.pool_simulation import PoolSimulation
from comptroller.quantities import short
from comptroller.report.drawing import ChartPicture
from comptroller.report.figures import dollars, seconds, with_prefix
from comptroller.report.fleet_timeline import timeline_charts, timeline_of_pools
from comptroller.report.scaling_pictures import timeline_page
from comptroller.report.scaling_tables import ttft_p95_s
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right

POOLS: SheetColumns[PoolSimulation] = (
    left("policy", None, lambda one: one.policy),
    right("pools", None, lambda one: len(one.outcome.pools)),
    right("within", "within objectives", lambda one: f"{one.attainment:.2%}"),
    right("energy", None, lambda one: with_prefix(one.energy_j, "J")),
    right("gco2e", "gCO2e", lambda one: f"{one.gco2e:,.0f}"),
    right("device_h", "device-hours", lambda one: f"{one.outcome.device_hours:.2f}"),
    right("usd", "dollars", lambda one: dollars(one.outcome.elastic.usd)),
    right("ttft", "TTFT p95", lambda one: seconds(ttft_p95_s(one.outcome.elastic))),
    right("layouts", "re-shardings", lambda one: one.outcome.reshardings),
    right("decisions", None, lambda one: len(one.outcome.decisions)),
)


def pool_sheet(found: Sequence[PoolSimulation]) -> ReportSheet:
    """A row for each policy."""
    degrees = ", ".join(map(str, found[0].tp))
    return ReportSheet.of(f"Pools of requests, tensor parallelism of {degrees}", POOLS, found)


def pool_records(found: Sequence[PoolSimulation]) -> list[dict[str, Any]]:
    """A record for each policy, with its pools and what was decided when."""
    return [
        {
            "policy": one.policy,
            "tp": list(one.tp),
            "within": short(one.attainment),
            "energy_j": short(one.energy_j),
            "gco2e": short(one.gco2e),
            "device_h": short(one.outcome.device_hours),
            "usd": short(one.outcome.elastic.usd),
            "ttft_p95_s": short(ttft_p95_s(one.outcome.elastic)),
            "reshardings": one.outcome.reshardings,
            "pools": [
                {
                    "name": pool.name,
                    "expected_per_s": short(pool.expected_per_s),
                    "most_per_s": [[short(float(value)) for value in each.per_s] for each in pool.profiles],
                    "start_up_s": [short(each.start_up_s) for each in pool.profiles],
                }
                for pool in one.outcome.pools
            ],
            "decisions": [
                {
                    "at_s": short(each.at_s),
                    "pool": one.outcome.pools[each.pool].name,
                    "tp": one.tp[each.setting.layout],
                    "replicas": each.setting.replicas,
                    "clock": each.setting.clock,
                }
                for each in one.outcome.decisions
            ],
        }
        for one in found
    ]


def pool_picture(found: Sequence[PoolSimulation]) -> ChartPicture:
    """Arrivals, replicas of any layout, what waits, latencies and dollars over time, as a file."""
    return ChartPicture(timeline_charts([timeline_of_pools(one) for one in found]), pool_sheet(found).title)


def pool_page(found: Sequence[PoolSimulation]) -> str:
    """The charts and the table as a page."""
    words = f"{len(found[0].trace):,} requests under {len(found)} policies of pools"
    return timeline_page("pools of requests", words, [timeline_of_pools(one) for one in found], (pool_sheet(found),))
