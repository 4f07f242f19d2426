"""States and weights outside of devices: every phase takes as long as its slowest resource."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comptroller.costs.training_layout import LayoutGrid, StateSharding, TrainingLayout
from comptroller.costs.training_memory import training_memory
from comptroller.costs.training_offload import OffloadTier
from comptroller.costs.training_time import TrainingPace, TrainingStepTime, step_ingredients, training_step_time
from comptroller.costs.training_work import ForwardTable, TrainingJob
from comptroller.errors import FactError, InfeasibleError, UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.training.document import parse_training
from comptroller.training.planner import plan_training

HERE = TrainingJob(model("llama_3_1_8b"), accelerator("l40s"), 2048)
HOST = OffloadTier(200e9)
STORE = OffloadTier(200e9, 12e9, 6e9)
GRID = LayoutGrid.of([TrainingLayout(dp=8, micro_batch=b, sharding=StateSharding.FULL) for b in (1, 8)])


def steps(tier: OffloadTier | None) -> TrainingStepTime:
    made = step_ingredients(ForwardTable(replace(HERE, offload=tier)), GRID, 64)
    return training_step_time(made, TrainingPace())


def test_a_slower_tier_is_never_faster_and_overlap_never_slower() -> None:
    near, far = steps(HOST).total_s, steps(STORE).total_s
    serial = steps(replace(STORE, overlapped=False)).total_s
    assert (near <= far).all() and (far <= serial).all() and (far < serial).any()


def test_without_limits_only_computing_is_left() -> None:
    endless = replace(HERE.device, host=replace(HERE.device.host, bytes_per_s=1e30))  # type: ignore[type-var]
    job = replace(HERE, device=endless, offload=OffloadTier(1e30))
    found = training_step_time(step_ingredients(ForwardTable(job), GRID, 64), TrainingPace())
    assert found.offload_s.max() == 0.0
    assert (steps(None).offload_s == 0.0).all()


def test_larger_microbatches_hide_more_of_the_traffic() -> None:
    small, large = steps(STORE).offload_s
    assert large < small


def test_a_slow_store_binds_at_its_own_rate() -> None:
    """Of a weight 4 bytes of its gradient are written beside a pass that hides none of them, and 14 of states after it;
    the devices of a node share the writing."""
    found = steps(replace(STORE, write_bytes_per_s=1e9, overlapped=False)).offload_s
    twice = steps(replace(STORE, write_bytes_per_s=5e8, overlapped=False)).offload_s
    written_s = 18 * HERE.model.total_params / 1e9
    assert float(found[0]) >= written_s
    assert float(twice[0] - found[0]) == pytest.approx(written_s, rel=1e-6)


def test_a_slower_memory_costs_what_its_share_takes_and_nothing_where_it_is_hidden() -> None:
    """All in a memory of a quarter of the rate is slower; placed by rate (CXL, arXiv 2507.03305: 97 to 99 % of DRAM
    alone with one card) the two together are no slower than one."""
    serial = replace(HOST, overlapped=False)
    alone = steps(serial).total_s
    placed = steps(replace(serial, far_share=0.2, far_bytes_per_s=50e9)).total_s
    naive = steps(replace(serial, far_share=0.5, far_bytes_per_s=50e9)).total_s
    assert (placed <= alone).all() and (naive > alone).all()
    hidden = steps(replace(HOST, far_share=0.5, far_bytes_per_s=50e9)).total_s
    assert 0.9 < float(steps(HOST).total_s[1] / hidden[1]) <= 1.0
    with pytest.raises(FactError, match="state both"):
        parse_training(document(offload={"host_gb_per_s": 200.0, "far_share": 0.5}))


def test_states_leave_the_device() -> None:
    inside, outside = (training_memory(replace(HERE, offload=tier), GRID, 8) for tier in (None, HOST))
    assert float(inside.optimizer[0]) > 0 and float(outside.optimizer[0]) == float(outside.gradients[0]) == 0
    assert (outside.total_bytes < inside.total_bytes).all()
    assert (outside.mlp == inside.mlp).all()


def document(**changes: Any) -> dict[str, Any]:
    allow = {"accelerators": ["l40s"], "sites": ["us_neocloud"], "devices": [1]}
    run = {
        "model": "llama_3_1_8b", "tokens": 1e7, "seq": 2048, "global_batch": 16, "allow": allow,
        "program": "llm_foundry",
    }  # fmt: skip
    return {"name": "one card", "training": {**run, **changes}}


def test_one_card_trains_what_it_cannot_hold() -> None:
    with pytest.raises(InfeasibleError, match="needs"):
        plan_training(parse_training(document()))
    found = plan_training(parse_training(document(offload={"host_gb_per_s": 200.0})))
    assert found.run.devices == 1 and found.run.step_parts_s["offload"] > 0
    store = {"host_gb_per_s": 200.0, "read_gb_per_s": 6.0, "write_gb_per_s": 3.0}
    assert plan_training(parse_training(document(offload=store))).run.wall_s.value > found.run.wall_s.value


def test_what_is_not_stated_whole_or_not_known_is_refused() -> None:
    with pytest.raises(FactError, match="state both rates"):
        parse_training(document(offload={"host_gb_per_s": 200.0, "read_gb_per_s": 6.0}))
    with pytest.raises(FactError, match="states outside of devices"):
        parse_training(document(offload={"host_gb_per_s": 200.0}, program="megatron_bridge"))
    unknown = replace(HERE, device=replace(HERE.device, host=None), offload=HOST)
    with pytest.raises(UnsupportedError, match="link to the host"):
        step_ingredients(ForwardTable(unknown), GRID, 64)
