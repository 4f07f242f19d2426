"""Speculative decoding: formula, step model, simulator against it, choice of the planner, launch and documents."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from comptroller.costs.capacity import SlicedLoad, prompts, state
from comptroller.costs.deployment import (
    EngineSettings,
    ModelReplica,
    ParallelLayout,
    PrecisionRecipe,
    SpeculativeDecoding,
)
from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.speculation import speculation_refusal, tokens_per_step
from comptroller.costs.steady import UniformRequests
from comptroller.costs.step import ReplicaStep
from comptroller.costs.tabulate import SiteRates, tabulate
from comptroller.costs.timing import ReplicaTimer, StepTime
from comptroller.errors import FactError, UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.launch import command, speculation_words
from comptroller.planning.ground.plan_calibration import replica_of_pool
from comptroller.planning.planner import shipped_calibration
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.jobs import calls_of
from comptroller.work.trace import RequestTrace
from comptroller.work.workload import parse
from comptroller_lab.published_drafts import BATCHES, published_speedups, speedups
from lever_workloads import cost, planned, problem_of, workload

DRAFT = SpeculativeDecoding(3, 0.8, model("llama_3_2_1b"))
NGRAM = SpeculativeDecoding(3, 0.8)


def replica(name: str = "llama_3_1_70b", tp: int = 4, engine: str = "sglang", **settings: Any) -> ModelReplica:
    chosen = replace(EngineSettings.default(engine_facts(engine)), max_batch=64, **settings)
    return ModelReplica(model(name), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout(tp), chosen)


def timer(drafts: SpeculativeDecoding | None, name: str = "llama_3_1_70b", tp: int = 4) -> ReplicaTimer:
    return replica_timer(replica(name, tp, speculation=drafts), shipped_calibration())


def token_s(drafts: SpeculativeDecoding | None, batch: float, name: str = "llama_3_1_70b") -> float:
    return float(timer(drafts, name).decode_s(np.array([batch]), np.array([1000.0 * batch]))[0])


@pytest.mark.parametrize(("acceptance", "drafted"), [(0.3, 1), (0.8, 4), (0.95, 12)])
def test_tokens_per_step_are_what_draws_give(acceptance: float, drafted: int) -> None:
    kept = (np.random.default_rng(1).uniform(size=(200_000, drafted)) < acceptance).cumprod(axis=1).sum(axis=1)
    assert tokens_per_step(acceptance, drafted) == pytest.approx(1 + kept.mean(), rel=0.01)


def test_a_step_is_drafts_and_one_verification() -> None:
    drafting, batch, kv = timer(DRAFT), np.array([8.0]), np.array([8000.0])
    assert drafting.draft is not None
    verified = drafting.step(ReplicaStep.decode(32.0, 8000.0)).total_s
    drafted = drafting.draft.step(ReplicaStep.decode(8.0, 8000.0)).total_s
    host = [drafting.overheads.total_s(80, count, 1) for count in (32.0, 8.0)]
    whole = verified - host[0] + host[1] + 3 * drafted
    assert drafting.decode_s(batch, kv) == pytest.approx(whole / tokens_per_step(0.8, 3))


def test_it_pays_where_weights_are_read_and_not_where_matrices_are_full() -> None:
    gains = [token_s(None, batch) / token_s(DRAFT, batch) for batch in (1.0, 512.0)]
    assert gains[0] > 1.3 and gains[0] > gains[1]
    assert token_s(SpeculativeDecoding(3, 0.01, DRAFT.draft), 1.0) > token_s(None, 1.0)


def test_experts_make_verification_dearer_at_first_and_then_no_more() -> None:
    """MoESD (arXiv 2505.19645): a few tokens touch as many experts as they choose, many touch all of them anyway."""

    def stretch(name: str, batch: float) -> float:
        one, four = (
            timer(drafts, name).decode(np.array([batch]), np.array([batch])).total_s[0] for drafts in (None, NGRAM)
        )
        return float(four / one)

    moe, dense = "qwen3_30b_a3b", "qwen3_32b"
    assert stretch(moe, 1.0) > stretch(dense, 1.0)
    assert stretch(moe, 64.0) < stretch(moe, 4.0)


def test_speed_ups_of_experts_are_those_of_moesd() -> None:
    """24 peaks measured on A800 (arXiv 2505.19645): levels, order, moderate batches; no constant is fitted to them."""
    told = list(published_speedups())
    curves = [one.predicted(shipped_calibration(), "v0") for one in told]
    measured, found = np.array([one.speedup for one in told]), np.array([curve.max() for curve in curves])
    assert abs(np.median(found / measured - 1)) < 0.2 and (np.abs(found / measured - 1) < 0.4).all()
    assert np.corrcoef(np.log(found), np.log(measured))[0, 1] > 0.9
    assert all(8 <= BATCHES[curve.argmax()] <= 40 and curve[0] < curve.max() > curve[-1] for curve in curves)
    dense = speedups("qwen2_5_14b", 2, SpeculativeDecoding(3, 0.8, model("qwen2_5_0_5b")), shipped_calibration(), "v0")
    assert (np.diff(dense) < 0).all()


def test_an_engine_before_v1_makes_a_sequence_of_each_drafted_token_in_captured_graphs() -> None:
    batch, kv = np.array([16.0]), np.array([16_000.0])

    def verify(generation: str, **settings: Any) -> StepTime:
        one = replica("llama_3_1_8b", 1, "vllm", speculation=NGRAM, generation=generation, **settings)
        return replica_timer(one, shipped_calibration()).decode(batch, kv)

    one = replica("llama_3_1_8b", 1, "vllm", speculation=NGRAM, generation="v0")
    assert one.engine.verify_sequences == 4 == one.engine.verify_tokens
    assert (
        replace(one.engine, eager=True).verify_sequences == 1 == replace(one.engine, generation="v1").verify_sequences
    )
    host = replica_timer(one, shipped_calibration()).overheads
    assert verify("v0").by_name()["overhead"] == pytest.approx(float(host.total_s(32, 64.0, 1)))
    assert verify("v0").by_name()["attention"] > 1.5 * verify("v0", eager=True).by_name()["attention"]


def test_drafts_take_memory() -> None:
    none, ngram, drafted = (memory(replica(speculation=drafts)) for drafts in (None, NGRAM, DRAFT))
    assert drafted.weight_bytes > ngram.weight_bytes == none.weight_bytes
    assert drafted.kv_capacity_tokens < ngram.kv_capacity_tokens


def test_what_is_not_modelled_is_refused() -> None:
    assert speculation_refusal(replica(), DRAFT) == "" == speculation_refusal(replica(), NGRAM)
    assert "vocabulary" in speculation_refusal(replica("qwen3_32b"), DRAFT)
    assert "recurrent" in speculation_refusal(replica("qwen3_next_80b_a3b"), NGRAM)
    assert "pipeline" in speculation_refusal(replace(replica(), layout=ParallelLayout(2, 2)), DRAFT)


def played_token_s(drafts: SpeculativeDecoding | None) -> tuple[float, float]:
    """Seconds per token of 32 requests that decode together: simulated, and of the step model."""
    ready = timer(drafts)
    table = tabulate(ready, memory(ready.replica), SiteRates(1.0, 1.0, 0.0), 4096)
    one = SimulatedReplica(table)
    if drafts:
        one = replace(one, draft_tokens=drafts.tokens, acceptance=drafts.acceptance)
    count = 32
    sizes = np.full(count, 512), np.full(count, 2000)
    trace = RequestTrace(np.zeros(count), *sizes)
    outcome = simulate(SimulatedFleet((SimulatedService("all", (one,)),)), calls_of(trace))
    told = ready.decode_s(np.array([32.0]), np.array([32.0 * 1512]))
    return float(np.mean(outcome.tpot_s)), float(told[0])


@pytest.mark.parametrize("drafts", [None, NGRAM, DRAFT])
def test_the_simulator_decodes_as_the_step_model_says(drafts: SpeculativeDecoding | None) -> None:
    seen, told = played_token_s(drafts)
    assert seen == pytest.approx(told, rel=0.05)


def test_prompts_beside_drafts_take_what_both_models_take() -> None:
    for drafts in (None, NGRAM, DRAFT):
        ready = timer(drafts)
        table = tabulate(ready, memory(ready.replica), SiteRates(1.0, 1.0, 0.0), 4096)
        width = ready.replica.engine.verify_tokens
        tokens, batch = 1024, 16
        mixed = ReplicaStep(*(np.array([x]) for x in (batch * width, batch * 800.0, tokens, 0.0, 1.0)))
        exact = float(ready.step(mixed).total_s[0])
        if ready.draft is not None:
            drafted = ready.draft.decode(np.array([16.0]), np.array([batch * 800.0]))
            prompt = ready.draft.step(ReplicaStep(*(np.array([x]) for x in (0.0, 0.0, tokens, 0.0, 1.0))))
            exact += float(prompt.total_s[0]) + drafts.tokens * float(drafted.total_s[0])
        ours = table.mixed_step_s(tokens + batch * (width - 1), 0.0, batch, batch * 800.0)
        assert ours == pytest.approx(exact, rel=0.12)


def test_steady_state_and_wait_count_steps_and_tokens() -> None:
    load = SlicedLoad(UniformRequests(np.array([1000.0]), np.array([200.0])), np.array([1.0]), 1.0)
    batch = np.array([8.0])
    at = {drafts: state(timer(drafts), load, batch, prompts(timer(drafts), load, batch)) for drafts in (None, DRAFT)}
    assert at[DRAFT].decode_s < at[None].decode_s
    assert at[DRAFT].prompts.solo_s > at[None].prompts.solo_s
    assert at[DRAFT].step_tokens == pytest.approx(tokens_per_step(0.8, 3))


def test_launch_lines_name_drafts_or_refuse() -> None:
    words = shlex.split(command(replica(speculation=DRAFT), 4000))
    assert words[words.index("--speculative-algorithm") + 1] == "STANDALONE"
    assert words[words.index("--speculative-draft-model-path") + 1] == DRAFT.draft.repository  # type: ignore[union-attr]
    assert words[words.index("--speculative-num-draft-tokens") + 1] == "4"
    ngram = shlex.split(command(replica(engine="vllm", speculation=NGRAM), 4000))
    told = json.loads(ngram[ngram.index("--speculative-config") + 1])
    assert told["method"] == "ngram" and told["num_speculative_tokens"] == 3
    later = replace(replica(engine="vllm", speculation=DRAFT).engine, version="0.16")
    assert "draft_model" in str(speculation_words(later)[1])
    with pytest.raises(UnsupportedError, match=r"vllm 0\.12 does not draft with a model"):
        command(replica(engine="vllm", speculation=DRAFT), 4000)
    with pytest.raises(UnsupportedError, match="llama_cpp"):
        speculation_words(replica(engine="llama_cpp", speculation=NGRAM).engine)


def asked(rate: float, tpot: float, **more: Any) -> dict[str, Any]:
    document = workload(rate, (600.0, 300.0), 2000.0, tpot, engines=["sglang"])
    return {**document, "models": ["llama_3_1_70b"], **more}


LEVER = {"draft": "llama_3_2_1b", "tokens": [2, 4], "acceptance": 0.8}


@pytest.mark.slow
def test_it_is_chosen_where_it_is_cheaper_and_stands_in_the_plan() -> None:
    plain, freed = (planned(asked(1.0, 9.0, **more)) for more in ({}, {"speculation": LEVER}))
    assert freed.totals.usd_per_h.value < 0.9 * plain.totals.usd_per_h.value
    (service,) = freed.services
    told = service.deployment.engine.speculation
    assert told is not None and told.draft == "llama_3_2_1b" and told.tokens in (2, 4)
    assert "STANDALONE" in service.launch and ".llama_3_2_1bx" in service.id
    assert any("speculative decoding drafts" in note and "stated acceptance of 0.8" in note for note in freed.notes)
    assert freed.verification is not None and all(item.predicted_s.value <= item.most_s for item in freed.latency)
    again = replica_of_pool(service.deployment, service.deployment.pools[0], freed.library)
    assert again.engine.speculation == SpeculativeDecoding(told.tokens, 0.8, model("llama_3_2_1b"))


@pytest.mark.parametrize("tpot", [14.0, 40.0])
def test_more_choice_costs_no_more(tpot: float) -> None:
    plain, freed = (cost(asked(3.0, tpot, **more)) for more in ({}, {"speculation": LEVER}))
    assert freed <= plain * (1 + 1e-9)


def test_what_cannot_be_launched_is_no_candidate_unless_asked_what_if() -> None:
    engines = {"engines": ["vllm"]}
    for what_if in (False, True):
        document = asked(1.0, 40.0, speculation=LEVER, what_if=what_if)
        document["allow"] = {**document["allow"], **engines}
        (offers,) = problem_of(document).space.offers.values()
        assert any(item.replica.engine.speculation for item in offers.deployments) == what_if


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"acceptance": 1.0}, "acceptance"),
        ({"tokens": []}, "tokens"),
        ({"tokens": [0]}, "tokens"),
        ({"draft": "no"}, "draft"),
    ],
)
def test_bad_input_names_the_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(FactError, match=rf"speculation\.{field}"):
        parse(asked(1.0, 40.0, speculation={**LEVER, **wrong}))
