"""`comptroller fit laws LOSSES.csv`: a law of the loss of pre-training, with what it is worth."""

from __future__ import annotations

import json as documents
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._output import FileContent, check, write_all
from comptroller.errors import InputError, UnsupportedError
from comptroller.report.law_tables import (
    comparison_sheets,
    domain_sheet,
    families_sheet,
    predictions_sheet,
    reward_sheets,
)
from comptroller.report.scaling_sheets import family_sheet, scaling_sheets
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.work.law_comparison import LawComparison, compare_laws
from comptroller.work.laws import LawQuery
from comptroller.work.loss_laws import loss_law
from comptroller.work.loss_points import LossPoints, read_losses, states_losses
from comptroller.work.reward_law import read_rewards, reward_report, states_rewards
from comptroller.work.scaling_findings import ScalingQuery, ScalingReport, lowest_losses, scaling_report


@dataclass(frozen=True, slots=True)
class LossLawOptions:
    """Options of laws of the loss. flops: compute that is split.  drop_highest: runs of highest loss left out.
    over_families: compute that all families share."""

    flops: tuple[float, ...] = ()
    drop_highest: int = 0
    over_families: float | None = None


def scaling_options(
    flops: Annotated[
        list[float] | None,
        typer.Option(
            help="Losses of runs: split this compute; of rewards: predict at it; again for others.", show_default=False
        ),
    ] = None,
    drop_highest: Annotated[int, typer.Option(help="Losses of runs: leave out so many of the highest.", min=0)] = 0,
    over_families: Annotated[
        float | None, typer.Option(help="Losses of runs: share this compute over all families.", show_default=False)
    ] = None,
) -> LossLawOptions:
    """The options of laws of the loss.

    Raises:
        InputError: compute that is no positive number.
    """
    if any(not one > 0 for one in (*(flops or ()), *([] if over_families is None else [over_families]))):
        raise InputError("--flops, --over-families: compute is a positive number of FLOP, such as 5.76e23")
    return LossLawOptions(tuple(flops or ()), drop_highest, over_families)


def fit_losses(
    evidence: tuple[str, Sequence[str]],
    options: LossLawOptions,
    query: LawQuery,
    files: Mapping[str, Path | None],
    as_json: bool,
) -> bool:
    """Fit laws to every family of runs, print and write, where the evidence is a table of losses or of rewards; whether
    it is one.

    evidence: the file, and names of laws that alone are compared.

    Raises:
        InputError: a picture or a page is asked for.
    """
    path, only = Path(evidence[0]), evidence[1]
    if not states_losses(path) and not states_rewards(path):
        return False
    if any(files.get(name) for name in ("png", "html")):
        raise InputError("laws of the loss are tables: --table, or --json")
    for file in filter(None, (files.get("table"), files.get("out"))):
        check(file)
    if states_rewards(path):
        _tell_rewards(path, options, query, files, as_json)
        return True
    points = read_losses(path)
    if only and all(loss_law(name).needs for name in only):
        _tell_laws(points, only, options, files, as_json)
        return True
    asked = ScalingQuery(options.flops, options.drop_highest, query.beyond, query.level, query.draws, query.seed)
    reports = scaling_report(points, asked)
    found = _comparisons(points, only, options)
    _write_laws(reports, files)
    shares = [] if options.over_families is None else [domain_sheet(reports, options.over_families)]
    if as_json:
        records = [report.record | {"laws": one.record} for report, one in zip(reports, found, strict=True)]
        whole = {"families": records, "over_families": shares[0].records()} if shares else records
        typer.echo(documents.dumps(whole, indent=2))
        return True
    for sheet in (
        *scaling_sheets(reports),
        *comparison_sheets(found),
        *map(predictions_sheet, reports, found),
        *shares,
    ):
        print_sheet(sheet, console())
    return True


def _comparisons(points: LossPoints, only: Sequence[str], options: LossLawOptions) -> list[LawComparison]:
    return [compare_laws(lowest_losses(points.of(name), options.drop_highest), only) for name in points.families]


def _tell_laws(
    points: LossPoints, only: Sequence[str], options: LossLawOptions, files: Mapping[str, Path | None], as_json: bool
) -> None:
    """Fit laws that are functions of more than parameters and tokens, print and write.

    Raises:
        InputError: compute is to be split, or a law written, which is Chinchilla's.
    """
    if options.flops or options.over_families is not None or files.get("out"):
        raise InputError(
            "--flops, --over-families, --out: of parameters and tokens alone, by chinchilla: name it beside "
            f"{', '.join(only)}"
        )
    found, table = _comparisons(points, only, options), files.get("table")
    if table:
        as_table = writer_of(table)
        write_all({"table": table}, {"table": lambda: as_table(families_sheet(found))})
    if as_json:
        typer.echo(documents.dumps([{"family": one.family, "laws": one.record} for one in found], indent=2))
        return
    for sheet in comparison_sheets(found):
        print_sheet(sheet, console())


def _write_laws(reports: Sequence[ScalingReport], files: Mapping[str, Path | None]) -> None:
    table, out = files.get("table"), files.get("out")
    if out and len(reports) > 1:
        raise InputError(f"--out {out}: a law of one family; the table has {', '.join(one.family for one in reports)}")
    make: dict[str, Callable[[], FileContent]] = {"out": reports[0].law_file.text}
    if table:
        as_table = writer_of(table)
        make["table"] = lambda: as_table(family_sheet(reports))
    write_all({"table": table, "out": out}, make)


def _tell_rewards(
    path: Path, options: LossLawOptions, query: LawQuery, files: Mapping[str, Path | None], as_json: bool
) -> None:
    """Fit the sigmoid of reinforcement learning to every run of a table of rewards, print and write.

    Raises:
        UnsupportedError: no compute asked for is within what the hold-outs support.
    """
    if files.get("out"):
        raise InputError("--out writes a law of the loss; a law of rewards is told by --json or --table")
    found = [
        reward_report(name, points, options.flops, query.beyond, query.seed)
        for name, points in read_rewards(path).items()
    ]
    if options.flops and not any(one.rewards for one in found):
        raise UnsupportedError("; ".join(reason for one in found for reason in one.refused))
    sheets, table = reward_sheets(found), files.get("table")
    if table:
        as_table = writer_of(table)
        write_all({"table": table}, {"table": lambda: as_table(sheets[0])})
    if as_json:
        typer.echo(documents.dumps([one.record for one in found], indent=2))
        return
    for sheet in sheets:
        print_sheet(sheet, console())
