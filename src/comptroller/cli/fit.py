"""`comptroller fit`: laws of evidence, routers, gates, monitors, rollouts, the calibration from measured runs."""

from __future__ import annotations

import json as documents
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from comptroller.cli._calibration import CalibrationRequest, fit_calibration, server_statement
from comptroller.cli._evidence_options import EvidenceMap, evidence_map
from comptroller.cli._gates import PARTS, PartFitOptions
from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._output import FileContent, check, write_all
from comptroller.cli._rollouts import fit_rollouts
from comptroller.cli._scaling_laws import LossLawOptions, fit_losses, scaling_options
from comptroller.errors import InputError, UnknownIdError, UnsupportedError
from comptroller.measure.run_observations import ServerStatement
from comptroller.report.evidence import all_findings, findings_sheet
from comptroller.report.laws import page, picture
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery, law, laws

File = Path | None
SUBJECTS = ("laws", "routers", "gates", "monitors", "rollouts", "calibration")


@with_shared_options
def run(
    subject: Annotated[str, typer.Argument(help="What: " + ", ".join(SUBJECTS) + ".", show_default=False)],
    evidence: Annotated[
        list[str],
        typer.Argument(help="Replies or counts (a file, or `own`); or files of measured runs.", show_default=False),
    ],
    server: Annotated[ServerStatement, SharedOptions(server_statement)],
    columns: Annotated[EvidenceMap, SharedOptions(evidence_map)],
    losses: Annotated[LossLawOptions, SharedOptions(scaling_options)],
    only: Annotated[
        list[str] | None, typer.Option("--law", help="Only this law; again for others.", show_default=False)
    ] = None,
    at: Annotated[
        list[int] | None,
        typer.Option(help="So many samples, rollouts; % of solved runs a monitor may stop.", show_default=False),
    ] = None,
    beyond: Annotated[
        bool, typer.Option("--beyond", help="Extrapolate past the range in which the error could be measured.")
    ] = False,
    margin: Annotated[float, typer.Option(help="Difference in score that does not matter.")] = 0.02,
    level: Annotated[float, typer.Option(help="Level of intervals.")] = 0.9,
    draws: Annotated[int, typer.Option(help="Resamples behind an interval.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.", min=0)] = 0,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model to route among, again for others; or the measured one.", show_default=False),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Router: win, linear, nearest, domain; gate: question, reply; monitor.", show_default=False),
    ] = None,
    cost: Annotated[
        list[float] | None,
        typer.Option(help="What a call of each --model costs, where not as recorded.", show_default=False),
    ] = None,
    calibration: Annotated[
        File, typer.Option(help="Calibration: refit this one, a folder, and keep its runs.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
    png: Annotated[
        File,
        typer.Option(
            help="Write a picture, PNG or .svg: coverage and forecasts; of a calibration, predicted against measured.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[File, typer.Option(help="Write a self-contained page.", show_default=False)] = None,
    out: Annotated[
        File, typer.Option(help="Folder of a calibration; file of a router, gate or law.", show_default=False)
    ] = None,
    table: Annotated[
        File, typer.Option(help="Write the findings, .csv, .md, .tex or .parquet.", show_default=False)
    ] = None,
) -> None:
    """Fit laws to evidence, with intervals; routers, gates and monitors, held out; or a calibration."""
    if subject not in SUBJECTS:
        raise UnknownIdError("subject", subject, SUBJECTS)
    if subject == "calibration":
        if len(model or ()) > 1:
            raise InputError("fit calibration: one --model, that of all the files")
        asked = CalibrationRequest([Path(file) for file in evidence], "".join(model or ()), server, calibration)
        fit_calibration(asked, out, json, console(), {"png": png, "html": html})
        return
    if len(evidence) > 1:
        raise InputError(f"fit {subject}: one file of evidence, not {len(evidence)}")
    files = {"png": png, "html": html, "table": table}
    if subject in PARTS:
        wish = PartFitOptions(model or [], kind or [], cost or [], at or [], seed, columns)
        PARTS[subject](evidence[0], wish, out, files, json)
        return
    query = LawQuery(tuple(at or ()), beyond, margin, level, draws, seed)
    if subject == "rollouts":
        fit_rollouts((evidence[0], columns), model or [], query, files, json)
        return
    if fit_losses((evidence[0], only or []), losses, query, {**files, "out": out}, json):
        return
    records = read_evidence(evidence[0], columns)
    _fit_laws(records, only or [], query, files, json)


def _fit_laws(
    evidence_read: Known, only: list[str], asking: LawQuery, files: Mapping[str, Path | None], as_json: bool
) -> None:
    """Fit the laws named, or all that the evidence supports; print them and write the files asked for."""
    for path in filter(None, files.values()):
        check(path)
    as_table = writer_of(files["table"]) if files["table"] else None
    chosen = [law(name) for name in dict.fromkeys(only)] if only else list(laws())
    findings, refused = _findings_by_law(chosen, evidence_read, asking, strict=bool(only))
    if not any(findings.values()):
        raise InputError(f"{evidence_read.source}: nothing for {', '.join(one.name for one in chosen)} to be fitted to")
    every_finding = all_findings([one for each in findings.values() for one in each])
    sheets = [findings_sheet(one, findings[one.name]) for one in chosen if findings.get(one.name)]
    make: dict[str, Callable[[], FileContent]] = {
        "png": lambda: picture(evidence_read, asking),
        "html": lambda: page(evidence_read, asking, sheets, refused),
    }
    if as_table:
        make["table"] = lambda: as_table(every_finding)
    write_all(files, make)
    if as_json:
        document = {"source": evidence_read.source, "findings": every_finding.records(), "refused": refused}
        typer.echo(documents.dumps(document, indent=2, ensure_ascii=False))
        return
    for sheet in sheets:
        print_sheet(sheet, console())
    for name, reason in refused.items():
        console().print(f"[dim]{escape(name)}: not supported: {escape(reason)}[/]", soft_wrap=True)


def _findings_by_law(
    chosen: list[EvidenceLaw], evidence: Known, asking: LawQuery, strict: bool
) -> tuple[dict[str, list[LawFinding]], dict[str, str]]:
    """Findings by law, and why a law refused; where laws were named, a refusal is an error."""
    findings, refused = {}, {}
    for each_law in chosen:
        try:
            findings[each_law.name] = each_law.find(evidence, asking)
        except UnsupportedError as error:
            if strict:
                raise
            refused[each_law.name] = str(error)
    return findings, refused
