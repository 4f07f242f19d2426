"""Carbon intensity of a grid by the hour: a file of Electricity Maps or of one's own; else a site's yearly mean."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from comptroller.errors import RecordError
from comptroller.facts.site import Site
from comptroller.quantities import HOUR_S, KWH_J

TIMES = ("datetime (utc)", "hour", "time")
INTENSITIES = ("life cycle", "gco2e_per_kwh", "direct")
"""Words of the columns, the best first: whole life cycles before what leaves the stack."""


@dataclass(frozen=True)
class GridCarbonIntensity:
    """Grams of CO2e per joule by the hour (its number since 1970); the mean outside the hours that are known."""

    place: str
    mean_gco2e_per_j: float
    hours: Mapping[int, float]

    @classmethod
    def of_site(cls, site: Site) -> GridCarbonIntensity:
        """The yearly mean of a site."""
        return cls(site.id, site.grid_gco2e_per_j, {})

    @classmethod
    def read(cls, path: Path, place: str = "") -> GridCarbonIntensity:
        """A CSV with a column of hours (ISO 8601, UTC) and one of gCO2e/kWh.

        Raises:
            RecordError: names the row and what is wrong.
        """
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
        names = [name.lower() for name in rows[0]] if rows else []
        when, what = (_column(names, words) for words in (TIMES, INTENSITIES))
        if when is None or what is None or len(rows) < 2:
            raise RecordError(path.name, [(1, "needs columns such as 'hour' and 'gco2e_per_kwh', and rows")], 1)
        known = dict(_read(path, number, row[when], row[what]) for number, row in enumerate(rows[1:], 2))
        return cls(place or path.stem, fmean(known.values()), known)

    def at(self, start_s: float, end_s: float) -> float:
        """The mean intensity in gCO2e/J between two moments (s since 1970), each hour by its share of the time.

        >>> grid = GridCarbonIntensity("x", 5.0, {0: 1.0, 1: 3.0})
        >>> grid.at(1800.0, 5400.0), grid.at(7200.0, 7300.0)
        (2.0, 5.0)
        """
        hours = range(int(start_s // HOUR_S), int(max(end_s, start_s) // HOUR_S) + 1)
        inside = [max(min(end_s, (h + 1) * HOUR_S) - max(start_s, h * HOUR_S), 0.0) for h in hours]
        known = [self.hours.get(hour, self.mean_gco2e_per_j) for hour in hours]
        return fmean(known, inside) if sum(inside) > 0 else known[0]


def _column(names: list[str], words: tuple[str, ...]) -> int | None:
    return next((i for word in words for i, name in enumerate(names) if word in name), None)


def _read(path: Path, number: int, hour: str, intensity: str) -> tuple[int, float]:
    try:
        moment, value = datetime.fromisoformat(hour), float(intensity)
    except ValueError as error:
        raise RecordError(path.name, [(number, str(error))], 1) from error
    if not 0 <= value < 5000:
        raise RecordError(path.name, [(number, f"{value} gCO2e/kWh is not between 0 and 5000")], 1)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() // HOUR_S), value / KWH_J
