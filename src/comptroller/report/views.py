"""How plans, simulations and replays are shown in a notebook and as data frames; `result_views` asks here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import PredictedFigure, ServiceDocument
from comptroller.planning.simulation import PlanSimulation
from comptroller.report import drawing, plan_page, replay_report, simulation_page, simulation_tables
from comptroller.report.requests import columns
from comptroller.result_views import ResultViewer
from comptroller.strategies.study import StrategyStudy

PREDICTED = ("ttft_s", "tpot_s", "w")
"""Figures of a service that have an interval."""


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """One row for each pool of each service."""
    return [row for service in plan.services for row in _pool_rows(service)]


def _pool_rows(service: ServiceDocument) -> Iterator[dict[str, Any]]:
    intervals = {
        f"{name}{end and '_'}{end}": getattr(figure, end or "value")
        for name in PREDICTED
        for end in ("", "low", "high")
        if isinstance(figure := getattr(service, name), PredictedFigure)
    }
    for pool in service.deployment.pools:
        yield {
            "service": service.id,
            "model": service.deployment.model,
            "phase": pool.phase,
            "accelerator": pool.accelerator,
            "site": service.deployment.site,
            "term": service.price.term,
            "replicas": pool.replicas,
            "devices": pool.replicas * pool.tp * pool.pp * pool.dp,
            "usd_per_device_h": pool.usd_per_device_h,
            "usd_per_h": service.usd_per_h,
            "rate_per_s": service.rate_per_s,
            "utilisation": service.utilisation,
            **intervals,
            "gco2e_per_h": service.gco2e_per_h,
        }


def simulation_rows(simulation: PlanSimulation) -> list[dict[str, Any]]:
    """One row for each simulated call."""
    table = {name: column.tolist() for name, column in columns(simulation.calls).items()}
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _simulation_svg(simulation: PlanSimulation) -> bytes:
    return drawing.sheet(simulation_page.charts(simulation), simulation_tables.headline(simulation), "svg")


VIEWERS: Mapping[type, ResultViewer] = {
    Plan: ResultViewer(plan_page.page, plan_rows, lambda plan: plan_page.picture(plan, "svg")),
    PlanSimulation: ResultViewer(simulation_page.page, simulation_rows, _simulation_svg),
    StrategyStudy: ResultViewer(
        replay_report.page,
        lambda study: replay_report.figures(study).records(),
        lambda study: replay_report.picture(study, "svg"),
    ),
}
"""Kind of result -> how it is shown."""
