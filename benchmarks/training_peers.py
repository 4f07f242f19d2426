"""Training steps by llm-analysis (pip install llm-analysis), a peer that takes the efficiency as its input.

Its efficiency is given what it asks for as fairly as ours is fitted: the median of measured over its own seconds of the
other groups, of the same family of accelerators and bits where there are any. calculon, the other peer, is not on the
package index (a package of that name there is another), and its validation rows are A100 alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from comptroller.costs.training_layout import ActivationRecompute, LayoutGrid, StateSharding
from comptroller.facts.model import DenseFeedForward, MixtureOfExperts, SoftmaxAttention
from comptroller.training.activity import matrix_arithmetic
from comptroller_lab.training_rows import MeasuredStep

PEER = "llm_analysis"
EFFICIENCY = 0.5
"""Any: predictions are scaled by the other groups afterwards."""

RECOMPUTE = {ActivationRecompute.NONE: "NONE", ActivationRecompute.SELECTIVE: "SELECTIVE",
             ActivationRecompute.FULL: "FULL"}  # fmt: skip
ZERO = {StateSharding.NONE: "NONE", StateSharding.OPTIMIZER: "STAGE_1", StateSharding.GRADIENTS: "STAGE_2",
        StateSharding.FULL: "STAGE_3"}  # fmt: skip


def peer_installed() -> bool:
    """Whether llm-analysis is."""
    return find_spec(PEER) is not None


def peer_seconds(steps: Sequence[MeasuredStep], folds: Sequence[str]) -> np.ndarray:
    """Seconds of every step by llm-analysis, NaN where it cannot say: sequences over devices, layers of two kinds."""
    raw = np.array([_raw_seconds(step) for step in steps])
    ratio = np.array([step.seconds for step in steps]) / raw
    kinds = np.array([f"{step.family} {step.job.recipe.weights}" for step in steps])
    keys, found = np.array(folds), np.full(len(steps), np.nan)
    for i in range(len(steps)):
        others = (keys != keys[i]) & np.isfinite(ratio)
        same = others & (kinds == kinds[i])
        if np.isfinite(raw[i]) and others.any():
            found[i] = raw[i] * np.median(ratio[same if same.any() else others])
    return found


def _raw_seconds(step: MeasuredStep) -> float:
    model, layout = step.job.model, step.layout
    kinds = {(block.mixer.__class__, block.ffn.__class__) for block in model.blocks}
    if layout.cp > 1 or len(kinds) > 1 or not isinstance(model.blocks[0].mixer, SoftmaxAttention):
        return float("nan")
    peer, config = (import_module(f"{PEER}.{name}") for name in ("analysis", "config"))
    logging.disable(logging.CRITICAL)
    try:
        analysis = peer.LLMAnalysis(
            _model(config, step), _device(config, step), config.DtypeConfig(),
            config.ParallelismConfig(layout.tp, layout.pp, layout.dp, min(layout.ep, layout.dp)),
            flops_efficiency=EFFICIENCY, hbm_memory_efficiency=0.9,
        )  # fmt: skip
        summary = analysis.training(
            batch_size_per_gpu=layout.micro_batch,
            gradient_accumulation_steps=int(LayoutGrid.of([layout]).microbatches(step.global_batch)[0]),
            seq_len=step.job.seq,
            activation_recomputation=peer.ActivationRecomputation[RECOMPUTE[ActivationRecompute(layout.recompute)]],
            ds_zero=peer.DSZeRO[ZERO[StateSharding(layout.sharding)]],
            mlp_gated_linear_units=_width(step)[1],
        )
    except AssertionError:
        return float("nan")
    finally:
        logging.disable(logging.NOTSET)
    return float(summary["latency_per_iter"])


def _width(step: MeasuredStep) -> tuple[int, bool]:
    feed = step.job.model.blocks[0].ffn
    assert isinstance(feed, DenseFeedForward | MixtureOfExperts)
    return feed.width, feed.gated


def _model(config: Any, step: MeasuredStep) -> Any:
    model, (width, _) = step.job.model, _width(step)
    block = model.blocks[0]
    assert isinstance(block.mixer, SoftmaxAttention)
    experts, chosen = (block.ffn.experts, block.ffn.chosen) if isinstance(block.ffn, MixtureOfExperts) else (1, 1)
    return config.ModelConfig(
        name=model.id, num_layers=model.layers, n_head=block.mixer.heads, hidden_dim=model.hidden,
        vocab_size=model.vocabulary, max_seq_len=step.job.seq, num_key_value_heads=block.mixer.kv_heads,
        ffn_embed_dim=width, expansion_ratio=width / model.hidden,
        moe_num_experts=experts, moe_top_k=chosen,
    )  # fmt: skip


def _device(config: Any, step: MeasuredStep) -> Any:
    device = step.job.device
    links = [link.one_way_bytes_per_s / 1e9 if link else 25.0 for link in (device.scale_up, device.scale_out)]
    peak = device.peak(matrix_arithmetic(step.job)) / 1e12
    return config.GPUConfig(
        name=device.id, mem_per_GPU_in_GB=device.memory_bytes / 1e9,
        hbm_bandwidth_in_GB_per_sec=device.memory_bytes_per_s / 1e9, intra_node_bandwidth_in_GB_per_sec=links[0],
        intra_node_min_message_latency=8e-6, peak_fp16_TFLOPS=peak, inter_node_bandwidth_in_GB_per_sec=links[1],
    )  # fmt: skip
