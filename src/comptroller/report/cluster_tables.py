"""Jobs on a cluster under policies, and services under balancers: tables, records, a picture over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from comptroller.cluster.balance_run import BalanceOutcome
from comptroller.cluster.job_outcome import JobOutcome
from comptroller.cluster.policies import JOB_POLICIES
from comptroller.quantities import short
from comptroller.report.chart import ChartAxis, LineSeries, ReportChart
from comptroller.report.drawing import ChartPicture
from comptroller.report.figures import number
from comptroller.report.page import PageSection, ReportPage, table_sections
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right

SAMPLES = 600
"""Points of a line over time: one for two and a half hours of two months. Twice as many are closer than a pixel."""


def _knows(one: JobOutcome) -> str:
    return "durations" if "durations" in getattr(JOB_POLICIES.module(one.policy), "NEEDS", ()) else ""


def _hours(value_s: float) -> str:
    return f"{value_s / 3600:.4g} h"


def _share(value: float) -> str:
    return f"{value:.1%}"


JOBS: SheetColumns[JobOutcome] = (
    left("policy"),
    left("knows", None, _knows),
    right("use", "GPU time held", lambda one: _share(one.use_until(one.horizon_s))),
    right("useful", "of it work, kept", lambda one: _share(one.useful_until(one.horizon_s))),
    right("wait_p50_s", "wait p50", lambda one: _hours(float(np.median(one.wait_s)))),
    right("wait_p99_s", "wait p99", lambda one: _hours(float(np.quantile(one.wait_s, 0.99)))),
    right("turnaround_mean_s", "turnaround mean", lambda one: _hours(float(one.turnaround_s.mean()))),
    right("turnaround_p99_s", "p99", lambda one: _hours(float(np.quantile(one.turnaround_s, 0.99)))),
    right("fairness", None, lambda one: f"{one.fairness:.3f}"),
    right("lost_gpu_h", "lost GPU-hours", lambda one: number(float(one.lost_gpu_s.sum()) / 3600)),
    right(
        "hung_gpu_h",
        "hung GPU-hours",
        lambda one: number(float(one.hung_gpu_s.sum()) / 3600) if one.faults.any() else "",
    ),
    right("faults", "faults hit", lambda one: int(one.faults.sum()) or ""),
    right("stops", None, lambda one: int(one.stops.sum())),
    right("moves", None, lambda one: int(one.moves.sum())),
)


def jobs_sheet(outcomes: Sequence[JobOutcome]) -> ReportSheet:
    """A row for each policy; shares are of the time up to the last submission, the last end if all came at once."""
    first = outcomes[0]
    title = f"{len(first.jobs):,} jobs on {first.gpus:,} GPUs of {len(first.nodes):,} nodes"
    return ReportSheet.of(title, JOBS, outcomes).without_empty("knows", "hung_gpu_h", "faults")


def tiers_sheet(outcomes: Sequence[JobOutcome]) -> ReportSheet:
    """A row for each policy and tier: the share of GPU-hours that its jobs received of those they asked for."""
    rows = [
        (one.policy, tier.name, _share(tier.promise), _share(one.fraction_of(mine)), int(mine.sum()))
        for one in outcomes
        for place, tier in enumerate(one.jobs.tiers)
        if (mine := one.jobs.tier == place).any()
    ]
    columns: SheetColumns[Any] = (
        left("policy"), left("tier"), right("promise"), right("received"), right("jobs")
    )  # fmt: skip
    return ReportSheet("GPU-hours received over those asked for", columns, tuple(rows))


def job_records(outcomes: Sequence[JobOutcome]) -> list[dict[str, Any]]:
    """A record for each policy."""
    return [_job_record(one) for one in outcomes]


def _job_record(one: JobOutcome) -> dict[str, Any]:
    end_s = one.horizon_s
    tiers = {
        tier.name: {"promise": tier.promise, "received": short(one.fraction_of(mine)), "jobs": int(mine.sum())}
        for place, tier in enumerate(one.jobs.tiers)
        if (mine := one.jobs.tier == place).any()
    }
    tenants = {
        name: short(one.fraction_of(mine))
        for place, name in enumerate(one.jobs.tenants)
        if (mine := one.jobs.tenant == place).any()
    }
    quantiles = {
        name: {f"p{percent}": short(float(np.percentile(values, percent))) for percent in (50, 95, 99)}
        for name, values in (("wait_s", one.wait_s), ("turnaround_s", one.turnaround_s))
    }
    return {
        "policy": one.policy, "knows_durations": bool(_knows(one)), "jobs": len(one.jobs), "gpus": one.gpus,
        "span_s": short(end_s), "use": short(one.use_until(end_s)), "useful": short(one.useful_until(end_s)),
        **quantiles, "turnaround_mean_s": short(float(one.turnaround_s.mean())), "fairness": short(one.fairness),
        "lost_gpu_h": short(float(one.lost_gpu_s.sum()) / 3600),
        "restart_gpu_h": short(float(one.restart_gpu_s.sum()) / 3600), "stops": int(one.stops.sum()),
        "moves": int(one.moves.sum()), "faults": int(one.faults.sum()),
        "hung_gpu_h": short(float(one.hung_gpu_s.sum()) / 3600), "tiers": tiers, "received_by_tenant": tenants,
    }  # fmt: skip


def jobs_page(outcomes: Sequence[JobOutcome]) -> str:
    """The picture and the table as a page."""
    sheet, hint = jobs_sheet(outcomes), "Point at a chart, or move with Tab and the arrow keys, to read a moment."
    over_time = PageSection("Over time", hint, charts=tuple(jobs_picture(outcomes).charts))
    words = f"{len(outcomes[0].jobs):,} jobs under {', '.join(one.policy for one in outcomes)}"
    return ReportPage("Jobs on a cluster", "jobs on a cluster", words, sheet.title,
                      sections=(over_time, *table_sections((sheet,)))).html()  # fmt: skip


def jobs_picture(outcomes: Sequence[JobOutcome]) -> ChartPicture:
    """GPUs that are held, jobs that have not ended and their GPU-hours so far, over time, a line for each policy."""
    end_s = max(one.horizon_s for one in outcomes)
    clock = np.linspace(0.0, end_s, SAMPLES)
    headline = jobs_sheet(outcomes).title
    return ChartPicture(
        (
            _over_time("GPUs that jobs and serving hold", "GPUs", outcomes, clock, (1, 3)),
            _over_time("Jobs that have not ended", "jobs", outcomes, clock, (2,)),
            _over_time("GPU-hours held so far", "GPU-hours", outcomes, clock, (1, 3), is_sum=True),
        ),
        headline,
    )


def _over_time(
    title: str,
    unit: str,
    outcomes: Sequence[JobOutcome],
    clock: np.ndarray,
    columns: tuple[int, ...],
    is_sum: bool = False,
) -> ReportChart:
    lines = []
    for one in outcomes:
        row = np.searchsorted(one.samples[:, 0], clock, "right").clip(1) - 1
        values = one.samples[row][:, columns].sum(axis=1)
        if is_sum:
            values = np.concatenate([[0.0], np.cumsum(values[:-1] * np.diff(clock)) / 3600])
        lines.append(LineSeries(one.policy, clock.tolist(), values.tolist()))
    most = max(max(line.y) for line in lines)
    days = ChartAxis("days", low=0.0, high=float(clock[-1]), ticks=_days(float(clock[-1])))
    return ReportChart(title, days, ChartAxis(unit, number, 0.0, 1.05 * most, count=True), tuple(lines))


def _days(end_s: float) -> tuple[tuple[float, str], ...]:
    """Round days along the bottom, at most some ten."""
    days = end_s / 86400
    step = next((step for step in (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50) if days / step <= 10), 100)
    return tuple((day * 86400, f"{day:g}") for day in np.arange(0, days + 1e-9, step).tolist())


BALANCE: SheetColumns[BalanceOutcome] = (
    left("balancer"),
    right("before", "overload before", lambda one: f"{one.before:.4g}"),
    right("after", "after", lambda one: f"{one.after:.4g}"),
    right("moves"),
    right("cost", "cost of moves", lambda one: number(one.cost)),
)


def balance_sheet(outcomes: Sequence[BalanceOutcome]) -> ReportSheet:
    """A row for each balancer; overload is the sum of what nodes are asked for above all that they have."""
    return ReportSheet.of("Services over nodes", BALANCE, outcomes)


def balance_records(outcomes: Sequence[BalanceOutcome]) -> list[dict[str, Any]]:
    """A record for each balancer, with its moves."""
    return [
        {
            "balancer": one.balancer, "overload_before": short(one.before), "overload_after": short(one.after),
            "cost": short(one.cost), "moves": [list(move) for move in one.move_names],
        }
        for one in outcomes
    ]  # fmt: skip
