"""`comptroller fits`: does this model fit on that device, with which context, how many requests, how fast?"""

from __future__ import annotations

import json as documents
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from comptroller.costs.deployment import ParallelLayout
from comptroller.costs.own_calibration import calibration_of_folder
from comptroller.errors import InputError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model as model_of
from comptroller.planning.offer.cache_tiers import CacheTierAnswer, check_tiers
from comptroller.planning.offer.replica_fit import FitAnswer, FitQuery, check_fit, replica_to_check
from comptroller.report import cache_tiers
from comptroller.report.replica_fit import document, headline, remarks, sheets, start
from comptroller.report.terminal import console, print_sheet

DOES_NOT_FIT = 1
"""Exit code of the answer no, so that a script can ask; 2 stays that of a question that cannot be answered."""


def run(
    model: Annotated[str, typer.Argument(help="An id, a repository name, or a file.", show_default=False)],
    device: Annotated[str, typer.Argument(help="An accelerator's id, or a file.", show_default=False)],
    format_: Annotated[
        str, typer.Option("--format", help="Format of the weights.", show_default="the checkpoint's")
    ] = "",
    kv: Annotated[str, typer.Option("--kv", help="Format of the cache.", show_default="16 bit")] = "",
    layout: Annotated[str, typer.Option(help="Degrees of parallelism, as tp2 or tp4-pp2.")] = "tp1",
    context: Annotated[
        int | None, typer.Option(help="The longest context a server is to accept.", show_default="what fits")
    ] = None,
    input_: Annotated[int, typer.Option("--input", help="Tokens of a prompt.")] = 1000,
    output: Annotated[int, typer.Option("--output", help="Tokens of an answer.")] = 250,
    engine: Annotated[str, typer.Option(help="An engine's id, or a file.", show_default="vllm where it serves")] = "",
    max_batch: Annotated[
        int | None, typer.Option(help="Most sequences in a step.", show_default="the engine's")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(help="Share of memory it takes, 0 to 1.", show_default="the engine's")
    ] = None,
    cached: Annotated[
        int | None,
        typer.Option(help="First tokens of the prompt whose cache lies in a slower tier.", show_default="none"),
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(help="A cache tier: an id (`show cache_tiers`), or a file.", show_default="all that are known"),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A folder that `fit calibration` wrote.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Say whether a model fits on a device: memory, context, requests at once, speed, and what would make it fit.

    Exits with 1 if it does not.
    """
    degrees = ParallelLayout.of(layout)
    replica = replica_to_check(model_of(model), accelerator(device), degrees, engine, (format_, kv))
    if max_batch is not None and max_batch < 1:
        raise InputError(f"--max-batch {max_batch}: allowed: 1 and more")
    if memory is not None and not 0 < memory <= 1:
        raise InputError(f"--memory {memory:g}: a share of the device's memory; allowed: above 0, at most 1")
    settings = replace(
        replica.engine,
        max_batch=max_batch or replica.engine.max_batch,
        memory_fraction=memory or replica.engine.memory_fraction,
    )
    query = FitQuery(replace(replica, engine=settings), input_, output, context)
    if tier and cached is None:
        raise InputError("--tier says from where --cached N tokens of a prompt are loaded; state both")
    priced = calibration_of_folder(calibration)
    answer = check_fit(query, priced)
    loads = check_tiers(query, cached, tier or (), priced) if cached is not None and answer.fits else None
    if json:
        more = {"cache_tiers": cache_tiers.document(loads)} if loads else {}
        typer.echo(documents.dumps(document(answer) | more, indent=2, ensure_ascii=False))
    else:
        _print(answer, loads)
    if not answer.fits:
        raise typer.Exit(DOES_NOT_FIT)


def _print(answer: FitAnswer, loads: CacheTierAnswer | None) -> None:
    to = console()
    colour = "green" if answer.fits else "red"
    to.print(f"[bold {colour}]{escape(headline(answer))}[/]\n", soft_wrap=True)
    for sheet in sheets(answer):
        print_sheet(sheet, to)
    if loads:
        print_sheet(cache_tiers.sheet(loads), to)
        to.print(f"[dim]note: {escape(cache_tiers.remark(loads))}[/]", soft_wrap=True)
    if not answer.fits and not answer.remedies:
        to.print("no single change that was tried makes it fit: formats, layouts, context, sequences in a step")
    for remark in remarks(answer):
        to.print(f"[dim]note: {escape(remark)}[/]", soft_wrap=True)
    if answer.fits:
        to.print(escape(start(answer)), soft_wrap=True)
