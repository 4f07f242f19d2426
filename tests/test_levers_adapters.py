"""LoRA adapters: formulas against draws, memory, steps, loads, choice of the planner, launch lines and documents."""

from __future__ import annotations

import shlex
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.costs.adapters import (
    adapter_bytes,
    adapter_refusal,
    adapter_targets,
    load_s,
    load_s_per_prompt,
    miss_share,
    most_sequences,
)
from comptroller.costs.deployment import AdapterSet, EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import memory, weight_bytes
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.step import ReplicaStep, adapter_popularity, expected_adapters
from comptroller.costs.tabulate import SiteRates, tabulate
from comptroller.errors import FactError, InfeasibleError, UnsupportedError
from comptroller.export import export
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.launch import adapter_words, command
from comptroller.planning.ground.nouns import Deployment
from comptroller.planning.ground.plan_calibration import replica_of_pool
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.offer.split_groups import split_refusal
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.reasons.against import compare
from comptroller.planning.reasons.current_fleet import CurrentFleet, MovingTerms
from comptroller.work.workload import load, parse
from lever_workloads import FEW, problem_of, workload

ROOT = Path(__file__).parents[1]


def replica(
    served: AdapterSet | None, tp: int = 1, name: str = "llama_3_1_8b", engine: str = "vllm", pp: int = 1
) -> ModelReplica:
    settings = replace(EngineSettings.default(engine_facts(engine)), adapters=served, max_batch=64)
    return ModelReplica(model(name), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout(tp, pp), settings)


def step_s(served: AdapterSet | None, batch: float) -> float:
    ready = replica_timer(replica(served), shipped_calibration())
    return float(ready.decode(np.array([batch]), np.array([500.0 * batch])).total_s[0])


@pytest.mark.parametrize(("count", "skew", "sequences"), [(10, 0.0, 8), (100, 1.0, 64), (500, 1.5, 200)])
def test_adapters_in_a_step_are_what_draws_give(count: int, skew: float, sequences: int) -> None:
    drawn = np.random.default_rng(3).choice(count, (2000, sequences), p=adapter_popularity(count, skew))
    different = np.mean([len(np.unique(row)) for row in drawn])
    assert float(expected_adapters(count, skew, sequences)) == pytest.approx(different, rel=0.01)


@pytest.mark.parametrize(("count", "skew", "slots"), [(100, 0.0, 40), (200, 1.0, 30), (50, 2.0, 5)])
def test_misses_are_those_of_slots_that_the_longest_unused_one_leaves(count: int, skew: float, slots: int) -> None:
    held: dict[int, None] = {}
    missed = 0
    asked = np.random.default_rng(5).choice(count, 60_000, p=adapter_popularity(count, skew))
    for name in map(int, asked):
        missed += name not in held
        held.pop(name, None)
        held[name] = None
        if len(held) > slots:
            del held[next(iter(held))]
    assert miss_share(AdapterSet(count, 16, slots, skew)) == pytest.approx(missed / len(asked), abs=0.015)


def test_an_adapter_is_as_large_as_its_matrices() -> None:
    """Counted by hand from the shapes of Llama 3.1 8B: q 4096, k and v 1024, o 4096, gate, up and down of 14336."""
    hidden, kv, wide, rank = 4096, 1024, 14336, 16
    layer = 2 * (hidden + hidden) + 2 * (hidden + kv) + 3 * (hidden + wide)
    ends = 2 * (128_256 + hidden)
    served = AdapterSet(8, rank, 4)
    assert adapter_bytes(replica(served)) == 2 * rank * (32 * layer + ends)
    cut = (hidden * 2 + hidden / 2 + kv) + (hidden / 2 + hidden) + (2 * hidden + wide) + (wide / 2 + hidden)
    cut += hidden  # A of k, v and q stand whole on both devices
    assert adapter_bytes(replica(served, tp=2)) == 2 * rank * (32 * cut + ends)
    assert sum(target.count for target in adapter_targets(model("llama_3_1_8b"), ParallelLayout())) == 4 * 32


def test_slots_lie_beside_weights_and_leave_less_cache() -> None:
    none, few, many = (memory(replica(served)) for served in (None, AdapterSet(64, 16, 8), AdapterSet(64, 16, 64)))
    assert few.weight_bytes == weight_bytes(replica(None)) + 8 * adapter_bytes(replica(AdapterSet(64, 16, 8)))
    assert none.kv_capacity_tokens > few.kv_capacity_tokens > many.kv_capacity_tokens


def test_more_adapters_of_higher_rank_take_longer_steps() -> None:
    for batch in (1.0, 32.0):
        plain = step_s(None, batch)
        steps = [plain] + [step_s(AdapterSet(n, rank, n), batch) for n, rank in ((1, 16), (64, 16), (64, 128))]
        assert all(less <= more for less, more in pairwise(steps)) and steps[0] < steps[1]
    alone = [step_s(AdapterSet(count, 64, count), 1.0) for count in (1, 64)]
    assert alone[0] == pytest.approx(alone[1])  # one sequence uses one adapter, however many there are


def test_work_of_a_step_is_that_of_the_formula() -> None:
    served, batch = AdapterSet(32, 64, 32), 16.0
    with_, without = (replica_timer(replica(one), shipped_calibration()) for one in (served, None))
    step = ReplicaStep.decode(batch, 0.0)
    elements = 64 * 32 * (2 * 8192 + 2 * 5120 + 3 * 18432)
    more = with_.step(step).flops - without.step(step).flops
    assert float(more[0]) == pytest.approx(2 * batch * elements)
    moved = float((with_.step(step).bytes - without.step(step).bytes)[0])
    weights = 2 * elements * float(expected_adapters(32, 0.0, batch))
    vectors = (
        2 * batch * 32 * ((4096 + 6144) + (4096 + 4096) + (4096 + 28672) + (14336 + 4096) + 2 * 64 * (3 + 1 + 2 + 1))
    )
    assert moved == pytest.approx(weights + vectors)


def test_a_step_table_holds_adapters_too() -> None:
    ready = replica_timer(replica(AdapterSet(100, 64, 32)), shipped_calibration())
    table = tabulate(ready, memory(ready.replica), SiteRates(1.0, 1.0, 0.0), 4096)
    told = ready.decode(np.array([32.0]), np.array([32_000.0])).total_s[0]
    assert table.decode_step_s(32, 32_000.0) == pytest.approx(told, rel=0.02)


def test_loads_delay_prompts_and_none_where_all_have_slots() -> None:
    some, every = AdapterSet(100, 64, 25), AdapterSet(100, 64, 100)
    assert load_s_per_prompt(replica(every)) == 0.0
    waits = load_s_per_prompt(replica(some))
    assert waits == pytest.approx(miss_share(some) * load_s(replica(some))) and waits > 1e-4
    prompt = ReplicaStep.prefill(512.0)
    with_, told = (replica_timer(replica(one), shipped_calibration()).step(prompt) for one in (some, every))
    assert float((with_.total_s - told.total_s)[0]) == pytest.approx(waits, rel=0.02)


def test_a_batch_uses_no_more_adapters_than_there_are_slots() -> None:
    served = AdapterSet(100, 16, 20)
    most = most_sequences(served, 512)
    assert float(expected_adapters(100, 0.0, most)) <= 20 < float(expected_adapters(100, 0.0, most + 1))
    assert most_sequences(replace(served, skew=1.5), 512) > most
    assert most_sequences(AdapterSet(100, 16, 1), 512) == 1


def test_what_is_not_modelled_is_refused() -> None:
    served = AdapterSet(4, 16, 4)
    assert adapter_refusal(replica(served)) == ""
    assert "routed experts" in adapter_refusal(replica(served, name="qwen3_30b_a3b"))
    for name in ("deepseek_r1", "qwen3_next_80b_a3b"):
        assert name in adapter_refusal(replica(served, name=name))
    assert "adapters" in split_refusal(replica(served))
    drafts = problem_of({**asked(), "speculation": {"tokens": [2], "acceptance": 0.5}})
    (offers,) = drafts.space.offers.values()
    assert all(item.replica.engine.speculation is None for item in offers.deployments)


def test_launch_lines_name_slots_and_rank_or_refuse() -> None:
    served = AdapterSet(100, 64, 16)
    words = shlex.split(command(replica(served), 4000))
    assert "--enable-lora" in words
    for flag, value in (("--max-loras", "16"), ("--max-lora-rank", "64"), ("--max-cpu-loras", "100")):
        assert words[words.index(flag) + 1] == value
    words = shlex.split(command(replica(served, engine="sglang"), 4000))
    for flag, value in (("--max-loras-per-batch", "16"), ("--max-lora-rank", "64"), ("--max-loaded-loras", "100")):
        assert words[words.index(flag) + 1] == value
    for engine in ("trtllm", "llama_cpp"):
        with pytest.raises(UnsupportedError, match=rf"{engine}: how its command is told to serve many adapters"):
            adapter_words(replica(served, engine=engine).engine)
    assert "lora" not in command(replica(None), 4000)


LEVER = {"count": 40, "rank": 64, "resident": [10, 40], "skew": 1.0}


def asked(**more: Any) -> dict[str, Any]:
    return {**workload(8.0, (600.0, 200.0), 1000.0, 30.0), "adapters": LEVER, **more}


def offered(**more: Any) -> tuple[Deployment, ...]:
    (offers,) = problem_of(asked(**more)).space.offers.values()
    return tuple(offers.deployments)


def test_every_candidate_serves_them_with_each_number_of_slots() -> None:
    found = offered()
    served = [item.replica.engine.adapters for item in found]
    assert {one.resident for one in served if one} == {10, 40} and None not in served
    assert all(".lora" in item.id and "adapters" in item.label for item in found)
    small = next(item for item in found if item.levers.axes["adapters"] == "10 of 40 rank 64")
    assert small.replica.engine.max_batch == most_sequences(AdapterSet(40, 64, 10, 1.0), 1024)


def test_without_a_number_slots_are_all_or_the_halves_that_fit() -> None:
    for count in (40, 2000):
        for item in offered(adapters={"count": count, "rank": 64}):
            served = item.replica.engine.adapters
            assert served is not None
            taken = served.resident * adapter_bytes(item.replica)
            assert served.resident == count or taken > 0.2 * (taken + item.memory.cache_bytes / item.memory.ranks)
            assert taken <= 0.5 * (taken + item.memory.cache_bytes + 1e8)


def test_engines_that_cannot_are_refused_by_name() -> None:
    document = asked()
    document["allow"] = {**document["allow"], "engines": ["trtllm"]}
    with pytest.raises(InfeasibleError, match="trtllm: how its command is told to serve many adapters is not known"):
        problem_of(document)


@pytest.fixture(scope="module")
def served_plan() -> Plan:
    return plan(parse(asked(adapters={**LEVER, "resident": [10]})), rehearsal=FEW, quick=True)


def test_a_plan_tells_slots_and_misses_and_is_exported(served_plan: Plan) -> None:
    (service,) = served_plan.services
    told = service.deployment.engine.adapters
    assert told is not None and (told.count, told.rank, told.resident, told.skew) == (40, 64, 10, 1.0)
    assert "--max-loras 10" in service.launch
    assert any("10 of 40 adapters of rank 64 have slots" in note for note in served_plan.notes)
    assert any("are expected to find no slot" in note and "host" in note for note in served_plan.notes)
    assert "--max-loras 10" in "".join(export("commands", served_plan).values())
    again = replica_of_pool(service.deployment, service.deployment.pools[0], served_plan.library)
    assert again.engine.adapters == AdapterSet(40, 64, 10, 1.0)
    assert served_plan.verification is not None


def test_a_fleet_of_today_that_states_none_is_no_match(served_plan: Plan) -> None:
    problem = problem_of(asked())
    today = CurrentFleet((), problem.workload.library, MovingTerms())
    traffic = traffic_of(problem.workload)
    with pytest.raises(UnsupportedError, match="states no adapters"):
        compare(today, served_plan.services, 1.0, (traffic, problem.goal), shipped_calibration())


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": 5000}, "count"),
        ({"rank": 24}, "rank"),
        ({"resident": [41]}, "resident"),
        ({"skew": -1.0}, "skew"),
    ],
)
def test_bad_input_names_the_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(FactError, match=rf"adapters\.{field}"):
        parse(asked(adapters={**LEVER, **wrong}))


def test_graphs_are_refused_with_the_reason() -> None:
    document = asked()
    document["allow"] = {**document["allow"], "graphs": True}
    with pytest.raises(FactError, match=r"allow\.graphs.*is no choice.*allow\.eager"):
        parse(document)


def test_questions_have_no_adapters() -> None:
    quality = {"evidence": "own", "solve": {"min": 10, "unit": "%"}}
    document = parse({"name": "questions", "rate_per_s": 1.0, "quality": quality})
    with pytest.raises(ValueError, match="named by requests"):
        type(document).model_validate({**document.model_dump(), "adapters": LEVER})


def test_a_workload_without_levers_is_digested_as_if_there_were_none() -> None:
    plain = load(ROOT / "examples" / "chat.toml")
    silent = ("speculation", "prefix", "cache_tier", "adapters", "tenants", "what_if", "calibration")
    hidden: dict[str, Any] = dict.fromkeys((*silent, "usd_per_device_h"), True)
    hidden["allow"] = {
        "pools",
        "routing",
        "chunk_tokens",
        "kv_formats",
        "clock_mhz",
        "power_limit_w",
        "expert_devices",
        "offload_gib",
        "eager",
        "poll_steps",
        "stream_interval",
    }
    assert plain.digest == sha256(plain.model_dump_json(exclude=hidden).encode()).hexdigest()
    with_adapters = plain.model_copy(update={"adapters": parse(asked()).adapters})
    assert with_adapters.digest != plain.digest
