"""What the simulator does, feature by feature, with numbers that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from comptroller.errors import InputError, RecordError
from comptroller.serving.engine import EngineJob, EventEngine, simulate
from comptroller.serving.fleet import (
    RouterTelemetry,
    ServingPolicies,
    SimulatedFleet,
    SimulatedReplica,
    SimulatedService,
)
from comptroller.serving.jobs import calls_of
from comptroller.serving.state import PoolRole
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace, TracePrefixBlocks
from comptroller_lab.layouts import speculative

TABLE = linear()


def calls(prompt: list[int], output: list[int], **columns: Any) -> CallTable:
    columns.setdefault("arrival_s", [0.0] * len(prompt))
    return CallTable.of(
        columns.pop("names", None), columns.pop("blocks", None), input_tokens=prompt, output_tokens=output, **columns
    )


def one(*replicas: SimulatedReplica, **settings: Any) -> SimulatedFleet:
    return SimulatedFleet((SimulatedService("all", replicas),), **settings)


def test_a_request_alone() -> None:
    """One mixed step, then a decode step for each token after the first."""
    outcome = simulate(one(SimulatedReplica(TABLE)), calls([1000], [11]))
    first = 6e-3 + 1000 * 22e-6
    assert outcome.ttft_s[0] == pytest.approx(first, rel=1e-9)
    assert outcome.e2e_s[0] == pytest.approx(first + 10 * 6.06e-3, rel=1e-9)
    assert outcome.requests.steps[0] == 11
    assert outcome.request_j[0] == pytest.approx(outcome.e2e_s[0] * 1e3, rel=1e-9)
    assert outcome.requests.usd[0] == pytest.approx(outcome.e2e_s[0] * 1e-3, rel=1e-9)


def test_chunks_of_a_long_prompt() -> None:
    outcome = simulate(one(SimulatedReplica(TABLE)), calls([10_000], [1]))
    assert outcome.requests.steps[0] == 3
    assert outcome.ttft_s[0] == pytest.approx(3 * 6e-3 + 10_000 * 22e-6, rel=1e-9)


def test_preemption_recomputes_or_swaps() -> None:
    """Two sequences that outgrow the cache: the later one is set aside and pays for it."""
    small = replace(TABLE, kv_capacity_tokens=512)
    work = calls([200, 200], [200, 200], arrival_s=[0.0, 0.01])
    again = simulate(one(SimulatedReplica(small)), work)
    swapped = simulate(one(SimulatedReplica(small, swap_tokens=10_000)), work)
    assert again.requests.preemptions.tolist() == swapped.requests.preemptions.tolist() == [0, 1]
    assert again.requests.recomputed[1] > 200
    assert again.waste_j[1] > 0
    assert swapped.requests.recomputed[1] == 0
    assert swapped.waste_j[1] > 0, "the step waits for the host link"
    assert again.requests.generated.tolist() == [200, 200]


def test_too_long_is_refused_and_counted() -> None:
    outcome = simulate(one(SimulatedReplica(replace(TABLE, context_tokens=1000))), calls([900, 900], [100, 101]))
    assert outcome.counts() == {"stop": 1, "cancelled": 0, "refused": 1, "unfinished": 0}
    assert outcome.finish == ["stop", "refused"]
    assert outcome.attainment(ttft_s=10.0) == 0.5, "a refused request is a missed one"


def test_prefix_cache_serves_what_was_computed() -> None:
    blocks = (np.array([1, 2, 3, 1, 2, 4]), np.array([0, 3, 6]))
    work = calls([200, 200], [5, 5], arrival_s=[0.0, 1.0], blocks=blocks)
    outcome = simulate(one(SimulatedReplica(TABLE), prefix_block_tokens=64), work)
    assert outcome.requests.cached.tolist() == [0, 128]
    assert outcome.ttft_s[1] == pytest.approx(6e-3 + 72 * 22e-6, rel=1e-9)


def test_prompts_of_one_step_share_what_it_computes() -> None:
    """As vLLM does: a block that is full once the step is over is found by requests that enter the same step."""
    blocks = (np.array([1, 2, 3] * 3), np.array([0, 3, 6, 9]))
    outcome = simulate(one(SimulatedReplica(TABLE), prefix_block_tokens=64), calls([200] * 3, [5] * 3, blocks=blocks))
    assert outcome.requests.cached.tolist() == [0, 192, 192]
    assert outcome.requests.computed.tolist() == [200, 8, 8]


def test_prefix_cache_evicts_the_least_recently_used() -> None:
    """A cache of two blocks beside one request: of three prefixes the oldest is gone when it is asked again."""
    small = replace(TABLE, kv_capacity_tokens=176)
    ids = np.array([10, 20, 30, 20, 10])
    work = calls([65] * 5, [1] * 5, arrival_s=np.arange(5.0), blocks=(ids, np.arange(6)))
    outcome = simulate(one(SimulatedReplica(small), prefix_block_tokens=64), work)
    assert outcome.requests.cached.tolist() == [0, 0, 0, 64, 0]
    assert outcome.meters.evictions.sum() > 0


def test_split_pools_move_the_cache_over_a_link() -> None:
    replicas = SimulatedReplica(TABLE, pool=PoolRole.PROMPT), SimulatedReplica(TABLE, pool=PoolRole.TOKEN)
    outcome = simulate(one(*replicas), calls([1000], [11]))
    move_s = 1000 * 131072 / 200e9
    assert (outcome.requests.prompt_rank[0], outcome.requests.token_rank[0]) == (0, 1)
    assert outcome.e2e_s[0] - outcome.ttft_s[0] == pytest.approx(move_s + 10 * 6.06e-3, rel=1e-9)


def test_a_long_prompt_queue_draws_a_token_replica_in() -> None:
    replicas = SimulatedReplica(TABLE, pool=PoolRole.PROMPT), SimulatedReplica(TABLE, pool=PoolRole.TOKEN)
    outcome = simulate(one(*replicas), calls([4000] * 6, [20] * 6, arrival_s=np.arange(6) * 1e-3))
    assert (outcome.requests.prompt_rank == 1).any()
    assert outcome.counts()["stop"] == 6


def test_a_shared_store_needs_no_transfer() -> None:
    pair = (SimulatedReplica(TABLE, pool=pool, storage=0) for pool in (PoolRole.PROMPT, PoolRole.TOKEN))
    outcome = simulate(one(*pair), calls([1000], [11]))
    assert outcome.ttft_s[0] == pytest.approx(6e-3 + 1000 * 22e-6, rel=1e-9)
    assert outcome.e2e_s[0] - outcome.ttft_s[0] == pytest.approx(10 * 6.06e-3, rel=1e-9)


DRAFT = linear(base_s=5e-4, token_s=1e-6, sequence_s=0.0)


@pytest.mark.parametrize("acceptance", [0.0, 0.5, 0.8, 1.0])
def test_speculation_takes_fewer_steps(acceptance: float) -> None:
    """A step makes (1 - a^(k + 1)) / (1 - a) tokens in the mean, k drafts kept with chance a (Leviathan et al.)."""
    expected = sum(acceptance**kept for kept in range(5))
    outcome = simulate(one(speculative(TABLE, DRAFT, 4, acceptance)), calls([10] * 60, [1001] * 60))
    steps = outcome.requests.steps - 1
    assert steps.mean() == pytest.approx(1000 / expected, rel=0.01, abs=1)
    assert (outcome.requests.generated == 1001).all()
    assert len(set(steps.tolist())) == 1 if acceptance in {0.0, 1.0} else len(set(steps.tolist())) > 20


def test_drafts_are_drawn_by_the_seed() -> None:
    replica, work = speculative(TABLE, DRAFT, 4, 0.7), calls([100] * 20, [300] * 20)
    runs = [simulate(one(replica, policies=ServingPolicies(seed=seed)), work).requests.steps for seed in (1, 1, 2)]
    assert (runs[0] == runs[1]).all() and (runs[0] != runs[2]).any()


def test_what_the_host_cannot_hold_is_recomputed() -> None:
    """Two requests that outgrow the cache: with room on the host nothing is computed twice, with too little all is."""
    small = replace(TABLE, kv_capacity_tokens=1024)
    seen = {}
    for tokens in (0, 300, 10_000):
        seen[tokens] = simulate(one(SimulatedReplica(small, swap_tokens=tokens)), calls([400] * 2, [300] * 2))
    assert all(outcome.requests.preemptions.sum() > 0 for outcome in seen.values())
    recomputed = {tokens: outcome.meters.recomputed_tokens.sum() for tokens, outcome in seen.items()}
    assert recomputed[0] == recomputed[300] > 0 == recomputed[10_000]


def test_ranks_in_lockstep_wait_for_the_slowest() -> None:
    """A short request steps as slowly as the long prompt on the other rank."""
    pair = simulate(one(SimulatedReplica(TABLE, ranks=2)), calls([10, 4000], [2, 1]))
    assert pair.ttft_s[0] == pair.ttft_s[1] == pytest.approx(6e-3 + 4000 * 22e-6, rel=1e-9)
    apart = simulate(one(SimulatedReplica(TABLE), SimulatedReplica(TABLE)), calls([10, 4000], [2, 1]))
    assert apart.ttft_s[0] < 0.1 * pair.ttft_s[0]


def test_services_of_different_kinds_take_their_own_calls() -> None:
    slow = linear(base_s=60e-3)
    fleet = SimulatedFleet(
        (SimulatedService("fast", (SimulatedReplica(TABLE),)), SimulatedService("slow", (SimulatedReplica(slow),)))
    )
    work = calls([10, 10], [2, 2], service=[0, 1], names={"service": ("slow", "fast")})
    outcome = simulate(fleet, work)
    assert outcome.requests.prompt_rank.tolist() == [1, 0]
    assert outcome.e2e_s[0] > 5 * outcome.e2e_s[1]
    with pytest.raises(InputError, match="no service 'other'"):
        simulate(fleet, calls([1], [1], service=[0], names={"service": ("other",)}))


def test_children_wait_for_parents_and_tools() -> None:
    """A call, a tool that takes a second, and the call that needs its answer."""
    work = calls([100, 0, 100], [10, 0, 10], wait_s=[0.0, 1.0, 0.0], parent=[-1, 0, 1])
    outcome = simulate(one(SimulatedReplica(TABLE)), work)
    last = outcome.arrival_s + outcome.e2e_s
    assert outcome.arrival_s[1] == last[0]
    assert last[1] == pytest.approx(last[0] + 1.0)
    assert outcome.arrival_s[2] == last[1]


def test_cancelling_a_parent_cancels_its_children() -> None:
    engine = EventEngine(one(SimulatedReplica(TABLE)))
    engine.submit(calls([100, 100], [500, 10], parent=[-1, 0]))
    engine.advance(0.5)
    engine.cancel(0)
    outcome = engine.run()
    assert outcome.finish == ["cancelled", "cancelled"]
    assert 0 < outcome.requests.generated[0] < 500
    assert outcome.horizon_s < 0.6
    with pytest.raises(InputError, match="no request 9"):
        engine.cancel(9)


def test_advance_returns_at_the_first_watched_end() -> None:
    """A strategy that asks again whenever something ends, until it has enough."""
    engine = EventEngine(one(SimulatedReplica(TABLE)))
    engine.ask([EngineJob(0.0, prompt=50, output=output, predicted=output) for output in (5, 50)])
    ended, moments = [], []
    while (now := engine.advance()).size:
        ended += now.tolist()
        moments.append(engine.now_s)
        if len(ended) < 4:
            engine.ask([EngineJob(engine.now_s, prompt=50, output=5, predicted=5)])
    assert ended[0] == 0
    assert moments == sorted(moments)
    assert sorted(ended) == list(range(5))


def test_samples_over_time_end_at_the_meter() -> None:
    rng = np.random.default_rng(0)
    work = calls([300] * 200, [100] * 200, arrival_s=rng.exponential(0.05, 200).cumsum())
    outcome = simulate(one(SimulatedReplica(TABLE), SimulatedReplica(TABLE)), work, sample_s=0.25)
    joules = np.array([sample.step_j.sum() for sample in outcome.series])
    assert len(outcome.series) == int(outcome.horizon_s / 0.25)
    assert (np.diff(joules) >= 0).all()
    assert joules[-1] <= outcome.meters.step_j.sum()
    assert max(sample.running.sum() for sample in outcome.series) > 5


def test_calls_carry_what_was_predicted() -> None:
    work = calls([100, 5000], [10, 20])
    made = simulate(one(SimulatedReplica(TABLE)), work).calls(work)
    assert made.row(0).finish == "stop"
    assert made.row(0).source == "predicted"
    assert made.row(1).cost.tokens.input == 5000
    assert made["usd"].sum() > 0


def test_a_trace_becomes_calls_with_full_blocks_only() -> None:
    blocks = TracePrefixBlocks(np.array([0, 3, 4]), np.array([1, 2, 3, 9]), 64)
    trace = RequestTrace(np.array([0.0, 1.0]), np.array([130, 10]), np.array([5, 5]), blocks=blocks)
    made = calls_of(trace)
    assert made.blocks(0).tolist() == [1, 2]
    assert made.blocks(1).tolist() == []


def test_bad_rows_are_named_and_nothing_is_simulated() -> None:
    with pytest.raises(RecordError, match="2 bad rows: row 1: arrival_s is -1; row 2: input_tokens is 0"):
        simulate(one(SimulatedReplica(TABLE)), calls([5, 5, 0], [5, 5, 5], arrival_s=[0.0, -1.0, 0.0]))
    with pytest.raises(InputError, match="parent 7 is not among the calls before it"):
        simulate(one(SimulatedReplica(TABLE)), calls([5], [5], parent=[7]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SimulatedFleet(()), "no services"),
        (lambda: SimulatedService("x", (SimulatedReplica(TABLE, pool=PoolRole.PROMPT),)), "come together"),
        (lambda: SimulatedReplica(TABLE, draft_tokens=4, acceptance=1.5), "acceptance 1.5"),
        (lambda: SimulatedReplica(TABLE, swap_tokens=-1), "swap_tokens"),
        (lambda: RouterTelemetry(0.0, 1.0), "needs a period_s"),
        (lambda: ServingPolicies(bound=0.5), "at least 1"),
        (lambda: one(SimulatedReplica(TABLE), prefix_block_tokens=100), "no multiple of 16"),
        (lambda: replace(TABLE, mixed_s=TABLE.mixed_s * 0), "positive time"),
        (lambda: replace(TABLE, pair_knots=TABLE.pair_knots + 1), "first pair knot must be 0"),
    ],
)
def test_bad_input_says_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
