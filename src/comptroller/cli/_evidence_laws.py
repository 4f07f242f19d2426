"""`comptroller fit laws EVIDENCE`: laws of repeated sampling, each with intervals and with why it refuses."""

from __future__ import annotations

import json as documents
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import typer
from rich.markup import escape

from comptroller.cli._output import FileContent, check, write_all
from comptroller.errors import InputError, UnsupportedError
from comptroller.report.evidence import all_findings, findings_sheet
from comptroller.report.laws import page, picture
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.work.data_files import data_folders
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery, law, laws
from comptroller.work.laws.solutions_and_verdicts import LAW as VERDICTS
from comptroller.work.laws.solutions_and_verdicts import grid_findings
from comptroller.work.verdict_grids import read_grids, states_grids


def fit_laws(
    evidence_read: Known, only: list[str], asking: LawQuery, files: Mapping[str, Path | None], as_json: bool
) -> None:
    """Fit the laws named, or all that the evidence supports; print them and write the files asked for."""
    for path in filter(None, files.values()):
        check(path)
    as_table = writer_of(files["table"]) if files["table"] else None
    chosen = [law(name) for name in dict.fromkeys(only)] if only else list(laws())
    findings, refused = _findings_by_law(chosen, evidence_read, asking, strict=bool(only))
    lacking = [f"{one.name} needs {one.needs}" for one in chosen if only and not findings[one.name]]
    if lacking or not any(findings.values()):
        wanted = "; ".join(lacking) or f"none of {', '.join(one.name for one in chosen)} can be fitted"
        raise InputError(f"{evidence_read.source}: {wanted}")
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


def fit_grids(
    evidence: tuple[str, Sequence[str]], query: LawQuery, files: Mapping[str, Path | None], as_json: bool
) -> bool:
    """Fit solutions and verdicts to every grid of a file of scores, print and write; whether the file is one.

    evidence: the file, and names of laws.

    Raises:
        InputError: another law, a picture or a page is asked for.
    """
    path, only = Path(evidence[0]), evidence[1]
    if not path.exists() and not path.is_absolute():
        path = next((one / path for one in data_folders("evidence", path) if (one / path).exists()), path)
    if not states_grids(path):
        return False
    asked = set(only) - {VERDICTS.name}
    if asked or files.get("png") or files.get("html"):
        raise InputError(f"{path.name}: grids of scores have the law {VERDICTS.name} alone, as --table or --json")
    found = [one for name, grid in read_grids(path).items() for one in grid_findings(name, grid, query)]
    if table := files.get("table"):
        check(table)
        as_table = writer_of(table)
        write_all({"table": table}, {"table": lambda: as_table(all_findings(found))})
    if as_json:
        document = {"source": path.name, "findings": all_findings(found).records(), "refused": {}}
        typer.echo(documents.dumps(document, indent=2, ensure_ascii=False))
        return True
    print_sheet(findings_sheet(VERDICTS, found), console())
    return True


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
