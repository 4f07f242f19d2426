"""`comptroller plan`: the cheapest deployment for a workload, with the reasons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli._export_help import HELP
from comptroller.cli._launch_options import LaunchOptions, launch_options
from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._output import check
from comptroller.cli._over_time import OverTimeOptions, over_time_options
from comptroller.cli._training_documents import tell_training, training_table
from comptroller.cli._workload_changes import WorkloadChanges, workload_changes
from comptroller.cli._workload_options import WorkloadOptions, completion, listed_names, workload_options
from comptroller.errors import InputError
from comptroller.planning.ground.executor import EXECUTORS

if TYPE_CHECKING:
    from comptroller.planning.reasons.current_fleet import CurrentFleet
    from comptroller.work.workload import Workload

File = Path | None


@with_shared_options
def run(
    workload: Annotated[
        str,
        typer.Argument(
            help="The workload: a TOML file, or a model (more with commas).",
            show_default=False,
            autocompletion=completion("models"),
        ),
    ],
    stated: Annotated[WorkloadOptions, SharedOptions(workload_options)],
    changes: Annotated[WorkloadChanges, SharedOptions(workload_changes)],
    launched: Annotated[LaunchOptions, SharedOptions(launch_options)],
    over: Annotated[OverTimeOptions, SharedOptions(over_time_options)],
    json: Annotated[
        bool, typer.Option("--json", help="Print the whole plan as JSON; with --against, {plan, against}.")
    ] = False,
    out: Annotated[
        list[str] | None,
        typer.Option(
            help="A file: write the plan there as JSON. A number: tokens of an answer. May be given for each.",
            metavar="FILE|TOKENS",
            show_default=False,
        ),
    ] = None,
    html: Annotated[File, typer.Option(help="Write a self-contained page.", show_default=False)] = None,
    png: Annotated[
        File, typer.Option(help="Write all pictures, as SVG where it ends in .svg.", show_default=False)
    ] = None,
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
    executor: Annotated[
        str,
        typer.Option(
            help=f"Where choices are evaluated: {', '.join(EXECUTORS)}.", show_default="processes if it is much"
        ),
    ] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep finished parts; go on from those of a run that was cut short.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="The proven answer alone, without its reasons.")] = False,
) -> None:
    """Find the cheapest accelerators, layouts and number formats that serve a workload."""
    # What is heavy is imported when it is needed, so that help and a mistake in the workload are told at once.
    file, tokens_out = _file_and_tokens(out or [])
    paths = {"json": file, "html": html, "png": png}
    for path in filter(None, paths.values()):
        check(path)
    beside = (against, launched.lines, export, quick)
    _refuse_pairs(explain, (over.trace, resume or executor), beside, any(paths.values()), html or png)
    if table := training_table(workload):
        given = stated.with_answers(tokens_out).values
        other = (explain, *beside[:2], moving_usd, given, changes.any, over.trace, quick)
        return tell_training((table, Path(workload)), other, json, paths, export)
    exports, today = _things_beside(export, against, None if launched.lines else moving_usd)
    loaded = changes.of(_workload_of(workload, stated.with_answers(tokens_out)))
    if launched.lines:
        from comptroller.cli._today import fleet_from_launch

        today = fleet_from_launch(launched, loaded, moving_usd)
    if over.trace:
        return over.tell(loaded, json, paths)
    from comptroller.cli._plan_work import PlanOutput, explain_choices, tell_plan

    if explain:
        explain_choices(loaded, explain, json)
    else:
        tell_plan(loaded, (executor, resume), PlanOutput(json, quick, paths, today, exports))


def _refuse_pairs(
    explain: list[str] | None, over: tuple[object, object], beside: tuple[object, ...], files: bool, pictures: object
) -> None:
    """Options that do not go together. over: the trace of --over-time, and options of the search.  beside: --against,
    --from-launch, --export, --quick.

    Raises:
        InputError: two of them are given.
    """
    against, launched, _, quick = beside
    if explain and (files or any(beside)):
        raise InputError("--explain answers alone: leave out --out, --html, --png, --against, --export and --quick")
    if launched and against:
        raise InputError("--from-launch reads the fleet of today, --against too: name one")
    if over[0] and (explain or any(beside) or over[1]):
        raise InputError("--over-time answers alone: leave out --explain, --against, --from-launch, --export, --quick")
    if pictures and quick:
        raise InputError("--quick leaves out the frontier that --html and --png draw: leave out one of them")


def _things_beside(
    export: list[str] | None, against: File, moving_usd: float | None
) -> tuple[list[tuple[str, Path]], CurrentFleet | None]:
    """As `_plan_work.things_beside`, which is imported where there is anything."""
    if not export and against is None and moving_usd is None:
        return [], None
    from comptroller.cli._plan_work import things_beside

    return things_beside(export, against, moving_usd)


def _file_and_tokens(given: list[str]) -> tuple[File, int | None]:
    """What --out states: where the plan is written, and tokens of an answer.

    Raises:
        InputError: one of them twice.
    """
    tokens, files = [text for text in given if text.isdecimal()], [text for text in given if not text.isdecimal()]
    if max(len(tokens), len(files)) > 1:
        raise InputError(f"--out: {', '.join(given)} are two of a kind (allowed: one file, and one number of tokens)")
    return Path(files[0]) if files else None, int(tokens[0]) if tokens else None


def _workload_of(text: str, stated: WorkloadOptions) -> Workload:
    """The workload of a TOML file, or of a model with what options state.

    Raises:
        InputError: as `load` and `workload_of`; options beside a file.
    """
    path = Path(text)
    if path.suffix == ".toml" or (path.is_file() and path.suffix != ".json"):
        from comptroller.work.workload import load

        if stated.values:
            raise InputError(f"{text} states the workload: write {stated.words} there, or name a model in its place")
        return load(path)
    from comptroller.cli.new import workload_of

    return workload_of(listed_names([text]) or [text], stated.values)
