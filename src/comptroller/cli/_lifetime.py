"""The work of `comptroller plan` for a workload with a table `[lifetime]`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import typer
from rich.markup import escape

from comptroller.cli._output import check, write_all
from comptroller.errors import InputError
from comptroller.report.lifetime_tables import goal, headline, lifetime_page, lifetime_sheets
from comptroller.report.terminal import console, print_sheet
from comptroller.training.lifetime_document import load_lifetime
from comptroller.training.lifetime_planner import plan_lifetime


def tell_lifetime_plan(workload: Path, json: bool, paths: Mapping[str, Path | None]) -> None:
    """Plan the life of a model, print it and write the files that were asked for.

    Raises:
        InputError: a picture is asked for.
    """
    if paths.get("png"):
        raise InputError("a plan of a life is tables: --html, --out, or --json")
    for path in filter(None, paths.values()):
        check(path)
    found = plan_lifetime(load_lifetime(workload))
    if not json:
        to = console()
        to.print(f"[bold]{escape(found.name)}[/]: [bold green]{escape(headline(found))}[/]")
        to.print(f"[dim]{escape(goal(found))}[/]\n", soft_wrap=True)
        for sheet in lifetime_sheets(found):
            print_sheet(sheet, to)
        for note in found.notes:
            to.print(f"[dim]note: {escape(note)}[/]", soft_wrap=True)
    write_all(paths, {"json": found.to_json, "html": lambda: lifetime_page(found)})
    if json:
        typer.echo(found.to_json(), nl=False)
