"""`comptroller books against`: what a plan predicted beside what its calls took."""

from __future__ import annotations

import json as documents
from math import isnan
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from comptroller.books.ledger import CallLedger
from comptroller.books.query import EVERYTHING, rows
from comptroller.books.schema import account
from comptroller.errors import InputError
from comptroller.gateway.plan_drift import PlanDriftMonitor, digest_of, from_books
from comptroller.planning.plan import load_plan
from comptroller.report.sheet import ReportSheet, left, right
from comptroller.report.terminal import console, print_sheet


def against(
    where: Annotated[str, typer.Argument(help="The books: a file, or a URL of PostgreSQL.", show_default=False)],
    plan: Annotated[Path, typer.Argument(help="The plan that was served, as JSON.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """A plan's predictions beside what its requests took; what lies outside its interval is named."""
    served = load_plan(plan)
    if "://" not in where and not Path(where).is_file():
        raise InputError(f"{where}: there are no books; `comptroller serve` makes them")
    with CallLedger.open(where) as ledger:
        found = from_books(served, rows(ledger, EVERYTHING, account.c.plan == digest_of(served)))
    if not found.requests:
        raise InputError(f"{where}: no call belongs to {plan}; calls do that were asked of comptroller/auto")
    if json:
        typer.echo(documents.dumps(found.document(), indent=2))
        return
    print_sheet(sheet(served.name, found), console())
    for line in found.drifted():
        console().print(f"[yellow]drift:[/] {escape(line)}", soft_wrap=True)


def sheet(name: str, found: PlanDriftMonitor) -> ReportSheet:
    """Predictions and what came of them."""
    columns = (
        left("figure", "per request"), right("low"), right("predicted"),
        right("high"), right("happened"),
    )  # fmt: skip
    lines = [
        (
            item.name if item.quantile is None else f"{item.name} p{item.quantile * 100:g}",
            item.figure.low,
            item.figure.value,
            item.figure.high,
            None if isnan(value := found.figure(item)) else value,
        )
        for item in found.predictions
    ]
    return ReportSheet(f"Plan {name}: {found.requests} requests", columns, tuple(lines))
