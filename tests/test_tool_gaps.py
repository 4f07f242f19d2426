"""Caches in tool waits: arithmetic against a cache that is played out, and which way wins where waits are long."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.costs.cache_gaps import least_load_bytes_per_s, longest_hold_s, survival_s
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import BlockStore, SimulatedFleet
from comptroller.serving.jobs import calls_of
from comptroller.serving.ticks import linear
from comptroller.work.trace import RequestTrace, TracePrefixBlocks
from comptroller.work.trace_tasks import TraceTasks

BLOCK = 16


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
