"""Experts of a training run: padding, balance and what is kept, against tokens dealt at random and published bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from comptroller.costs.expert_rows import ExpertRows, expert_tokens, row_factor
from comptroller.costs.training_activations import ActivationHabits, layer_activations, undivided_activations
from comptroller.costs.training_layout import LayoutGrid, TrainingLayout
from comptroller.errors import FactError, InputError, UnsupportedError
from comptroller.export.runs import export_run
from comptroller.facts.config import model
from comptroller.facts.model import DenseFeedForward, LayerBlock, MixtureOfExperts, SoftmaxAttention
from comptroller.training.document import parse_training
from comptroller.training.plan_document import TrainingPlan
from comptroller.training.planner import plan_training


@pytest.mark.parametrize(("mean", "tile"), [(1000, 128), (300, 64), (400, 128)])
def test_padding_to_tiles_is_that_of_tokens_dealt_at_random(mean: int, tile: int) -> None:
    rng = np.random.default_rng(1)
    dealt = rng.poisson(mean * rng.gamma(11.0, 1 / 11.0, 200_000))  # experts differ by three tenths
    padded = (np.ceil(dealt / tile) * tile).mean() / dealt.mean()
    assert row_factor(ExpertRows(tile=tile), [mean])[0] == pytest.approx(padded, rel=0.03)


def test_a_capacity_stands_for_itself_and_rounding_pads_nothing() -> None:
    tokens = [10.0, 1e4]
    assert row_factor(ExpertRows(capacity=1.25), tokens).tolist() == [1.25, 1.25]
    assert row_factor(ExpertRows(tile=128, rounded=True, imbalance=1.5), tokens).tolist() == [1.5, 1.5]


def test_tokens_of_an_expert_grow_with_the_devices_that_share_experts() -> None:
    grid = LayoutGrid.of([TrainingLayout(dp=8, ep=ep) for ep in (1, 8)])
    alone, shared = expert_tokens(model("qwen3_30b_a3b"), grid, 4096)
    assert alone == 4096 * 8 / 128 and shared == 8 * alone


@pytest.mark.parametrize("fine", [1, 4])
def test_least_activations_do_not_depend_on_how_fine_experts_are(fine: int) -> None:
    """2 T d + 4 T K n bytes (SonicMoE, arXiv 2512.14080); what is permuted grows with K."""
    hidden = 4096
    feed = MixtureOfExperts(64 * fine, 8 * fine, 1024 // fine, gated=True)
    block = LayerBlock(1, None, feed)
    least = layer_activations(block, hidden, 4096, ActivationHabits(permuted=False)).experts
    assert least - 4.0 * feed.chosen == 2 * hidden + 4 * 8 * 1024
    assert layer_activations(block, hidden, 4096).experts > least


def test_without_sequence_parallelism_ten_of_thirty_four_bytes_are_on_every_device() -> None:
    gpt = LayerBlock(1, SoftmaxAttention(8, 8, 128), DenseFeedForward(4096, gated=False))
    habits = ActivationHabits(dropout=True)
    whole, kept = undivided_activations(gpt, 1024, habits), layer_activations(gpt, 1024, 2048, habits)
    assert (whole.whole, kept.whole) == (10 * 1024, 34 * 1024)  # arXiv 2205.05198, equations 1 and 2


def planned(**changes: Any) -> TrainingPlan:
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "devices": [32]}
    run = {"model": "qwen3_30b_a3b", "tokens": 1e11, "seq": 4096, "global_batch": 256, "allow": allow}
    layout = {"ep": 8, "tp": 1, "pp": 1, "micro_batch": 1}
    return plan_training(parse_training({"name": "moe", "training": {**run, "layout": layout, **changes}}))


def test_a_plan_pays_for_padding_and_imbalance() -> None:
    plain, padded, uneven, least = (
        planned(**({"experts": one} if one else {}))
        for one in (None, {"capacity": 2.0}, {"imbalance": 1.5}, {"minimal": True})
    )
    parts = [plan.run.step_parts_s for plan in (plain, padded, uneven, least)]
    assert parts[1]["experts"] == pytest.approx(2 * parts[0]["experts"], rel=1e-4)
    assert parts[2]["experts"] == pytest.approx(1.5 * parts[0]["experts"], rel=1e-4)
    assert parts[2]["exchange"] == pytest.approx(1.5 * parts[0]["exchange"], rel=1e-4)
    assert "experts: 2 times their mean tokens, padded or dropped" in padded.notes
    assert "--moe-expert-capacity-factor 2.0" in export_run("megatron", padded)["train.sh"]
    with pytest.raises(UnsupportedError, match="no token rounding"):
        export_run("megatron", least)


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(FactError, match="rows of its capacity"):
        planned(experts={"capacity": 1.5, "imbalance": 1.2})
    with pytest.raises(FactError, match="state the rows of one"):
        planned(experts={"rounded": True})
    with pytest.raises(InputError, match="llama_3_1_8b has no experts"):
        planned(model="llama_3_1_8b", layout={}, experts={"tile": 128})
