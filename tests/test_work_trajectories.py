"""Trajectories of agents: read from files, as traffic, and in a simulation."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.books.inefficiency import patterns_of_runs
from comptroller.cli import main
from comptroller.costs.inference_units import KINETICS_INTENSITY, ModelCostShape, prefill_gamma
from comptroller.errors import FactError, RecordError
from comptroller.facts.config import model
from comptroller.planning.simulation import simulate_plan
from comptroller.report.task_figures import task_record
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet
from comptroller.serving.jobs import calls_of
from comptroller.serving.ticks import linear
from comptroller.work.rows import TraceReadOptions
from comptroller.work.trace_tasks import TraceTasks
from comptroller.work.traces import read_trace
from comptroller.work.trajectories import resistant_line, shared_prompt_tokens
from comptroller.work.trajectory_files import read_trajectories
from simulate_worlds import chat

SAMPLE = Path(__file__).parent / "traces" / "agent_calls.csv"
RATED = TraceReadOptions(rate_per_s=1.0)
HEAD = "instance,step,input_tokens,output_tokens,to_next_call_s\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "calls.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_run_is_its_calls_in_the_order_of_steps() -> None:
    calls = read_trajectories(SAMPLE)
    assert [(run.instance, run.group, run.score) for run in calls.runs] == [
        ("acme__widgets-1", "acme", 1.0),
        ("acme__gears-7", "acme", 0.0),
    ]
    assert calls.step.tolist() == [0, 1, 2, 0, 1] and calls.starts.tolist() == [0, 3, 5]
    assert calls.waits.seconds.tolist() == [1.0, 4.0, 0.0, 0.5, 0.0] and calls.waits.told == 0


def test_a_prompt_shares_what_stood_in_the_one_before() -> None:
    """The reply without its reasoning stands in the next prompt; a prompt that shrank shares what its cache knew."""
    calls = read_trajectories(SAMPLE)
    assert shared_prompt_tokens(calls).tolist() == [0, 1080, 1350, 0, 980]
    shrunk = replace(calls, input_tokens=np.array([1000.0, 1300, 900, 900, 1100]))
    assert shared_prompt_tokens(shrunk)[2] == 900


def test_tools_seconds_are_told_from_the_time_to_the_next_call(tmp_path: Path) -> None:
    """A call takes 2 s and 10 ms a token; every tenth tool takes 30 s, and only those have a wait."""
    rows = [(step, 100 * (step % 9 + 1)) for step in range(40)]
    lines = [f"a,{step},1000,{out},{2 + 0.01 * out + 30 * (step % 10 == 3)}\n" for step, out in rows]
    calls = read_trajectories(written(tmp_path, HEAD + "".join(lines)))
    waits = calls.waits
    assert waits.base_s == pytest.approx(2) and waits.per_token_s == pytest.approx(0.01)
    assert waits.seconds.round(6).tolist() == [30.0 if step % 10 == 3 else 0.0 for step in range(40)]


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 1e3)), min_size=9, max_size=60), st.floats(0.1, 10))
def test_the_line_scales_with_the_seconds(points: list[tuple[int, float]], factor: float) -> None:
    x, y = (np.array(column, float) for column in zip(*points, strict=True))
    base_s, per_token_s = resistant_line(x, y)
    assert resistant_line(x, factor * y) == pytest.approx((factor * base_s, factor * per_token_s), abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,0,10,5,1\na,0,12,5,1\n", "is there twice"),
        ("a,0,10.5,5,1\n", "input_tokens is not a whole number"),
        (",0,10,5,1\n", "instance is missing"),
        ("a,0,10,0,1\n", "output_tokens is zero"),
        ("a,0,10,5,-1\n", "to_next_s is negative"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        read_trajectories(written(tmp_path, HEAD + rows))


def test_a_file_without_a_rate_says_what_it_needs() -> None:
    with pytest.raises(FactError, match=r"no common clock.*--rate"):
        read_trace(SAMPLE)


def test_a_call_arrives_its_wait_after_the_reply_that_it_waits_for() -> None:
    trace = read_trace(SAMPLE, RATED)
    fleet = SimulatedFleet.uniform(linear(), 2, ServingPolicies(routing="session_affinity"))
    calls = calls_of(trace)
    outcome = simulate(replace(fleet, prefix_block_tokens=trace.blocks.tokens if trace.blocks else 0), calls)
    assert outcome.done.all() and trace.tasks is not None
    ends = outcome.arrival_s + outcome.e2e_s - outcome.outside_s
    for place in np.flatnonzero(trace.tasks.parent >= 0):
        parent, wait_s = trace.tasks.parent[place], trace.tasks.wait_s[place]
        assert outcome.arrival_s[place] == pytest.approx(ends[parent] + wait_s, abs=1e-9)
    assert outcome.requests.cached.sum() > 0


def test_a_start_delays_the_first_call_and_counts_in_the_task(tmp_path: Path) -> None:
    """Ten seconds before a run whose calls and tools are the same: all of it ten seconds later, and ten of its time."""
    head, rows = (
        "instance,step,input_tokens,output_tokens,llm_s,tool_s,start_up_s\n",
        ("a,0,100,50,1,2,{}\n", "a,1,200,50,1,0,\n"),
    )
    found = []
    for start_up_s in ("", "10"):
        trace = read_trace(written(tmp_path, head + "".join(rows).format(start_up_s)), RATED)
        found.append(simulate_plan(chat(), replace(trace, blocks=None)))
    bare, started = (task_record(one) for one in found)
    assert started["task_s"]["p50"] == pytest.approx(bare["task_s"]["p50"] + 10)
    assert started["time"]["start"] == pytest.approx(10 / started["task_s"]["p50"])
    assert started["outside"] == pytest.approx(12 / started["task_s"]["p50"])
    assert bare["outside"] == bare["time"]["tools"] == pytest.approx(2 / bare["task_s"]["p50"])
    assert TraceTasks.of([-1, 0], [10.0, 2.0]).take(np.array([1])).wait_s.tolist() == [0.0]


def test_slower_tools_end_later_and_cost_the_same_tokens() -> None:
    trace = read_trace(SAMPLE, RATED)
    assert trace.tasks is not None
    slow = replace(trace, tasks=replace(trace.tasks, wait_s=2 * trace.tasks.wait_s))
    fleet = SimulatedFleet.uniform(linear(), 1)
    one, other = (simulate(fleet, calls_of(each)) for each in (trace, slow))
    assert other.horizon_s > one.horizon_s
    assert other.requests.generated.sum() == one.requests.generated.sum()


def test_recorded_runs_are_traffic_whose_cache_is_as_recorded() -> None:
    file = Path(os.environ.get("COMPTROLLER_DATA", "")) / "agents" / "agent_calls.parquet"
    if not file.exists():
        pytest.skip("the recorded trajectories are not there (COMPTROLLER_DATA)")
    trace = read_trace(file, RATED)
    assert trace.blocks is not None and trace.tasks is not None
    known = np.isfinite(trace.tasks.cached)
    recorded = trace.tasks.cached[known].sum() / trace.input_tokens[known].sum()
    assert recorded == pytest.approx(0.837, abs=0.001)
    assert recorded < trace.blocks.reuse < 0.96


def test_patterns_of_recorded_runs_are_counted_in_prefill_token_equivalents(tmp_path: Path) -> None:
    """Two runs by hand: one whose tool gives nothing back, one whose prompt is computed again in part."""
    file = tmp_path / "calls.csv"
    file.write_text(
        "run,instance,step,input_tokens,cached_tokens,output_tokens,observation_chars\n"
        "a,x,0,100,0,10,0\na,x,1,130,100,20,5\nb,y,0,100,0,10,40\nb,y,1,150,60,10,40\n"
    )
    found = patterns_of_runs(read_trajectories(file), gamma=0.01)
    told = {one.name: (one.requests, one.tokens) for one in found.found}
    first = 100 + 0.01 * 110 * 10
    assert found.requests == 2
    assert found.tokens == pytest.approx(2 * first + 30 + 0.01 * 150 * 20 + 90 + 0.01 * 160 * 10)
    assert told["lack of tool priors"] == (1, pytest.approx(first))
    assert told["context computed again"] == (2, pytest.approx(10 + 50))  # of 110 that stood there 100 and 60 were kept
    assert told["long tool answers"] == (2, pytest.approx(20 + 40))


def test_tools_and_notes_of_a_table_tell_the_patterns_that_need_words(tmp_path: Path) -> None:
    """A run with two tools whose first result was known, one with arguments that were no JSON, one with neither."""
    file = tmp_path / "calls.csv"
    file.write_text(
        "run,instance,step,input_tokens,output_tokens,tools,tool_notes\n"
        "a,x,0,100,10,search;python,known before\na,x,1,200,10,,\n"
        "b,y,0,100,10,search,arguments are no JSON\nb,y,1,300,10,,\nc,z,0,100,10,search,\nc,z,1,100,10,,\n"
    )
    runs = read_trajectories(file)
    told = {one.name: (one.requests, one.tokens) for one in patterns_of_runs(runs, gamma=0.0).found}
    assert told["tool mixing"] == (1, 300.0) and told["confirmatory use"] == (1, 200.0)
    assert told["format collapse"] == (1, 100.0) and told["lack of tool priors"] == (0, 0.0)
    kept = runs.take(np.array([False, True, True]))
    assert kept.tools == (("search",), (), ("search",), ()) and kept.notes[0] == ("arguments are no JSON",)


def test_a_replay_of_calls_tells_the_patterns_of_their_runs(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["replay", "once(greedy=false)", "--evidence", str(SAMPLE), "--shape", "llama_3_1_8b", "--json"]
    with pytest.raises(SystemExit, match="0"):
        main(asked)
    told = json.loads(capsys.readouterr().out)["inefficiency"]
    gamma = prefill_gamma(ModelCostShape.of(model("llama_3_1_8b")), KINETICS_INTENSITY)
    found = patterns_of_runs(read_trajectories(SAMPLE), gamma).found
    assert [(one["pattern"], one["requests"]) for one in told] == [(one.name, one.requests) for one in found]
    with pytest.raises(SystemExit, match="0"):
        main([word for word in asked if word not in ("--shape", "llama_3_1_8b")])
    assert "inefficiency" not in json.loads(capsys.readouterr().out)
