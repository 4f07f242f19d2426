"""The work of `comptroller show evidence FILE`."""

from __future__ import annotations

import json as documents

import typer
from rich.markup import escape

from comptroller.cli._evidence_options import EvidenceMap
from comptroller.report import evidence
from comptroller.report.terminal import console, print_sheet
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.evidence_summary import summarise


def tell_evidence(name: str, columns: EvidenceMap, json: bool) -> None:
    """What a table of evidence holds; raises as `read_evidence`."""
    summary = summarise(read_evidence(name, columns))
    sheets = evidence.summary_sheets(summary)
    if json:
        records = {sheet.title.lower(): sheet.records() for sheet in sheets}
        typer.echo(documents.dumps({"source": summary.source, **records}, indent=2, ensure_ascii=False))
        return
    console().print(f"[bold]{escape(evidence.headline(summary))}[/]\n")
    for sheet in sheets:
        print_sheet(sheet, console())
