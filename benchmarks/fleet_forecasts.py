"""Forecasts with intervals on recorded loads, judged on the last part of their time: CRPS, pinball loss, coverage."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from comptroller.errors import FactError
from comptroller.report.forecast_report import forecast_record, forecast_sheets
from comptroller.work.forecast_scores import ForecastFindings, forecast_findings
from comptroller.work.forecasts import FORECASTS
from comptroller.work.load_series import LoadColumns, LoadSeries, arrivals_by_step, read_loads
from comptroller.work.traces import read_trace
from record import write
from served import ROOT

DATA = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))
DAY_S = 86_400.0
LOADS = {
    "fisher_containers": ("fleet/fisher_containers.parquet", LoadColumns("load", ("container",)), 72),
    "servegen_arrivals": ("fleet/servegen_arrivals.csv", LoadColumns("rate_rps", ("model", "client")), 6),
    "azure_2023_code": ("traces/azure_2023_code.csv", None, 19),
    "azure_2023_conv": ("traces/azure_2023_conv.csv", None, 19),
}
"""File, its columns (None: arrivals of a trace by 10 s), and steps ahead: 12 hours as HARMONY's shortest horizon, an
hour, and a cold start of 180 s with a decision every 10 s."""
STEP_S = 10.0

PUBLISHED = """HARMONY (arXiv 2408.01000) reports for containers 1 and 2 of the same records, 72 steps ahead, CRPS of
0.114 and 0.0837 (result_Fisher.txt of Floating-LY/HARMONY1), of values scaled to the range of its training part and
judged on the last 20 %: not the units of the table below. It names nine baselines in its paper; neither its repository
nor the abstract gives their names or figures by container, so none is repeated or compared with."""


def series_of(name: str) -> tuple[LoadSeries, ...]:
    """The series of one file."""
    file, columns, _ = LOADS[name]
    if columns is not None:
        return read_loads(DATA / file, columns)
    return (arrivals_by_step(read_trace(DATA / file), name, STEP_S),)


def text_of(name: str, found: ForecastFindings) -> str:
    """The tables of one file; what was refused in a line."""
    *sheets, last = forecast_sheets(found)
    if last.title != "Refused":
        sheets.append(last)
    refused = sorted({f"{row[1]} on {row[0]}" for row in found.refused})
    told = "\n\n".join(f"{sheet.title}\n\n{sheet.markdown()}" for sheet in sheets)
    return f"## {name}\n\n{told}" + (
        f"\n\nRefused, no two days to learn from: {', '.join(refused)}." if refused else ""
    )


def main() -> int:
    """Run, print and write."""
    try:
        found = {name: forecast_findings(series_of(name), FORECASTS.names(), LOADS[name][2], DAY_S) for name in LOADS}
    except FactError as error:
        print(f"fleet_forecasts: {error}", file=sys.stderr)
        return 2
    parts = "\n\n".join(text_of(name, one) for name, one in found.items())
    text = (
        "# Forecasts of recorded loads\n\nEverything is recorded; each forecast learns from the first 70 % of a series "
        "and is told all that came before each of at most 100 moments of the rest. CRPS by ten quantiles, in units of "
        f"the load.\n\n{PUBLISHED}\n\n{parts}"
    )
    print(text)
    figures = {name: forecast_record(one, name) for name, one in found.items()}
    write("fleet_forecasts", figures, text, ("numpy", "scikit-learn"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
