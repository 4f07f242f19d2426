"""A self-contained HTML page: no network, readable by keyboard and in print, light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jinja2

from comptroller.report import drawing
from comptroller.report.chart import ReportChart
from comptroller.report.sheet import ReportSheet


class PageTile(NamedTuple):
    """A large figure: its name, its value, and a line beneath."""

    name: str
    value: str
    more: str


@dataclass(frozen=True, slots=True)
class PageSection:
    """A heading, a line that explains, and what follows: charts, paragraphs, tables, commands under a line each."""

    title: str
    hint: str = ""
    charts: tuple[ReportChart, ...] = ()
    texts: tuple[str, ...] = ()
    sheets: tuple[ReportSheet, ...] = ()
    commands: tuple[tuple[str, str], ...] = ()

    @property
    def filled(self) -> bool:
        """Whether there is anything to show; a section without is left out."""
        return bool(self.charts or any(self.texts) or any(sheet.rows for sheet in self.sheets) or self.commands)


@dataclass(frozen=True, slots=True)
class ReportPage:
    """What a page shows from top to bottom; `subject` stands beside the product's name."""

    title: str
    subject: str
    headline: str = ""
    lede: str = ""
    tiles: tuple[PageTile, ...] = ()
    sections: tuple[PageSection, ...] = ()
    footer: tuple[str, ...] = ()

    def html(self) -> str:
        """The page as text; without matplotlib its tables, and a line that says what pictures need."""
        panels = [chart for section in self.sections for chart in section.charts]
        readings = [
            {
                "title": chart.title,
                "moments": chart.moments,
                "lines": [{"name": line.name or "all", "words": line.words} for line in chart.lines],
            }
            if chart.moments
            else None
            for chart in panels
        ]
        environment = _environment()
        style, script = (environment.loader.get_source(environment, name)[0] for name in ("page.css", "page.js"))  # type: ignore[union-attr]
        return environment.get_template("page.html").render(
            page=self,
            panels=panels,
            readings=readings,
            style=style,
            script=script,
            svg=drawing.svg if drawing.has_matplotlib() else None,
        )


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("comptroller.report", "assets")
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)


def table_sections(sheets: Iterable[ReportSheet]) -> tuple[PageSection, ...]:
    """A section for each table: its title up to the colon, and the rest of the title as the line that explains."""
    parts = ((sheet, *sheet.title.partition(":")) for sheet in sheets)
    return tuple(PageSection(name, hint.strip(), sheets=(sheet,)) for sheet, name, _, hint in parts)
