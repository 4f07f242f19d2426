"""Calls on one question share what they begin with: counted by hand, in the steady state, and in the simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.costs.capacity import SlicedLoad, prompts
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.steady import UniformRequests
from comptroller.errors import UnsupportedError
from comptroller.export import export, targets
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.reader import folder
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.prove.question_draws import QuestionDraws
from comptroller.planning.prove.services import SHARING, cached_share
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.prefixes import CallTokenCounts, QuestionPrefixIndex
from comptroller.strategies.protocol import Ask, Reply
from comptroller.work.prefix_sharing import whole_blocks
from comptroller.work.workload import parse


def text(prompt: float, output: float, reasoning: float = 0.0) -> CallTokenCounts:
    return CallTokenCounts.of(
        Reply(Ask(), "stop", cost=Cost(tokens=TokenCounts(prompt, output=output, reasoning=reasoning)))
    )


def test_of_four_samples_three_find_the_prompt() -> None:
    seen = QuestionPrefixIndex()
    found = [seen.add(ask, "m", text(400, 90))[1] for ask in Ask(content="q").times(4)]
    assert found == [0, 400, 400, 400]
    assert whole_blocks(np.array(found), np.full(4, 400.0), 16).tolist() == [0, 384, 384, 384]


@pytest.mark.parametrize(
    ("made", "player", "prompt", "common"),
    [
        (text(400, 90), "m", 520, 490),
        (text(400, 90), "m", 480, 400),
        (text(400, 90), "m", 300, 0),
        (text(400, 20, 70), "m", 520, 400),
        (text(400, 90), "other", 520, 0),
    ],
    ids=["goes on", "too short for the reply", "too short for the prompt", "earlier thinking", "another model"],
)
def test_what_follows_a_reply_begins_with_it(made: CallTokenCounts, player: str, prompt: float, common: float) -> None:
    seen, first = QuestionPrefixIndex(), Ask(content="q")
    seen.add(first, "m", made)
    check = Reply(Ask("checker", after=Reply(first, "stop")), "stop")
    assert seen.add(Ask("reviser", after=check), player, text(prompt, 10))[1] == common


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2000)), max_size=12), st.sampled_from([16, 32]))
def test_never_more_is_cached_than_was_asked(asked: list[tuple[int, int]], block: int) -> None:
    seen, replies = QuestionPrefixIndex(), [None, Reply(Ask(), "stop")]
    for kind, prompt in asked:
        ask = Ask(content=str(kind), after=replies[-1] if kind == 3 else None)
        common = seen.add(ask, "m", text(prompt, 40))[1]
        cached = whole_blocks(np.array([common]), np.array([float(prompt)]), block)[0]
        assert 0 <= cached <= max(prompt - 1, 0) and cached % block == 0
        replies.append(Reply(ask, "stop"))


def load(cached: float) -> SlicedLoad:
    sizes = np.array([300.0, 1200.0, 6000.0])
    return SlicedLoad(UniformRequests(sizes, np.array([80.0, 250.0, 600.0]), cached * sizes), np.ones(3), 1.0)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_cached_prompt_takes_less_where_the_engine_shares_it(engine: str) -> None:
    parts = PrecisionRecipe(), ParallelLayout(tp=4), EngineSettings.default(engine_facts(engine))
    ready = replica_timer(ModelReplica(model("llama_3_1_70b"), accelerator("h100_sxm"), *parts), shipped_calibration())
    batch = np.array([1.0, 16.0, 64.0])
    whole, none, most = (
        prompts(ready, each, batch)
        for each in (replace(load(0), requests=UniformRequests(*_sizes())), load(0.0), load(0.9))
    )
    np.testing.assert_array_equal(whole.marginal_s, none.marginal_s)
    if engine == "vllm":
        assert (most.marginal_s[1:] < 0.5 * whole.marginal_s[1:]).all(), "a decode step reads the weights anyway"
    else:
        np.testing.assert_array_equal(most.marginal_s, whole.marginal_s)


def _sizes() -> tuple[np.ndarray, np.ndarray]:
    return load(0.0).requests.input_tokens, load(0.0).requests.output_tokens


def test_recurrent_models_share_nothing() -> None:
    engine = EngineSettings.default(engine_facts("vllm"))
    for name, block in (("llama_3_1_8b", 16), ("qwen3_next_80b_a3b", 0)):
        assert (
            ModelReplica(
                model(name), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout(), engine
            ).prefix_block_tokens
            == block
        )


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Long prompts and short answers, of which three of four samples are right where one alone is wrong."""
    rows = []
    for number, sample in product(range(20), (None, 0, 1, 2, 3)):
        right = number < 10 if sample is None else sample > 0
        asked = {"question": f"q{number}", "model": "small", "input_tokens": 3000.0, "output_tokens": 60.0}
        drawn = {"sample": sample or 0, "temperature": 0.0 if sample is None else 1.0}
        rows.append(asked | drawn | {"answer": "yes" if right else "no", "score": float(right)})
    file = tmp_path_factory.mktemp("prefixes") / "samples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "name": "four",
        "rate_per_s": 20.0,
        "objectives": {"ttft": {"p": 95.0, "max": 2.0, "unit": "s"}},
        "quality": {
            "evidence": str(file),
            "solve": {"min": 90, "unit": "%"},
            "strategies": ["sample_and_vote(n=4)"],
            "models": {"small": "llama_3_1_8b"},
            "routes": ["own"],
        },
        "allow": {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "engines": ["vllm"], "formats": ["fp8_e4m3"]},
    }


def posed(document: dict[str, Any]) -> PlanningProblem:
    return pose_problem(parse(document), shipped_calibration())


def test_shared_prompts_are_cheaper_and_found_as_often_as_reckoned(document: dict[str, Any], tmp_path: Path) -> None:
    problem = posed(document)
    best = problem.search.solve(problem.goal)
    apart = tmp_path / "vllm_apart.toml"
    apart.write_text(
        (folder("engines") / "vllm.toml").read_text().replace("prefix_block_tokens = 16\n", 'program = "vllm"\n')
    )
    alone = posed({**document, "allow": {**document["allow"], "engines": [str(apart)]}})
    assert best.objective < 0.7 * alone.search.solve(alone.goal).objective
    (number,) = best.units
    reckoned = cached_share(problem, number, best.calls_per_s[number][0])
    assert reckoned == pytest.approx(0.75 * (2992 / 3000), rel=1e-9)
    draws = QuestionDraws(problem, best, shipped_calibration(), RehearsalSettings(draws=2))
    played = draws.played(best, problem.goal, 0)
    results = played.outcome.requests
    found = results.cached.sum() / (results.cached.sum() + results.computed.sum())
    assert found == pytest.approx(reckoned, abs=0.05)


@pytest.mark.slow
def test_the_plan_names_the_routing_that_was_simulated_and_is_exported(document: dict[str, Any]) -> None:
    found = plan(parse(document), rehearsal=RehearsalSettings(draws=2))
    assert found.verification is not None and found.classes[0].strategy == "sample_and_vote(n=4)"
    assert {dict(one.deployment.policies)["routing"] for one in found.services} == {SHARING}
    refused = {}
    for target in targets():
        try:
            assert export(target, found)
        except UnsupportedError as error:
            refused[target] = str(error)
    refused.pop("leader_worker_set", None)  # no replica spans nodes
    assert all(SHARING in text for text in refused.values()), refused  # routers of their own
    assert {"commands", "kubernetes", "ray_serve", "skypilot"} & set(targets()) and len(refused) <= 4
    once = {**document["quality"], "strategies": ["once"], "solve": {"min": 40, "unit": "%"}}
    single = plan(parse({**document, "quality": once}), rehearsal=None)
    assert {dict(one.deployment.policies)["routing"] for one in single.services} == {"least_request"}
