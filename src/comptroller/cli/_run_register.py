"""The work of `comptroller show register FILE`: training runs, their FLOPs, the rules that they meet."""

from __future__ import annotations

import json as documents
from pathlib import Path

import typer

from comptroller.errors import InputError
from comptroller.report.register_tables import register_sheets, verdict_sheet
from comptroller.report.terminal import console, print_sheet
from comptroller.training.run_register import registered_runs


def tell_register(name: str, as_json: bool) -> None:
    """Print a register: of one run everything, of several a line each.

    Raises:
        InputError: no file is named.
        FactError: as `registered_runs`.
    """
    if not name:
        raise InputError("show register: name the register's TOML file, with a table [[runs]] for each run")
    found = registered_runs(Path(name))
    if as_json:
        typer.echo(documents.dumps({key: one.model_dump(mode="json") for key, one in found.items()}, indent=2))
        return
    print_sheet(verdict_sheet(found), console())
    if len(found) == 1:
        for sheet in register_sheets(next(iter(found.values()))):
            print_sheet(sheet, console())
