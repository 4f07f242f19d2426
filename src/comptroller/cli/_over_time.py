"""Options of `comptroller plan --over-time`, and what they do: a fleet and who scales it, for a recorded trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli._over_time_means import GridTable, OverTimeMeans, OverTimeTrace

if TYPE_CHECKING:
    from comptroller.cli._output import FileContent
    from comptroller.work.workload import Workload


@dataclass(frozen=True, slots=True)
class OverTimeOptions:
    """played: the requests over time, of an empty trace for a plan that stands still.  means: what may be used.
    share: of calls within the objectives in every part.  parts: of the trace.  start_up_s, most: as of
    `simulate --scaling`."""

    played: OverTimeTrace
    means: OverTimeMeans
    share: float
    parts: int
    start_up_s: float | None
    most: int

    @property
    def trace(self) -> str:
        """The trace, empty where nothing is planned over time."""
        return self.played.trace

    def tell(self, asked: Workload, json: bool, paths: Mapping[str, Path | None]) -> None:
        """Plan the workload, choose over time, print, and write the files.

        Raises:
            InputError: the trace is too short.
            InfeasibleError: no fleet holds the share.
        """
        import json as documents

        from comptroller.cli._output import say, write_all
        from comptroller.cli._progress import ProgressBar
        from comptroller.planning.over_time import fleet_over_time
        from comptroller.planning.over_time_trial import OverTimeWish
        from comptroller.planning.over_time_write import plan_over_time
        from comptroller.planning.planner import plan
        from comptroller.planning.scaled_simulation import ScalingConditions
        from comptroller.report.over_time_pictures import over_time_page, over_time_picture
        from comptroller.report.over_time_tables import over_time_record, over_time_sheets
        from comptroller.report.terminal import console, print_sheet

        wish, around = OverTimeWish(self.share, self.parts), self.means.around()
        conditions = ScalingConditions(self.start_up_s, self.most, share=self.share)
        trace = self.played.requests(asked)
        for note in trace.notes:
            say(note)
        with ProgressBar("planning", "") as bar:
            found = plan(asked, progress=bar, quick=True)
            bar.phase("playing the trace")
            over = fleet_over_time(found, trace, wish, conditions, around=around)
        make: dict[str, Callable[[], FileContent]] = {
            "json": lambda: plan_over_time(over).to_json(),
            "html": lambda: over_time_page(over),
            "png": lambda: over_time_picture(over),
        }
        write_all({name: paths.get(name) for name in make}, make)
        if json:
            typer.echo(documents.dumps(over_time_record(over), indent=2, ensure_ascii=False))
            return
        for sheet in over_time_sheets(over):
            print_sheet(sheet, console())


def over_time_options(
    over_time: Annotated[
        str,
        typer.Option(
            help="A trace: choose the fleet it begins with, who scales it and how full.", metavar="TRACE",
            show_default=False,
        ),
    ] = "",
    share: Annotated[float, typer.Option(help="Over time: share of the calls within the objectives.")] = 0.95,
    parts: Annotated[int, typer.Option(help="Over time: parts of the trace, the last kept from the choice.")] = 4,
    start_up_s: Annotated[
        float | None,
        typer.Option(
            "--start-up", help="Over time: seconds until a started replica takes calls.", show_default="by its parts"
        ),
    ] = None,
    most_replicas: Annotated[
        int, typer.Option(help="Over time: replicas that there may be.", show_default="twice the plan's")
    ] = 0,
    value: Annotated[
        str, typer.Option(help="Over time: the trace is a table of a load, this column; requests are drawn.")
    ] = "",
    by: Annotated[str, typer.Option(help="Over time: columns, with commas, that part the load's series.")] = "",
    series: Annotated[str, typer.Option(help="Over time: the series of the load, by those columns.")] = "",
    from_h: Annotated[float, typer.Option(help="Over time: first hour of the trace that is played.")] = 0.0,
    hours: Annotated[float, typer.Option(help="Over time: hours that are played.", show_default="all")] = float("inf"),
    availability: Annotated[
        Path | None,
        typer.Option(help="Over time: also choose a share of spot, in these zones' record, .csv.", show_default=False),
    ] = None,
    record: Annotated[
        str, typer.Option(help="Over time: the record of a file with several, by its start.", show_default=False)
    ] = "",
    record_from_h: Annotated[float, typer.Option(help="Over time: hour of the record to begin at.")] = 0.0,
    spot_price: Annotated[
        float | None, typer.Option(help="Over time: spot dollars per device and hour.", show_default="the site's")
    ] = None,
    row_budget_w: Annotated[
        float,
        typer.Option(
            "--row-budget", help="Over time: also choose who sets clocks and limits, in rows of so many watts.",
            show_default=False,
        ),
    ] = 0.0,
    rows: Annotated[int, typer.Option(help="Over time: rows that the replicas are spread over.")] = 1,
    other_w: Annotated[
        float, typer.Option("--other-watts", help="Over time: watts of a replica's servers beside what is priced.")
    ] = 0.0,
    grid: Annotated[
        Path | None,
        typer.Option(help="Over time: recorded hours of the grid, gCO2e/kWh.", show_default="the site's mean"),
    ] = None,
    grid_value: Annotated[
        str, typer.Option(help="Over time: the grid's column.", show_default="by the usual names")
    ] = "",
    grid_by: Annotated[str, typer.Option(help="Over time: columns, with commas, that part the grid's series.")] = "",
    grid_series: Annotated[str, typer.Option(help="Over time: the series of the grid, by those columns.")] = "",
    grid_from_h: Annotated[float, typer.Option(help="Over time: hour of the grid at which the trace begins.")] = 0.0,
) -> OverTimeOptions:  # fmt: skip
    """What the options say."""
    played = OverTimeTrace(over_time, value, by, series, from_h, hours)
    hours_of_grid = GridTable(grid, grid_value, grid_by, grid_series, grid_from_h)
    means = OverTimeMeans(availability, record, record_from_h, spot_price, row_budget_w, rows, other_w, hours_of_grid)
    return OverTimeOptions(played, means, share, parts, start_up_s, most_replicas)
