"""A part of the dashboard: what it is called, what may be chosen in it, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comptroller.books.ledger import CallLedger
from comptroller.planning.ground.plan_document import Plan
from comptroller.report.chart import ReportChart
from comptroller.report.page import PageTile
from comptroller.report.sheet import ReportSheet

if TYPE_CHECKING:
    from comptroller.dashboard.worker import WhatIfWorker
    from comptroller.gateway.runtime import GatewayRuntime

Choice = Mapping[str, str]
"""What was chosen in a panel: the name of a select -> a value of it."""


@dataclass(frozen=True)
class DashboardSources:
    """What a dashboard is of; what is not there has no panels.

    name: what it is called.  gateway: the one that serves it, whose queues are live.  worker: what plans the workload
    again.  apart: what to say where the plan was made from another workload.
    """

    name: str
    ledger: CallLedger | None = None
    plan: Plan | None = None
    gateway: GatewayRuntime | None = None
    worker: WhatIfWorker | None = None
    apart: str = ""


@dataclass(frozen=True, slots=True)
class PanelSelect:
    """A choice in a panel: its name, its label, and its values with their words, the first chosen at first."""

    name: str
    label: str
    options: tuple[tuple[str, str], ...]

    def chosen(self, query: Mapping[str, str]) -> str:
        """The value that a query names; the first where it names none that there is."""
        value = query.get(self.name, "")
        return value if value in dict(self.options) else self.options[0][0]


@dataclass(frozen=True, slots=True)
class PanelContent:
    """What a panel shows, from top to bottom. notes: what is wrong or wants attention."""

    tiles: tuple[PageTile, ...] = ()
    charts: tuple[ReportChart, ...] = ()
    texts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sheets: tuple[ReportSheet, ...] = ()

    @property
    def filled(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.tiles or self.charts or any(self.texts) or any(sheet.rows for sheet in self.sheets))


@dataclass(frozen=True, slots=True)
class DashboardPanel:
    """One panel: its id in the address, title and hint, what may be chosen, and what makes its content.

    every_s: how often it is asked for anew; 0 for once.
    """

    id: str
    title: str
    hint: str
    make: Callable[[DashboardSources, Choice], PanelContent]
    selects: Callable[[DashboardSources], tuple[PanelSelect, ...]] = field(default=lambda sources: ())
    every_s: int = 20
