"""Options of `comptroller plan --over-time`, and what they do: a fleet and who scales it, for a recorded trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.errors import InputError

if TYPE_CHECKING:
    from comptroller.work.workload import Workload


@dataclass(frozen=True, slots=True)
class OverTimeOptions:
    """trace: the requests over time, empty for a plan that stands still.  share: of calls within the objectives in
    every part.  parts: of the trace.  start_up_s, most: as of `simulate --scaling`."""

    trace: str
    share: float
    parts: int
    start_up_s: float | None
    most: int

    def tell(self, asked: Workload, json: bool, paths: Mapping[str, Path | None]) -> None:
        """Plan the workload, choose over time, print.

        Raises:
            InputError: a file is asked for, or the trace is too short.
            InfeasibleError: no fleet holds the share.
        """
        import json as documents

        from comptroller.cli._progress import ProgressBar
        from comptroller.planning.over_time import OverTimeWish, fleet_over_time
        from comptroller.planning.planner import plan
        from comptroller.planning.scaled_simulation import ScalingConditions
        from comptroller.report.over_time_tables import over_time_record, over_time_sheets
        from comptroller.report.terminal import console, print_sheet
        from comptroller.work.data_files import find_data
        from comptroller.work.traces import read_trace

        if any(paths.values()):
            raise InputError("--over-time prints, or --json: pictures of one policy are those of simulate --scaling")
        wish = OverTimeWish(self.share, self.parts)
        file = Path(self.trace)
        trace = read_trace(file if file.exists() else find_data("trace", self.trace, file))
        with ProgressBar("planning", "") as bar:
            found = plan(asked, progress=bar, quick=True)
            bar.phase("playing the trace")
            over = fleet_over_time(found, trace, wish, ScalingConditions(self.start_up_s, self.most))
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
) -> OverTimeOptions:  # fmt: skip
    """What the options say."""
    return OverTimeOptions(over_time, share, parts, start_up_s, most_replicas)
