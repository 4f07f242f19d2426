"""Work that may wait on recorded grids, by forecasts and by knowing the hours, as `comptroller cluster shift` does."""

from __future__ import annotations

import sys
from dataclasses import asdict

from comptroller.errors import FactError, InputError
from comptroller.work.load_series import LoadColumns, read_loads
from comptroller.work.load_shift import ShiftableWork, ShiftedWork, shifted_work
from fleet_over_time import FOLDER
from record import table, write

NAMES = ("persistence", "seasonal_naive", "seasonal_quantile", "conformal")
DEADLINES_H = (6, 12, 24, 48)
USUAL_H, CAPACITY = 24, 3.0


def main() -> int:
    """Run, print and write."""
    try:
        grids = read_loads(FOLDER / "carbon_hourly.parquet", LoadColumns("g_per_kwh", ("region",)))
    except (FactError, InputError, OSError) as error:
        print(f"fleet_shift: {error}", file=sys.stderr)
        return 2
    found: list[tuple[int, ShiftedWork]] = []
    for hours in DEADLINES_H:
        names = NAMES if hours == USUAL_H else ("seasonal_naive",)
        found += [(hours, one) for grid in grids for one in shifted_work(grid, ShiftableWork(hours, CAPACITY), names)]
        print(hours, "h", flush=True)
    rows = [
        [one.series.removeprefix("carbon_hourly "), f"{hours} h", one.outlook, f"{one.mean:.0f}",
         "{:.1%} ({:.1%} to {:.1%})".format(*one.saved), f"{one.wait_h:.1f} h"]
        for hours, one in found
    ]  # fmt: skip
    heads = ("grid", "deadline", "hours to come", "g/kWh", "saved", "mean wait")
    text = (
        "# Work that may wait on recorded grids\n\nRecorded: mean grams of CO2e a kilowatt-hour by the hour of 2022 "
        "(three grids of the USA, not marginal). Modelled: work released evenly, at most three times a mean hour's in "
        "an hour. Forecasts learn from the first 70 % of the record and are judged on the rest, decided anew every "
        "hour; `known` knows the hours up to the deadline. Intervals: 90 %, weeks drawn anew.\n\n" + table(heads, rows)
    )
    print(text)
    write("fleet_shift", {"work": [{"deadline_h": hours, **asdict(one)} for hours, one in found]}, text, ("numpy",))
    return 0


if __name__ == "__main__":
    sys.exit(main())
