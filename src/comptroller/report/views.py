"""How plans, simulations and replays are shown in a notebook and as data frames; `result_views` asks here."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from rich.console import Console

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import PredictedFigure, ServiceDocument
from comptroller.planning.simulation import PlanSimulation
from comptroller.report import plan_page, replay_report, simulation_page, simulation_tables
from comptroller.report.requests import columns
from comptroller.report.terminal import WIDTH, print_sheet
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


def simulation_page_of(simulation: PlanSimulation) -> str:
    """Its page; of a simulation that was not sampled over time the tables alone."""
    if len(simulation.outcome.series) >= simulation_page.LEAST_SAMPLES:
        return simulation_page.page(simulation)
    text = io.StringIO()
    to = Console(file=text, width=WIDTH, highlight=False, emoji=False)
    for sheet in simulation_tables.sheets(simulation):
        print_sheet(sheet, to)
    return f"<h2>{escape(simulation_tables.headline(simulation))}</h2><pre>{escape(text.getvalue())}</pre>"


VIEWERS: Mapping[type, ResultViewer] = {
    Plan: ResultViewer(plan_page.page, plan_rows, lambda plan: plan_page.picture(plan).svg()),
    PlanSimulation: ResultViewer(
        simulation_page_of, simulation_rows, lambda simulation: simulation_page.picture(simulation).svg()
    ),
    StrategyStudy: ResultViewer(
        replay_report.page,
        lambda study: replay_report.figures(study).records(),
        lambda study: replay_report.picture(study).svg(),
    ),
}
"""Kind of result -> how it is shown."""
