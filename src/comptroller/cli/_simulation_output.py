"""What `comptroller simulate` prints and writes."""

from __future__ import annotations

import json as documents
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import typer
from rich.markup import escape

from comptroller.cli._output import FileContent, check, say, write_all
from comptroller.planning.fleet_sharing import SharingSlowdown
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.simulation import PlanSimulation
from comptroller.report.perfetto import MOST_REQUESTS, perfetto
from comptroller.report.sharing_figures import slowdown_record
from comptroller.report.sharing_tables import slowdown_sheet
from comptroller.report.sheet import ReportSheet
from comptroller.report.simulation_figures import record, round_floats
from comptroller.report.simulation_page import page, picture
from comptroller.report.simulation_tables import headline, setting, sheets, side_by_side
from comptroller.report.terminal import console, print_sheet
from comptroller.work.call import CallTable

File = Path | None


def writable(paths: Mapping[str, Path | None]) -> Mapping[str, Path | None]:
    """The files, none of which is refused before anything is simulated.

    Raises:
        InputError: one cannot be written.
    """
    for path in filter(None, paths.values()):
        check(path)
    return paths


def simulation_document(simulations: Sequence[PlanSimulation], slowdowns: Sequence[SharingSlowdown]) -> str:
    """The first simulation, with the others under `beside`; each with who was slowed by whom, where that was asked."""
    told = [round_floats({"slowdown": slowdown_record(one)}) for one in slowdowns] or [{} for _ in simulations]
    records = [record(one) | more for one, more in zip(simulations, told, strict=True)]
    document = records[0] | {"beside": records[1:]}
    return documents.dumps(document, indent=2, ensure_ascii=False) + "\n"


def show_compared(
    plan: Plan, key: str, records: Callable[[], object], sheets: Callable[[], Iterable[ReportSheet]], as_json: bool
) -> None:
    """Simulations side by side: their records under a key beside the plan's name, or their tables."""
    if as_json:
        typer.echo(documents.dumps({"name": plan.name, key: records()}, indent=2))
        return
    for sheet in sheets():
        print_sheet(sheet, console())


def print_simulations(simulations: Sequence[PlanSimulation], slowdowns: Sequence[SharingSlowdown]) -> None:
    """The first simulation in tables, with all side by side."""
    to = console()
    to.print(f"[bold]{escape(simulations[0].plan.name)}[/]: [bold green]{escape(headline(simulations[0]))}[/]")
    to.print(f"[dim]{escape(setting(simulations[0]))}[/]\n", soft_wrap=True)
    for sheet in (*sheets(simulations[0]), *map(slowdown_sheet, slowdowns[:1]), side_by_side(simulations)):
        print_sheet(sheet, to)


def write_files(
    simulations: Sequence[PlanSimulation], paths: Mapping[str, File], as_calls: Callable[[CallTable], bytes] | None
) -> None:
    """The files that were asked for, by what they hold."""
    first = simulations[0]
    make: dict[str, Callable[[], FileContent]] = {
        "html": lambda: page(first, simulations[1:]),
        "png": lambda: picture(first),
        "perfetto": lambda: perfetto(first),
    }
    if as_calls:
        make["calls"] = lambda: as_calls(first.calls)
    write_all(paths, make)
    if paths["perfetto"] and len(first.asked) > MOST_REQUESTS:
        say(f"{paths['perfetto']}: the first {MOST_REQUESTS:,} of {len(first.asked):,} requests")
