"""Pipeline schedules: bubble and microbatches held, against a pipeline run event by event; the lever in plans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.costs.training_layout import LayoutGrid, PipelineSchedule, StateSharding, TrainingLayout
from comptroller.costs.training_pace import memory_habits
from comptroller.costs.training_schedule import PassSeconds, bubble_share, held_microbatches
from comptroller.costs.training_work import TrainingJob
from comptroller.errors import FactError, InfeasibleError, UnsupportedError
from comptroller.export.runs import export_run
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.training.document import parse_training
from comptroller.training.plan_document import TrainingPlan
from comptroller.training.planner import plan_training
from comptroller.training.stages import memory_by_stage
from pipeline_reference import Orders, by_chunk, idle_s, in_a_v, in_turn, most_held

LENGTHS = st.tuples(st.floats(0.3, 2.0), st.floats(1.0, 3.0), st.floats(0.05, 1.0))
"""Forward; backward for inputs and for weights over it: W <= F <= B, as layers have."""


def orders_of(schedule: PipelineSchedule, devices: int, chunks: int, rounds: int) -> Orders:
    if schedule == PipelineSchedule.ZB_V:
        return in_a_v(devices, rounds)
    if schedule == PipelineSchedule.ZB_H1 or chunks > 1:
        return by_chunk(devices, chunks, rounds, schedule == PipelineSchedule.ZB_H1)
    return in_turn(devices, rounds)


CASES = st.one_of(
    st.tuples(st.just(PipelineSchedule.ONE_EACH), st.integers(1, 4)),
    st.tuples(st.just(PipelineSchedule.ZB_H1), st.integers(1, 4)),
    st.tuples(st.just(PipelineSchedule.ZB_V), st.just(2)),
)


@settings(max_examples=120, deadline=None)
@given(CASES, st.integers(2, 8), st.integers(2, 4), LENGTHS)
def test_bubble_and_microbatches_held_are_those_of_a_pipeline_run_pass_by_pass(
    case: tuple[PipelineSchedule, int], devices: int, turns: int, lengths: tuple[float, float, float]
) -> None:
    schedule, chunks = case
    rounds, forward = turns * devices, lengths[0]
    inputs, weights = forward * lengths[1], forward * lengths[2]
    orders = orders_of(schedule, devices, chunks, rounds)
    whole = forward + inputs + weights
    if schedule == PipelineSchedule.ONE_EACH:
        each = {"F": forward, "B": inputs + weights}
    else:
        each = {"F": forward, "B": inputs, "W": weights}
    idle = idle_s(orders, {kind: seconds / chunks for kind, seconds in each.items()})
    passes = PassSeconds(*(np.array([one]) for one in (forward, inputs, weights)))
    share = bubble_share(np.array([schedule]), passes)[0]
    assert share * (devices - 1) * whole / chunks == pytest.approx(idle, rel=1e-9)
    grid = LayoutGrid.of([TrainingLayout(pp=devices, chunks=chunks, schedule=schedule)] * devices)
    held = held_microbatches(grid, np.full(devices, rounds), np.arange(devices))
    assert (held * chunks).tolist() == [most_held(order) for order in orders]


def test_fewer_microbatches_than_stages_are_all_that_can_be_held() -> None:
    grid = LayoutGrid.of([TrainingLayout(pp=8)] * 8)
    held = held_microbatches(grid, np.full(8, 3), np.arange(8))
    assert held.tolist() == [most_held(order) for order in in_turn(8, 3)]


@pytest.mark.parametrize("schedule", list(PipelineSchedule))
def test_zero_bubble_holds_as_much_on_every_stage_as_the_first_of_one_in_turn(schedule: PipelineSchedule) -> None:
    job = TrainingJob(model("llama_3_1_70b"), accelerator("h100_sxm"), 8192)
    layout = TrainingLayout(dp=4, tp=4, pp=4, chunks=2, sharding=StateSharding.OPTIMIZER, schedule=schedule)
    memory, held = memory_by_stage(job, layout, 64, memory_habits("megatron_bridge"))
    first = memory.norms + memory.attention + memory.mlp + memory.surplus
    if schedule == PipelineSchedule.ONE_EACH:
        assert (np.diff(held) < 0).all() and held[0] == pytest.approx(4 * (1 + 3 / 8))
    else:
        assert held.tolist() == [4.0] * 4 and first == pytest.approx(np.full(4, first[0]))
    head = memory.logits > 0
    assert head.tolist() == [schedule == PipelineSchedule.ZB_V, False, False, schedule != PipelineSchedule.ZB_V]


def document(**changes: Any) -> dict[str, Any]:
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "devices": [64], **changes.pop("allow", {})}
    run = {"model": "llama_3_1_70b", "tokens": 1e11, "seq": 8192, "global_batch": 64, "program": "torchtitan"}
    return {"name": "pipeline", "training": {**run, "layout": {"pp": 4}, "allow": allow, **changes}}


def planned(**changes: Any) -> TrainingPlan:
    return plan_training(parse_training(document(**changes)))


def test_the_search_takes_the_schedule_that_is_fastest_of_those_allowed() -> None:
    found = {name: planned(allow={"schedules": [name]}) for name in ("1f1b", "interleaved", "zb_h1", "zb_v")}
    assert {name: plan.run.layout.schedule for name, plan in found.items()} == {name: name for name in found}
    every = planned(allow={"schedules": list(found)})
    assert every.run.usd.value == min(plan.run.usd.value for plan in found.values())
    assert found["zb_v"].run.layout.chunks == 2 and found["zb_h1"].run.layout.chunks >= 2


def test_the_plan_shows_memory_by_stage_and_part() -> None:
    plan = planned(allow={"schedules": ["1f1b"]})
    assert plan.stages[0].first == 0 and plan.stages[-1].last == 3
    held = [stage.microbatches for stage in plan.stages]
    assert held == sorted(held, reverse=True) and held[-1] == 1
    for stage in plan.stages:
        assert sum(stage.memory_bytes.values()) == pytest.approx(stage.total_bytes, rel=1e-4)
        assert ("logits" in stage.memory_bytes) == (stage.last == 3)
    assert max(stage.total_bytes for stage in plan.stages) == pytest.approx(plan.run.memory_bytes["total"], rel=1e-4)


def test_a_schedule_that_a_program_lacks_is_refused_by_name() -> None:
    with pytest.raises(FactError, match=r"megatron_bridge has no zb_h1.*1f1b, interleaved"):
        parse_training(document(program="megatron_bridge", allow={"schedules": ["zb_h1"]}))
    with pytest.raises(FactError, match="schedules"):
        parse_training(document(allow={"schedules": ["zb_h9"]}))
    with pytest.raises(FactError, match=r"not priced with a compiled loss.*torchtitan"):
        parse_training(document(program="megatron_bridge", compiled_loss=True))


def test_what_does_not_fit_names_the_stage_and_its_largest_parts() -> None:
    with pytest.raises(InfeasibleError) as caught:
        planned(allow={"devices": [8]}, program="megatron_bridge")
    text = str(caught.value)
    assert "whose stage 1 of 4 holds 4 microbatches:" in text and "GB optimiser states" in text


def test_exports_write_the_schedule_or_refuse_it() -> None:
    for name, written in (("zb_h1", "InterleavedZeroBubble"), ("zb_v", "ZBVZeroBubble"), ("1f1b", "1F1B")):
        plan = planned(allow={"schedules": [name]})
        text = export_run("torchtitan", plan)["train.toml"]
        assert f'pipeline_parallel_schedule = "{written}"' in text
        layout = plan.run.layout
        assert f"pipeline_parallel_layers_per_stage = {-(-80 // (layout.pp * layout.chunks))}" in text
    with pytest.raises(UnsupportedError, match=r"has no schedule zb_v; it has 1f1b, interleaved"):
        export_run("megatron", planned(allow={"schedules": ["zb_v"]}))


def test_a_compiled_loss_keeps_fewer_bytes_of_logits() -> None:
    eager, compiled = (planned(allow={"schedules": ["1f1b"]}, compiled_loss=flag) for flag in (False, True))
    assert compiled.stages[-1].memory_bytes["logits"] < eager.stages[-1].memory_bytes["logits"]
    assert 'components = ["model", "loss"]' in export_run("torchtitan", compiled)["train.toml"]
