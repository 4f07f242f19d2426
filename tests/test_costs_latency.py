"""One latency model: predictor, planner, simulator and fit agree where they stand at the same operating point."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.costs.capacity import LatencyTarget, SlicedLoad, curve, prompts, state
from comptroller.costs.closed_loop import ClosedLoop, closed_loop
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.operating import operating_point
from comptroller.costs.prediction import ClosedLoopLoad, ReplicaPredictor
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.serving_time import FirstTokenLatency
from comptroller.costs.steady import UniformRequests
from comptroller.costs.tabulate import SiteRates, tabulate
from comptroller.costs.timing import ReplicaTimer
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.work.call import CallTable

FP8 = PrecisionRecipe("fp8_block", "fp8_block", "fp8_block", "bf16")
SERVERS = {
    "small": ("llama_3_1_8b", "h100_sxm", ParallelLayout(), PrecisionRecipe()),
    "dense": ("llama_3_1_70b", "mi300x", ParallelLayout(2), PrecisionRecipe()),
    "wide": ("qwen3_32b", "b200_sxm", ParallelLayout(2), PrecisionRecipe()),
    "experts": ("deepseek_v3", "h200_sxm", ParallelLayout(1, 1, 8, 8), FP8),
}
ENGINES = ("vllm", "sglang", "trtllm")
LOADS = ((1024.0, 512.0, 1.0), (1024.0, 512.0, 24.0), (9000.0, 150.0, 7.0), (300.0, 1000.0, 64.0))
EXACT = 1e-9

every_server = pytest.mark.parametrize(("server", "engine"), list(product(SERVERS, ENGINES)))


@cache
def ready(server: str, engine: str = "vllm") -> ReplicaTimer:
    name, device, layout, recipe = SERVERS[server]
    replica = ModelReplica(
        model(name), accelerator(device), recipe, layout, EngineSettings.default(engine_facts(engine))
    )
    return replica_timer(replica, FittedCalibration.shipped())


def load(input_tokens: float, output_tokens: float, rate_per_s: float) -> SlicedLoad:
    return SlicedLoad(UniformRequests(np.array([input_tokens]), np.array([output_tokens])), np.array([rate_per_s]), 1.0)


def predicted(timer: ReplicaTimer, input_tokens: float, output_tokens: float, clients: float) -> ClosedLoop:
    asked = ClosedLoopLoad(np.array([input_tokens]), np.array([output_tokens]), np.array([clients]))
    return ReplicaPredictor.shipped().predict(timer.replica, asked).loop


def calm(first: FirstTokenLatency) -> float:
    """Time to the first token where nothing of others is before it."""
    return float((first.total_s - first.wait_s - first.queue_s)[0])


@every_server
@pytest.mark.parametrize(("input_tokens", "output_tokens", "batch"), LOADS)
def test_planner_and_predictor_agree_at_equal_operating_points(
    server: str, engine: str, input_tokens: float, output_tokens: float, batch: float
) -> None:
    """As many in flight, as many prompts of others per step, nobody waiting."""
    timer = ready(server, engine)
    closed = predicted(timer, input_tokens, output_tokens, batch)
    assert closed.first.queue_s[0] == 0
    rate = timer.serving.interference * (batch - 1) / (output_tokens * closed.tpot_s)
    asked, points = load(input_tokens, output_tokens, 1.0), np.array([batch])
    opened = state(timer, asked, points, prompts(timer, asked, points))
    tpot = opened.tpot_s(rate)
    assert tpot == pytest.approx(closed.tpot_s, rel=EXACT)
    assert opened.first_token_s(tpot)[0] == pytest.approx(calm(closed.first), rel=EXACT)
    if batch == 1:
        assert opened.wait_s(rate)[0] == pytest.approx(0.0, abs=1e-12)
        assert opened.first_token_s(tpot)[0] == pytest.approx(closed.ttft_s, rel=EXACT)


@every_server
@pytest.mark.parametrize("rate", [0.02, 0.5, 2.0])
def test_a_plans_operating_point_is_the_closed_loop_of_as_many_requests(server: str, engine: str, rate: float) -> None:
    """A request among L others of an open loop is in the steps of a closed loop of 1 + L clients, crowds apart."""
    timer = ready(server, engine)
    timer = replace(timer, serving=replace(timer.serving, interference=1.0))
    asked = load(2000.0, 300.0, rate)
    point = operating_point(timer, asked, (), 1.0)
    assert point.utilisation < 1
    closed = closed_loop(timer, memory(timer.replica), asked.requests, np.array([1.0 + point.batch]))
    assert point.tpot_s == pytest.approx(float(closed.tpot_s[0]), rel=EXACT)
    assert point.batch == pytest.approx(rate * 300.0 * point.tpot_s, rel=EXACT)
    points = np.array([1.0 + point.batch])
    wait = state(timer, asked, points, prompts(timer, asked, points)).wait_s(np.array([rate]))[0]
    assert point.ttft_s == pytest.approx(calm(closed.first) + float(wait[0]), rel=EXACT)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_curve_reads_the_constants_of_the_engine(engine: str) -> None:
    """A fixed time of the server lies in every TTFT, and in no rate and no TPOT."""
    timer, asked = ready("small", engine), load(1000.0, 200.0, 1.0)
    slow = replace(timer, serving=replace(timer.serving, host_s=timer.serving.host_s + 0.25))
    held = memory(timer.replica)
    targets = tuple(LatencyTarget(name, 0.5, 100.0) for name in ("ttft_s", "tpot_s", "e2e_s"))
    one, other = (curve(each, held, asked, targets) for each in (timer, slow))
    assert one is not None and other is not None
    assert (one.rate_per_s == other.rate_per_s).all()
    assert (one.latency_s["tpot_s", 0.5] == other.latency_s["tpot_s", 0.5]).all()
    for name in ("ttft_s", "e2e_s"):
        assert other.latency_s[name, 0.5] - one.latency_s[name, 0.5] == pytest.approx(0.25, abs=2e-3)


@every_server
def test_a_simulated_request_alone_takes_what_is_predicted(server: str, engine: str) -> None:
    """The step table's steps and what the server adds around them: all of the predictor's but the steps under way."""
    timer = ready(server, engine)
    if timer.replica.layout.dp > 1:
        pytest.skip("a rank of its own table is the planner's")
    table = tabulate(timer, memory(timer.replica), SiteRates(0.0, 1.0, 0.0), 20_000)
    calls = CallTable.of(arrival_s=[0.0], input_tokens=[9000], output_tokens=[150])
    bare = simulate(SimulatedFleet.uniform(table, 1), calls)
    whole = simulate(SimulatedFleet.uniform(replace(table, serving=timer.serving, in_flight=1.0), 1), calls)
    closed = predicted(timer, 9000.0, 150.0, 1.0)
    assert whole.outside_s == pytest.approx(closed.first.outside_s, rel=0.02)
    assert (bare.outside_s == 0).all()
    assert whole.ttft_s - bare.ttft_s == pytest.approx(whole.outside_s, rel=EXACT)
    assert whole.e2e_s - bare.e2e_s == pytest.approx(whole.outside_s, rel=EXACT)
    assert (whole.tpot_s, bare.tpot_s) == (pytest.approx(bare.tpot_s), pytest.approx(closed.tpot_s, rel=0.02))
    assert whole.ttft_s == pytest.approx(closed.ttft_s - closed.first.steps_s, rel=0.03)


@settings(max_examples=40, deadline=None)
@given(
    server=st.sampled_from(sorted(SERVERS)),
    engine=st.sampled_from(ENGINES),
    batch=st.integers(1, 200),
    more=st.integers(1, 200),
    output=st.integers(1, 3000),
)
def test_tokens_take_longer_in_larger_batches(server: str, engine: str, batch: int, more: int, output: int) -> None:
    """In a closed loop, and in an open one at a rate that both carry.

    Not so an open loop of experts: the more of them a batch has touched, the less a prompt beside it adds.
    """
    timer = ready(server, engine)
    requests = UniformRequests(np.full(2, 700.0), np.full(2, float(output)))
    points = np.array([batch, batch + more], float)
    held = replace(memory(timer.replica), kv_capacity_tokens=10**9)
    less, greater = closed_loop(timer, held, requests, points).tpot_s
    assert greater >= less
    asked = load(700.0, float(output), 1.0)
    opened = state(timer, asked, points, prompts(timer, asked, points))
    assert (np.diff(opened.decode_s) > 0).all()
    low, high = opened.tpot_s(0.5 * opened.saturated_per_s.min() * np.ones(2))
    assert high > low or server == "experts"


@settings(max_examples=40, deadline=None)
@given(
    server=st.sampled_from(sorted(SERVERS)),
    engine=st.sampled_from(ENGINES),
    prompt=st.integers(1, 60_000),
    more=st.integers(1, 20_000),
)
def test_first_tokens_come_later_after_longer_prompts(server: str, engine: str, prompt: int, more: int) -> None:
    """At the same batch and time per token; a prompt's own time rises with its length, chunk by chunk."""
    timer = ready(server, engine)
    asked = SlicedLoad(
        UniformRequests(np.array([prompt, prompt + more], float), np.full(2, 100.0)), np.array([1.0, 1.0]), 1.0
    )
    points = np.array([16.0])
    opened = state(timer, asked, points, prompts(timer, asked, points))
    short, long = opened.first_token_s(np.array([0.03]))[:, 0]
    budget = timer.replica.engine.chunk_tokens
    # Chunks are equal: just past a multiple of the budget they are smaller, and smaller matrices are slower per token.
    assert long > short * (1 - 1e-9) or np.ceil(prompt / budget) < np.ceil((prompt + more) / budget)


@pytest.mark.parametrize(
    ("server", "engine", "tpot_s", "ttft_s"),
    [
        (
            "small",
            "vllm",
            [0.00647620903919, 0.0326302175646, 0.125028134853],
            [0.0642578436139, 10.979139228, 2087.10610785],
        ),
        (
            "experts",
            "trtllm",
            [0.0134543492179, 0.0501036489892, 1.63447476728],
            [0.393842617301, 4.28946347933, 2254.86884861],
        ),
    ],
)
def test_the_shipped_predictions_are_those_of_the_fit(
    server: str, engine: str, tpot_s: list[float], ttft_s: list[float]
) -> None:
    """Figures of the predictor as they were when its constants and its residual were fitted (2026-11-30), on lengths as
    InferenceX draws them."""
    inputs, outputs, clients = np.array([1024.0, 8192.0, 20_000.0]), np.array([512.0, 1024.0, 100.0]), (1, 64, 3000)
    found = ReplicaPredictor.shipped().predict(
        ready(server, engine).replica, ClosedLoopLoad(inputs, outputs, np.array(clients, float))
    )
    assert found.tpot_s.value == pytest.approx(tpot_s, rel=EXACT)
    assert found.ttft_s.value == pytest.approx(ttft_s, rel=EXACT)
