"""The requests of a trace that a command names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._output import say
from comptroller.planning.context_fit import long_calls_note
from comptroller.planning.ground.plan_document import Plan
from comptroller.quantities import HOUR_S
from comptroller.work.data_files import find_data
from comptroller.work.rows import TraceReadOptions
from comptroller.work.trace import RequestTrace
from comptroller.work.traces import read_trace, reading_of


def trace_requests(trace: str, plan: Path, reading: TraceReadOptions, served_by: Plan) -> RequestTrace:
    """The requests of a trace, at the rate asked for; what its reader has to say is told, and how many of them are
    longer than the plan's replicas take."""
    file = Path(trace)
    requests = read_trace(file if file.exists() else find_data("trace", trace, plan), reading)
    if reading.rate_per_s is not None and requests.rate_per_s > 0:
        requests = requests.scaled(reading.rate_per_s / requests.rate_per_s)
    for note in (*requests.notes, *filter(None, [long_calls_note(served_by, requests)])):
        say(note)
    return requests


def trace_reading(
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Drop bad rows of the trace, counted.")] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column", help="A column's name, as tenant=customer; unit=ms, block_tokens=16.", show_default=False
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Mean requests per second; a trace without arrival times needs it.", show_default=False),
    ] = None,
    tenants: Annotated[
        list[str] | None,
        typer.Option("--tenant", help="A tenant whose requests are read; again for others.", show_default="all"),
    ] = None,
    from_h: Annotated[float, typer.Option(help="First hour of the trace that is read.")] = 0.0,
    hours: Annotated[float, typer.Option(help="Hours that are read.", show_default="all")] = float("inf"),
    most_input: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens that prompts are cut to, the oldest first.", show_default="whole prompts"),
    ] = None,
) -> TraceReadOptions:
    """What the options say."""
    part = (from_h * HOUR_S, (from_h + hours) * HOUR_S)
    wanted, most = tuple(tenants or ()), most_input or 0
    return reading_of(columns or [], part, skip_bad=skip_bad, rate_per_s=rate, tenants=wanted, most_input=most)
