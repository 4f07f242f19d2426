"""`comptroller measure`: what formats cost a model, how fast products run, and what a running engine takes."""

from __future__ import annotations

import json as documents
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from comptroller.cli._calibration import server_statement
from comptroller.cli._measure_serving import MeasureServingOptions, measure_serving, measure_serving_options
from comptroller.cli._measurement import MeasureCommandOptions, host, kernels, quality
from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._output import check, write
from comptroller.errors import InputError, UnknownIdError
from comptroller.measure.run_observations import ServerStatement
from comptroller.report.terminal import console, print_sheet

SERVING = "serving"
SUBJECTS = {"quality": quality, "kernels": kernels, "host": host}
"""What can be measured here, and the function that does it; `serving` measures what runs at an address."""

File = Path | None


@with_shared_options
def run(
    subject: Annotated[str, typer.Argument(help="quality, kernels, host or serving.", show_default=False)],
    what: Annotated[
        str,
        typer.Argument(
            help="A model (.gguf, or a folder of safetensors); a device (cpu, cuda); an engine's URL.",
            show_default=False,
        ),
    ],
    serving: Annotated[MeasureServingOptions, SharedOptions(measure_serving_options)],
    server: Annotated[ServerStatement, SharedOptions(server_statement)],
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
    png: Annotated[
        File, typer.Option(help="Quality, serving: write a picture, PNG or .svg.", show_default=False)
    ] = None,
    html: Annotated[File, typer.Option(help="Write a self-contained page.", show_default=False)] = None,
    out: Annotated[
        File,
        typer.Option(
            help="Kernels: write the calibration; host: the accelerator; serving: a folder.", show_default=False
        ),
    ] = None,
) -> None:
    """Measure what formats cost a real model, how fast products run here, or what a running engine takes."""
    if subject not in {*SUBJECTS, SERVING}:
        raise UnknownIdError("subject", subject, {*SUBJECTS, SERVING})
    words = Console(stderr=True, highlight=False, emoji=False)
    files = {"png": png, "html": html} | ({} if subject == SERVING else {"out": out})
    for path_to_write in filter(None, files.values()):
        check(path_to_write)
    if subject == SERVING:
        measured = measure_serving(what, serving.on(server), out, words)
    else:
        options = MeasureCommandOptions(
            what, tuple(formats or ()), text, (tokens, window), (probe, bits), tuple(shape or ()), tuple(kernel or ())
        )
        measured = SUBJECTS[subject](options, words)
    makers = {"png": measured.picture, "html": measured.page, "out": measured.calibration}
    for name, path in files.items():
        if path and (make := makers[name]):
            write(path, make())
        elif path:
            raise InputError(f"measure {subject}: nothing to write to {path}")
    if json:
        tables = {sheet.title.partition(":")[0]: sheet.records() for sheet in measured.sheets}
        typer.echo(documents.dumps({"about": measured.about, **tables}, indent=2, ensure_ascii=False))
        return
    for sheet in measured.sheets:
        print_sheet(sheet, console())
    console().print(f"[dim]{escape(measured.about)}[/]", soft_wrap=True)
