"""Rows within a power budget, policies side by side: tables, records and a picture of watts over time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from comptroller.planning.power_simulation import UNCAPPED, PowerSimulation
from comptroller.quantities import short
from comptroller.report.drawing import ChartPicture
from comptroller.report.figures import seconds, with_prefix
from comptroller.report.fleet_timeline import FleetTimeline, timeline_charts, timeline_of_power
from comptroller.report.scaling_pictures import timeline_page
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.serving.policies.power_view import PowerSetting
from comptroller.serving.power import setting_shares
from comptroller.serving.power_rows import RowRecord

QUANTILES = (0.5, 0.99)
LATENCIES = ("ttft_s", "e2e_s")
watts = partial(with_prefix, unit="W")


class TierLatencies(NamedTuple):
    """A tier of a simulation, as a row of a table."""

    simulation: PowerSimulation
    tier: int

    def cell(self, what: str, quantile: float) -> str:
        """A quantile, and how far it is from the same where nothing is set."""
        value = self.simulation.outcome.quantile_s(what, quantile, self.tier)
        return f"{seconds(value)} ({self.simulation.change(what, quantile, self.tier):+.1%})"


def words(setting: PowerSetting) -> str:
    """A setting in words.

    >>> words(PowerSetting()), words(PowerSetting(clock=0.5, brake=True))
    ('as delivered', 'brake, clock 50%')
    """
    parts = ["brake"] if setting.brake else []
    parts += [f"clock {setting.clock:.0%}"] if setting.clock < 1 else []
    parts += [f"limit {setting.limit:.0%}"] if setting.limit < 1 else []
    return ", ".join(parts) or "as delivered"


ROWS: SheetColumns[PowerSimulation] = (
    left("policy", None, lambda one: one.outcome.conditions.policy),
    right("mean", "mean", lambda one: watts(float(one.outcome.row_w.mean()))),
    right("peak", "peak", lambda one: watts(float(one.outcome.row_w.max()))),
    right("share", "of the budget", lambda one: f"{one.outcome.peak_share:.1%}"),
    right("free", "uncapped", lambda one: f"{one.free.peak_share:.1%}"),
    right("over", "above it", lambda one: seconds(one.outcome.over_s) if one.outcome.over_s else "never"),
    right("brakes", None, lambda one: one.outcome.brakes),
    right("orders", "settings", lambda one: len(one.outcome.orders)),
    right("within", "within objectives", lambda one: f"{one.attainment:.2%}"),
    right("energy", "energy", lambda one: with_prefix(one.outcome.energy_j, "J")),
)

TIERS: SheetColumns[TierLatencies] = (
    left("policy", None, lambda row: row.simulation.outcome.conditions.policy),
    left("tier", None, lambda row: row.simulation.outcome.conditions.tiers[row.tier]),
    right("ttft_p50", "TTFT p50", lambda row: row.cell("ttft_s", 0.5)),
    right("ttft_p99", "TTFT p99", lambda row: row.cell("ttft_s", 0.99)),
    right("e2e_p50", "end to end p50", lambda row: row.cell("e2e_s", 0.5)),
    right("e2e_p99", "end to end p99", lambda row: row.cell("e2e_s", 0.99)),
)


def power_sheets(simulations: Sequence[PowerSimulation]) -> tuple[ReportSheet, ReportSheet]:
    """A row for each policy, and one for each of its tiers."""
    first = simulations[0]
    rows, budget_w = first.conditions.rows, first.conditions.row_budget_w
    count = len(first.outcome.outcome.fleet.replicas())
    title = f"Power: {count} replicas in {rows} row{'s' if rows > 1 else ''} of {watts(budget_w)}"
    tiers = [TierLatencies(one, tier) for one in simulations for tier in np.unique(one.outcome.tier).tolist()]
    return (
        ReportSheet.of(title, ROWS, simulations),
        ReportSheet.of("Latency by tier (and against the same rows uncapped)", TIERS, tiers),
    )


def power_records(simulations: Sequence[PowerSimulation]) -> list[dict[str, Any]]:
    """A record for each policy, with its samples and what was set when."""
    return [_record(one) for one in simulations]


def _record(one: PowerSimulation) -> dict[str, Any]:
    outcome, free = one.outcome, one.free
    return {
        "policy": outcome.conditions.policy,
        "replicas": len(outcome.outcome.fleet.replicas()),
        "rows": outcome.conditions.rows,
        "row_budget_w": outcome.conditions.row_budget_w,
        "other_w": outcome.conditions.other_w,
        "mean_w": short(float(outcome.row_w.mean())),
        "peak_w": short(float(outcome.row_w.max())),
        "peak_share": short(outcome.peak_share),
        "uncapped_peak_share": short(free.peak_share),
        "over_s": outcome.over_s,
        "brakes": outcome.brakes,
        "within": short(one.attainment),
        "energy_j": short(outcome.energy_j),
        "uncapped_energy_j": short(free.energy_j),
        "tiers": [_tier_record(one, tier) for tier in np.unique(outcome.tier).tolist()],
        "setting_shares": [[short(share) for share in shares] for shares in setting_shares(outcome).tolist()],
        **order_records(outcome),
    }


def order_records(rows: RowRecord) -> dict[str, Any]:
    """The settings of a policy, what was decided when, and the samples of the rows."""
    settings = [words(setting) for setting in rows.conditions.settings]
    return {
        "settings": settings,
        "orders": [
            [short(order.at_s), short(order.due_s), order.row, order.tier, settings[order.setting]]
            for order in rows.orders
        ],
        "at_s": [short(at_s) for at_s in rows.at_s.tolist()],
        "row_w": [[short(value) for value in row] for row in rows.row_w.T.tolist()],
    }


def _tier_record(one: PowerSimulation, tier: int) -> dict[str, Any]:
    latencies = {
        f"{what.removesuffix('_s')}_p{quantile * 100:g}": {
            "s": short(one.outcome.quantile_s(what, quantile, tier)),
            "change": short(one.change(what, quantile, tier)),
        }
        for what in LATENCIES
        for quantile in QUANTILES
    }
    share = float((one.outcome.tier == tier).mean())
    return {"tier": one.outcome.conditions.tiers[tier], "calls_share": short(share)} | latencies


def power_lines(simulations: Sequence[PowerSimulation]) -> list[FleetTimeline]:
    """A timeline of every policy, and of the rows of the first where nothing is set."""
    lines = [timeline_of_power(one) for one in simulations]
    is_shown = any(one.outcome.conditions.policy == UNCAPPED for one in simulations)
    return lines if is_shown else [*lines, timeline_of_power(simulations[0], is_free=True)]


def power_picture(simulations: Sequence[PowerSimulation]) -> ChartPicture:
    """Watts of the highest row against the budget, queue, latencies and dollars over time, as a file."""
    return ChartPicture(timeline_charts(power_lines(simulations)), power_sheets(simulations)[0].title)


def power_page(simulations: Sequence[PowerSimulation]) -> str:
    """The pictures and the tables as a page."""
    sheets = power_sheets(simulations)
    words = f"{len(simulations[0].trace):,} requests under {len(simulations)} power policies"
    return timeline_page("power", words, power_lines(simulations), sheets)
