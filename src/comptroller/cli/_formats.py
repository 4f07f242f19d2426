"""`comptroller show formats`: the catalogue, or several formats side by side on weights, with pictures."""

from __future__ import annotations

import json as documents
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from comptroller.cli._output import check, write
from comptroller.errors import InputError
from comptroller.measure.quality_weights import read_tensors
from comptroller.numerics.grid import Floats
from comptroller.numerics.quantise import format_with_variants
from comptroller.report.formats import catalogue, comparison, matrices, operations, samples
from comptroller.report.formats_page import page, picture
from comptroller.report.terminal import console, print_sheet


@dataclass(frozen=True, slots=True)
class FormatShowOptions:
    """What to show: weights to compare on (None: samples), and files to write."""

    on: Path | None
    json: bool
    png: Path | None
    html: Path | None

    @property
    def anything(self) -> bool:
        """Whether more than a fact file is asked for."""
        return bool(self.on or self.png or self.html)


def show_catalogue(wanted: FormatShowOptions) -> None:
    """Every format, and the energy of operations by width.

    Raises:
        InputError: weights or pictures without formats to compare.
    """
    if wanted.anything:
        raise InputError("show formats --on, --png, --html: name the formats to compare")
    sheets = (catalogue(), operations())
    if wanted.json:
        typer.echo(sheets[0].to_json(), nl=False)
        return
    shown = sheets[0].without("stored", "dequantised_on")
    for sheet in (shown, sheets[1]):
        print_sheet(sheet, console())
    console().print("[dim]how each is stored and which devices dequantise it: --json, or show formats ID[/]")


def show_comparison(names: Sequence[str], wanted: FormatShowOptions) -> None:
    """Formats side by side on weights, or on normal and heavy-tailed numbers.

    Raises:
        InputError: no matrix that all of them can hold; says why.
        UnknownIdError: a format that is not there; lists the nearest.
    """
    formats = [format_with_variants(name) for name in names]
    for path in filter(None, (wanted.png, wanted.html)):
        check(path)
    tensors: Mapping[str, Floats] = dict(read_tensors(wanted.on)) if wanted.on else samples()
    kept, left = matrices(tensors, formats)
    subject = wanted.on.name if wanted.on else "normal and heavy-tailed numbers"
    sheet = comparison(kept, names, subject)
    if wanted.png:
        write(wanted.png, picture(kept, names, sheet.title))
    if wanted.html:
        write(wanted.html, page(kept, names, sheet, left))
    if wanted.json:
        document = {"tensors": len(kept), "left_out": left, "formats": sheet.records()}
        typer.echo(documents.dumps(document, indent=2, ensure_ascii=False))
    else:
        print_sheet(sheet, console())
        if left:
            first_names = ", ".join(left[:3]) + (" ..." if len(left) > 3 else "")
            console().print(f"[dim]left out, blocks do not fit: {len(left)} tensors: {escape(first_names)}[/]")
    for path in filter(None, (wanted.png, wanted.html)):
        Console(stderr=True, highlight=False, emoji=False).print(f"[dim]wrote {escape(str(path))}[/]", soft_wrap=True)
