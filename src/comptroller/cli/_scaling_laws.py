"""`comptroller fit laws LOSSES.csv`: a law of the loss of pre-training, with what it is worth."""

from __future__ import annotations

import json as documents
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._output import FileContent, check, write_all
from comptroller.errors import InputError
from comptroller.report.scaling_sheets import family_sheet, scaling_sheets
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.work.laws import LawQuery
from comptroller.work.loss_points import read_losses, states_losses
from comptroller.work.scaling_findings import ScalingQuery, scaling_report


@dataclass(frozen=True, slots=True)
class LossLawOptions:
    """Options of laws of the loss. flops: compute that is split.  drop_highest: runs of highest loss left out."""

    flops: tuple[float, ...] = ()
    drop_highest: int = 0


def scaling_options(
    flops: Annotated[
        list[float] | None,
        typer.Option(help="Losses of runs: split this much compute; again for others.", show_default=False),
    ] = None,
    drop_highest: Annotated[int, typer.Option(help="Losses of runs: leave out so many of the highest.", min=0)] = 0,
) -> LossLawOptions:
    """The options of laws of the loss.

    Raises:
        InputError: compute that is no positive number.
    """
    if any(not one > 0 for one in flops or ()):
        raise InputError("--flops: compute is a positive number of FLOP, such as 5.76e23")
    return LossLawOptions(tuple(flops or ()), drop_highest)


def fit_losses(
    evidence: str, options: LossLawOptions, query: LawQuery, files: Mapping[str, Path | None], as_json: bool
) -> bool:
    """Fit a law to every family of runs, print and write, where the evidence is a table of losses; whether it is one.

    Raises:
        InputError: a picture or a page is asked for.
    """
    path, table, out = Path(evidence), files.get("table"), files.get("out")
    if not states_losses(path):
        return False
    if any(files.get(name) for name in ("png", "html")):
        raise InputError("laws of the loss are tables: --table, or --json")
    for file in filter(None, (table, out)):
        check(file)
    asked = ScalingQuery(options.flops, options.drop_highest, query.beyond, query.level, query.draws, query.seed)
    reports = scaling_report(read_losses(path), asked)
    if out and len(reports) > 1:
        raise InputError(f"--out {out}: a law of one family; the table has {', '.join(one.family for one in reports)}")
    make: dict[str, Callable[[], FileContent]] = {"out": reports[0].law_file.text}
    if table:
        as_table = writer_of(table)
        make["table"] = lambda: as_table(family_sheet(reports))
    write_all({"table": table, "out": out}, make)
    if as_json:
        typer.echo(documents.dumps([one.record for one in reports], indent=2))
        return True
    for sheet in scaling_sheets(reports):
        print_sheet(sheet, console())
    return True
