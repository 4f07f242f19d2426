"""`comptroller books against`: what a plan predicted beside what its calls took."""

from __future__ import annotations

import json as documents
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from comptroller.books.query import EVERYTHING, rows
from comptroller.books.schema import account
from comptroller.cli._books_options import JsonOption, WhereArgument, open_books
from comptroller.dashboard.measurements import drift_sheet
from comptroller.errors import InputError
from comptroller.gateway.plan_drift import digest_of, from_books
from comptroller.planning.ground.plan_document import load_plan
from comptroller.report.terminal import console, print_sheet


def against(
    where: WhereArgument,
    plan: Annotated[Path, typer.Argument(help="The plan that was served, as JSON.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """A plan's predictions beside what its requests took; what lies outside its interval is named."""
    served = load_plan(plan)
    with open_books(where) as ledger:
        drift = from_books(served, rows(ledger, EVERYTHING, account.c.plan == digest_of(served)))
    if not drift.requests:
        raise InputError(f"{where}: no call belongs to {plan}; calls do that were asked of comptroller/auto")
    if json:
        typer.echo(documents.dumps(drift.document(), indent=2))
        return
    print_sheet(drift_sheet(served.name, drift), console())
    for line in drift.drifted():
        console().print(f"[yellow]drift:[/] {escape(line)}", soft_wrap=True)
