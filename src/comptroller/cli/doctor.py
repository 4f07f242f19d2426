"""`comptroller doctor`: what is installed, what is missing for which command, and what mends it."""

from __future__ import annotations

import json as documents
from typing import Annotated

import typer

from comptroller.cli._installation_checks import WRONG, checks, checks_sheet
from comptroller.report.terminal import console, print_sheet

ALONE = True
"""It takes no arguments."""

UNWELL = 1
"""Exit code where something is wrong; what is only missing for some commands is not."""


def run(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at the installation: packages by command, the compiler, data, caches, the port; and what mends each."""
    found = list(checks())
    if json:
        typer.echo(documents.dumps([each._asdict() for each in found], indent=2))
    else:
        print_sheet(checks_sheet(found), console())
    if any(each.state == WRONG for each in found):
        raise typer.Exit(UNWELL)
