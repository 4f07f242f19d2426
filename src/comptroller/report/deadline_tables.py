"""Jobs with a deadline under rules that rent spot: a table and records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from comptroller.cluster.deadline_run import DeadlineOutcome
from comptroller.quantities import short
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right


def _share(value: float) -> str:
    return f"{value:.1%}"


def _hours(one: DeadlineOutcome, name: str) -> float:
    return float(np.mean([getattr(run, name) for run in one.runs]) / 3600)


DEADLINES: SheetColumns[DeadlineOutcome] = (
    left("rule"),
    right("cost", "cost over on demand", lambda one: _share(float(one.cost.mean()))),
    right("least", None, lambda one: _share(float(one.cost.min()))),
    right("most", None, lambda one: _share(float(one.cost.max()))),
    right("bound", None, lambda one: _share(float(one.bound.mean()))),
    right("missed", "deadlines missed", lambda one: f"{one.missed} of {len(one.runs)}"),
    right("spot_h", "spot h", lambda one: f"{_hours(one, 'spot_s'):.4g}"),
    right("on_demand_h", "on demand h", lambda one: f"{_hours(one, 'on_demand_s'):.4g}"),
    right("interruptions", None, lambda one: f"{np.mean([run.interruptions for run in one.runs]):.3g}"),
)


def deadlines_sheet(outcomes: Sequence[DeadlineOutcome]) -> ReportSheet:
    """A row for each rule: means over the runs; the bound is what no rule can pay less than."""
    job, record = outcomes[0].job, outcomes[0].record
    title = (
        f"{job.work_s / 3600:.4g} h of work within {job.deadline_s / 3600:.4g} h, {len(outcomes[0].runs)} starts on "
        f"{record.name}"
    )
    return ReportSheet.of(title, DEADLINES, outcomes)


def deadline_records(outcomes: Sequence[DeadlineOutcome]) -> list[dict[str, Any]]:
    """A record for each rule, with each of its runs."""
    return [
        {
            "rule": one.rule, "record": one.record.name, "cost": short(float(one.cost.mean())),
            "bound": short(float(one.bound.mean())), "missed": one.missed, "price_ratio": short(one.price_ratio),
            "runs": [
                {
                    "from_s": short(run.from_s), "cost": short(float(cost)), "spot_s": short(run.spot_s),
                    "on_demand_s": short(run.on_demand_s), "ended_s": short(run.ended_s),
                    "interruptions": run.interruptions, "starts": run.starts,
                }
                for run, cost in zip(one.runs, one.cost, strict=True)
            ],
        }
        for one in outcomes
    ]  # fmt: skip
