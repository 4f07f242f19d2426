"""`comptroller serve`: a plan, or any services, behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from comptroller.errors import InputError

ALONE = True
"""It does something without arguments, too."""


def run(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="The gateway's configuration, a TOML file; or a plan, JSON, whose engines run here.",
            show_default=False,
        ),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Serve a plan, written by `comptroller plan --out`.", show_default=False)
    ] = None,
    workload: Annotated[
        Path | None, typer.Option(help="For what-ifs on the dashboard: what was planned, TOML.", show_default=False)
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="With a plan: judge it by this, a folder of `fit calibration`.", show_default=False),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="Without a configuration: embedded, echo, or the URL of a service.")
    ] = "embedded",
    model: Annotated[str, typer.Option(help="With a URL: the model's name there.", show_default=False)] = "",
    books: Annotated[
        str, typer.Option(help="Where the books are: a file, or a PostgreSQL URL.", show_default="books.sqlite")
    ] = "",
    host: Annotated[
        str, typer.Option(help="Beyond loopback every request needs a key.", show_default="127.0.0.1")
    ] = "",
    port: Annotated[int, typer.Option(help="0 takes any that is free.", show_default="8080")] = -1,
) -> None:
    """Serve models and strategies to OpenAI clients, and book every call."""
    try:
        from msgspec.structs import replace

        from comptroller.dashboard.late import LateDashboard
        from comptroller.gateway.config import read, single_service_config
        from comptroller.gateway.plan_drift import planned_notes
        from comptroller.gateway.planned_engines import planned_config
        from comptroller.gateway.server import Pages, serve
    except ImportError as error:
        raise InputError(f"{error.name} is not installed: pip install 'comptroller[serve]'") from error
    if config is not None and config.suffix == ".json":
        gateway = planned_config(config)
    else:
        gateway = read(config) if config else single_service_config(backend, model)
    texts = {"plan": str(plan or ""), "calibration": str(calibration or ""), "books": books, "host": host}
    changed: dict[str, str | int] = {name: value for name, value in texts.items() if value}
    if port >= 0:
        changed["port"] = port
    configured = replace(gateway, **changed).checked()
    stderr = Console(stderr=True, highlight=False, emoji=False)

    def say_where(url: str) -> None:
        stderr.print(f"serving {', '.join(gateway.services)} at [bold]{url}/v1[/]", soft_wrap=True)
        stderr.print(f"dashboard at [bold]{url}/[/]", soft_wrap=True)
        for note in planned_notes(configured):
            stderr.print(note, markup=False, soft_wrap=True)

    pages: Pages = LateDashboard
    if workload is not None:  # what-ifs: whether it can be read is told at the start
        from comptroller.dashboard.server import gateway_pages

        pages = gateway_pages(workload)
    serve(configured, say_where, pages)
