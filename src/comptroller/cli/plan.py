"""`comptroller plan`: the cheapest deployment for a workload, with the reasons."""

from __future__ import annotations

import json as documents
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from comptroller.cli._executor import executor_of
from comptroller.cli._export import HELP, wishes, write_exports
from comptroller.cli._output import check, write
from comptroller.cli._progress import ProgressBar
from comptroller.errors import InputError
from comptroller.planning.against import CurrentFleet, FleetComparison, compare, load_current
from comptroller.planning.executor import EXECUTORS
from comptroller.planning.plan import Plan
from comptroller.planning.planner import GRID, load_of, shipped_calibration, why_not
from comptroller.planning.planner import plan as find_plan
from comptroller.planning.space import goal_of
from comptroller.report.plan_page import page, picture
from comptroller.report.plan_tables import explanations
from comptroller.report.terminal import console, print_plan, print_sheet
from comptroller.work.demand import demand
from comptroller.work.workload import Workload, load

File = Path | None


def run(
    workload: Annotated[Path, typer.Argument(help="The workload, a TOML file.", show_default=False)],
    json: Annotated[
        bool, typer.Option("--json", help="Print the whole plan as JSON; with --against, {plan, against}.")
    ] = False,
    out: Annotated[File, typer.Option(help="Write the plan as JSON.", show_default=False)] = None,
    html: Annotated[File, typer.Option(help="Write a self-contained page.", show_default=False)] = None,
    png: Annotated[File, typer.Option(help="Write a picture (needs matplotlib).", show_default=False)] = None,
    against: Annotated[
        File, typer.Option(help="Compare with the fleet of today, a TOML file.", show_default=False)
    ] = None,
    explain: Annotated[
        list[str] | None,
        typer.Option(help="Why not AXIS=VALUE? Again for others.", metavar="AXIS=VALUE", show_default=False),
    ] = None,
    export: Annotated[list[str] | None, typer.Option(help=HELP, metavar="TARGET=FOLDER")] = None,
    on: Annotated[
        str,
        typer.Option(
            help=f"Where choices are evaluated: {', '.join(EXECUTORS)}.", show_default="processes if it is much"
        ),
    ] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep finished parts; go on from those of a run that was cut short.")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Drop bad rows of a trace, counted.")] = False,
) -> None:
    """Find the cheapest accelerators, layouts and number formats that serve a workload."""
    paths = {"json": out, "html": html, "png": png}
    for path in filter(None, paths.values()):
        check(path)
    wanted = wishes(export)
    if explain and any((*paths.values(), against, wanted)):
        raise InputError("--explain answers alone: leave out --out, --html, --png, --against and --export")
    today = load_current(against) if against else None
    asked = load(workload)
    if skip_bad:
        asked = asked.model_copy(update={"skip_bad": True})
    if explain:
        _explain(asked, explain, json)
        return
    with (
        ProgressBar("evaluating deployments", "choosing the mix, pricing constraints") as bar,
        executor_of(asked, on, resume) as executor,
    ):
        found = find_plan(asked, progress=bar, executor=executor)
    beside = comparison_with_today(asked, found, today) if today else None
    _files(found, beside, paths)
    write_exports(found, wanted)
    if json:
        typer.echo(_document(found, beside), nl=False)
    else:
        print_plan(found, console(), beside)


def _explain(asked: Workload, wanted: list[str], json: bool) -> None:
    with ProgressBar("evaluating deployments", "solving for each choice") as bar:
        told = why_not(asked, wanted, progress=bar)
    if json:
        typer.echo(documents.dumps([asdict(each) for each in told], indent=2, ensure_ascii=False))
    else:
        print_sheet(explanations(told), console())


def comparison_with_today(asked: Workload, found: Plan, today: CurrentFleet) -> FleetComparison:
    """The fleet of today beside a plan for the same workload.

    Raises:
        UnsupportedError: a service of it has no price, does not fit or cannot run.
    """
    planned = {s.id: sum(pool.replicas for pool in s.deployment.pools) for s in found.services}
    load_, usd_per_h = load_of(demand(asked, GRID)), found.totals.usd_per_h.value
    return compare(today, planned, usd_per_h, load_, goal_of(asked), shipped_calibration())


def _document(found: Plan, beside: FleetComparison | None) -> str:
    if beside is None:
        return found.to_json()
    both = {"plan": found.model_dump(mode="json"), "against": asdict(beside)}
    return documents.dumps(both, indent=2, ensure_ascii=False) + "\n"


def _files(found: Plan, beside: FleetComparison | None, paths: dict[str, File]) -> None:
    said = Console(stderr=True, highlight=False)
    make: dict[str, Callable[[], str | bytes]] = {
        "json": found.to_json,
        "html": lambda: page(found, beside),
        "png": lambda: picture(found),
    }
    for kind, path in paths.items():
        if path:
            write(path, make[kind]())
            said.print(f"[dim]wrote {escape(str(path))}[/]", soft_wrap=True)
