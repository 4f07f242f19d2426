"""`comptroller plan`: the cheapest deployment for a workload, with the reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._export_help import HELP
from comptroller.cli._launch_options import LaunchOptions, launch_options
from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._output import check
from comptroller.errors import InputError
from comptroller.planning.ground.executor import EXECUTORS

File = Path | None


@with_shared_options
def run(
    workload: Annotated[Path, typer.Argument(help="The workload, a TOML file.", show_default=False)],
    launched: Annotated[LaunchOptions, SharedOptions(launch_options)],
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
    quick: Annotated[bool, typer.Option("--quick", help="The proven answer alone, without its reasons.")] = False,
    measured_only: Annotated[
        bool, typer.Option("--measured-only", help="Only what somebody timed, kernels or whole servers.")
    ] = False,
    trust_predicted_speed: Annotated[
        bool, typer.Option("--trust-predicted-speed", help="What nobody timed at its predicted speed.")
    ] = False,
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Also formats that no engine is known to launch, marked as such.")
    ] = False,
) -> None:
    """Find the cheapest accelerators, layouts and number formats that serve a workload."""
    # What is heavy is imported when it is needed, so that help and a mistake in the workload are told at once.
    paths = {"json": out, "html": html, "png": png}
    for path in filter(None, paths.values()):
        check(path)
    if explain and any((*paths.values(), against, launched.lines, export, quick)):
        raise InputError("--explain answers alone: leave out --out, --html, --png, --against, --export and --quick")
    if launched.lines and against:
        raise InputError("--from-launch reads the fleet of today, --against too: name one")
    if (html or png) and quick:
        raise InputError("--quick leaves out the frontier that --html and --png draw: leave out one of them")
    from comptroller.work.workload import load

    changed = {"calibration": calibration and str(calibration), "skip_bad": skip_bad, "what_if": what_if}
    changed["trust_predicted_speed"] = trust_predicted_speed
    moving_of_file = None if launched.lines else moving_usd
    if export or against or moving_of_file is not None:
        from comptroller.cli._plan_work import things_beside

        exports, today = things_beside(export, against, moving_of_file)
    else:
        exports, today = [], None
    loaded = load(workload).model_copy(update={name: value for name, value in changed.items() if value})
    if measured_only:
        loaded = loaded.model_copy(update={"allow": loaded.allow.model_copy(update={"measured_only": True})})
    if launched.lines:
        from comptroller.cli._today import fleet_from_launch

        today = fleet_from_launch(launched, loaded, moving_usd)
    from comptroller.cli._plan_work import PlanOutput, explain_choices, tell_plan

    if explain:
        explain_choices(loaded, explain, json)
    else:
        tell_plan(loaded, (on, resume), PlanOutput(json, quick, paths, today, exports))
