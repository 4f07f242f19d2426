"""More capacity never hurts: one more replica keeps at least as many calls within an objective, under every router."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.serving.engine import simulate
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable

TABLE = linear(max_batch=8)
SLACK = 0.02
"""A router may send two long calls to the same replica that it would have parted: of a few hundred calls a handful."""


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(20.0, 200.0))
@pytest.mark.parametrize("routing", ["least_request", "round_robin", "power_of_two"])
def test_one_more_replica_keeps_as_many_calls_within_an_objective(
    routing: str, seed: int, replicas: int, per_s: float
) -> None:
    rng = np.random.default_rng(seed)
    calls = CallTable.of(
        arrival_s=np.cumsum(rng.exponential(1 / per_s, 300)), input_tokens=rng.integers(50, 800, 300),
        output_tokens=rng.integers(5, 100, 300),
    )  # fmt: skip
    fleet = replace(SimulatedFleet.uniform(TABLE, replicas), policies=ServingPolicies(routing=routing))
    more = replace(SimulatedFleet.uniform(TABLE, replicas + 1), policies=ServingPolicies(routing=routing))
    few, many = (simulate(one, calls) for one in (fleet, more))
    assert many.attainment(ttft_s=0.5) >= few.attainment(ttft_s=0.5) - SLACK
    assert many.horizon_s <= few.horizon_s * 1.05
