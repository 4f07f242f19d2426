"""Caches in tool waits: arithmetic against a cache that is played out, and which way wins where waits are long."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.cli import main
from comptroller.costs.cache_gaps import least_load_bytes_per_s, longest_hold_s, survival_s
from comptroller.costs.inference_units import at_rate_w
from comptroller.planning.ground.service_document import CacheTierDocument
from comptroller.planning.simulation import TraceReplaySettings, simulate_plan
from comptroller.planning.tool_gaps import compare_tool_gaps
from comptroller.report.task_figures import task_record
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import BlockStore, SimulatedFleet
from comptroller.serving.jobs import calls_of
from comptroller.serving.ticks import linear
from comptroller.work.shorter_prompts import shorter_prompts
from comptroller.work.trace import RequestTrace, TracePrefixBlocks
from comptroller.work.trace_tasks import TraceTasks
from simulate_worlds import GOLDEN, chat

BLOCK = 16
SAMPLE = Path(__file__).parent / "traces" / "agent_calls.csv"


@given(st.integers(4, 60), st.integers(1, 5), st.integers(1, 200))
@settings(max_examples=60)
def test_a_cache_by_last_use_forgets_after_its_characteristic_time(capacity: int, fresh: int, wait: int) -> None:
    """One block is used at second 0; every second so many new ones come. It is there as long as the formula says."""
    cache: OrderedDict[int, None] = OrderedDict({-1: None})
    for number in range(wait * fresh):
        cache[number] = None
        while len(cache) > capacity:
            cache.popitem(last=False)
    limit = survival_s(capacity, 1.0, fresh)
    if abs(wait - limit) > 1:
        assert (-1 in cache) == (wait < limit)


@given(st.floats(1e3, 1e7), st.floats(1e2, 1e5), st.floats(1.0, 1e5))
def test_holding_and_computing_cost_the_same_at_the_limit(capacity: float, per_s: float, tokens: float) -> None:
    wait_s = longest_hold_s(capacity, per_s)
    assert tokens / capacity * wait_s == pytest.approx(tokens / per_s)
    assert least_load_bytes_per_s(2.0, per_s) == pytest.approx(2.0 * per_s)


def tasks_trace(tasks: int, calls: int, prompt: int, wait_s: float) -> RequestTrace:
    """Tasks whose prompts grow by a block a call, a task a second."""
    rows = [(task, call) for call in range(calls) for task in range(tasks)]
    hashes = [[1000 * task + block for block in range((prompt + BLOCK * call) // BLOCK)] for task, call in rows]
    offsets = np.concatenate(([0], np.cumsum([len(each) for each in hashes])))
    blocks = TracePrefixBlocks(offsets, np.array([block for each in hashes for block in each]), BLOCK)
    parent = np.array([-1 if call == 0 else (call - 1) * tasks + task for task, call in rows])
    arrival_s = np.array([task + call * (wait_s + 1.0) for task, call in rows])
    order = np.arange(len(rows))
    waits = TraceTasks.of(parent, np.where(parent >= 0, wait_s, 0.0))
    inputs = np.array([prompt + BLOCK * call for _, call in rows])
    return RequestTrace(arrival_s[order], inputs, np.full(len(rows), 4), blocks=blocks, tasks=waits)


@pytest.mark.parametrize(("wait_s", "survives"), [(2.0, True), (300.0, False)])
def test_a_kept_cache_is_there_after_short_waits_and_a_tier_after_long_ones(wait_s: float, survives: bool) -> None:
    """A device of 4,000 tokens gets tasks of 512 tokens a second: it forgets after some eight seconds."""
    trace = tasks_trace(40, 2, 512, wait_s)
    table = replace(linear(), kv_capacity_tokens=4000, kv_block_tokens=BLOCK)
    kept = replace(SimulatedFleet.uniform(table, 1), prefix_block_tokens=BLOCK)
    replica = replace(kept.services[0].replicas[0], stores=(BlockStore(10**6, 1e12),))
    beside = replace(kept, services=(replace(kept.services[0], replicas=(replica,)),))
    assert (survival_s(4000, 512, 516) > wait_s) == survives
    found = {}
    for name, fleet in (("kept", kept), ("tier", beside)):
        outcome = simulate(fleet, calls_of(trace))
        assert outcome.done.all()
        found[name] = outcome.requests.cached[40:].sum() / trace.input_tokens[40:].sum()
    assert found["tier"] > 0.9
    assert found["kept"] > 0.9 if survives else found["kept"] < 0.1


@pytest.mark.parametrize(
    ("wait_s", "tiers", "best"),
    [(2.0, ("host_memory",), "kept"), (300.0, ("host_memory",), "host_memory"), (300.0, (), "dropped")],
)
def test_the_best_way_flips_where_arithmetic_says(wait_s: float, tiers: tuple[str, ...], best: str) -> None:
    """Three replicas of 230,000 tokens each, a task of 8,000 a second: a cache lasts some 86 s; without a tier below,
    keeping it longer is worth nothing."""
    below = [CacheTierDocument(tier=name, gb=1000) for name in tiers]
    settings = TraceReplaySettings(routing="session_affinity")
    found = compare_tool_gaps(chat(), tasks_trace(300, 2, 8000, wait_s), settings, below)
    assert (found.survival_s > wait_s) == (best == "kept")
    assert found.foretold == found.best.name == best


def compared(*options: str) -> int:
    """Exit code of the command on the sample's runs with the golden plan."""
    with pytest.raises(SystemExit) as ended:
        main(["simulate", str(GOLDEN), "--trace", str(SAMPLE), "--rate", "1", "--tool-gaps", "--json", *options])
    return int(ended.value.code or 0)


def ways(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert compared(*options) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_all_ways_are_routed_alike_by_the_policy_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A tier that is named is the one compared, and caches dropped are dropped beside it."""
    own, named = ways(capsys), ways(capsys, "--routing", "prefix_match", "--cache-tier", "nvme_pcie5=500")
    plan_s = simulate_plan(chat(), tasks_trace(2, 2, 512, 1.0)).routing
    assert own["routing"] == plan_s and named["routing"] == "prefix_match"
    assert set(own["ways"]) == {"dropped", "kept", "host_memory"}
    assert set(named["ways"]) == {"dropped", "kept", "nvme_pcie5"}
    assert named["ways"]["dropped"]["cached"] == 0 < named["ways"]["kept"]["cached"]


def test_several_routings_are_no_comparison_of_caches(capsys: pytest.CaptureFixture[str]) -> None:
    assert compared("--routing", "prefix_match", "--routing", "round_robin") == 2
    said = capsys.readouterr().err
    assert "prefix_match, round_robin" in said and "name one" in said


def test_a_task_that_is_refused_is_paid_for_by_those_that_are_solved() -> None:
    """Ten judged tasks, the calls of two beyond the context: all the fleet's money over eight, and watts that are
    joules over seconds."""
    trace = tasks_trace(10, 2, 512, 3.0)
    assert trace.tasks is not None
    first = np.arange(20) % 10
    inputs = np.where(first < 2, 100_000, trace.input_tokens)
    tasks = replace(trace.tasks, score=np.ones(20))
    found = simulate_plan(chat(), replace(trace, input_tokens=inputs, blocks=None, tasks=tasks))
    record, outcome = task_record(found), found.outcome
    assert (record["judged"], record["ended"], record["solved"]) == (10, 8, 8.0)
    assert record["usd_per_solved"] == pytest.approx(outcome.meter_usd / 8)
    took_s = outcome.e2e_s[outcome.done].sum() + 8 * 3.0
    assert record["task_w"] == pytest.approx(outcome.request_j[outcome.done].sum() / took_s)
    assert record["fleet_w"] == pytest.approx(outcome.meter_j / outcome.horizon_s)
    assert at_rate_w(record["j_per_solved"]) * 3600 == pytest.approx(1e6 * outcome.meter_j / 8)


def test_calls_beside_one_another_take_their_time_once() -> None:
    """A call, then five that wait for it: the task lasts as long as the first and the slowest of the five."""
    tasks = TraceTasks.of([-1, 0, 0, 0, 0, 0], [0.0, *[2.0] * 5])
    trace = RequestTrace(np.zeros(6), np.full(6, 200), np.array([50, 10, 20, 400, 40, 50]), tasks=tasks)
    found = simulate_plan(chat(), trace)
    e2e_s = found.outcome.e2e_s
    assert task_record(found)["task_s"]["p50"] == pytest.approx(e2e_s[0] + 2.0 + e2e_s[1:].max())
    assert e2e_s[1:].sum() > 1.2 * e2e_s[1:].max()


@given(st.integers(1, 400), st.integers(0, 4))
def test_prompts_that_are_cut_find_nothing_and_leave_the_others(most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prompts = np.cumsum(rng.integers(1, 60, 12)).astype(np.int64)
    counts = prompts // BLOCK
    ids = np.concatenate([np.arange(count) for count in counts])
    blocks = TracePrefixBlocks(np.concatenate(([0], np.cumsum(counts))), ids.astype(np.int64), BLOCK)
    tasks = replace(TraceTasks.of(np.r_[-1, np.arange(11)], np.ones(12)), score=np.ones(12))
    trace = RequestTrace(np.arange(12.0), prompts, np.ones(12, np.int64), blocks=blocks, tasks=tasks)
    found = shorter_prompts(trace, most)
    assert found.input_tokens.tolist() == [min(tokens, most) for tokens in prompts]
    assert found.blocks is not None and found.tasks is not None
    assert np.diff(found.blocks.offsets).tolist() == [tokens // BLOCK for tokens in found.input_tokens]
    whole = np.flatnonzero(prompts <= most)
    assert found.blocks.take(whole).ids.tolist() == blocks.take(whole).ids.tolist()
    own = found.blocks.take(np.flatnonzero(prompts > most)).ids
    assert len(set(own.tolist())) == len(own) and not set(own.tolist()) & set(ids.tolist())
    assert np.isnan(found.tasks.score).all() == (len(whole) < 12)
