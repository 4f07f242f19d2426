"""`comptroller measure`: what formats cost a real model on a text, and how fast products run on a device."""

from __future__ import annotations

import json as documents
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from comptroller.cli._measurement import MeasureCommandOptions, kernels, quality
from comptroller.cli._output import check, write
from comptroller.errors import InputError, UnknownIdError
from comptroller.report.terminal import console, print_sheet

SUBJECTS = {"quality": quality, "kernels": kernels}
"""What can be measured, and the function that does it."""

File = Path | None


def run(
    subject: Annotated[str, typer.Argument(help="quality or kernels.", show_default=False)],
    what: Annotated[
        str,
        typer.Argument(help="A model (.gguf, or a folder of safetensors); a device (cpu, cuda).", show_default=False),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Argument(help="Quality: weights, weights/activations or weights/activations/cache.", show_default=False),
    ] = None,
    text: Annotated[File, typer.Option(help="Quality: the text.", show_default=False)] = None,
    tokens: Annotated[int, typer.Option(help="Quality: most tokens of the text.", min=2)] = 2048,
    window: Annotated[int, typer.Option(help="Quality: tokens read in one piece.", min=2)] = 256,
    probe: Annotated[
        str, typer.Option(help="Quality: measure every part alone in this format.", show_default=False)
    ] = "",
    bits: Annotated[
        float | None,
        typer.Option(help="Quality: assign the formats under this budget, bits per element.", show_default=False),
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="Kernels: MxNxK; again for others.", show_default=False)
    ] = None,
    kernel: Annotated[
        list[str] | None, typer.Option(help="Kernels: your own, FILE.py:FUNCTION=FORMAT.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    png: Annotated[File, typer.Option(help="Quality: write a picture.", show_default=False)] = None,
    html: Annotated[File, typer.Option(help="Write a self-contained page.", show_default=False)] = None,
    out: Annotated[File, typer.Option(help="Kernels: write the calibration, TOML.", show_default=False)] = None,
) -> None:
    """Measure what formats cost a real model on a text, or how fast products run on a device."""
    if subject not in SUBJECTS:
        raise UnknownIdError("subject", subject, SUBJECTS)
    for path_to_write in filter(None, (png, html, out)):
        check(path_to_write)
    options = MeasureCommandOptions(
        what, tuple(formats or ()), text, (tokens, window), (probe, bits), tuple(shape or ()), tuple(kernel or ())
    )
    measured = SUBJECTS[subject](options, Console(stderr=True, highlight=False, emoji=False))
    for path, make in ((png, measured.picture), (html, measured.page), (out, measured.calibration)):
        if path and make is None:
            raise InputError(f"measure {subject}: nothing to write to {path}")
        if path and make:
            write(path, make())
    if json:
        tables = {sheet.title.partition(":")[0]: sheet.records() for sheet in measured.sheets}
        typer.echo(documents.dumps({"about": measured.about, **tables}, indent=2, ensure_ascii=False))
        return
    for sheet in measured.sheets:
        print_sheet(sheet, console())
    console().print(f"[dim]{escape(measured.about)}[/]", soft_wrap=True)
