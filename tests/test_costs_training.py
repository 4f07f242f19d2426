"""A training step: what divides, what it takes, what it keeps in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comptroller.costs.deployment import PrecisionRecipe
from comptroller.costs.training_activations import ActivationHabits, layer_activations
from comptroller.costs.training_faults import checkpoint_interval_s, checkpoint_schedule
from comptroller.costs.training_layout import (
    ActivationRecompute,
    LayoutGrid,
    PipelineSchedule,
    StateSharding,
    TrainingLayout,
    require_division,
)
from comptroller.costs.training_memory import stage_memory, training_memory
from comptroller.costs.training_pace import memory_habits, training_pace
from comptroller.costs.training_time import TrainingPace, pass_counts, step_ingredients, training_step_time
from comptroller.costs.training_work import ForwardTable, TrainingJob
from comptroller.errors import InputError, UnknownIdError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.model import DenseFeedForward, LayerBlock, SoftmaxAttention

H100 = accelerator("h100_sxm")
DENSE = ForwardTable(TrainingJob(model("llama_3_1_8b"), H100, 8192))
SPARSE = ForwardTable(TrainingJob(model("qwen3_30b_a3b"), H100, 4096))
IDEAL = TrainingPace(hidden=0.0)


def step_s(table: ForwardTable, layout: TrainingLayout, batch: int = 64, pace: TrainingPace = IDEAL) -> float:
    return float(training_step_time(step_ingredients(table, LayoutGrid.of([layout]), batch), pace).total_s[0])


def test_a_step_takes_its_flops_at_a_rate_below_the_peak() -> None:
    flops = DENSE.job.flops_per_token() * 8192 * 64
    seconds = step_s(DENSE, TrainingLayout(dp=8, micro_batch=1))
    assert 0.3 < flops / seconds / 8 / H100.peak("bf16") < 0.85


def test_matrices_in_eight_bits_take_less_and_attention_does_not() -> None:
    narrow = ForwardTable(replace(DENSE.job, recipe=PrecisionRecipe("fp8_e4m3", "fp8_e4m3", "fp8_e4m3", "bf16")))
    sizes = np.array([1])
    wide, eight = DENSE.seconds((1, 1, 1), sizes)[:, 0], narrow.seconds((1, 1, 1), sizes)[:, 0]
    assert eight[0] < wide[0] and eight[1] == wide[1]


def test_the_bubble_falls_with_chunks_and_with_a_zero_bubble_schedule() -> None:
    whole = TrainingLayout(dp=1, tp=2, pp=4, micro_batch=1)
    times = [
        step_s(DENSE, one, pace=TrainingPace())
        for one in (whole, replace(whole, chunks=4), replace(whole, schedule=PipelineSchedule.ZB_H1))
    ]
    assert times[0] > times[2] > times[1]
    made = step_ingredients(DENSE, LayoutGrid.of([whole]), 64)
    time = training_step_time(made, IDEAL)
    stage = (time.stage_s / 64)[0]
    assert 2 * stage < time.bubble_s[0] <= 3 * stage  # (p - 1) stages, of which the last alone has the head


def test_recomputation_is_one_more_forward_pass() -> None:
    full = TrainingLayout(recompute=ActivationRecompute.FULL)
    counts = pass_counts(LayoutGrid.of([TrainingLayout(), full]))
    assert (counts[0] == [3.0, 4.0]).all()
    assert 1.2 < step_s(DENSE, replace(full, dp=8)) / step_s(DENSE, TrainingLayout(dp=8)) < 4 / 3


def test_full_sharding_sends_in_every_microbatch() -> None:
    made = [
        step_ingredients(DENSE, LayoutGrid.of([TrainingLayout(dp=8, sharding=kind)]), 64)
        for kind in (StateSharding.OPTIMIZER, StateSharding.GRADIENTS, StateSharding.FULL)
    ]
    each, once = [m.gather_s[0] for m in made], [m.reduce_s[0] for m in made]
    assert each[0] == 0 < each[1] < each[2] and once[2] == 0 < once[1] < once[0]


def test_experts_exchange_more_where_they_lie_in_more_places() -> None:
    sizes = np.array([1])
    exchanged = [SPARSE.seconds((1, 1, ep), sizes)[8, 0] for ep in (1, 4, 8)]
    assert exchanged[0] == 0 < exchanged[1] < exchanged[2]


def test_gpt_keeps_thirty_four_bytes_a_hidden_element() -> None:
    gpt = LayerBlock(1, SoftmaxAttention(96, 96, 128), DenseFeedForward(4 * 12288, gated=False))
    plain = layer_activations(gpt, 12288, 2048, ActivationHabits(dropout=True)).whole
    scores = layer_activations(gpt, 12288, 2048, ActivationHabits(score_bytes=5.0, dropout=True)).whole
    assert plain == 34 * 12288  # arXiv 2205.05198, equation 1
    assert scores - plain == 5 * 96 * 2048


def test_states_are_sixteen_to_eighteen_bytes_a_weight_and_shared_out() -> None:
    grid = LayoutGrid.of([TrainingLayout(dp=8, sharding=kind) for kind in StateSharding])
    found = training_memory(DENSE.job, grid, 64)
    params = DENSE.job.model.total_params
    states = found.weights + found.gradients + found.optimizer
    assert states[0] == pytest.approx(18 * params)
    assert states[1] == pytest.approx((6 + 12 / 8) * params)
    assert states[3] < states[2] < states[1]


def test_the_first_stage_holds_a_microbatch_for_every_stage() -> None:
    layouts = [TrainingLayout(dp=1, pp=4), TrainingLayout(dp=1, pp=4, chunks=2), TrainingLayout(dp=1)]
    grid = LayoutGrid.of(layouts)
    memory = stage_memory(DENSE.job, grid, 64, np.zeros_like(grid.pp))
    one = memory.norms + memory.attention + memory.mlp
    found = one + memory.surplus
    assert one[0] == pytest.approx(found[2] / 4) and memory.surplus[2] == 0
    assert found[0] == pytest.approx(found[2])
    assert found[1] == pytest.approx(found[2] * (1 + 3 / 8))


def test_torchtitan_fits_where_it_was_seen_to_fit() -> None:
    layout = TrainingLayout(dp=128, micro_batch=2, sharding=StateSharding.FULL, recompute=ActivationRecompute.SELECTIVE)
    found = training_memory(DENSE.job, LayoutGrid.of([layout]), 256, memory_habits("torchtitan")).total_bytes[0]
    assert found / 2**30 == pytest.approx(62.0, rel=0.1)  # its page of December 2024


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (TrainingLayout(tp=3), "tp = 3 does not divide the 32 heads of llama_3_1_8b (nearest that does: 2)"),
        (TrainingLayout(pp=5), "pp x chunks = 5 divides neither the 32 layers of llama_3_1_8b nor 34"),
        (TrainingLayout(dp=48), "dp x micro_batch = 48 does not divide the 64 sequences of the global batch"),
        (TrainingLayout(ep=2, dp=2), "ep = 2 does not divide the 1 experts"),
        (TrainingLayout(pp=4, chunks=2, dp=32), "chunks = 2: 2 microbatches are no multiple of pp = 4"),
    ],
)
def test_what_does_not_divide_is_named_with_the_nearest_that_does(layout: TrainingLayout, words: str) -> None:
    with pytest.raises(InputError) as caught:
        require_division(DENSE.job.model, layout, 8192, 64)
    assert words in str(caught.value)


def test_an_unknown_program_is_named() -> None:
    with pytest.raises(UnknownIdError, match="megatron"):
        training_pace("megatrom", H100)


def test_the_interval_of_checkpoints_loses_least() -> None:
    best = checkpoint_interval_s(60.0, 86_400.0)

    def goodput(interval: float) -> float:
        fault, restart = 86_400.0, 900.0
        return interval / (fault * np.exp(restart / fault) * np.expm1((interval + 60.0) / fault))

    found = checkpoint_schedule(60.0, 86_400.0, 900.0)
    assert found.goodput == pytest.approx(goodput(best))
    assert found.goodput >= max(goodput(best * 0.9), goodput(best * 1.1))
