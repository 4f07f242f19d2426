"""Panels as HTML: one template for the page, one for a panel, one for a what-if; what was drawn lately is kept."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from functools import lru_cache
from importlib import resources

import jinja2
from markupsafe import Markup

from comptroller.dashboard.measurements import drift_panel, latency_panel
from comptroller.dashboard.panels import DashboardPanel, DashboardSources, PanelContent
from comptroller.dashboard.questions import WhatIfForm
from comptroller.dashboard.replanning import WhatIfAnswer
from comptroller.dashboard.spending import (
    budgets_panel,
    period_select,
    spend_panel,
    spend_selects,
    success_panel,
    waste_panel,
)
from comptroller.dashboard.standing import frontier_panel, plan_panel, reasons_panel
from comptroller.report import drawing
from comptroller.report.chart import ChartAxis, LineSeries, ReportChart
from comptroller.report.figures import dollars, number, seconds

KEPT_S = 5.0
"""How long a panel that was drawn is shown to all who ask: half of what a reader notices as late. Twice as long would
show two settlements fewer."""

MOST_KEPT = 64
"""Panels kept at once, one for each choice in them; each is some 50 kB."""

ASSETS = {
    "htmx.min.js": "text/javascript; charset=utf-8",
    "htmx-sse.min.js": "text/javascript; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "dashboard.css": "text/css; charset=utf-8",
}

BOOKS_PANELS = (
    DashboardPanel("spend", "Spend", "What was booked, by whom and on what.", spend_panel, spend_selects),
    DashboardPanel("budgets", "Budgets", "What is spent and held of every limit in its period.", budgets_panel),
    DashboardPanel(
        "latency", "Latency and queues", "Of the last calls, as the gateway saw them.", latency_panel, every_s=10
    ),
    DashboardPanel(
        "success",
        "Cost of what was solved",
        "Every strategy and model that answered scored requests.",
        success_panel,
        period_select,
    ),
    DashboardPanel("waste", "Waste", "What bought nothing; lines may overlap.", waste_panel, period_select),
)

PLAN_PANELS = (
    DashboardPanel("plan", "The plan", "What was chosen, against what, and how sure it is.", plan_panel, every_s=0),
    DashboardPanel(
        "frontier", "Frontier", "The cheapest plan at every objective; the mark says where it runs.", frontier_panel
    ),
    DashboardPanel("drift", "Predicted beside measured", "Per request, with 80 % intervals.", drift_panel),
    DashboardPanel("reasons", "Reasons", "What lost and why, what limits cost, odds.", reasons_panel, every_s=0),
)


def panels_of(sources: DashboardSources) -> tuple[DashboardPanel, ...]:
    """The panels that there is something for."""
    plan = PLAN_PANELS if sources.plan is not None else ()
    return (*plan, *(BOOKS_PANELS if sources.ledger is not None else ()))


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    loaders = [jinja2.PackageLoader(f"comptroller.{room}", "assets") for room in ("dashboard", "report")]
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    made.filters |= {"dollars": dollars, "number": number, "seconds": seconds}
    made.globals["svg"] = _svg if drawing.has_matplotlib() else None
    return made


def _svg(chart: ReportChart, place: int) -> Markup:
    return Markup(drawing.svg(chart, place))


def asset(name: str) -> str:
    """The text of a file that the page loads; the style is that of all pages, with what the dashboard adds."""
    own = (resources.files("comptroller.dashboard") / "assets" / name).read_text(encoding="utf-8")
    if name != "dashboard.css":
        return own
    return (resources.files("comptroller.report") / "assets" / "page.css").read_text(encoding="utf-8") + own


class DashboardRenderer:
    """Makes the HTML of panels, each no more often than every few seconds. To be used from one thread."""

    def __init__(self, sources: DashboardSources) -> None:
        self.sources = sources
        self._kept: OrderedDict[Hashable, tuple[float, str]] = OrderedDict()

    def page(self, panels: tuple[DashboardPanel, ...], reader: str) -> str:
        """The page, whose panels are asked for one by one. reader: name of the key that reads, if one does."""
        shown = _environment().get_template("dashboard.html")
        return shown.render(sources=self.sources, panels=panels, reader=reader)

    def panel(self, panel: DashboardPanel, query: Mapping[str, str]) -> str:
        """A panel with what was chosen in it."""
        selects = panel.selects(self.sources)
        chosen = {select.name: select.chosen(query) for select in selects}
        key = (panel.id, *chosen.items())
        now = time.monotonic()
        if key in self._kept and now - self._kept[key][0] < KEPT_S:
            return self._kept[key][1]
        content = panel.make(self.sources, chosen)
        html = (
            _environment()
            .get_template("panel.html")
            .render(panel=panel, selects=selects, chosen=chosen, content=content, panels=list(content.charts))
        )
        self._kept[key] = (now, html)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return html

    def sharpen(self) -> None:
        """Draws something, so that the first panel need not wait until what draws is loaded."""
        if drawing.has_matplotlib():
            drawing.svg(ReportChart("", ChartAxis("x"), ChartAxis("y"), (LineSeries("", [0.0, 1.0], [0.0, 1.0]),)))

    def alone(self, html: str) -> str:
        """A panel or a what-if as a page of its own."""
        return _environment().get_template("alone.html").render(name=self.sources.name, html=Markup(html))

    def failed_panel(self, panel: DashboardPanel, why: str) -> str:
        """A panel that could not be made, with the reason."""
        content = PanelContent(notes=(why,))
        return (
            _environment()
            .get_template("panel.html")
            .render(panel=panel, selects=(), chosen={}, content=content, panels=[])
        )

    def what_if(self, form: WhatIfForm | None, state: Mapping[str, object]) -> str:
        """The form with its answer; see what-if.html for what the state holds."""
        return _environment().get_template("what-if.html").render(form=form, **state)

    def answer(self, answer: WhatIfAnswer, standing: WhatIfAnswer) -> str:
        """An answer beside the plan as it stands."""
        return _environment().get_template("answer.html").render(answer=answer, standing=standing)

    def key_form(self, why: str) -> str:
        """The page that asks for a key."""
        return _environment().get_template("key.html").render(why=why)
