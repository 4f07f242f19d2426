"""A plan over time against the best fixed fleets on recorded loads of days: cost on a day that none was chosen on.

`python benchmarks/fleet_over_time.py [LOAD ...]`, as `comptroller plan --over-time TABLE --value COLUMN` runs it.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import FactError, InfeasibleError
from comptroller.planning.ground.over_time_document import FleetTrialDocument, OverTimeDocument
from comptroller.planning.over_time import fleet_over_time
from comptroller.planning.over_time_surroundings import SpotShare
from comptroller.planning.over_time_trial import OverTimeSurroundings, OverTimeWish
from comptroller.planning.over_time_write import over_time_document
from comptroller.planning.planner import plan
from comptroller.planning.scaled_simulation import ScalingConditions
from comptroller.planning.spot_simulation import SpotConditions
from comptroller.work.load_requests import requests_of_load
from comptroller.work.load_series import LoadColumns, LoadSeries, read_loads
from comptroller.work.trace import Ints
from comptroller.work.workload import parse
from comptroller.work.zone_record import choose_record, read_zone_records
from record import RESULTS, table, write
from served import ROOT, recorded

DAY_S = 86400.0
FOLDER = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data")) / "fleet"
LENGTHS = "azure_2023_conv.csv"
BUSIEST_PER_S, LARGE_PER_S = 10.0, 30.0
"""Requests a second in the busiest step: three replicas, of which one more or less is a third, and three times as many
as the second attempt at the goal, where a fleet may follow the load more closely."""
START_UP_S, DRAIN_S = 180.0, 10.0
WISH = OverTimeWish(
    0.95, 3, ("forecast", "harmony", "hpa"), (SpotShare("spread_cover", 1.0, 0), SpotShare("spread_cover", 0.5, 0))
)
RECORD = "2023-02-15"
"""Zones: five, none of which stands all the time."""


@dataclass(frozen=True)
class RecordedLoad:
    """A load of days. series: its name among those of the table.  from_h: first hour that is played, three days on.
    busiest_per_s: requests a second in its busiest step."""

    file: str
    value: str
    by: tuple[str, ...]
    series: str
    from_h: float
    words: str
    busiest_per_s: float = BUSIEST_PER_S


LOADS = {
    "servegen_27": RecordedLoad(
        "servegen_arrivals.csv", "rate_rps", ("model", "client"), "m-small 27", 72.0,
        "requests a second of a client of ServeGen's m-small, by ten minutes",
    ),
    "servegen_r1_35": RecordedLoad(
        "servegen_arrivals.csv", "rate_rps", ("model", "client"), "deepseek-r1 35", 0.0,
        "requests a second of a client of ServeGen's deepseek-r1, by ten minutes (17 h, cut into 3 parts)",
    ),
    "fisher_1": RecordedLoad(
        "fisher_containers.parquet", "load", ("container",), "1", 144.0,
        "load of a container, by ten minutes",
    ),
    "fisher_2": RecordedLoad(
        "fisher_containers.parquet", "load", ("container",), "2", 144.0,
        "load of another container of the same month",
    ),
}  # fmt: skip
LOADS |= {f"{name}_large": replace(LOADS[name], busiest_per_s=LARGE_PER_S) for name in ("servegen_27", "fisher_1")}


def spread(tokens: Ints) -> dict[str, float]:
    """Lengths of a trace as a workload states them."""
    return {
        "median": float(np.median(tokens)), "p99": float(np.quantile(tokens, 0.99)), "most": int(tokens.max()),
    }  # fmt: skip


def days_of(one: RecordedLoad) -> LoadSeries:
    """Three days of a load."""
    known = read_loads(FOLDER / one.file, LoadColumns(one.value, one.by))
    series = next(each for each in known if each.name.split(" ", 1)[-1] == one.series)
    first = round(one.from_h * 3600 / series.step_s)
    values = series.values[first : first + round(3 * DAY_S / series.step_s)]
    return LoadSeries(series.name, series.step_s, values)


def planned_over_time(name: str) -> tuple[OverTimeDocument, dict[str, float]]:
    """What is chosen over two days of a load, judged on the third, and what the load is like."""
    lengths = recorded(LENGTHS)
    sizes = {"input": spread(lengths.input_tokens), "output": spread(lengths.output_tokens)}
    busiest_per_s = LOADS[name].busiest_per_s
    document: dict[str, Any] = {"name": name, "models": ["llama_3_1_8b"], "rate_per_s": busiest_per_s}
    document |= {"lengths": sizes, "objectives": {"ttft": {"p": 95, "max": 5, "unit": "s"}}}
    allow = {"accelerators": ["l4"], "sites": ["aws_us_east"], "engines": ["vllm"]}
    workload = parse({**document, "allow": allow})
    series = days_of(LOADS[name])
    trace = requests_of_load(series, workload, busiest_per_s)
    found = plan(workload, quick=True)
    zones = choose_record(read_zone_records(FOLDER / "spot_runs.csv"), RECORD)
    around = OverTimeSurroundings((zones, SpotConditions(drain_s=DRAIN_S)))
    planned = found.services[0].deployment.pools[0].replicas
    over = fleet_over_time(found, trace, WISH, ScalingConditions(START_UP_S, planned + 4), around=around)
    about = {"mean_over_busiest": float(series.values.mean() / series.values.max()), "calls": len(trace)}
    return over_time_document(over), about | {"planned": planned}


def cell(one: FleetTrialDocument | None) -> list[str]:
    """A fleet on the unseen part: what it is, share within, dollars."""
    return [one.name, f"{one.within[0]:.1%}", f"{sum(one.usd):.2f}"] if one else ["none held", "–", "–"]


def row_of(name: str, one: OverTimeDocument, about: dict[str, float]) -> list[str]:
    """A load's line."""
    savings = {each.against: f"{each.mean:.0%} ({each.low:.0%} to {each.high:.0%})" for each in one.savings}
    fixed, aided = one.unseen.fixed, one.unseen.fixed_aided
    return [
        name, f"{about['mean_over_busiest']:.2f}", *cell(one.unseen.chosen), *cell(fixed),
        savings.get(fixed.name, "–") if fixed else "–", *cell(aided), savings.get(aided.name, "–") if aided else "–",
    ]  # fmt: skip


def main(names: list[str]) -> int:
    """Run, print and write each load as it ends; loads that were not asked for keep what was measured before."""
    for name in names or LOADS:
        try:
            told, about = planned_over_time(name)
            figure: dict[str, Any] = {"plan": told.model_dump(mode="json"), "about": about}
        except FactError as error:
            print(f"fleet_over_time: {error}", file=sys.stderr)
            return 2
        except InfeasibleError as error:
            figure = {"refused": str(error)}
        print(name, figure.get("refused") or row_of(name, told, about), flush=True)
        before = RESULTS / "fleet_over_time.json"
        known: dict[str, Any] = json.loads(before.read_text())["figures"] if before.exists() else {}
        known[name] = figure
        figures = {each: known[each] for each in LOADS if each in known}
        write("fleet_over_time", figures, text_of(figures), ("numpy", "numba"))
    return 0


def text_of(figures: dict[str, Any]) -> str:
    """The table, and what is recorded and what is modelled."""
    rows = [
        [name, *["–"] * 10] if "refused" in one
        else row_of(name, OverTimeDocument.model_validate(one["plan"]), one["about"])
        for name, one in figures.items()
    ]  # fmt: skip
    heads = (
        "load", "mean over busiest", "chosen", "within", "dollars", "best fixed fleet", "within", "dollars", "saved",
        "best fixed fleet with spot", "within", "dollars", "saved",
    )  # fmt: skip
    words = "; ".join(f"{name}: {LOADS[name].words}" for name in figures)
    refused = "".join(f"\n\n{name}: {one['refused']}." for name, one in figures.items() if "refused" in one)
    return (
        f"# A plan over time against the best fixed fleets\n\nRecorded: the rates ({words}), lengths of requests "
        f"(Azure 2023, conversation), and the zones' capacity ({RECORD}). Modelled: arrivals within the steps, drawn, "
        f"{BUSIEST_PER_S:g}/s in the busiest step ({LARGE_PER_S:g}/s where a load is called large); "
        f"Llama 3.1 8B on L4, {START_UP_S:g} s to start; spot at its price. "
        f"Three days: all choices hold {WISH.share:.0%} of the calls in each of the first two; figures are those of "
        "the third, which none was chosen on. Fixed fleets are chosen by the same procedure. Saved: with the 90 % "
        f"interval of twelve blocks of the day drawn anew.\n\n{table(heads, rows)}{refused}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
