"""`comptroller plan`: the cheapest deployment for a workload, with the reasons."""

from __future__ import annotations

import json as documents
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._executor import executor_of
from comptroller.cli._export import HELP, wishes, write_exports
from comptroller.cli._output import check, write_all
from comptroller.cli._progress import ProgressBar
from comptroller.cli._today import comparison_with_today, todays_fleet
from comptroller.errors import InputError
from comptroller.planning.ground.executor import EXECUTORS
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.planner import plan as find_plan
from comptroller.planning.planner import why_not
from comptroller.planning.reasons.against import FleetComparison
from comptroller.report.plan_page import page, picture
from comptroller.report.plan_tables import explanations
from comptroller.report.terminal import console, print_plan, print_sheet
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
    moving_usd: Annotated[
        float | None,
        typer.Option(help="With --against: dollars of the move beside rent, such as people's time.", show_default="0"),
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
    calibration: Annotated[
        File, typer.Option(help="A folder that `fit calibration` wrote; else the workload's.", show_default=False)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep finished parts; go on from those of a run that was cut short.")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Drop bad rows of a trace, counted.")] = False,
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Also formats that no engine is known to launch, marked as such.")
    ] = False,
) -> None:
    """Find the cheapest accelerators, layouts and number formats that serve a workload."""
    paths = {"json": out, "html": html, "png": png}
    for path in filter(None, paths.values()):
        check(path)
    exports = wishes(export)
    if explain and any((*paths.values(), against, exports)):
        raise InputError("--explain answers alone: leave out --out, --html, --png, --against and --export")
    today = todays_fleet(against, moving_usd)
    loaded = load(workload)
    if calibration:
        loaded = loaded.model_copy(update={"calibration": str(calibration)})
    if skip_bad:
        loaded = loaded.model_copy(update={"skip_bad": True})
    if what_if:
        loaded = loaded.model_copy(update={"what_if": True})
    if explain:
        _explain(loaded, explain, json)
        return
    with (
        ProgressBar("evaluating deployments", "choosing the mix, pricing constraints") as bar,
        executor_of(loaded, on, resume) as executor,
    ):
        fleet_plan = find_plan(loaded, progress=bar, executor=executor)
    comparison = comparison_with_today(loaded, fleet_plan, today) if today else None
    _files(fleet_plan, comparison, paths)
    write_exports(fleet_plan, exports)
    if json:
        typer.echo(_document(fleet_plan, comparison), nl=False)
    else:
        print_plan(fleet_plan, console(), comparison)


def _explain(asked: Workload, wanted: list[str], json: bool) -> None:
    with ProgressBar("evaluating deployments", "solving for each choice") as bar:
        answers = why_not(asked, wanted, progress=bar)
    if json:
        typer.echo(documents.dumps([asdict(each) for each in answers], indent=2, ensure_ascii=False))
    else:
        print_sheet(explanations(answers), console())


def _document(fleet_plan: Plan, comparison: FleetComparison | None) -> str:
    if comparison is None:
        return fleet_plan.to_json()
    both = {"plan": fleet_plan.model_dump(mode="json"), "against": asdict(comparison)}
    return documents.dumps(both, indent=2, ensure_ascii=False) + "\n"


def _files(fleet_plan: Plan, comparison: FleetComparison | None, paths: dict[str, File]) -> None:
    write_all(
        paths,
        {"json": fleet_plan.to_json, "html": lambda: page(fleet_plan, comparison), "png": lambda: picture(fleet_plan)},
    )
