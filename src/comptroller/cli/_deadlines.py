"""`comptroller cluster spot`: a job with a deadline on zones of recorded spot capacity."""

from __future__ import annotations

import json as documents
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cluster.deadline_rules import DEADLINE_RULES
from comptroller.cluster.deadline_run import DeadlineJob, record_of_zones, run_deadlines
from comptroller.report.deadline_tables import deadline_records, deadlines_sheet
from comptroller.report.terminal import console, print_sheet
from comptroller.work.zone_record import choose_record, read_zone_records


def spot(
    zones: Annotated[Path, typer.Argument(help="A record of the zones' capacity, .csv.", show_default=False)],
    work_h: Annotated[float, typer.Option("--work", help="Hours of computing that the job takes.", show_default=False)],
    deadline_h: Annotated[
        float, typer.Option("--deadline", help="Hours from its submission until it has to be done.", show_default=False)
    ],
    price_ratio: Annotated[float, typer.Option(help="Price of a spot node over one on demand.", show_default=False)],
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="A rule, by its id, its file or its dotted path; again for others to compare. Ids: expected_cost, "
            "greedy, on_demand, uniform_progress.",
            show_default="all",
        ),
    ] = None,
    record: Annotated[str, typer.Option(help="The record of a file with several, by its start.")] = "",
    zone: Annotated[
        list[str] | None,
        typer.Option(help="A zone that may be used; again for others.", show_default="all, in their order"),
    ] = None,
    changeover_s: Annotated[
        float, typer.Option("--changeover", help="Seconds from renting a node until work goes on.")
    ] = 720.0,
    nodes: Annotated[int, typer.Option(help="Nodes that the job runs on, all in one zone.")] = 1,
    starts: Annotated[int, typer.Option(help="Begin it at so many moments, spread evenly over the record.")] = 20,
    from_h: Annotated[float, typer.Option(help="Hour of the record from which on it is begun.")] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
) -> None:
    """A job with a deadline, on spot where zones have it, on demand where a rule says so: cost, deadlines, changes."""
    job = DeadlineJob(work_h * 3600, deadline_h * 3600, changeover_s, nodes)
    chosen = record_of_zones(choose_record(read_zone_records(zones), record), zone or [])
    wanted = tuple(dict.fromkeys(rule or DEADLINE_RULES.names()))
    found = run_deadlines(chosen, job, wanted, price_ratio, starts, from_h * 3600)
    if json:
        typer.echo(documents.dumps(deadline_records(found), indent=2))
    else:
        print_sheet(deadlines_sheet(found), console())
