"""`comptroller fit forecasts LOAD`: forecasts of a load on time that they have not seen."""

from __future__ import annotations

import json as documents
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._output import FileContent, check, say, write_all
from comptroller.errors import InputError
from comptroller.report.forecast_report import forecast_page, forecast_picture, forecast_record, forecast_sheets
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.work.data_files import find_data
from comptroller.work.forecast_scores import forecast_findings
from comptroller.work.forecasts import FORECASTS
from comptroller.work.load_series import LoadColumns, LoadSeries, arrivals_by_step, read_loads
from comptroller.work.traces import read_trace


@dataclass(frozen=True, slots=True)
class ForecastOptions:
    """What is forecast and how far. columns: of a table, None for arrivals of a trace.  every_s: steps of a trace.
    horizon: steps ahead.  season_s: after which a load is alike.  names: forecasts, all where empty."""

    columns: LoadColumns | None
    every_s: float
    horizon: int
    season_s: float
    names: tuple[str, ...]


def forecast_options(
    value: Annotated[
        str, typer.Option(help="Forecasts: the column of a table that is the load; without, arrivals of a trace.")
    ] = "",
    by: Annotated[str, typer.Option(help="Forecasts: columns, with commas, whose values part the series.")] = "",
    time: Annotated[
        str, typer.Option(help="Forecasts: the column of the moments.", show_default="date, utc, window_s, ...")
    ] = "",
    every: Annotated[float, typer.Option(help="Forecasts: seconds of a step of a trace.")] = 60.0,
    horizon: Annotated[int, typer.Option(help="Forecasts: steps ahead.", min=1)] = 6,
    season: Annotated[float, typer.Option(help="Forecasts: hours after which the load is alike.")] = 24.0,
    forecast: Annotated[
        list[str] | None,
        typer.Option(help="Forecasts: only this one, by id or file; again for others.", show_default=False),
    ] = None,
) -> ForecastOptions:
    """What the options say.

    Raises:
        InputError: a season or a step that is not above 0; columns that say nothing without a value.
    """
    if not (season > 0 and every > 0):
        raise InputError(f"--season {season:g}, --every {every:g}; allowed: above 0")
    if (by or time) and not value:
        raise InputError("--by and --time name columns of a table: name its load with --value")
    parts = tuple(name.strip() for name in by.split(",") if name.strip())
    columns = LoadColumns(value, parts, time) if value else None
    return ForecastOptions(columns, every, horizon, 3600 * season, tuple(forecast or ()))


def fit_forecasts(
    where: str, options: ForecastOptions, files: Mapping[str, Path | None], as_json: bool
) -> None:  # fmt: skip
    """Score the forecasts, print, and write the files.

    Raises:
        InputError: a horizon longer than the data, a file that is no load, or --out.
    """
    if files.get("out"):
        raise InputError("fit forecasts writes --table, --png, --html or --json: a forecast is fitted where it is used")
    for path in filter(None, files.values()):
        check(path)
    table = files.get("table")
    as_table = writer_of(table) if table else None
    all_series = _series(where, options)
    for series in all_series:
        if series.note:
            say(series.note)
    found = forecast_findings(all_series, options.names or FORECASTS.names(), options.horizon, options.season_s)
    sheets = forecast_sheets(found)
    make: dict[str, Callable[[], FileContent]] = {
        "png": lambda: forecast_picture(found),
        "html": lambda: forecast_page(found, where),
    }
    if as_table:
        make["table"] = lambda: as_table(sheets[0])
    write_all({name: path for name, path in files.items() if name in make}, make)
    if as_json:
        typer.echo(documents.dumps(forecast_record(found, where), indent=2, ensure_ascii=False))
        return
    for sheet in sheets:
        print_sheet(sheet, console())


def _series(where: str, options: ForecastOptions) -> tuple[LoadSeries, ...]:
    path = Path(where)
    if options.columns:
        if not path.is_file():
            raise InputError(f"{where}: no such file")
        return read_loads(path, options.columns)
    found = path if path.exists() else find_data("trace", where, path)
    return (arrivals_by_step(read_trace(found), found.stem, options.every_s),)
