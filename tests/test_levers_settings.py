"""Budgets of a step with prompts and formats of the cache as choices, and how levers are named."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from comptroller.costs.deployment import AdapterSet, ClockSetting, SpeculativeDecoding
from comptroller.costs.split_pools import PoolRatio, SplitPools
from comptroller.errors import FactError, InfeasibleError
from comptroller.facts.config import model
from comptroller.planning.ground.deployment_levers import DeploymentLevers
from comptroller.planning.prove.services import launch_of
from comptroller.work.workload import parse
from lever_workloads import cost, problem_of, workload


def asked(**allow: Any) -> dict[str, Any]:
    return workload(8.0, (3000.0, 200.0), 1500.0, 9.0, **allow)


def test_other_chunks_are_candidates_and_stand_in_the_line() -> None:
    (offers,) = problem_of(asked(chunk_tokens=[512])).space.offers.values()
    small = [item for item in offers.deployments if item.chunk_tokens]
    assert len(small) == len(offers.deployments) / 2
    for item in small:
        words = shlex.split(launch_of(item, 4000))
        assert words[words.index("--max-num-batched-tokens") + 1] == "512"
        assert ".c512." in item.id and "chunks of 512" in item.label and not item.levers.is_plain


def test_more_choice_costs_no_more() -> None:
    chunks = [cost(asked(chunk_tokens=list(sizes))) for sizes in ((), (2048,), (2048, 512))]
    assert chunks[0] >= chunks[1] >= chunks[2]
    caches = [cost(asked(kv_formats=list(names))) for names in (("bf16",), ("bf16", "fp8_e4m3"))]
    assert caches[0] >= caches[1]


def test_the_engines_own_budget_is_no_lever() -> None:
    (offers,) = problem_of(asked(chunk_tokens=[8192])).space.offers.values()
    assert all(item.levers.is_plain for item in offers.deployments)


def test_caches_are_in_the_formats_that_are_named() -> None:
    (offers,) = problem_of(asked(kv_formats=["fp8_e4m3"])).space.offers.values()
    assert {item.replica.recipe.kv for item in offers.deployments} == {"fp8_e4m3"}
    with pytest.raises(InfeasibleError, match="not known to keep its cache in nvfp4"):
        problem_of(asked(kv_formats=["nvfp4"]))


def test_each_lever_has_a_name() -> None:
    none = DeploymentLevers(None, None, None)
    drafts = SpeculativeDecoding(3, 0.5, model("llama_3_2_1b"))
    every = DeploymentLevers(
        SplitPools(PoolRatio(2, 1), 1e-6), 512, drafts, AdapterSet(100, 16, 32), ClockSetting(1.2e9), 4 * 2.0**30, True,
        10, 20,
    )  # fmt: skip
    assert (none.is_plain, none.suffix, none.label) == (True, "", "")
    assert (every.is_plain, every.suffix) == (
        False,
        ".2p1d.llama_3_2_1bx3.lora32of100r16.c512.eager.poll10.piece20.off4.1200mhz",
    )
    assert set(none.axes) == set(every.axes) and all(none.axes[axis] != every.axes[axis] for axis in none.axes)


@pytest.mark.parametrize(
    ("wrong", "field"), [({"chunk_tokens": [8]}, "chunk_tokens"), ({"kv_formats": ["no"]}, "kv_formats")]
)
def test_bad_input_names_the_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(FactError, match=rf"allow\.{field}"):
        parse(asked(**wrong))
