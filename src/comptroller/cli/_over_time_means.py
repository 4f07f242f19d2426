"""What `comptroller plan --over-time` plays, and what its fleets may use, as its options say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comptroller.errors import FactError, InputError

if TYPE_CHECKING:
    from comptroller.facts.grid import GridOnClock
    from comptroller.planning.over_time_trial import OverTimeSurroundings
    from comptroller.work.trace import RequestTrace
    from comptroller.work.workload import Workload

HOUR_S = 3600.0
DRAIN_S = 10.0
"""Before a spot replica goes it takes no more calls for so long: what most calls take."""


@dataclass(frozen=True, slots=True)
class OverTimeTrace:
    """What is played. trace: the file.  value, by, series: of a table that is a load, its column, the columns that part
    its series, and the one that is meant.  from_h, hours: the part."""

    trace: str
    value: str
    by: str
    series: str
    from_h: float
    hours: float

    def requests(self, asked: Workload) -> RequestTrace:
        """The requests, drawn where a load is named.

        Raises:
            InputError: nothing in the hours.
            FactError: a file that cannot be read, no series of that name, several and none named.
        """
        from comptroller.work.data_files import find_data
        from comptroller.work.load_requests import requests_of_load
        from comptroller.work.load_series import LoadColumns, chosen_series, read_loads
        from comptroller.work.traces import read_trace

        file = Path(self.trace)
        if not self.value:
            whole = read_trace(file if file.exists() else find_data("trace", self.trace, file))
        else:
            parts = tuple(name.strip() for name in self.by.split(",") if name.strip())
            known = read_loads(file, LoadColumns(self.value, parts))
            meant = chosen_series(known, self.series, file.name, "--series")
            if asked.rate_per_s is None:
                raise InputError("--value: the workload needs a rate, which is that of the load's busiest step")
            whole = requests_of_load(meant, asked, asked.rate_per_s)
        part = whole.between(self.from_h * HOUR_S, (self.from_h + self.hours) * HOUR_S)
        if not len(part):
            raise InputError(
                f"--from-h {self.from_h:g} --hours {self.hours:g}: no request there, of {whole.span_s / HOUR_S:.4g} h"
            )
        return part


@dataclass(frozen=True, slots=True)
class GridTable:
    """Recorded hours of a grid's carbon. file: None for the mean of the site.  value, by, series: its column, the
    columns that part its series, and the one that is meant.  from_h: hour of the record at which the trace begins."""

    file: Path | None
    value: str
    by: str
    series: str
    from_h: float

    def on_clock(self) -> GridOnClock | None:
        """The grid from the trace's second 0 on.

        Raises:
            InputError: an hour below 0, options of a table or a value that is not named, or no such file.
            FactError, RecordError: as `recorded_grid`.
        """
        from comptroller.facts.grid import GridOnClock
        from comptroller.work.arrow import column_names
        from comptroller.work.hourly_table import recorded_grid
        from comptroller.work.load_series import LoadColumns

        if self.file is None:
            if self.value or self.by or self.series or self.from_h:
                raise InputError(
                    "--grid-value, --grid-by, --grid-series, --grid-from-h: of --grid FILE, hours of a grid's carbon"
                )
            return None
        if not self.file.is_file():
            raise InputError(f"--grid {self.file}: no such file")
        if not 0 <= self.from_h < float("inf"):
            raise InputError(f"--grid-from-h {self.from_h:g}: allowed: from 0")
        parts = tuple(name.strip() for name in self.by.split(",") if name.strip())
        if not self.value and (self.by or self.series):
            raise InputError("--grid-by, --grid-series: of --grid-value, the column of a table with several series")
        if not self.value and self.file.suffix == ".parquet":
            known = ", ".join(sorted(column_names(self.file)))
            raise FactError(self.file.name, "--grid-value", "is not given: a Parquet file needs it", known)
        grid = recorded_grid(self.file, LoadColumns(self.value, parts), self.series)
        return GridOnClock(grid, (min(grid.hours) + self.from_h) * HOUR_S)


@dataclass(frozen=True, slots=True)
class OverTimeMeans:
    """What a fleet over time may use. availability, record, record_from_h, spot_price: zones of spot.  row_budget_w,
    rows, other_w: of the rows that its replicas stand in.  grid: whose carbon they emit."""

    availability: Path | None
    record: str
    record_from_h: float
    spot_price: float | None
    row_budget_w: float
    rows: int
    other_w: float
    grid: GridTable

    def around(self) -> OverTimeSurroundings:
        """The zones, the rows and the grid.

        Raises:
            InputError: both, a record that is not in the file, or a budget that is not above 0.
        """
        from comptroller.planning.over_time_trial import OverTimeSurroundings
        from comptroller.planning.power_simulation import RowConditions
        from comptroller.planning.spot_simulation import SpotConditions
        from comptroller.work.zone_record import choose_record, read_zone_records

        zones = None
        if self.availability is not None:
            record = choose_record(read_zone_records(self.availability), self.record)
            conditions = SpotConditions(
                spot_usd_per_device_h=self.spot_price, from_s=self.record_from_h * HOUR_S, drain_s=DRAIN_S
            )
            zones = (record, conditions)
        elif self.record or self.spot_price is not None:
            raise InputError("--record and --spot-price are of --availability FILE, a record of zones (docs/spot.md)")
        if self.row_budget_w < 0:
            raise InputError(f"--row-budget {self.row_budget_w:g}: allowed: above 0 W")
        rows = RowConditions(self.row_budget_w, self.rows, 0, self.other_w) if self.row_budget_w else None
        return OverTimeSurroundings(zones, rows, self.grid.on_clock())
