"""`comptroller dashboard`: a plan, books or a workload as a page that answers."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from comptroller.errors import InputError


def run(
    files: Annotated[
        list[str],
        typer.Argument(
            help="A plan (.json), books (.sqlite or a URL), a workload (.toml) for what-ifs; any of them together.",
            show_default=False,
        ),
    ],
    host: Annotated[str, typer.Option(help="Beyond loopback a key of an auditor is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 8081,
) -> None:
    """Look at spend, latencies, a plan and its what-ifs in a browser."""
    try:
        from comptroller.dashboard.server import DashboardFiles, serve_dashboard
    except ImportError as error:
        raise InputError(f"{error.name} is not installed: pip install 'comptroller[serve,plot]'") from error
    stderr = Console(stderr=True, highlight=False, emoji=False)

    def say_where(url: str) -> None:
        stderr.print(f"dashboard at [bold]{url}/[/]", soft_wrap=True)

    serve_dashboard(DashboardFiles.named(files, host, port), say_where)
