"""The work of `comptroller plan` for a workload with a table `[training]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from comptroller.cli._output import check, say, write, write_all
from comptroller.errors import InputError
from comptroller.export.runs import RUN_TARGETS, export_run
from comptroller.report.terminal import console, print_sheet
from comptroller.report.training_page import training_page, training_picture
from comptroller.report.training_tables import error_sentence, goal, headline, layout_sentence, sheets
from comptroller.training.document import load_training
from comptroller.training.plan_document import TrainingPlan
from comptroller.training.planner import plan_training


def tell_training_plan(
    workload: Path, json: bool, paths: Mapping[str, Path | None], exports: Sequence[str] | None = None
) -> None:
    """Plan a training run, print it and write the files that were asked for."""
    for path in filter(None, paths.values()):
        check(path)
    wanted = [_wish(text) for text in exports or ()]
    found = plan_training(load_training(workload))
    if not json:
        _print(found, console())
    write_all(
        paths, {"json": found.to_json, "html": lambda: training_page(found), "png": lambda: training_picture(found)}
    )
    for target, folder in wanted:
        for name, text in export_run(target, found).items():
            write(folder / name, text)
            say(f"wrote {folder / name}")
    if json:
        typer.echo(found.to_json(), nl=False)


def _wish(text: str) -> tuple[str, Path]:
    """A target and its folder.

    Raises:
        InputError: it is none, or the folder cannot be made.
    """
    target, _, folder = text.partition("=")
    if target not in RUN_TARGETS or not folder:
        raise InputError(f"--export {text}: give TARGET=FOLDER, with a target of {', '.join(RUN_TARGETS)}")
    check(Path(folder) / "file")
    return target, Path(folder)


def _print(plan: TrainingPlan, to: Console) -> None:
    to.print(f"[bold]{escape(plan.name)}[/]: [bold green]{escape(headline(plan))}[/]")
    to.print(f"[dim]{escape(goal(plan))}[/]", soft_wrap=True)
    to.print(f"[dim]{escape(layout_sentence(plan))}[/]\n", soft_wrap=True)
    for sheet in sheets(plan):
        print_sheet(sheet, to)
    for note in (error_sentence(plan), *plan.notes, *plan.refused):
        to.print(f"[dim]note: {escape(note)}[/]", soft_wrap=True)
