"""Megatron-LM: the command line of `pretrain_gpt.py` under torchrun (names as in megatron/training/arguments.py)."""

from __future__ import annotations

import shlex

from comptroller.errors import UnsupportedError
from comptroller.facts.library import SHIPPED
from comptroller.facts.model import DenseFeedForward, LayerBlock, MixtureOfExperts, Model, SoftmaxAttention
from comptroller.facts.reader import ids
from comptroller.facts.training_recipe import TRAINING_RECIPES, training_recipe
from comptroller.training.plan_document import TrainingPlan

NODE_DEVICES = 8
"""Processes of a node: what the accelerators that are rented by the node have."""

SCHEDULES = ("1f1b", "interleaved")
"""Orders of passes that `megatron/core/pipeline_parallel/schedules.py` has."""


def megatron_files(plan: TrainingPlan) -> dict[str, str]:
    """A script that starts one node; it reads $NNODES, $NODE_RANK, $MASTER_ADDR and $DATA.

    Raises:
        UnsupportedError: layers of several kinds, or a precision or schedule that these options do not name.
    """
    words = [*torchrun_words(plan), "pretrain_gpt.py", *megatron_words(plan)]
    return {"train.sh": script(plan, [*words, "--data-path", "$DATA"])}


def script(plan: TrainingPlan, words: list[str]) -> str:
    """A shell script with an option a line; words that start with $ are left for the shell."""
    shown = [word if word.startswith("$") else shlex.quote(word) for word in words]
    lines = [" ".join(shown[:1])]
    for word in shown[1:]:
        if word.startswith("--") or not lines[-1].startswith("--"):
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    body = " \\\n  ".join(lines)
    return (
        f"#!/usr/bin/env bash\n# {plan.name}: {plan.run.devices} x {plan.run.accelerator}\nset -euo pipefail\n{body}\n"
    )


def torchrun_words(plan: TrainingPlan) -> list[str]:
    """torchrun on every node of the run."""
    each = min(plan.run.devices, NODE_DEVICES)
    nodes = -(-plan.run.devices // each)
    return ["torchrun", f"--nnodes={nodes}", f"--nproc-per-node={each}", "--node-rank", "${NODE_RANK:-0}",
            "--master-addr", "${MASTER_ADDR:-localhost}", "--master-port", "29500"]  # fmt: skip


def save_steps(plan: TrainingPlan) -> int:
    """Steps between checkpoints."""
    return max(1, round(plan.run.checkpoints.interval_s / plan.run.step_s.value))


def megatron_words(plan: TrainingPlan) -> list[str]:
    """Options of model, layout, batch and precision.

    Raises:
        UnsupportedError: as `megatron_files`.
    """
    run, layout = plan.run, plan.run.layout
    recipe = training_recipe(run.precision)
    if recipe.narrow and not recipe.megatron:
        able = [one for one in ids(TRAINING_RECIPES) if training_recipe(one).megatron]
        raise UnsupportedError(f"Megatron-LM: no options are known for {run.precision}; they are for {', '.join(able)}")
    words = [*_model_words(_model(plan), plan.seq), *_expert_words(plan)]
    words += ["--micro-batch-size", str(layout.micro_batch), "--global-batch-size", str(plan.global_batch)]
    words += ["--train-iters", str(run.steps), "--save-interval", str(save_steps(plan)), "--bf16"]
    words += [*recipe.megatron, "--tensor-model-parallel-size", str(layout.tp)]
    words += ["--sequence-parallel"] if layout.tp > 1 else []
    words += ["--pipeline-model-parallel-size", str(layout.pp)] if layout.pp > 1 else []
    words += _chunk_words(plan)
    words += ["--context-parallel-size", str(layout.cp)] if layout.cp > 1 else []
    words += ["--expert-model-parallel-size", str(layout.ep)] if layout.ep > 1 else []
    if layout.sharding == "full":
        words += ["--use-megatron-fsdp", "--data-parallel-sharding-strategy", "optim_grads_params"]
    elif layout.sharding == "optimizer":
        words += ["--use-distributed-optimizer", "--overlap-grad-reduce", "--overlap-param-gather"]
    if layout.recompute == "full":
        words += ["--recompute-granularity", "full", "--recompute-method", "uniform", "--recompute-num-layers", "1"]
    elif layout.recompute == "selective":
        words += ["--recompute-granularity", "selective"]
    return words


def _expert_words(plan: TrainingPlan) -> list[str]:
    """Options of padding to a capacity.

    Raises:
        UnsupportedError: whole tiles from the router, or first products alone kept, which SonicMoE's kernels do.
    """
    stated = plan.experts
    if stated is None:
        return []
    if stated.rounded or stated.minimal:
        raise UnsupportedError(
            "Megatron-LM: has no token rounding and keeps what it permutes; leave rounded and minimal"
        )
    if stated.capacity is None:
        return []
    return ["--moe-expert-capacity-factor", str(stated.capacity), "--moe-pad-expert-input-to-capacity"]


def _chunk_words(plan: TrainingPlan) -> list[str]:
    layout = plan.run.layout
    if layout.pp == 1:
        return []
    if layout.schedule not in SCHEDULES:
        raise UnsupportedError(f"Megatron-LM: has no schedule {layout.schedule}; it has {', '.join(SCHEDULES)}")
    own, cuts = _model(plan).layers, layout.pp * layout.chunks
    ends = own % cuts != 0
    words = ["--account-for-embedding-in-pipeline-split", "--account-for-loss-in-pipeline-split"] if ends else []
    if layout.chunks > 1:
        words += ["--num-virtual-stages-per-pipeline-rank", str(layout.chunks)]
    return words


def _model(plan: TrainingPlan) -> Model:
    return SHIPPED.model(plan.model)


def _model_words(model: Model, seq: int) -> list[str]:
    """Options of an architecture of equal layers.

    Raises:
        UnsupportedError: layers differ; names the recipe to start from.
    """
    if len(model.blocks) != 1 or not isinstance(model.blocks[0].mixer, SoftmaxAttention):
        raise UnsupportedError(
            f"{model.id}: layers of several kinds have no plain options of Megatron-LM; start from its recipe in "
            f"Megatron-Bridge and take the degrees of the plan"
        )
    block, mixer = model.blocks[0], model.blocks[0].mixer
    words = ["--num-layers", str(model.layers), "--hidden-size", str(model.hidden)]
    words += ["--num-attention-heads", str(mixer.heads), "--kv-channels", str(mixer.head_dim)]
    words += ["--group-query-attention", "--num-query-groups", str(mixer.kv_heads)]
    words += ["--seq-length", str(seq), "--max-position-embeddings", str(max(seq, model.context_tokens))]
    words += ["--vocab-size", str(model.vocabulary), "--normalization", "RMSNorm", "--position-embedding-type", "rope"]
    words += [] if model.tied_embedding else ["--untie-embeddings-and-output-weights"]
    return [*words, *_feed_words(block)]


def _feed_words(block: LayerBlock) -> list[str]:
    feed = block.ffn
    if isinstance(feed, MixtureOfExperts):
        words = ["--num-experts", str(feed.experts), "--moe-router-topk", str(feed.chosen), "--moe-grouped-gemm"]
        words += ["--moe-ffn-hidden-size", str(feed.width), "--moe-token-dispatcher-type", "alltoall"]
        shared = feed.shared_width
        words += ["--moe-shared-expert-intermediate-size", str(shared)] if shared else []
    else:
        assert isinstance(feed, DenseFeedForward)
        words = ["--ffn-hidden-size", str(feed.width)]
    return [*words, *(["--swiglu"] if feed.gated else []), "--disable-bias-linear"]
