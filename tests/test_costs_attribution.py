"""Requests, waste and idle sum to the meter; the carbon of a place and hour; Green Algorithms' own cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from comptroller.costs.attribution import CallPhaseWork, MeterAttribution, MeteredWindows, attribute, charge_back
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.money import carbon_g, electricity_usd, green_algorithms_j
from comptroller.costs.prediction import ClosedLoopLoad
from comptroller.errors import InputError, RecordError, UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.grid import GridCarbonIntensity
from comptroller.facts.site import site
from comptroller_lab.footprint import predicted_call_energy
from comptroller_lab.meters import MeterWindow, NvmlMeter, RaplMeter

POSITIVE = st.floats(0.0, 1e9, allow_subnormal=False)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[MeteredWindows, CallPhaseWork]:
    windows, calls = draw(st.integers(1, 8)), draw(st.integers(0, 12))

    def column(count: int, values: st.SearchStrategy[float] = POSITIVE) -> np.ndarray:
        return draw(arrays(float, count, elements=values))

    edges = np.concatenate([[draw(st.floats(0, 1e9))], column(windows, st.floats(0.5, 1e4))]).cumsum()
    start = edges[0] + column(calls, st.floats(-100.0, 5e4))
    end = start + column(calls, st.floats(0.0, 1e4))
    share = column(calls, st.floats(0.0, 1.0))
    return MeteredWindows(edges, column(windows), column(windows)), CallPhaseWork(
        start, end, column(calls), column(calls), share
    )


@settings(max_examples=400, deadline=None)
@given(world=worlds())
def test_requests_waste_and_idle_sum_to_the_meter(world: tuple[MeteredWindows, CallPhaseWork]) -> None:
    meter, work = world
    shares = attribute(meter, work)
    assert shares.total == pytest.approx(meter.amount.sum(), rel=1e-9, abs=1e-9)
    for part in (shares.prefill, shares.decode, shares.waste, np.array([shares.idle])):
        assert np.all(part >= -1e-6 * max(meter.amount.sum(), 1.0))
    assert shares.idle >= np.minimum(meter.amount, meter.floor).sum() * (1 - 1e-9) - 1e-9
    back = charge_back(shares.idle, work.decode)
    assert back.sum() == pytest.approx(shares.idle if work.decode.sum() > 0 else 0.0, rel=1e-9)


def test_a_call_pays_in_each_window_for_its_part_of_the_work() -> None:
    meter = MeteredWindows(
        np.array([0.0, 10.0, 20.0, 30.0]), np.array([100.0, 300.0, 50.0]), np.array([10.0, 10.0, 10.0])
    )
    # the first runs over both windows, the second in the second alone, nobody in the third
    work = CallPhaseWork(
        np.array([5.0, 10.0]), np.array([15.0, 20.0]), np.array([2.0, 0.0]), np.array([2.0, 6.0]), np.zeros(2)
    )
    found = attribute(meter, work)
    assert (found.prefill + found.decode).tolist() == pytest.approx([90 + 290 * 2 / 8, 290 * 6 / 8])
    assert found.prefill[0] == found.decode[0] and found.idle == pytest.approx(10 + 10 + 50)


def test_what_was_done_twice_is_waste() -> None:
    meter = MeteredWindows(np.array([0.0, 1.0]), np.array([8.0]), np.array([0.0]))
    preempted, failed = 0.25, 1.0
    work = CallPhaseWork(
        np.zeros(2), np.ones(2), np.array([2.0, 1.0]), np.array([2.0, 3.0]), np.array([preempted, failed])
    )
    shares: MeterAttribution = attribute(meter, work)
    assert shares.waste.tolist() == [1.0, 4.0] and shares.prefill.tolist() == [1.5, 0.0]


def test_a_meter_must_make_sense() -> None:
    one = np.array([1.0])
    for edges, amount in (([0.0], one), ([1.0, 0.0], one), ([0.0, 1.0], -one), ([0.0, 1.0, 2.0], one)):
        with pytest.raises(InputError, match=r"meter"):
            MeteredWindows(np.array(edges), amount, one)


# Green-Algorithms-core (8ae5dca), tests/testdata/slurm/expected/*.csv: seconds, core-hours and GPU-hours of a job,
# watts of a core and of a GPU, GB; the kWh, grams and pounds expected at PUE 1.15, 231.12 g/kWh, 0.34 pounds/kWh
JOBS = [
    (10200, 22.666666666666668, 0, 9.4, 0, 16, 0.26444633333333334, 61.118836560000005, 0.08991175333333334),
    (180, 0.1, 0, 9.4, 0, 2, 0.0011238374999999999, 0.25974132299999997, 0.00038210475),
    (14400, 96.0, 0, 9.4, 0, 64, 1.147424, 265.19263488, 0.39012416000000005),
    (21600, 24.0, 24.0, 4.4, 300, 128, 8.730432, 2017.7774438400002, 2.9683468800000004),
    (1800, 0.5, 0, 9.4, 0, 16, 0.008832, 2.04125184, 0.00300288),
    (3600, 24.0, 0, 9.4, 0, 48, 0.28000200000000003, 64.71406224, 0.09520068000000001),
]


@pytest.mark.parametrize("job", JOBS)
def test_green_algorithms_own_cases(job: tuple[float, ...]) -> None:
    seconds, core_h, gpu_h, core_w, gpu_w, memory_gb, kwh, grams, cost = job
    hours = seconds / 3600
    joules = green_algorithms_j(hours, (core_h * core_w + gpu_h * gpu_w) / hours, memory_gb, 1.15)
    assert joules / 3.6e6 == pytest.approx(kwh, rel=1e-12)
    assert float(carbon_g(joules, 231.12 / 3.6e6)) == pytest.approx(grams, rel=1e-12)
    assert float(electricity_usd(joules, 0.34 / 3.6e6)) == pytest.approx(cost, rel=1e-12)


def test_carbon_by_place_and_hour(tmp_path: Path) -> None:
    file = tmp_path / "DE.csv"
    file.write_text(
        "Datetime (UTC),Country,Carbon intensity gCO2eq/kWh (direct),Carbon intensity gCO2eq/kWh (Life cycle)\n"
        "2026-01-01 00:00:00,Germany,300,360\n2026-01-01 01:00:00,Germany,100,180\n"
    )
    grid = GridCarbonIntensity.read(file)
    midnight = 1_767_225_600.0
    assert grid.place == "DE" and grid.at(midnight, midnight + 60) == pytest.approx(360 / 3.6e6)
    assert grid.at(midnight + 1800, midnight + 5400) == pytest.approx(270 / 3.6e6)
    assert grid.at(midnight + 3599, midnight + 3599) == pytest.approx(360 / 3.6e6)
    assert grid.at(midnight + 86400, midnight + 86401) == pytest.approx(270 / 3.6e6)  # beyond the file: its mean
    own = GridCarbonIntensity.of_site(site("own_us"))
    assert own.at(midnight, midnight + 1) == site("own_us").grid_gco2e_per_j


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("a,b\n1,2\n", "needs columns"),
        ("", "needs columns"),
        ("hour,gco2e_per_kwh\n2026-01-01T00:00,-5\n", "row 2: -5.0 gCO2e/kWh is not between"),
        ("hour,gco2e_per_kwh\n2026-01-01T00:00,5\nlater,5\n", "row 3: Invalid isoformat"),
        ("hour,gco2e_per_kwh\n\n", "needs columns .* and rows"),
        ("hour,gco2e_per_kwh\n\n2026-01-01T00:00\n", "row 3: too few cells: 1 of 2"),
        ("hour,gco2e_per_kwh\n2026-01-01T00:00,5\n2026-01-01T01:00,\xe9\n", "row 3: no text in UTF-8"),
        (f"hour,gco2e_per_kwh\n2026-01-01T00:00,5\n{'x' * 200_000},5\n", "row 3: no CSV: field larger"),
        (
            "zone,hour,gco2e_per_kwh\nDE,2026-01-01T00:00,5\nFR,2026-01-01T01:00,5\n\nFR,2026-01-01T02:15+02:00,6\n",
            "row 5: the hour 2026-01-01 00:00 UTC stands in row 2 too",
        ),
    ],
)
def test_a_wrong_file_of_intensities_names_the_row(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "grid.csv"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(RecordError, match=named):
        GridCarbonIntensity.read(file)


def test_blank_lines_of_intensities_are_passed_over(tmp_path: Path) -> None:
    rows = ["hour,gco2e_per_kwh", "2026-01-01T00:00,300", "2026-01-01T01:00,100"]
    files = [tmp_path / "plain.csv", tmp_path / "blank.csv"]
    files[0].write_text("\n".join(rows) + "\n")
    files[1].write_text("\ufeff" + "\n\n".join(rows) + "\n \n\n", encoding="utf-8")
    plain, blank = map(GridCarbonIntensity.read, files)
    assert blank.hours == plain.hours and len(plain.hours) == 2 and blank.mean_gco2e_per_j == plain.mean_gco2e_per_j


@pytest.mark.parametrize("kind", [NvmlMeter, RaplMeter])
def test_a_meter_counts_or_says_that_there_is_none(kind: type[NvmlMeter] | type[RaplMeter]) -> None:
    try:
        meter = kind()
    except UnsupportedError as missing:
        assert "comptroller-lab[meters]" in str(missing) or "counts energy here" in str(missing)
        return
    with MeterWindow(meter) as window:
        sum(number * number for number in range(3_000_000))
    assert window.reading.j[kind.source] >= 0 and window.reading.end_s > window.reading.start_s


def test_predicted_energy_is_labelled_and_near_a_measured_run() -> None:
    """ML.ENERGY v3, Llama-3.1-8B on one H100, 64 at once: 610 W and 5,147 tokens/s at the device."""
    replica = ModelReplica(
        model("llama_3_1_8b"),
        accelerator("h100_sxm"),
        PrecisionRecipe(),
        ParallelLayout(1),
        EngineSettings.default(engine_facts("vllm")),
    )
    place = site("own_us")
    tokens = [np.array([value, value]) for value in (150.0, 450.0)]
    alone, many = predicted_call_energy(replica, ClosedLoopLoad(*tokens, np.array([1.0, 64.0])), place)
    measured = (610 + 150) * place.pue / 5147 * 450
    assert many.j == pytest.approx(measured, rel=0.35) and many.low_j < many.j < many.high_j
    assert alone.j > 5 * many.j and {alone.source, many.source} == {"predicted"}
    assert many.gco2e == pytest.approx(many.j * place.grid_gco2e_per_j) and many.flops > 2 * 8.03e9 * 600 * 0.9
