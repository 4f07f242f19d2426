"""What the simulator's benchmarks rest on: recorded runs, SplitwiseSim's table, and the figures they must keep."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import herding  # noqa: E402
import prefix_routing  # noqa: E402
import replay_fit  # noqa: E402
import served  # noqa: E402
import simulate_accuracy  # noqa: E402
import splitwise  # noqa: E402
from comptroller.costs.fitted_calibration import KernelPriors  # noqa: E402
from comptroller.serving.engine import simulate  # noqa: E402
from comptroller.serving.jobs import calls_of  # noqa: E402
from splitwise_table import Timings, read_timings, step_table  # noqa: E402
from vllm_runs import Run, read_run  # noqa: E402

DATA = Path(os.environ.get("COMPTROLLER_DATA", served.ROOT.parent / "shared" / "data"))
RUN = DATA / "serving" / "vllm_run_RTXPRO6000_Llama-3.1-8B.csv"
TABLE = DATA / "serving" / "splitwise_known.csv"
recorded_run = pytest.mark.skipif(not RUN.is_file(), reason="the recorded vLLM run is not here")
latency_table = pytest.mark.skipif(not TABLE.is_file(), reason="SplitwiseSim's table is not here")


@pytest.fixture(scope="module")
def run() -> Run:
    return read_run(RUN)


@pytest.fixture(scope="module")
def timings() -> dict[tuple[str, str], Timings]:
    return read_timings(TABLE)


@recorded_run
def test_a_recorded_run_is_read_with_its_settings(run: Run) -> None:
    assert len(run) == 300
    assert run.replica.engine.max_batch == 128 and run.replica.engine.chunk_tokens == 2048
    assert run.ttft_s[0] == pytest.approx(0.169525, abs=1e-6)
    assert (run.e2e_s > run.ttft_s).all() and (run.tpot_s > 0).all()


@recorded_run
def test_fifty_requests_are_enough_to_predict_the_rest(run: Run) -> None:
    fitted = replay_fit.fit(run, 50)
    rest = slice(50, len(run))
    for line in simulate_accuracy.lines("fitted", fitted.replay(run), run, rest, simulate_accuracy.FITTED_GOALS):
        assert line.met, line


@pytest.mark.slow
@recorded_run
def test_the_fit_sees_no_latency_beyond_the_first_fifty(run: Run) -> None:
    spoilt = replace(run, ttft_s=run.ttft_s.copy(), e2e_s=run.e2e_s.copy())
    spoilt.ttft_s[50:] *= 3
    spoilt.e2e_s[50:] *= 3
    assert replay_fit.fit(spoilt, 50).values == replay_fit.fit(run, 50).values


@pytest.mark.slow
@recorded_run
def test_the_fit_finds_the_parameters_of_a_simulated_server(run: Run) -> None:
    true = (1.1, 0.95, 1.05, 1.0, 1.5e-3, 1.5e-5, 5e-3, 1e-2)
    seen = replay_fit.Fitted(true, ()).replay(run)
    made = replace(run, ttft_s=seen.ttft_s, e2e_s=seen.e2e_s)
    found = replay_fit.fit(made, 50).replay(made)
    assert found.tpot_s[50:].mean() == pytest.approx(made.tpot_s[50:].mean(), rel=0.01)
    assert found.e2e_s[50:].mean() == pytest.approx(made.e2e_s[50:].mean(), rel=0.01)


@recorded_run
def test_kernel_priors_alone_come_within_a_fifth(run: Run) -> None:
    seen = replay_fit.replay(run, KernelPriors())
    for line in simulate_accuracy.lines("prior", seen, run, slice(0, len(run)), {})[:2]:
        assert abs(line.mean) < 0.2


@latency_table
def test_step_tables_repeat_the_measured_medians(timings: dict[tuple[str, str], Timings]) -> None:
    for (model, _), timed in timings.items():
        table = step_table(timed, Timings.decode_at)
        for tokens, seconds in timed.prompt_s.items():
            assert table.mixed_step_s(tokens, 0.0) == pytest.approx(seconds)
        for batch in (1, 2, 4, 8, 32):
            measured = timed.token_s[512, batch, 128]
            assert table.decode_step_s(batch, batch * 576) == pytest.approx(measured, rel=1e-6), model


@latency_table
def test_splitting_carries_more_than_sharing_the_same_machines(timings: dict[tuple[str, str], Timings]) -> None:
    rng = np.random.default_rng(0)
    trace = served.recorded("azure_2023_conv.csv").take(np.sort(rng.integers(0, 19_366, 3_000)))
    load = splitwise.Load("conversation", trace)
    tables = splitwise.tables_of(timings)["measured"]
    together = splitwise.Cluster("together", (splitwise.A100, 70))
    apart = splitwise.Cluster("apart", (splitwise.A100, 22), (splitwise.A100, 48))
    rate = 45.0
    assert splitwise.violation(together, tables, load, rate)
    assert not splitwise.violation(apart, tables, load, rate)


@pytest.mark.skipif(
    not (DATA / "traces" / prefix_routing.TRACES[1]).is_file(), reason="the Mooncake traces are not here"
)
def test_hits_stay_below_the_reuse_and_prefix_routing_hits_more() -> None:
    trace = served.recorded(prefix_routing.TRACES[1])
    assert trace.blocks is not None
    calls, one = calls_of(trace), served.step_table()
    bound = prefix_routing.reuse(calls)
    hits = {}
    for routing in ("least_request", "prefix_match", "prefix_load"):
        outcome = simulate(prefix_routing.fleet(one, 8, routing, trace.blocks.tokens), calls)
        hits[routing] = prefix_routing.line(routing, 8, outcome, calls, trace.blocks.tokens)
    assert all(0 < line.hit <= bound for line in hits.values())
    for aware in ("prefix_match", "prefix_load"):
        assert hits[aware].hit > 2 * hits["least_request"].hit
        assert hits[aware].ttft_mean_s < hits["least_request"].ttft_mean_s


@pytest.mark.skipif(not (DATA / "traces" / herding.TRACE).is_file(), reason="the Azure trace is not here")
def test_stale_telemetry_herds_and_two_choices_herd_less() -> None:
    calls = calls_of(served.recorded(herding.TRACE).scaled(herding.SCALE))
    one = served.step_table()
    fresh, stale = (herding.run(one, calls, "least_request", age_s) for age_s in (0.0, 2.0))
    two = herding.run(one, calls, "power_of_two", 2.0)
    assert stale.ttft_p99_s > 20 * fresh.ttft_p99_s
    assert stale.spread > 3 * fresh.spread
    assert two.ttft_p99_s < stale.ttft_p99_s / 10
