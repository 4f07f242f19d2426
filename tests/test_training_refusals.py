"""What a plan of training refuses, and what it says would do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from comptroller.errors import FactError, InfeasibleError, InputError
from comptroller.training.document import parse_training
from comptroller.training.planner import plan_training
from comptroller.work.loss_laws import loss_law


def document(allow: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    places = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], **(allow or {})}
    run = {"model": "llama_3_1_8b", "tokens": 1e11, "seq": 8192, "global_batch": 128, "allow": places}
    return {"name": "x", "training": {**run, **changes}}


@pytest.mark.parametrize(
    ("layout", "number", "near"),
    [({"cp": 3}, "cp = 3 does not divide the 8192 tokens", 2), ({"tp": 3}, "tp = 3 does not divide the 32 heads", 2),
     ({"pp": 7}, "pp x chunks = 7 divides neither the 32 layers", 8)],
)  # fmt: skip
def test_a_degree_that_does_not_divide_is_told_with_the_nearest_that_does(
    layout: dict[str, int], number: str, near: int
) -> None:
    with pytest.raises(InputError, match=rf"{number}.*nearest that does: {near}\)"):
        plan_training(parse_training(document(layout=layout)))
    plan_training(parse_training(document({"devices": [64]}, layout={next(iter(layout)): near})))


@pytest.mark.parametrize(
    ("program", "layout"),
    [("megatron_bridge", {"sharding": "optimizer", "tp": 2}), ("llm_foundry", {"sharding": "gradients"}),
     ("torchtitan", {"sharding": "full", "recompute": "selective"}), ("torchtitan", {"cp": 2, "recompute": "none"}),
     ("megatron_deepspeed", {"sharding": "none", "tp": 8, "pp": 2})],
)  # fmt: skip
def test_stated_sharding_and_recomputation_are_kept(program: str, layout: dict[str, Any]) -> None:
    kept = plan_training(parse_training(document({"devices": [64]}, program=program, layout=layout))).run.layout
    assert {name: getattr(kept, name) for name in layout} == layout


@pytest.mark.parametrize(
    ("program", "layout", "told"),
    [("megatron_bridge", {"sharding": "gradients"}, "layout.sharding: .*allowed: optimizer, full"),
     ("megatron_bridge", {"sharding": "full", "pp": 2}, "layout.sharding: .* in a pipeline"),
     ("torchtitan", {"sharding": "optimizer"}, "layout.sharding: .*allowed: full"),
     ("llm_foundry", {"recompute": "selective"}, "layout.recompute: .*allowed: none, full"),
     ("llm_foundry", {"tp": 2}, "layout.tp: .*allowed: 1"), ("megatron_deepspeed", {"cp": 2}, "layout.cp: ")],
)  # fmt: skip
def test_a_layout_that_a_program_does_not_have_is_refused_by_name(
    program: str, layout: dict[str, Any], told: str
) -> None:
    with pytest.raises(FactError, match=told):
        parse_training(document(program=program, layout=layout))


def test_a_deadline_of_seconds_is_told_in_seconds() -> None:
    with pytest.raises(InfeasibleError, match="deadline of 30 s: the least time is"):
        plan_training(parse_training(document({"devices": [64]}, deadline={"max": 30, "unit": "s"})))


def test_a_number_of_devices_that_nothing_divides_is_told_with_the_nearest() -> None:
    with pytest.raises(InfeasibleError, match=r"nearest number of devices that does: 8\)"):
        plan_training(parse_training(document({"devices": [7]})))


def test_what_binds_is_what_more_of_would_help() -> None:
    hour = {"max": 1, "unit": "h"}
    with pytest.raises(InfeasibleError, match="16,384 devices, the most that are tried"):
        plan_training(parse_training(document(deadline=hour)))
    with pytest.raises(InfeasibleError, match="the cap of 512 h100_sxm"):
        plan_training(parse_training(document(deadline=hour, caps={"h100_sxm": 512})))


def test_a_unit_that_is_no_time_is_told_with_those_that_are() -> None:
    with pytest.raises(FactError, match="days, week, weeks"):
        parse_training(document(deadline={"max": 1, "unit": "kg"}))


def test_a_parameter_without_a_limit_is_told_as_a_number() -> None:
    law = loss_law("filtering")
    assert np.isfinite(law.values(np.array([1.0, 0.3, 0.5, 5000.0]))["half_life"])
