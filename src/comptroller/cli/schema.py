"""`comptroller schema`: the JSON Schema of a document, from which editors complete and check its keys."""

from __future__ import annotations

import json as documents
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._document_schemas import DOCUMENTS, document_schema
from comptroller.cli._output import check, say, write
from comptroller.report.sheet import ReportSheet, left
from comptroller.report.terminal import console, print_sheet

ALONE = True
"""Without a kind it lists them."""


def run(
    kind: Annotated[
        str, typer.Argument(help="A kind of document; those that there are if left out.", show_default=False)
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Write it to a file.", show_default=False)] = None,
) -> None:
    """Print the JSON Schema of a workload, a fleet, a plan or another document, for editors and checks."""
    if not kind:
        rows = tuple((name, document.what.replace("`", ""), document.example) for name, document in DOCUMENTS.items())
        print_sheet(ReportSheet("Documents", (left("kind"), left("what"), left("example")), rows), console())
        return
    text = documents.dumps(document_schema(kind), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    check(out)
    write(out, text)
    say(f"wrote {out}; name it in the first line of a TOML file: #:schema {out.name}")
