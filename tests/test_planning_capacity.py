"""Capacity and operating point: Little's law, quantiles against sampling, overload shows as overload."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from comptroller.costs.capacity import LatencyTarget, MixtureSteadyState, SlicedLoad, curve, prompts, state, tail_s
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import memory
from comptroller.costs.operating import operating_point
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.steady import UniformRequests
from comptroller.costs.timing import ReplicaTimer
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.planning.offer.evaluation import ReplicaChunk, ReplicaEvaluator, ReplicaRejection
from comptroller_lab.baseline import BaselineCalibration

LOAD = SlicedLoad(
    UniformRequests(np.array([300.0, 1200.0, 6000.0]), np.array([80.0, 250.0, 600.0])), np.array([3.0, 2.0, 0.5]), 1.0
)
TARGETS = (LatencyTarget("ttft_s", 0.95, 2.0), LatencyTarget("tpot_s", 0.95, 0.05), LatencyTarget("e2e_s", 0.9, 60.0))


@cache
def ready(device: str = "h100_sxm") -> ReplicaTimer:
    engine = replace(EngineSettings.default(engine_facts("vllm")), max_batch=256)
    replica = ModelReplica(model("llama_3_1_8b"), accelerator(device), PrecisionRecipe(), ParallelLayout(), engine)
    return replica_timer(replica, BaselineCalibration.shipped())


def at_batch(*batch: float) -> MixtureSteadyState:
    points = np.array(batch)
    return state(ready(), LOAD, points, prompts(ready(), LOAD, points))


def test_usage_adds_up_to_the_batch() -> None:
    """At usage 1 Little's law holds: requests in flight = rate x output tokens x TPOT."""
    at = at_batch(8.0, 32.0, 128.0)
    rate = at.saturated_per_s
    in_flight = rate * float(LOAD.weight @ LOAD.requests.output_tokens) * at.tpot_s(rate)
    assert in_flight == pytest.approx(at.batch, rel=1e-6)


def test_larger_caps_carry_more_and_later() -> None:
    found = curve(ready(), memory(ready().replica), LOAD, TARGETS)
    assert found is not None
    assert (np.diff(found.rate_per_s, axis=1) > 0).all()
    assert (np.diff(found.latency_s["tpot_s", 0.95]) > 0).all()


def test_a_replica_whose_server_would_refuse_the_longest_request_is_no_candidate() -> None:
    """--max-model-len is the longest request; a cache that holds the mean alone does not start with it."""
    replica = ready("rtx_4090").replica
    held = memory(replica)
    evaluate = ReplicaEvaluator(TARGETS, BaselineCalibration.shipped())
    for longest, fits in ((held.longest_tokens - 16, True), (held.longest_tokens + 16, False)):
        (found,) = evaluate(ReplicaChunk(replace(LOAD, longest_tokens=longest), ((replica, held, None),)))
        assert isinstance(found, ReplicaRejection) != fits
        assert fits or "the longest request has" in found.detail


@pytest.mark.parametrize("target", TARGETS)
def test_quantiles_agree_with_sampling(target: LatencyTarget) -> None:
    """The mixture's quantile equals that of draws from the same waits and slices."""
    at = at_batch(32.0)
    rate = at.saturated_per_s * 0.8
    tpot = at.tpot_s(rate)
    ours = float(tail_s(at, rate, tpot, target)[0])
    if target.quantity == "tpot_s":
        assert ours == pytest.approx(float(tpot[0]))
        return
    rng = np.random.default_rng(1)
    slices = rng.choice(3, size=400_000, p=LOAD.weight)
    wait, used = at.wait_s(rate)
    delayed = rng.uniform(size=slices.size) < used[0]
    drawn = np.where(delayed, rng.exponential(wait[0] / used[0], slices.size), 0.0)
    drawn = drawn + at.first_token_s(tpot)[slices, 0]
    if target.quantity == "e2e_s":
        drawn = drawn + tpot[0] * (LOAD.requests.output_tokens[slices] - 1)
    assert ours == pytest.approx(float(np.quantile(drawn, target.quantile)), rel=0.02)


def test_operating_point_follows_the_rate_until_overload() -> None:
    points = []
    for factor in (0.1, 0.5, 1.0, 2.0, 100.0):
        load = replace(LOAD, rate_per_s=LOAD.rate_per_s * factor)
        points.append(operating_point(ready(), load, TARGETS, 1.2))
    batches = [point.batch for point in points]
    assert batches == sorted(batches)
    assert points[-1].utilisation > 1 and np.isinf(points[-1].tails_s).all()
    idle = points[0].w
    assert idle < points[2].w <= ready().replica.device.tdp_w * 1.2 + 1000


def test_nothing_fits_where_one_request_does_not() -> None:
    long = replace(LOAD, requests=UniformRequests(np.array([9e5] * 3), np.array([10.0] * 3)))
    assert curve(ready("l4"), memory(ready("l4").replica), long, TARGETS) is None
