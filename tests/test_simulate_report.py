"""What a simulation is written as: tables, the time line, a Perfetto trace, one row per request."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.errors import InputError
from comptroller.planning.simulation import PlanSimulation, TraceReplaySettings, simulate_plan
from comptroller.report import simulation_tables
from comptroller.report.perfetto import LaneAllocator, perfetto
from comptroller.report.requests import as_csv, as_parquet, writer_of
from comptroller.report.simulation_figures import record
from comptroller.report.simulation_page import charts, page
from simulate_worlds import chat, stream
from test_report_page import Reader, in_browser, probed

PLAN = chat()


@pytest.fixture(scope="module")
def simulation() -> PlanSimulation:
    trace = stream(300)
    tokens = trace.input_tokens.copy()
    tokens[5] = 9_000_000
    return simulate_plan(PLAN, replace(trace, input_tokens=tokens), TraceReplaySettings(samples=30))


@pytest.fixture(scope="module")
def events(simulation: PlanSimulation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(perfetto(simulation))["traceEvents"]
    return found


def test_latency_percentiles_ascend(simulation: PlanSimulation) -> None:
    for spread in record(simulation)["latency"].values():
        assert spread["p50"] <= spread["p90"] <= spread["p95"] <= spread["p99"] <= spread["most"]


def test_the_tables_say_what_the_document_says(simulation: PlanSimulation) -> None:
    document = record(simulation)
    counts = dict(simulation_tables.ends(simulation).rows)
    assert counts["requests"] == document["requests"] == 300
    assert counts[simulation_tables.INSET + "done"] == document["ends"]["stop"] == 299
    assert counts[simulation_tables.INSET + "refused: longer than the context"] == 1
    assert counts["preemptions"] == document["tokens"]["preemptions"]
    assert len(simulation_tables.objectives(simulation).rows) == len(PLAN.latency) == len(document["objectives"])
    assert sum(row["requests"] for row in document["services"]) == 300
    assert document["per_request"]["usd"] * 300 == pytest.approx(document["spent"]["usd"], rel=1e-4)
    good = document["within"]
    assert document["per_request_within"]["j"] * good == pytest.approx(document["spent"]["j"], rel=1e-4)


def test_the_document_is_json_without_nan(simulation: PlanSimulation) -> None:
    text = json.dumps(record(simulation), allow_nan=False)
    assert json.loads(text) == record(simulation)


def test_routings_are_compared_only_where_there_are_several(simulation: PlanSimulation) -> None:
    other = simulate_plan(PLAN, stream(50), TraceReplaySettings(routing="round_robin"))
    assert not simulation_tables.side_by_side([simulation]).rows
    assert [row[0] for row in simulation_tables.side_by_side([simulation, other]).rows] == [
        simulation.routing,
        "round_robin",
    ]


@pytest.mark.parametrize("routing", ["session_affinity", "round_robin"])
def test_sessions_are_counted_with_those_that_one_replica_had(routing: str) -> None:
    """By the sessions one after the other; calls beyond the context reach no replica and are not within."""
    trace = stream(200)
    inputs = np.where(np.arange(200) == 7, 200_000, trace.input_tokens)
    sessions = np.where(np.arange(200) < 150, np.arange(200) % 30, -1)
    found = simulate_plan(
        PLAN, replace(trace, input_tokens=inputs, session=sessions), TraceReplaySettings(routing=routing)
    )
    of = [np.flatnonzero(sessions == number) for number in range(30)]
    ranks = [set(found.outcome.requests.prompt_rank[rows].tolist()) - {-1} for rows in of]
    within, alone = sum(found.within[rows].all() for rows in of), sum(len(some) == 1 for some in ranks)
    assert record(found)["sessions"] == {"sessions": 30, "within": within, "one_replica": alone}
    assert within < 30 and (alone == 30) == (routing == "session_affinity")
    assert record(simulate_plan(PLAN, trace))["sessions"] is None


def test_services_get_names_that_tell_them_apart() -> None:
    names = simulation_tables.service_names(PLAN)
    assert len(set(names.values())) == len(PLAN.services)
    twice = PLAN.model_copy(update={"services": (PLAN.services[0], PLAN.services[0].model_copy(update={"id": "b"}))})
    assert simulation_tables.service_names(twice) == {PLAN.services[0].id: PLAN.services[0].id, "b": "b"}


def test_csv_holds_every_request(simulation: PlanSimulation) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(simulation.calls).decode())))
    assert len(rows) == 300
    for row, call in zip(rows, simulation.calls.rows(), strict=True):
        assert float(row["arrival_s"]) == call.arrival_s
        assert row["service"] == call.service and row["finish"] == call.finish
        assert (row["first_s"] == "") == np.isnan(call.first_s)
    assert float(rows[0]["usd"]) == simulation.calls.row(0).usd


def test_parquet_holds_the_same(simulation: PlanSimulation) -> None:
    table = pyarrow.parquet.read_table(io.BytesIO(as_parquet(simulation.calls)))
    assert table.num_rows == 300
    calls = simulation.calls
    assert table["usd"].to_pylist()[:5] == calls["usd"][:5].tolist()
    assert table["first_s"].to_pylist()[5] is None
    assert table["finish"].to_pylist() == [row.finish for row in calls.rows()]
    assert table["service"].to_pylist() == calls.text("service").tolist()


def test_a_file_of_calls_is_csv_or_parquet() -> None:
    assert writer_of(Path("a/b.CSV")) is as_csv
    with pytest.raises(InputError, match=r"calls.json.*\.csv or \.parquet"):
        writer_of(Path("calls.json"))


def test_every_served_request_has_its_slices(simulation: PlanSimulation, events: list[dict[str, Any]]) -> None:
    prefill = {e["args"]["request"]: e for e in events if e["ph"] == "X" and e["name"] == "prefill"}
    decode = {e["args"]["request"]: e for e in events if e["ph"] == "X" and e["name"] == "decode"}
    calls = simulation.calls
    assert set(prefill) == set(range(300)) - {5}
    for i, slice_ in prefill.items():
        row = calls.row(i)
        assert slice_["ts"] == pytest.approx(row.started_s * 1e6, abs=1e-2)
        assert slice_["dur"] == pytest.approx((row.first_s - row.started_s) * 1e6, abs=1e-2)
        assert (i in decode) == (row.last_s > row.first_s)
    assert next(e for e in events if e["ph"] == "i")["name"] == "request 5 never started"


def test_slices_of_a_lane_do_not_overlap(events: list[dict[str, Any]]) -> None:
    lanes: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in events:
        if event["ph"] == "X":
            span = event["ts"], event["ts"] + event["dur"]
            lanes.setdefault((event["pid"], event["tid"]), []).append(span)
    assert lanes
    for spans in lanes.values():
        for (_, end), (start, _) in pairwise(sorted(spans)):
            assert end <= start + 0.01


def test_ranks_are_processes_with_counters(simulation: PlanSimulation, events: list[dict[str, Any]]) -> None:
    ranks = len(simulation.outcome.meters.busy_s)
    assert {e["pid"] for e in events if e["name"] == "process_name"} == set(range(ranks))
    counters = [e for e in events if e["ph"] == "C"]
    assert {e["name"] for e in counters} == {"waiting", "running", "cache", "power"}
    assert len(counters) == 4 * ranks * (len(simulation.outcome.series) - 1)
    assert all(e["args"]["W"] > 0 for e in counters if e["name"] == "power")


def test_a_long_simulation_is_cut_and_says_so(simulation: PlanSimulation) -> None:
    document = json.loads(perfetto(simulation, most_requests=10))
    assert document["otherData"]["requests_written"] == 10
    assert document["otherData"]["requests"] == 300
    assert max(e["args"].get("request", 0) for e in document["traceEvents"] if e["ph"] == "X") == 9


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 20)), max_size=60))
def test_lanes_never_hold_two_stays_at_once(spans: list[tuple[float, float]]) -> None:
    lanes, held = LaneAllocator(), dict[int, float]()
    stays = sorted((start, start + length) for start, length in spans)
    for start, end in stays:
        lane = lanes.take(0, start, end)
        assert held.get(lane, -1.0) <= start
        held[lane] = end
    most = max((sum(a <= start < b for a, b in stays) for start, _ in stays), default=0)
    assert len(held) == most


def test_the_time_line_nests_needs_no_network_and_draws_every_chart(simulation: PlanSimulation) -> None:
    html = page(simulation)
    reader = Reader(html)
    assert not reader.open
    assert "http://" not in html and "https://" not in html and "src=" not in html
    drawn = [attrs for tag, attrs in reader.tags if tag == "svg"]
    assert len(drawn) == len(charts(simulation)) == 6
    assert all(attrs["tabindex"] == "0" and attrs["aria-label"] for attrs in drawn)
    assert "NaN" not in html and "nan" not in html.replace("nance", "")
    words = " ".join(reader.words)
    for text in ("Objectives", "per request within", "refused: longer than the context", "Goodput"):
        assert text in words


def test_the_lines_add_up_to_the_meter(simulation: PlanSimulation) -> None:
    power = next(chart for chart in charts(simulation) if chart.title.startswith("Power"))
    clock = np.array([sample.at_s for sample in simulation.outcome.series])
    watts = np.sum([line.y for line in power.lines], axis=0)
    drawn_j = float((watts[1:] * np.diff(clock)).sum())
    assert drawn_j <= simulation.outcome.meter_j
    assert drawn_j == pytest.approx(simulation.outcome.meter_j, rel=0.2)
    flows = next(chart for chart in charts(simulation) if chart.title == "Requests per second")
    arrived = float((np.array(flows.lines[0].y)[1:] * np.diff(clock)).sum())
    assert arrived == pytest.approx(300, abs=15)


def test_a_time_line_needs_samples() -> None:
    with pytest.raises(InputError, match="samples"):
        page(simulate_plan(PLAN, stream(5)))


@pytest.mark.browser
def test_pointing_at_a_chart_reads_all_its_lines(simulation: PlanSimulation, tmp_path: Path) -> None:
    script = """
      const chart = document.querySelector('svg[data-panel="4"]');
      const frame = chart.getBoundingClientRect();
      const seen = [tip.hidden];
      chart.dispatchEvent(new PointerEvent('pointermove', {clientX: frame.left + frame.width / 2}));
      seen.push(tip.hidden, tip.textContent.includes('arrive:'), tip.textContent.includes('within:'));
      chart.dispatchEvent(new KeyboardEvent('keydown', {key: 'End'}));
      const end = tip.querySelector('b').textContent;
      seen.push(end.includes(panels[4].moments.at(-1)));
      chart.dispatchEvent(new PointerEvent('pointerleave'));
      seen.push(tip.hidden);
      return seen.join(' ');
    """
    probe = f"<script>document.documentElement.setAttribute('probe', (() => {{ {script} }})());</script>"
    html = page(simulation).replace("</body>", f"{probe}</body>")
    assert probed(in_browser(html, tmp_path)) == "true false true true true true"
