"""A meter's file and a deployment's price, as the books take them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from comptroller.books.meter_posting import MeterReadingBill
from comptroller.costs.attribution import MeteredWindows
from comptroller.costs.rating import pusd
from comptroller.errors import RecordError
from comptroller.facts.grid import GridCarbonIntensity
from comptroller.facts.site import site as site_facts
from comptroller.quantities import HOUR_S
from comptroller.work.tabular import dict_rows


def bill(path: Path, rates: tuple[str, float], site: str, grid: Path | None) -> MeterReadingBill:
    """What a deployment's meter read, and what its devices cost meanwhile.

    path: CSV of start_s, end_s (s since 1970) and joules, without gaps.  rates: dollars per hour, idle watts.  Dollars
    of the whole time are spread over the calls' time; where a window has no call they are idle.

    Raises:
        FactError: a file is not there, or is no CSV.
        RecordError: a row cannot be read or does not follow the one before.
    """
    try:
        rows = [tuple(float(row[name]) for name in ("start_s", "end_s", "joules")) for row in dict_rows(path)]
    except (KeyError, ValueError) as error:
        raise RecordError(str(path), [(2, f"needs numbers in start_s, end_s, joules: {error}")], 1) from error
    gaps = [n for n, (before, after) in enumerate(pairwise(rows), 3) if before[1] != after[0]]
    if not rows or gaps:
        raise RecordError(
            path.name, [(gaps[0] if gaps else 2, "does not begin where the row before ends")], len(gaps) or 1
        )
    place, (usd_per_h, idle_w) = site_facts(site), rates
    edges = np.array([rows[0][0], *(row[1] for row in rows)])
    span = np.diff(edges)
    joules = MeteredWindows(edges, np.array([row[2] for row in rows]), idle_w * span)
    dollars = MeteredWindows(edges, span * (pusd(usd_per_h) / HOUR_S), np.zeros(len(span)))
    return MeterReadingBill(
        joules,
        dollars,
        "meter",
        GridCarbonIntensity.read(grid) if grid else GridCarbonIntensity.of_site(place),
        place.pue,
    )
