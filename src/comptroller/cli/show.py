"""`comptroller show`: the facts, evidence, a plan, the installation."""

from __future__ import annotations

import json as documents
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._evidence_options import EvidenceMap, evidence_map
from comptroller.cli._export_help import HELP
from comptroller.cli._formats import FormatShowOptions, show_catalogue, show_comparison
from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._plan_file import tell_plan_file
from comptroller.cli._run_register import tell_register
from comptroller.cli._show_evidence import tell_evidence
from comptroller.costs.own_calibration import calibration_of_folder
from comptroller.errors import InputError, UnknownIdError
from comptroller.report import evidence
from comptroller.report.facts import LISTS, details
from comptroller.report.installation import installation
from comptroller.report.replica_names import FORM, deployment_sheets
from comptroller.report.sheet import ReportSheet
from comptroller.report.terminal import console, print_sheet

SUBJECTS = (*LISTS, "evidence", "plan", "register", "installation")


@with_shared_options
def run(
    subject: Annotated[str, typer.Argument(help=f"One of {', '.join(SUBJECTS)}.", show_default=False)],
    columns: Annotated[EvidenceMap, SharedOptions(evidence_map)],
    names: Annotated[
        list[str] | None,
        typer.Argument(help="An id or a file: every value of it. Formats: several, to compare.", show_default=False),
    ] = None,
    on: Annotated[Path | None, typer.Option(help="Formats: compare on these weights.", show_default=False)] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Of a deployment: your own, a folder of `fit calibration`.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    export: Annotated[list[str] | None, typer.Option(help=f"Of a plan: {HELP}", metavar="TARGET=FOLDER")] = None,
    png: Annotated[
        Path | None, typer.Option(help="Formats, a plan: write a picture, PNG or .svg.", show_default=False)
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Formats, a plan: write a page.", show_default=False)] = None,
) -> None:
    """Show facts (a whole table, or every value of one with its source), evidence, a plan, or the installation.

    Of a register of training runs: FLOPs by both methods, and the rules that each meets.

    Of a deployment, the measurements behind it, and what halves its interval: show calibration
    ENGINE/ACCELERATOR/MODEL, then /LAYOUT, then /FORMAT; or these as words apart, where a file's or a repository's name
    has slashes.
    """
    ids, options = list(names or ()), FormatShowOptions(on, json, png, html)
    if subject in {"formats", "format"} and not ids:
        show_catalogue(options)
        return
    if subject in {"formats", "format"} and (len(ids) > 1 or options.anything):
        show_comparison(ids, options)
        return
    name = ids[0] if len(ids) == 1 else ""
    if subject == "plan" and name and not on:
        tell_plan_file(name, json, export, {"html": html, "png": png})
        return
    is_deployment = subject == "calibration" and (len(ids) > 1 or ("/" in name and not Path(name).is_file()))
    if (len(ids) > 1 and not is_deployment) or options.anything:
        raise InputError(f"show {subject}: one name; --on is of formats, --png and --html are of formats and of a plan")
    if subject == "plan":
        raise InputError("show plan: name the plan's JSON file")
    if export:
        raise InputError(f"--export writes a plan for a tool: comptroller show plan FILE, not show {subject}")
    if columns and not (subject == "evidence" and name):
        raise InputError(f"--map names the columns of a table: comptroller show evidence FILE, not show {subject}")
    if subject == "register":
        tell_register(name, json)
        return
    if subject == "evidence" and name:
        tell_evidence(name, columns, json)
        return
    if calibration and not is_deployment:
        raise InputError(f"--calibration is of a deployment: show calibration {FORM.partition(',')[0]}")
    own = calibration_of_folder(calibration)
    sheets = deployment_sheets(ids, own) if is_deployment else _sheets(subject, name)
    if json:
        records = {sheet.title.partition(":")[0]: sheet.records() for sheet in sheets}
        only = next(iter(records.values()))
        document = only if len(records) == 1 else {"values": only, **dict(list(records.items())[1:])}
        typer.echo(documents.dumps(document, indent=2, ensure_ascii=False))
        return
    for sheet in sheets:
        print_sheet(sheet.without("url"), console())


def _sheets(subject: str, name: str) -> tuple[ReportSheet, ...]:
    if subject == "installation":
        return (installation(),)
    if subject == "evidence":
        return (evidence.formats(),)
    kind = subject if subject in LISTS else f"{subject}s"
    if kind not in LISTS:
        raise UnknownIdError("subject", subject, SUBJECTS)
    return details(kind, name) if name else (LISTS[kind](),)
