"""`comptroller fit`: laws that evidence obeys, and the calibration from measured runs."""

from __future__ import annotations

import json as documents
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from comptroller.cli._calibration import fit_calibration
from comptroller.cli._output import check, write
from comptroller.errors import InputError, UnknownId, Unsupported
from comptroller.report.evidence import all_findings, findings_sheet
from comptroller.report.laws import page, picture
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.laws import Asking, Finding, Known, Law, law, laws

File = Path | None
SUBJECTS = ("laws", "calibration")


def run(
    subject: Annotated[str, typer.Argument(help="What to fit: laws or calibration.", show_default=False)],
    evidence: Annotated[
        str,
        typer.Argument(help="Replies or counts (a file, or `own`); or measured runs.", show_default=False),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option("--law", help="Only this law; again for others.", show_default=False),
    ] = None,
    at: Annotated[
        list[int] | None,
        typer.Option(help="Answer for this many samples; again for others.", show_default=False),
    ] = None,
    beyond: Annotated[
        bool,
        typer.Option("--beyond", help="Extrapolate past the range in which the error could be measured."),
    ] = False,
    margin: Annotated[float, typer.Option(help="Difference in score that does not matter.")] = 0.02,
    level: Annotated[float, typer.Option(help="Level of intervals.")] = 0.9,
    draws: Annotated[int, typer.Option(help="Resamples behind an interval.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
    png: Annotated[
        File, typer.Option(help="Write coverage and forecasts, a picture.", show_default=False)
    ] = None,
    html: Annotated[File, typer.Option(help="Write a self-contained page.", show_default=False)] = None,
    out: Annotated[
        File, typer.Option(help="Folder for the files of a calibration.", show_default=False)
    ] = None,
    table: Annotated[
        File, typer.Option(help="Write the findings, .csv, .md, .tex or .parquet.", show_default=False)
    ] = None,
) -> None:
    """Fit laws to evidence: coverage, forecasts, frontier, saturation, equivalence, lengths, each with intervals."""
    if subject not in SUBJECTS:
        raise UnknownId("subject", subject, SUBJECTS)
    if subject == "calibration":
        fit_calibration(Path(evidence), out, console())
        return
    for path in filter(None, (png, html, table)):
        check(path)
    as_table = writer_of(table) if table else None
    asking = Asking(tuple(at or ()), beyond, margin, level, draws, seed)
    known = read_evidence(evidence)
    chosen = [law(name) for name in dict.fromkeys(only)] if only else list(laws())
    found, refused = _found(chosen, known, asking, strict=bool(only))
    if not any(found.values()):
        raise InputError(
            f"{known.source}: nothing for {', '.join(one.name for one in chosen)} to be fitted to"
        )
    whole = all_findings([one for each in found.values() for one in each])
    sheets = [findings_sheet(one, found[one.name]) for one in chosen if found.get(one.name)]
    make: list[tuple[File, Callable[[], str | bytes]]] = [
        (png, lambda: picture(known, asking)),
        (html, lambda: page(known, asking, sheets, refused)),
    ]
    if as_table:
        make.append((table, lambda: as_table(whole)))
    for file, content in make:
        if file:
            write(file, content())
            Console(stderr=True, highlight=False).print(f"[dim]wrote {escape(str(file))}[/]", soft_wrap=True)
    if json:
        document = {"source": known.source, "findings": whole.records(), "refused": refused}
        typer.echo(documents.dumps(document, indent=2, ensure_ascii=False))
        return
    for sheet in sheets:
        print_sheet(sheet, console())
    for name, reason in refused.items():
        console().print(f"[dim]{escape(name)}: not supported: {escape(reason)}[/]", soft_wrap=True)


def _found(
    chosen: list[Law], known: Known, asking: Asking, strict: bool
) -> tuple[dict[str, list[Finding]], dict[str, str]]:
    """Findings by law, and why a law refused; where laws were named, a refusal is an error."""
    found, refused = {}, {}
    for one in chosen:
        try:
            found[one.name] = one.find(known, asking)
        except Unsupported as error:
            if strict:
                raise
            refused[one.name] = str(error)
    return found, refused
