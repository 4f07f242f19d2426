"""Days out of recorded hourly tables: in a workload, as of a table by hand, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comptroller.errors import FactError
from comptroller.planning.planner import plan
from comptroller.work.hourly_table import day_profile
from comptroller.work.load_series import LoadColumns, LoadSeries, read_loads
from comptroller.work.workload import load

DAYS = 3
TOML = """name = "day"
models = ["llama_3_1_8b"]
rate_per_s = 5.0
lengths = { input = { fixed = 300 }, output = { fixed = 50 } }
[allow]
accelerators = ["l4"]
sites = ["aws_us_east"]
terms = ["on_demand", "spot"]
[hours]
load = [LOAD]
[hours.grid_tables.aws_us_east]
file = "grid.csv"
value = "g_per_kwh"
by = ["region"]
series = "east"
[hours.spot]
interruptions_per_h = 0.1
outage_s = 600
source = "made up"
price_table = { file = "grid.csv", value = "usd", by = ["region"], series = "east", day = "2022-01-02" }
""".replace("LOAD", "1.0, " * 24)


def grid(folder: Path) -> np.ndarray:
    """Three days of two regions; grams of the east by day and hour."""
    rng = np.random.default_rng(0)
    grams = np.round(rng.uniform(100, 500, (DAYS, 24)), 2)
    rows = ["region,utc,g_per_kwh,usd"]
    for day, hour in np.ndindex(DAYS, 24):
        at = f"2022-01-0{day + 1} {hour:02d}:00"
        rows += [f"east,{at},{grams[day, hour]},{1 + hour}", f"west,{at},1,1"]
    (folder / "grid.csv").write_text("\n".join(rows) + "\n")
    return grams


def test_a_workload_takes_its_hours_from_a_table(tmp_path: Path) -> None:
    grams = grid(tmp_path)
    (tmp_path / "day.toml").write_text(TOML)
    hours = load(tmp_path / "day.toml").hours
    assert hours is not None and hours.spot is not None and not hours.grid_tables
    assert hours.grid_gco2e_per_kwh["aws_us_east"] == pytest.approx(grams.mean(axis=0))
    assert hours.spot.price_factor == pytest.approx((1 + np.arange(24)) / 12.5)


def test_hours_that_a_table_lacks_are_told_in_the_plan(tmp_path: Path) -> None:
    grid(tmp_path)
    lines = (tmp_path / "grid.csv").read_text().splitlines(keepends=True)
    (tmp_path / "grid.csv").write_text("".join(line for line in lines if not line.startswith("east,2022-01-02 05")))
    (tmp_path / "day.toml").write_text(TOML)
    asked = load(tmp_path / "day.toml")
    assert asked.hours is not None
    (grams, prices) = asked.hours.table_notes
    assert grams == "grid east: 1 of 72 steps without a value, drawn between their neighbours"
    assert prices == f"{grams} (spot prices)"
    found = plan(asked, quick=True)
    assert found.hours is not None and {grams, prices} <= set(found.hours.notes)


@pytest.mark.parametrize("offset", [-5, 0, 2])
def test_a_day_by_its_own_clock(tmp_path: Path, offset: int) -> None:
    grams = grid(tmp_path)
    (east, _) = read_loads(tmp_path / "grid.csv", LoadColumns("g_per_kwh", ("region",)))
    assert day_profile(east, "2022-01-02", offset) == pytest.approx(grams.ravel()[24 - offset : 48 - offset])
    means = [grams.ravel()[np.arange(72)[(np.arange(72) + offset) % 24 == hour]].mean() for hour in range(24)]
    assert day_profile(east, "", offset) == pytest.approx(means)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('series = "east"\n[', 'series = "north"\n[', "grid_tables.aws_us_east.series: north.*east, west"),
        ('day = "2022-01-02"', 'day = "2022-02-30"', "day"),
        ('day = "2022-01-02"', 'day = "2023-01-02"', "not whole in it.*from 2022-01-01 to 2022-01-03"),
        ('by = ["region"]\nseries = "east"\n[', "[", r"grid_tables.aws_us_east.by: .* stands twice.*such as region"),
        ('value = "usd"', 'value = "eur"', "eur: no such column"),
        ('file = "grid.csv"\n', 'file = "sun.csv"\n', "sun.csv"),
        ('source = "made up"', 'source = "made up"\nprice_factor = [' + "1.0, " * 23 + "1.0]", "given twice"),
    ],
)
def test_tables_that_do_not_say_it_are_refused_by_name(tmp_path: Path, old: str, new: str, says: str) -> None:
    grid(tmp_path)
    assert old in TOML
    (tmp_path / "day.toml").write_text(TOML.replace(old, new))
    with pytest.raises(FactError, match=says):
        load(tmp_path / "day.toml")


def test_steps_that_are_no_hours_are_refused() -> None:
    with pytest.raises(FactError, match="steps of 600 s"):
        day_profile(LoadSeries("grid", 600.0, np.ones(200)))
