"""`comptroller fit monitors CALLS`: which monitor of agents' runs would have saved what, held out by repository."""

from __future__ import annotations

import json as documents
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import typer
from rich.markup import escape

from comptroller.cli._output import check, write_all
from comptroller.cli._routers import PartFitOptions
from comptroller.errors import FactError, InputError
from comptroller.report.monitor_tables import monitors_sheet
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.strategies.monitor_study import MOST_LOST, MonitorFinding, findings
from comptroller.strategies.monitors import monitor
from comptroller.work.trajectory_files import read_trajectories


def fit_monitors(
    evidence: str, wish: PartFitOptions, out: Path | None, files: Mapping[str, Path | None], as_json: bool
) -> None:
    """Judge every monitor, or those of `--kind`, on the runs of a file, and print what each would have saved.

    Raises:
        InputError: an option that monitors have no use for, or runs that nobody judged.
        FactError: there is no such file, or it holds no trajectories.
    """
    most_lost = _most_lost(wish, out, files)
    table = files["table"]
    as_table = writer_of(table) if table else None
    for name in wish.kinds:
        monitor(name)
    path = Path(evidence)
    if not path.is_file():
        raise FactError(evidence, "file", "is not there", "a table with one row per call of an agent")
    told = list(findings(read_trajectories(path), tuple(dict.fromkeys(wish.kinds)), most_lost))
    found = [one for one in told if isinstance(one, MonitorFinding)]
    refused = [one for one in told if isinstance(one, str)]
    if not found:
        raise InputError("; ".join(refused))
    if as_table:
        write_all({"table": table}, {"table": lambda: as_table(monitors_sheet(found))})
    if as_json:
        document = {"most_lost": most_lost, "findings": [asdict(one) for one in found], "refused": refused}
        typer.echo(documents.dumps(document, indent=2, ensure_ascii=False).replace("NaN", "null"))
        return
    print_sheet(monitors_sheet(found), console())
    for reason in refused:
        console().print(f"[dim]{escape(reason)}[/]", soft_wrap=True)


def _most_lost(wish: PartFitOptions, out: Path | None, files: Mapping[str, Path | None]) -> float:
    """The share of solved runs that may be stopped, once every option is possible."""
    if files["table"]:
        check(files["table"])
    faults = [f"--{name}: monitors have no such file" for name in ("png", "html") if files[name]]
    faults += ["--out: a monitor is its name and its threshold, which the table has"] if out else []
    faults += [f"--{name}: monitors have no use for it" for name in ("cost", "model") if getattr(wish, NAMES[name])]
    if len(wish.samples) > 1 or any(not 0 <= percent < 100 for percent in wish.samples):
        faults.append("--at: one per cent of solved runs that may be stopped, from 0 to 99")
    if faults:
        raise InputError("; ".join(faults))
    return wish.samples[0] / 100 if wish.samples else MOST_LOST


NAMES = {"cost": "cost", "model": "models"}
"""Options that monitors have no use for, and their fields."""
