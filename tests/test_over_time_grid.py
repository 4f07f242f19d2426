"""Grams of a fleet over time by the hours in which its joules are spent, against sums that know no closed form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command_ends import ends
from comptroller.errors import FactError, InputError
from comptroller.facts.grid import GridCarbonIntensity, GridOnClock
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.over_time import FleetOverTime, fleet_over_time
from comptroller.planning.over_time_saving import BLOCKS, blocks_of
from comptroller.planning.over_time_trial import OverTimeSurroundings, OverTimeWish
from comptroller.planning.scaled_simulation import ScalingConditions, replica_targets
from comptroller.planning.spot_simulation import SpotConditions
from comptroller.report.over_time_tables import over_time_record, over_time_sheets
from comptroller.serving.elastic import ElasticOutcome
from comptroller.serving.elastic_energy import emitted_by_block, joules_by_window, replica_j
from comptroller.work.hourly_table import recorded_grid
from comptroller.work.load_series import LoadColumns
from comptroller.work.trace import RequestTrace
from golden_replicas import replicated_plan
from spot_worlds import zones

CONDITIONS = ScalingConditions(start_up_s=10.0, most=4)
WISH = OverTimeWish(0.8, 2, ("hpa",))
HOUR_S, HOURS, BUSY_HOUR = 3600.0, 6, 1


@pytest.fixture(scope="module")
def planned() -> Plan:
    """A replica."""
    return replicated_plan(1)


@pytest.fixture(scope="module")
def trace(planned: Plan) -> RequestTrace:
    """Six hours, of which each half has one that is busy."""
    per_s, _ = replica_targets(planned.services[0])
    rng = np.random.default_rng(0)
    calm = rng.uniform(0, HOURS * HOUR_S, int(0.02 * per_s * HOURS * HOUR_S))
    busy = [(hour + rng.uniform(0, 1, int(0.4 * per_s * HOUR_S))) * HOUR_S for hour in (BUSY_HOUR, BUSY_HOUR + 3)]
    arrivals = np.sort(np.concatenate([calm, *busy]))
    return RequestTrace(arrivals, np.full(arrivals.size, 400), np.full(arrivals.size, 100))


def grid_of(values: list[float], begins_s: float = 0.0) -> GridOnClock:
    """Hours from 0 on, in g/J."""
    return GridOnClock(GridCarbonIntensity("drawn", float(np.mean(values)), dict(enumerate(values))), begins_s)


def over(plan: Plan, trace: RequestTrace, grid: GridOnClock | None) -> FleetOverTime:
    return fleet_over_time(plan, trace, WISH, CONDITIONS, around=OverTimeSurroundings(grid=grid))


@pytest.fixture(scope="module")
def at_the_mean(planned: Plan, trace: RequestTrace) -> FleetOverTime:
    return over(planned, trace, None)


def outcome(found: FleetOverTime) -> ElasticOutcome:
    return found.drawn[0][1].simulation.outcome


def test_a_constant_grid_is_the_mean_of_the_site(
    planned: Plan, trace: RequestTrace, at_the_mean: FleetOverTime
) -> None:
    figures = at_the_mean.winner.played[0]
    found = over(planned, trace, grid_of([figures.gco2e / figures.j] * HOURS))
    assert found.winner.name == at_the_mean.winner.name
    for one, other in zip(found.trials, at_the_mean.trials, strict=True):
        assert [part.gco2e for part in one.played] == pytest.approx([part.gco2e for part in other.played])
        assert [part.usd for part in one.played] == [part.usd for part in other.played]


def test_hours_that_are_dirty_when_it_is_busy_emit_more_and_clean_ones_less(
    planned: Plan, trace: RequestTrace, at_the_mean: FleetOverTime
) -> None:
    mean = at_the_mean.winner.played[0].gco2e / at_the_mean.winner.played[0].j
    dirty = [mean * (2.0 if hour % 3 == BUSY_HOUR else 0.5) for hour in range(HOURS)]
    clean = [mean * (0.0 if hour % 3 == BUSY_HOUR else 1.5) for hour in range(HOURS)]
    assert np.mean(dirty) == pytest.approx(mean) and np.mean(clean) == pytest.approx(mean)
    flat, more, less = (
        over(planned, trace, grid).winner.played[0].gco2e for grid in (None, grid_of(dirty), grid_of(clean))
    )
    assert less < flat < more
    late = over(planned, trace, grid_of([*dirty, *dirty], HOUR_S)).winner.played[0].gco2e
    assert late < more, "an hour later the busy hour meets a clean one"


def test_joules_by_window_are_those_of_second_after_second(at_the_mean: FleetOverTime) -> None:
    """Each call's joules over its own seconds; what is left, while replicas were paid for and idle."""
    found = outcome(at_the_mean)
    end = max(lease.until_s for lease in found.leases)
    edges = np.array([0.0, 700.0, 4000.0, 4001.5, 7300.0, end])
    windows = joules_by_window(found, edges)
    assert windows.sum() == pytest.approx(replica_j(found).sum()) and (windows > 0).all()
    ran = found.outcome
    worked = np.zeros(edges.size - 1)
    for row in range(len(ran)):
        start = ran.arrival_s[row] + ran.queue_s[row]
        last = ran.arrival_s[row] + ran.e2e_s[row] - ran.outside_s[row]
        for place in range(worked.size):
            inside = min(last, edges[place + 1]) - max(start, edges[place])
            worked[place] += max(inside, 0.0) / (last - start) * (ran.request_j[row] + ran.waste_j[row])
    seconds = np.arange(0.0, end, 0.5)
    works = np.zeros((len(ran.fleet.replicas()), seconds.size), bool)
    for row, rank in enumerate(ran.requests.prompt_rank):
        start = ran.arrival_s[row] + ran.queue_s[row]
        last = ran.arrival_s[row] + ran.e2e_s[row] - ran.outside_s[row]
        works[rank] |= (start <= seconds) & (seconds < last)
    idle = np.zeros(worked.size)
    for lease in found.leases:
        waits = (lease.since_s <= seconds) & (seconds < lease.until_s) & ~works[lease.replica]
        idle += np.histogram(seconds[waits], edges)[0]
    waiting_j = replica_j(found).sum() - ran.meters.step_j.sum()
    assert windows == pytest.approx(
        worked / worked.sum() * ran.meters.step_j.sum() + idle / idle.sum() * waiting_j, rel=0.01
    )


def test_blocks_of_grams_are_the_whole_wherever_hours_turn(planned: Plan, trace: RequestTrace) -> None:
    found = over(planned, trace, grid_of(list(np.arange(1.0, HOURS + 3)), 1800.0))
    for _, played in found.drawn:
        blocks = blocks_of(played, BLOCKS, "gco2e")
        assert blocks.sum() == pytest.approx(played.figures.gco2e) and (blocks > 0).all()
        assert played.grid is not None and played.grid.begins_s == 1800.0 + trace.arrival_s[-1] / 2
        end = max(one.until_s for one in played.simulation.outcome.leases)
        halves = emitted_by_block(played.simulation.outcome, np.array([0.0, end / 3, end]), played.grid)
        assert halves.sum() == pytest.approx(blocks.sum(), rel=1e-3)


def test_a_table_and_a_record_tell_grams_and_their_grid(planned: Plan, trace: RequestTrace) -> None:
    found = over(planned, trace, grid_of([1e-4] * HOURS))
    answer, _ = over_time_sheets(found)
    assert "CO2e by the hours of drawn" in answer.title and "CO2e" in answer.markdown()
    record = over_time_record(found)
    assert record["grid"] == "drawn" and record["chosen"]["gco2e"][0] > 0


def test_a_record_shorter_than_the_trace_is_refused(planned: Plan, trace: RequestTrace) -> None:
    with pytest.raises(InputError, match=r"the grid drawn has no value for hour 4 of the 6 h of the trace"):
        over(planned, trace, grid_of([1.0] * 4))


def test_a_record_that_ends_before_the_last_request_is_refused_where_the_first_come_late(
    planned: Plan, trace: RequestTrace
) -> None:
    delayed = replace(trace, arrival_s=trace.arrival_s + 2 * HOUR_S)
    with pytest.raises(InputError, match=r"the grid drawn has no value for hour 6 of the 8 h of the trace"):
        over(planned, delayed, grid_of([1.0] * HOURS))
    record = zones([(0.0, 4)], end_s=7 * HOUR_S)
    assert trace.span_s < record.span_s < delayed.arrival_s[-1]
    around = OverTimeSurroundings((record, SpotConditions(spot_usd_per_device_h=0.6)))
    with pytest.raises(InputError, match=r"ends after 7 h, and the trace from its hour 0 on after 8 h"):
        fleet_over_time(planned, delayed, WISH, CONDITIONS, around=around)


def test_hours_drawn_between_their_neighbours_are_told(planned: Plan, trace: RequestTrace, tmp_path: Path) -> None:
    whole = grid_file(tmp_path).read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "gaps.csv").write_text("".join(line for line in whole if "T03:00" not in line), encoding="utf-8")
    grids = [
        recorded_grid(tmp_path / f"{name}.csv", LoadColumns("g", ("region",)), "south") for name in ("grid", "gaps")
    ]
    assert grids[0].hours == pytest.approx(grids[1].hours) and not grids[0].note
    assert grids[1].note == "gaps south: 2 of 48 steps without a value, drawn between their neighbours"
    found = over(planned, trace, GridOnClock(grids[1], min(grids[1].hours) * HOUR_S))
    answer, _ = over_time_sheets(found)
    assert grids[1].note in answer.title and over_time_record(found)["grid_note"] == grids[1].note


def grid_file(place: Path, unit: float = 1.0) -> Path:
    file = place / "grid.csv"
    rows = "".join(
        f"{region},2026-01-0{1 + hour // 24}T{hour % 24:02d}:00,{unit * (base + hour)}\n"
        for region, base in (("north", 20), ("south", 400))
        for hour in range(48)
    )
    file.write_text("region,time,g\n" + rows, encoding="utf-8")
    return file


def test_a_table_of_hours_is_read_by_its_series(tmp_path: Path) -> None:
    grid = recorded_grid(grid_file(tmp_path), LoadColumns("g", ("region",)), "south")
    first = min(grid.hours)
    assert len(grid.hours) == 48 and grid.at(first * HOUR_S, (first + 2) * HOUR_S) == pytest.approx(400.5 / 3.6e6)
    with pytest.raises(FactError, match=r"--grid-series.*north, south"):
        recorded_grid(tmp_path / "grid.csv", LoadColumns("g", ("region",)))
    with pytest.raises(FactError, match=r"from 0 to 5000 gCO2e/kWh"):
        recorded_grid(grid_file(tmp_path, 1000.0), LoadColumns("g", ("region",)), "south")


def wrong_grid_files(place: Path) -> dict[str, str]:
    """Files that no grid is read from by the usual names."""
    head = b"hour,gco2e_per_kwh\n2026-01-01T00:00,5\n"
    contents = {"short": b"2026-01-01T01:00\n", "latin": b"2026-01-01T01:00,\xe9\n", "twice": b"2026-01-01T00:30,5\n"}
    for name, row in contents.items():
        (place / f"{name}.csv").write_bytes(head + row)
    pq.write_table(pa.table({"time": ["2026-01-01T00:00"], "g": [5.0]}), place / "hours.parquet")
    return {name: str(place / f"{name}.csv") for name in contents} | {"parquet": str(place / "hours.parquet")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grid-value", "g"], "of --grid FILE"),
        (["--grid", "nowhere.csv"], "--grid nowhere.csv: no such file"),
        (["--grid", "{grid}", "--grid-value", "g", "--grid-by", "region"], "--grid-series"),
        (
            ["--grid", "{grid}", "--grid-value", "g"],
            "--grid-by: 2026-01-01T00:00 stands twice in one series (rows 2 and 50)",
        ),
        (["--grid", "{grid}", "--grid-value", "g"], "columns that part the series, such as region"),
        (["--grid", "{grid}", "--grid-value", "g", "--grid-by", "region", "--grid-from-h", "-1"], "allowed: from 0"),
        (["--grid", "{grid}"], "columns such as 'hour' and 'gco2e_per_kwh'"),
        (["--grid", "{grid}", "--grid-by", "region"], "of --grid-value"),
        (["--grid", "{grid}", "--grid-series", "south"], "of --grid-value"),
        (["--grid", "{parquet}"], "--grid-value: is not given: a Parquet file needs it (allowed: g, time)"),
        (["--grid", "{short}"], "short.csv: 1 bad row: row 3: too few cells: 1 of 2"),
        (["--grid", "{latin}"], "latin.csv: 1 bad row: row 3: no text in UTF-8"),
        (["--grid", "{twice}"], "row 3: the hour 2026-01-01 00:00 UTC stands in row 2 too"),
    ],
)
def test_what_cannot_be_read_is_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = "".join(f"{second},10,10\n" for second in range(300))
    (tmp_path / "calls.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{calls}", encoding="utf-8")
    known = {"grid": str(grid_file(tmp_path))} | wrong_grid_files(tmp_path)
    asked = ["plan", "llama_3_1_8b", "--rate", "5", "--in", "300", "--out", "50", "--over-time", tmp_path / "calls.csv"]
    assert ends([*asked, *(word.format(**known) for word in words)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_command_books_by_the_hour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    calls = "".join(f"{second:.2f},300,50\n" for second in np.sort(rng.uniform(0, 1200, 2400)))
    (tmp_path / "calls.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{calls}", encoding="utf-8")
    asked = ["plan", "llama_3_1_8b", "--rate", "2", "--in", "300", "--out", "50", "--over-time", tmp_path / "calls.csv"]
    grid = ["--grid", grid_file(tmp_path), "--grid-value", "g", "--grid-by", "region", "--grid-series", "south"]
    intensity = []
    for hour in (0, 20):
        words = ["--share", "0.5", "--parts", "2", "--start-up", "10", "--grid-from-h", hour, "--json"]
        assert ends([*asked, *grid, *words]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["grid"] == "grid south"
        intensity.append(told["chosen"]["gco2e"][0] / told["chosen"]["j"][0] * 3.6e6)
    assert intensity == pytest.approx([400.0, 420.0], rel=1e-5)
