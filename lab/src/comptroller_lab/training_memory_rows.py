"""Readers of measured training memory: Megatron-LM's functional tests, as jobs with the bytes that were allocated."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from comptroller.costs.training_activations import ActivationHabits
from comptroller.costs.training_layout import ActivationRecompute, StateSharding, TrainingLayout
from comptroller.costs.training_memory import MemoryHabits
from comptroller.costs.training_pace import memory_habits
from comptroller.costs.training_work import TrainingJob
from comptroller.facts.accelerator import accelerator
from comptroller.facts.model import DenseFeedForward, LayerBlock, MixtureOfExperts, Model, SoftmaxAttention

Row = Mapping[str, str]

WORDS, WORDS_STEP = 50_257, 128
"""Words of GPT-2, whose table Megatron-LM pads to a multiple of 128 for each device that shares it."""

SCORE_BYTES = 5.0
"""Of a query-key pair where attention is not fused: softmax, dropout and its mask (arXiv 2205.05198, equation 1)."""

OTHERS = ("distill", "uneven", "frozen", "account_for_embedding")
"""Words of cases that hold more than the settings say: a teacher beside the student, stages of unequal layers, weights
without gradients."""

DEVICES = {"a100": "a100_80_sxm", "h100": "h100_sxm", "gb200": "gb200"}
AGAIN = {"": ActivationRecompute.NONE, "selective": ActivationRecompute.SELECTIVE, "full": ActivationRecompute.FULL}


@dataclass(frozen=True)
class MeasuredMemory:
    """Most bytes that PyTorch's allocator handed out on a device of a run. group: of equal settings.  kind: dense or
    with experts."""

    job: TrainingJob
    layout: TrainingLayout
    global_batch: int
    habits: MemoryHabits
    bytes: float
    group: str
    kind: str
    case: str


def golden_memory(folder: Path) -> list[MeasuredMemory]:
    """Rows of GPT and of GPT with experts whose settings the model of memory knows: in 16 bits, sequences whole or
    split by sequence parallelism, on devices that are named."""
    with (folder / "megatron_golden.csv").open(encoding="utf-8", newline="") as file:
        return list(_known(csv.DictReader(file)))


def _known(rows: csv.DictReader[str]) -> Iterator[MeasuredMemory]:
    for row in rows:
        plain = row["family"] in {"gpt", "moe"} and row["max_memory_bytes"] and row["gpu"] in DEVICES and row["gpus"]
        odd = row["multi_latent_attention"] or row["use_megatron_fsdp"] or row["fp8_format"] or row["num_query_groups"]
        odd = odd or any(word in row["case"] for word in OTHERS)
        if plain and not odd and (row["bf16"] or row["fp16"]):
            yield _memory(row)


def _number(row: Row, name: str, default: int = 1) -> int:
    return int(float(row[name] or default))


def _memory(row: Row) -> MeasuredMemory:
    tp, pp, cp, ep = (
        _number(row, f"{name}_model_parallel_size" if name != "context" else "context_parallel_size")
        for name in ("tensor", "pipeline", "context", "expert")
    )
    gpus, batch, micro = (_number(row, name) for name in ("gpus", "global_batch_size", "micro_batch_size"))
    layers, step = _number(row, "num_layers"), WORDS_STEP * tp
    hidden, heads = _number(row, "hidden_size"), _number(row, "num_attention_heads")
    words = -(-WORDS // step) * step
    gated, width = bool(row["swiglu"]), _number(row, "ffn_hidden_size", 4 * hidden)
    experts = _number(row, "num_experts", 0)
    feed = (
        MixtureOfExperts(experts, _number(row, "moe_router_topk", 2), _number(row, "moe_ffn_hidden_size", width), gated)
        if experts
        else DenseFeedForward(width, gated=gated)
    )
    block = LayerBlock(layers, SoftmaxAttention(heads, heads, hidden // heads), feed)
    seq = _number(row, "seq_length")
    tied = row["untie_embeddings_and_output_weights"] != "true"
    shape = Model(
        row["case"], "GPT", "gpt", hidden, words, seq, (block,), tied_embedding=tied, side_elements=seq * hidden
    )
    chunk = _number(row, "num_layers_per_virtual_pipeline_stage", 0)
    sharding = StateSharding.OPTIMIZER if row["use_distributed_optimizer"] else StateSharding.NONE
    shared = ep * _number(row, "expert_tensor_parallel_size", tp)
    layout = TrainingLayout(
        gpus // (tp * pp * cp), tp, pp, cp, shared, layers // pp // chunk if chunk else 1, micro, sharding,
        AGAIN[row["recompute_granularity"]],
    )  # fmt: skip
    job = TrainingJob(shape, accelerator(DEVICES[row["gpu"]]), seq)
    kind = "experts" if experts else "dense"
    return MeasuredMemory(
        job, layout, batch, _habits(row), float(row["max_memory_bytes"]), row["settings"], kind, row["case"]
    )


def _habits(row: Row) -> MemoryHabits:
    """Megatron's habits as allocated: without context and slack; scores kept where attention is not fused."""
    fused = row["attention_backend"] == "flash" or (
        row["attention_backend"] != "unfused" and row["transformer_impl"] != "local"
    )
    layer = ActivationHabits(0.0 if fused else SCORE_BYTES, dropout=True)
    split = bool(row["sequence_parallel"])
    plain = replace(memory_habits("megatron_bridge"), layer=layer, sequence_split=split)
    return replace(plain, gathered=2.0 * split, slack=1.0, base_bytes=0.0)
