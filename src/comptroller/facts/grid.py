"""Carbon intensity of an electricity grid by the hour, from a CSV file; without one, a site's yearly mean.

Files of Electricity Maps (electricitymaps.com, columns `Datetime (UTC)` and `Carbon intensity gCO2eq/kWh (Life cycle)`
or `(direct)`) are read as they are.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from comptroller.errors import FactError, RecordError
from comptroller.facts.site import Site
from comptroller.quantities import HOUR_S, KWH_J

TIMES = ("datetime (utc)", "hour", "time")
INTENSITIES = ("life cycle", "gco2e_per_kwh", "direct")
"""Parts of the columns' names in lower case, the preferred ones first: life-cycle before direct (stack) emissions."""

MOST_GCO2E_PER_KWH = 5000.0
"""Intensity from which a value is refused as a wrong unit. The sites that ship lie between 57 and 430 g/kWh; a column
in mg/kWh reads a thousand times too high, so a limit of twice this refuses the same files."""


@dataclass(frozen=True)
class GridCarbonIntensity:
    """Grams of CO2e per joule by the hour.

    hours: intensity by hours since 1970 (UTC).  mean_gco2e_per_j: for every other hour; the mean of the file.  note:
    what was taken for granted in reading it, empty for nothing.
    """

    place: str
    mean_gco2e_per_j: float
    hours: Mapping[int, float]
    note: str = ""

    @classmethod
    def of_site(cls, site: Site) -> GridCarbonIntensity:
        """The yearly mean of a site."""
        return cls(site.id, site.grid_gco2e_per_j, {})

    @classmethod
    def read(cls, path: Path, place: str = "") -> GridCarbonIntensity:
        """A CSV with a column of hours (ISO 8601, UTC) and one of gCO2e/kWh, one row an hour; blank lines are passed
        over.

        Raises:
            FactError: there is no such file.
            RecordError: names the row and what is wrong: no text in UTF-8, a cell that is missing or no value, or an
                hour that stands twice.
        """
        (_, names), *rows = _rows(path) or [(1, [])]
        known = [name.lower() for name in names]
        hour_column, intensity_column = (_column_index(known, words) for words in (TIMES, INTENSITIES))
        if hour_column is None or intensity_column is None or not rows:
            raise RecordError(path.name, [(1, "needs columns such as 'hour' and 'gco2e_per_kwh', and rows")], 1)
        by_hour: dict[int, float] = {}
        stands: dict[int, int] = {}
        for number, row in rows:
            if len(row) <= max(hour_column, intensity_column):
                told = f"too few cells: {len(row)} of {len(names)}"
                raise RecordError(path.name, [(number, told)], 1)
            hour, per_j = _hour_intensity(path, number, row[hour_column], row[intensity_column])
            if (first := stands.setdefault(hour, number)) != number:
                told = f"the hour {datetime.fromtimestamp(hour * HOUR_S, UTC):%Y-%m-%d %H:%M} UTC stands in row {first}"
                raise RecordError(path.name, [(number, f"{told} too; needed: one row an hour, of one zone")], 1)
            by_hour[hour] = per_j
        return cls(place or path.stem, fmean(by_hour.values()), by_hour)

    def at(self, start_s: float, end_s: float) -> float:
        """The mean intensity in gCO2e/J between two moments (s since 1970), hours weighted by the time spent in them.

        >>> grid = GridCarbonIntensity("x", 5.0, {0: 1.0, 1: 3.0})
        >>> grid.at(1800.0, 5400.0), grid.at(7200.0, 7300.0)
        (2.0, 5.0)
        """
        hours = range(int(start_s // HOUR_S), int(max(end_s, start_s) // HOUR_S) + 1)
        inside = [max(min(end_s, (h + 1) * HOUR_S) - max(start_s, h * HOUR_S), 0.0) for h in hours]
        intensity = [self.hours.get(hour, self.mean_gco2e_per_j) for hour in hours]
        return fmean(intensity, inside) if sum(inside) > 0 else intensity[0]


class GridOnClock(NamedTuple):
    """A grid on the clock of a simulation. begins_s: s since 1970 at its second 0."""

    grid: GridCarbonIntensity
    begins_s: float

    def later(self, by_s: float) -> GridOnClock:
        """The same on a clock whose second 0 is so many seconds later."""
        return self._replace(begins_s=self.begins_s + by_s)

    def at(self, start_s: float, end_s: float) -> float:
        """The mean intensity in gCO2e/J between two seconds of the clock."""
        return self.grid.at(self.begins_s + start_s, self.begins_s + end_s)

    def lacking_hours(self, until_s: float) -> list[int]:
        """Hours of the clock, from 0, of which the grid has no value."""
        first, last = (int((self.begins_s + second) // HOUR_S) for second in (0.0, until_s))
        return [hour - first for hour in range(first, last + 1) if hour not in self.grid.hours]

    def hour_edges(self, until_s: float) -> list[float]:
        """Seconds of the clock at which an hour of the grid begins, between 0 and one of its seconds.

        >>> GridOnClock(GridCarbonIntensity("x", 5.0, {}), 1800.0).hour_edges(6000.0)
        [1800.0, 5400.0]
        """
        first = int(self.begins_s // HOUR_S) + 1
        last = math.ceil((self.begins_s + until_s) / HOUR_S)
        return [hour * HOUR_S - self.begins_s for hour in range(first, last)]


def _rows(path: Path) -> Sequence[tuple[int, list[str]]]:
    """The rows of a CSV with their numbers from 1, without blank lines.

    Raises:
        RecordError: names the row from which it is no text in UTF-8, or no CSV.
    """
    try:
        reader = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""))
        return [(number, row) for number, row in enumerate(reader, 1) if len(row) > 1 or "".join(row).strip()]
    except OSError as error:
        raise FactError(str(path), "file", (error.strerror or str(error)).lower(), "a CSV of hours") from error
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise RecordError(path.name, [(number, f"no text in UTF-8; needed: a CSV file ({error.reason})")], 1) from error
    except csv.Error as error:
        raise RecordError(path.name, [(reader.line_num, f"no CSV: {error}")], 1) from error


def _column_index(names: list[str], words: tuple[str, ...]) -> int | None:
    return next((i for word in words for i, name in enumerate(names) if word in name), None)


def _hour_intensity(path: Path, number: int, hour: str, intensity: str) -> tuple[int, float]:
    """Hour since 1970 and gCO2e/J of one row; a time without a zone is UTC."""
    try:
        moment, value = datetime.fromisoformat(hour), float(intensity)
    except ValueError as error:
        raise RecordError(path.name, [(number, str(error))], 1) from error
    if not 0 <= value < MOST_GCO2E_PER_KWH:
        problem = f"{value} gCO2e/kWh is not between 0 and {MOST_GCO2E_PER_KWH:g}"
        raise RecordError(path.name, [(number, problem)], 1)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() // HOUR_S), value / KWH_J
