"""Prefill and decode in pools of their own: the steady state, the choice, its proof, its launch."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest

from comptroller.costs.capacity import LatencyTarget, SlicedLoad
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import kv_bytes_per_token, memory
from comptroller.costs.operating import operating_point
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.split_pools import (
    PoolRatio,
    SplitPools,
    SplitSteadyState,
    prompt_pool_replica,
    split_curve,
    split_state,
)
from comptroller.costs.steady import UniformRequests, prefill_time
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer
from comptroller.errors import FactError, InputError, UnsupportedError
from comptroller.export import export
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.launch import ServingPhase, command, line
from comptroller.planning.offer.split_groups import split_refusal
from comptroller.planning.planner import shipped_calibration
from comptroller.work.workload import parse
from lever_workloads import cost, planned, problem_of, workload

FP8 = PrecisionRecipe("fp8_e4m3", "fp8_e4m3", "fp8_e4m3", "bf16")
TARGETS = (LatencyTarget("ttft_s", 0.95, 1.0), LatencyTarget("tpot_s", 0.95, 0.02))


def ready(name: str = "llama_3_1_8b", device: str = "h100_sxm", engine: str = "vllm") -> ReplicaTimer:
    settings = EngineSettings.default(engine_facts(engine))
    replica = ModelReplica(model(name), accelerator(device), FP8, ParallelLayout(), settings)
    return replica_timer(replica, shipped_calibration())


def one_size(rate: float = 1.0, tokens_in: float = 4096.0, tokens_out: float = 101.0) -> SlicedLoad:
    return SlicedLoad(UniformRequests(np.array([tokens_in]), np.array([tokens_out])), np.array([rate]), 1.0)


def group(text: str, bytes_per_s: float = 50e9) -> SplitPools:
    return SplitPools(PoolRatio.of(text), kv_bytes_per_token(ready().replica) / bytes_per_s)


def at(text: str, batch: float = 16.0) -> SplitSteadyState:
    return split_state(ready(), one_size(), np.array([batch]), group(text))


def test_each_pool_carries_its_own_phase_alone() -> None:
    one, timer = at("1P1D"), ready()
    alone = prefill_time(replace(timer, replica=prompt_pool_replica(timer.replica)), np.array([4096.0]))
    assert one.prompts.solo_s[0, 0] == pytest.approx(float(alone.total_s[0]))
    step = timer.step(ReplicaStep.decode(16.0, 16.0 * 4146.5)).total_s
    assert one.decode_s == pytest.approx(step)
    assert one.decode_per_s == pytest.approx(16.0 / (100.0 * step), rel=1e-6)
    assert at("1P3D").decode_per_s == pytest.approx(3 * one.decode_per_s)
    assert at("2P1D").prefill_share(np.array([4.0])) == pytest.approx(one.prefill_share(np.array([4.0])) / 2)


def test_the_cache_crosses_the_link_before_the_second_token() -> None:
    slow, fast = (split_state(ready(), one_size(), np.array([16.0]), group("1P1D", rate)) for rate in (1e9, 1e12))
    moved = 4096.0 * kv_bytes_per_token(ready().replica)
    assert slow.move_s == pytest.approx(moved / 1e9)
    rate = np.array([1.0])
    assert slow.tpot_s(rate) - fast.tpot_s(rate) == pytest.approx((moved / 1e9 - moved / 1e12) / 100.0)
    assert slow.first_token_s(rate) == pytest.approx(fast.first_token_s(rate))


def test_prompts_delay_no_token() -> None:
    assert at("1P1D").tpot_s(np.array([0.1])) == at("1P1D").tpot_s(np.array([5.0]))


def test_the_prefill_pool_is_filled_as_far_as_its_latency_was_evaluated() -> None:
    timer, load = ready(), one_size(10.0)
    found = split_curve(timer, memory(timer.replica), load, TARGETS, group("1P5D"))
    assert found is not None and found.prompts_per_s is not None
    usual = found.usual
    assert found.prompts_per_s[0] == pytest.approx(np.minimum(usual.saturated_per_s, found.prompts_per_s[0]))
    assert (usual.saturated_per_s <= found.rate_per_s[0] * (1 + 1e-9)).all()
    assert np.isfinite(found.latency_s["ttft_s", 0.95]).all()


def test_overload_of_either_pool_is_seen() -> None:
    timer = ready()
    few = operating_point(timer, one_size(1.0), TARGETS, 1.0, group("1P1D"))
    prompts = operating_point(timer, one_size(200.0, 4096.0, 2.0), TARGETS, 1.0, group("1P5D"))
    assert few.utilisation < 1 and all(np.isfinite(few.tails_s))
    assert prompts.utilisation > 1 and not np.isfinite(prompts.tails_s[0])


def test_ratios_are_spelled() -> None:
    assert str(PoolRatio.of("3p2d")) == "3P2D"
    for wrong in ("3P", "0P1D", "P1D", "1D1P"):
        with pytest.raises(InputError, match="pools"):
            PoolRatio.of(wrong)


def test_what_cannot_hand_caches_on_is_refused_by_name() -> None:
    assert split_refusal(ready().replica) == ""
    assert "llama_cpp" in split_refusal(ready(engine="llama_cpp").replica)
    assert "no network" in split_refusal(replace(ready().replica, device=accelerator("rtx_4090")))
    assert "recurrent" in split_refusal(replace(ready().replica, model=model("qwen3_next_80b_a3b")))
    with pytest.raises(UnsupportedError, match="llama_cpp"):
        command(ready(engine="llama_cpp").replica, 4000, ServingPhase.PREFILL)
    assert line(ready(engine="trtllm").replica, 4000, ServingPhase.DECODE).startswith("# what-if")


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_line_for_each_pool(engine: str) -> None:
    replica = ready(engine=engine).replica
    lines = [shlex.split(command(replica, 4000, phase)) for phase in ServingPhase]
    assert len({tuple(words) for words in lines}) == 3 and len(lines[0]) < len(lines[1])


LONG = (20.0, (3000.0, 300.0), 1500.0, 10.0)


@pytest.mark.slow
def test_pools_apart_are_chosen_where_they_are_cheaper() -> None:
    plain, freed = (planned(workload(*LONG, pools=pools)) for pools in (["mixed"], ["mixed", "split"]))
    assert freed.totals.usd_per_h.value < 0.9 * plain.totals.usd_per_h.value
    (service,) = freed.services
    prefill, decode = service.deployment.pools
    assert (prefill.phase, decode.phase) == ("prefill", "decode")
    assert f"{prefill.replicas}P{decode.replicas}D" == "2P3D" and service.usd_per_h == freed.totals.usd_per_h.value
    assert freed.totals.devices == prefill.replicas + decode.replicas
    assert freed.verification is not None and all(item.predicted_s.value <= item.most_s for item in freed.latency)
    producer, consumer = service.launch.splitlines()
    assert json.loads(shlex.split(producer)[-1])["kv_role"] == "kv_producer" and "2048" in producer
    assert json.loads(shlex.split(consumer)[-1])["kv_role"] == "kv_consumer"
    assert any("prefill and decode run apart (2P3D)" in note for note in freed.notes)
    assert ("pools", "2P3D") in [(item.axis, item.without) for item in freed.runners_up]
    with pytest.raises(UnsupportedError, match="prefill and decode run in pools of their own"):
        export("kubernetes", freed)


@pytest.mark.parametrize("rate", [3.0, 9.0])
@pytest.mark.parametrize("sizes", [(300.0, 200.0), (3000.0, 60.0)])
def test_more_choice_costs_no_more(rate: float, sizes: tuple[float, float]) -> None:
    plain, freed = (cost(workload(rate, sizes, 1200.0, 14.0, pools=p)) for p in (["mixed"], ["mixed", "split"]))
    assert freed <= plain * (1 + 1e-9)


def test_only_split_pools_may_be_allowed() -> None:
    problem = problem_of(workload(3.0, (1000.0, 100.0), 2000.0, 30.0, pools=["split"]))
    (offers,) = problem.space.offers.values()
    assert offers.deployments and all(item.pools is not None for item in offers.deployments)
    assert len({item.id for item in offers.deployments}) == len(offers.deployments)


def test_the_fuller_pool_says_how_busy_a_service_is() -> None:
    problem = problem_of(workload(3.0, (3000.0, 60.0), 2000.0, 30.0, pools=["split"]))
    fleet = problem.search.solve(problem.goal)
    (model_number,) = fleet.units
    plan_rows = np.flatnonzero(fleet.units[model_number][0])
    (offers,) = problem.space.offers.values()
    rate, column = offers.table.best(problem.goal.targets)
    row = int(plan_rows[0])
    assert (offers.table.prefill_per_s[row, :, column[row]] < rate[row]).any()


def test_pools_are_checked() -> None:
    for wrong in ([], ["apart"]):
        with pytest.raises(FactError, match=r"allow\.pools"):
            parse(workload(*LONG, pools=wrong))
