"""`comptroller simulate`: a plan's fleet serves a recorded trace, request by request."""

from __future__ import annotations

import json as documents
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._output import FileContent, check, say, write_all
from comptroller.cli._plan_calibration import plan_with_calibration
from comptroller.cli._power import RowPowerOptions, power_options
from comptroller.cli._question_arrivals import AskedQuestions, question_arrivals
from comptroller.cli._scaling import ReplicaScalingOptions, scaling_options
from comptroller.cli._trace_requests import requests_of
from comptroller.planning.simulation import PlanSimulation, TraceReplaySettings, simulate_plan
from comptroller.report.perfetto import MOST_REQUESTS, perfetto
from comptroller.report.requests import writer_of
from comptroller.report.simulation_figures import record
from comptroller.report.simulation_page import page, picture
from comptroller.report.simulation_tables import headline, routings, setting, sheets
from comptroller.report.terminal import console, print_sheet
from comptroller.work.call import CallTable

File = Path | None
SAMPLES = 240
"""Points of the time line over the span of the arrivals: one for six minutes of a day. Twice as many double the
points that a page holds."""

Policy = Annotated[str, typer.Option(help="Another policy than the plan's, named likewise.", show_default=False)]


@with_shared_options
def run(
    plan: Annotated[Path, typer.Argument(help="The plan, as `comptroller plan --out` wrote it.", show_default=False)],
    trace: Annotated[str, typer.Option(help="The requests: a trace file, by path or by name.", show_default=False)],
    scaling: Annotated[ReplicaScalingOptions, SharedOptions(scaling_options)],
    power: Annotated[RowPowerOptions, SharedOptions(power_options)],
    questions: Annotated[AskedQuestions, SharedOptions(question_arrivals)],
    scale: Annotated[float, typer.Option(help="Replay this many times as fast.")] = 1.0,
    routing: Annotated[
        list[str] | None,
        typer.Option(
            help="Route by this policy, by its id, the path to its file or its dotted path; again for others to "
            "compare. [default: the plan's]",
            show_default=False,
        ),
    ] = None,
    batching: Policy = "",
    scheduling: Policy = "",
    json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
    html: Annotated[File, typer.Option(help="Write the time line, a self-contained page.", show_default=False)] = None,
    png: Annotated[File, typer.Option(help="Write the time line, PNG or .svg.", show_default=False)] = None,
    perfetto_: Annotated[
        File, typer.Option("--perfetto", help="Write a trace for ui.perfetto.dev.", show_default=False)
    ] = None,
    calls: Annotated[
        File, typer.Option(help="Write one row per request, .csv or .parquet.", show_default=False)
    ] = None,
    calibration: Annotated[
        File, typer.Option(help="A folder that `fit calibration` wrote.", show_default=False)
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Drop bad rows of the trace, counted.")] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="What a column of the trace is called, as tenant=customer; again for others. Also unit=ms of arrivals "
            "that are numbers, block_tokens=16 of prefix blocks.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Mean requests per second; a trace without arrival times needs it.", show_default=False),
    ] = None,
) -> None:
    """Simulate a plan under a trace: latencies, objectives, dollars, joules and emissions, request by request."""
    paths = {"html": html, "png": png, "perfetto": perfetto_, "calls": calls}
    for path in filter(None, paths.values()):
        check(path)
    as_calls = writer_of(calls) if calls else None
    fleet_plan, priced = plan_with_calibration(plan, calibration)
    requests = requests_of(trace, plan, columns or [], skip_bad, rate)
    if scaling.policies:
        scaling.show(fleet_plan, requests, scale, priced, json)
        return
    if power.policies:
        power.show(fleet_plan, requests, scale, priced, json, {"html": html, "png": png})
        return
    samples = SAMPLES if html or png or perfetto_ or json else 0
    simulations = [
        simulate_plan(
            fleet_plan, requests, TraceReplaySettings(scale, name, batching, scheduling, samples), priced, questions
        )
        for name in dict.fromkeys(routing or [""])
    ]
    _files(simulations, paths, as_calls)
    if json:
        typer.echo(_document(simulations), nl=False)
    else:
        _print(simulations)


def _document(simulations: Sequence[PlanSimulation]) -> str:
    """The first simulation, with the others under `beside`."""
    document = record(simulations[0]) | {"beside": [record(other) for other in simulations[1:]]}
    return documents.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _print(simulations: Sequence[PlanSimulation]) -> None:
    to = console()
    to.print(f"[bold]{escape(simulations[0].plan.name)}[/]: [bold green]{escape(headline(simulations[0]))}[/]")
    to.print(f"[dim]{escape(setting(simulations[0]))}[/]\n", soft_wrap=True)
    for sheet in (*sheets(simulations[0]), routings(simulations)):
        print_sheet(sheet, to)


def _files(
    simulations: Sequence[PlanSimulation], paths: Mapping[str, File], as_calls: Callable[[CallTable], bytes] | None
) -> None:
    first = simulations[0]
    make: dict[str, Callable[[], FileContent]] = {
        "html": lambda: page(first, simulations[1:]),
        "png": lambda: picture(first),
        "perfetto": lambda: perfetto(first),
    }
    if as_calls:
        make["calls"] = lambda: as_calls(first.calls)
    write_all(paths, make)
    if paths["perfetto"] and len(first.asked) > MOST_REQUESTS:
        say(f"{paths['perfetto']}: the first {MOST_REQUESTS:,} of {len(first.asked):,} requests")
