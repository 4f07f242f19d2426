"""Recorded hourly tables, grams or dollars a kilowatt-hour, as `cluster shift` reads them: a day, or a grid's hours."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field

from comptroller.errors import FactError
from comptroller.facts.grid import MOST_GCO2E_PER_KWH, GridCarbonIntensity
from comptroller.quantities import HOUR_S, to_si
from comptroller.work.load_series import LoadColumns, LoadSeries, chosen_series, read_loads
from comptroller.work.sizes import STRICT

DAY_H = 24


class HourlyTable(BaseModel):
    """A table of hours. file: CSV or Parquet.  value: its column.  by: columns whose values part its series.  series:
    the one that is meant, by those columns.  day: the day that is taken, such as 2022-07-01; the mean of all days where
    it is empty.  utc_offset_h: of the workload's hours, -5 for Eastern Standard Time; the table's own are UTC.
    """

    model_config = STRICT
    file: Annotated[str, Field(min_length=1)]
    value: Annotated[str, Field(min_length=1)]
    by: tuple[str, ...] = ()
    series: str = ""
    day: str = ""
    utc_offset_h: Annotated[int, Field(strict=True, ge=-12, le=14)] = 0

    def profile(self, path: Path, field: str) -> tuple[tuple[float, ...], str]:
        """The value of each hour of the day, and what was drawn where the table has none, empty for nothing.

        Raises:
            FactError: no such series or day, steps that are no hours, or values below 0.
        """
        known = read_loads(path, LoadColumns(self.value, self.by), f"{field}.by")
        found = chosen_series(known, self.series, path.name, f"{field}.series")
        return day_profile(found, self.day, self.utc_offset_h), found.note


def recorded_grid(path: Path, columns: LoadColumns, series: str = "") -> GridCarbonIntensity:
    """The carbon of a grid, hour by hour, out of a table. columns: in gCO2e/kWh; a CSV whose column and time have the
    usual names is read by them where no value is named.  series: the one that is meant, by the columns that part them.

    Raises:
        FactError: no such column or series, steps that are no hours, values below 0 or of another unit.
        RecordError: a CSV with other names, with values that are none, or with an hour twice.
    """
    if not columns.value:
        return GridCarbonIntensity.read(path)
    found = chosen_series(read_loads(path, columns, "--grid-by"), series, path.name, "--grid-series")
    least, most = float(found.values.min()), float(found.values.max())
    if abs(found.step_s - HOUR_S) > 1.0 or not 0 <= least <= most <= MOST_GCO2E_PER_KWH:
        told = f"steps of {found.step_s:g} s, values from {least:g} to {most:g}"
        raise FactError(found.name, "values", told, f"hours, from 0 to {MOST_GCO2E_PER_KWH:g} gCO2e/kWh")
    first = round(found.first_s / HOUR_S)
    per_j = {first + hour: to_si(value, "gCO2e/kWh")[0] for hour, value in enumerate(found.values.tolist())}
    return GridCarbonIntensity(found.name, float(np.mean(list(per_j.values()))), per_j, found.note)


def day_profile(series: LoadSeries, day: str = "", utc_offset_h: int = 0) -> tuple[float, ...]:
    """The values of a day's 24 hours, or their means over all days.

    Raises:
        FactError: steps that are no hours, values below 0, a day that is none or is not whole in the series.

    >>> day_profile(LoadSeries("grid", 3600.0, np.arange(48.0), first_s=3600.0), utc_offset_h=-1)[:2]
    (12.0, 13.0)
    """
    if abs(series.step_s - HOUR_S) > 1.0 or series.values.min() < 0:
        told = f"steps of {series.step_s:g} s, values from {series.values.min():g}"
        raise FactError(series.name, "values", told, "hours, from 0")
    first_h = round(series.first_s / HOUR_S) + utc_offset_h
    hours = first_h + np.arange(series.values.size)
    if not day:
        return tuple(float(series.values[hours % DAY_H == hour].mean()) for hour in range(DAY_H))
    try:
        wanted_h = round(datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp() / HOUR_S)
    except ValueError as error:
        raise FactError(series.name, "day", f"{day!r}: {error}", "a day as 2022-07-01") from error
    place = wanted_h - first_h
    if not 0 <= place <= series.values.size - DAY_H:
        ends_h = (hours[0] + DAY_H - 1, hours[-1] - DAY_H + 1)
        days = [str(datetime.fromtimestamp(hour * HOUR_S, UTC).date()) for hour in ends_h]
        raise FactError(series.name, "day", f"{day} is not whole in it", f"from {days[0]} to {days[1]}")
    return tuple(series.values[place : place + DAY_H].tolist())
