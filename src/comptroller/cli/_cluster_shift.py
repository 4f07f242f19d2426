"""`comptroller cluster shift`: work that may wait, moved to the hours of a recorded grid at which it costs least."""

from __future__ import annotations

import json as documents
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._deadlines import spot
from comptroller.cli._output import say
from comptroller.errors import InputError
from comptroller.report.shift_tables import shift_records, shift_sheet
from comptroller.report.terminal import console, print_sheet
from comptroller.work.load_series import LoadColumns, read_loads
from comptroller.work.load_shift import ShiftableWork, shifted_work

USUAL = ("persistence", "seasonal_naive", "seasonal_quantile")


def shift(
    file: Annotated[
        Path, typer.Argument(help="An hourly table, such as grams or dollars a kilowatt-hour.", show_default=False)
    ],
    value: Annotated[str, typer.Option(help="The column that is to be low.", show_default=False)],
    by: Annotated[str, typer.Option(help="Columns, with commas, whose values part the series.")] = "",
    time: Annotated[str, typer.Option(help="The column of the moments.", show_default="date, utc, time, ...")] = "",
    deadline: Annotated[int, typer.Option(help="Hours to finish in, that of the release included.")] = 24,
    capacity: Annotated[float, typer.Option(help="Most done in an hour, over what a mean hour releases.")] = 3.0,
    released: Annotated[
        str, typer.Option(help="24 relative amounts by hour of the table's clock, with commas.", show_default="even")
    ] = "",
    season: Annotated[int, typer.Option(help="Hours after which the signal is alike.")] = 24,
    forecast: Annotated[
        list[str] | None,
        typer.Option(help="A forecast, by id or file; again for others.", show_default=", ".join(USUAL)),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
) -> None:
    """Move work that may wait to hours at which a grid's signal is low, by forecasts and by knowing them."""
    try:
        amounts = tuple(float(text) for text in released.split(",")) if released else ()
    except ValueError:
        raise InputError(f"--released {released}: allowed: 24 numbers with commas") from None
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    work = ShiftableWork(deadline, capacity, amounts)
    parts = tuple(name.strip() for name in by.split(",") if name.strip())
    all_series = read_loads(file, LoadColumns(value, parts, time))
    for note in filter(None, (one.note for one in all_series)):
        say(note)
    names = tuple(dict.fromkeys(forecast or USUAL))
    found = [one for series in all_series for one in shifted_work(series, work, names, season)]
    if json:
        typer.echo(documents.dumps({"work": shift_records(found)}, indent=2))
        return
    print_sheet(shift_sheet(found, work, value), console())


def add_commands(app: typer.Typer) -> None:
    """Give a group the commands about hours: spot with a deadline, and work that may wait."""
    app.command("spot")(spot)
    app.command("shift")(shift)
