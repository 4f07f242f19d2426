"""The work of `comptroller show plan FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import typer

from comptroller.cli._export import wishes, write_exports
from comptroller.cli._output import check, write_all
from comptroller.planning.ground.plan_document import load_plan
from comptroller.report.plan_page import page, picture
from comptroller.report.terminal import console, print_plan


def tell_plan_file(name: str, json: bool, export: list[str] | None, files: Mapping[str, Path | None]) -> None:
    """Print a plan from its file, with the files and exports that were asked for; raises as `load_plan`."""
    exports = wishes(export)
    for path in filter(None, files.values()):
        check(path)
    plan = load_plan(Path(name))
    write_exports(plan, exports)
    write_all(files, {"html": lambda: page(plan), "png": lambda: picture(plan)})
    if json:
        typer.echo(plan.to_json(), nl=False)
    else:
        print_plan(plan, console())
