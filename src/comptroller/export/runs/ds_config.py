"""DeepSpeed: the JSON of its configuration (deepspeed.ai/docs/config-json)."""

from __future__ import annotations

import json

from comptroller.errors import UnsupportedError
from comptroller.training.plan_document import TrainingPlan

STAGES = {"none": 0, "optimizer": 1, "gradients": 2, "full": 3}
"""Sharding -> stage of ZeRO."""


def deepspeed_files(plan: TrainingPlan) -> dict[str, str]:
    """The configuration; degrees of tensor and pipeline parallelism are the program's own.

    Raises:
        UnsupportedError: matrices in fewer than 16 bits, activations that leave the device or a pool, which this
            configuration has no key for, or an optimiser beside the backward pass, which DeepSpeed runs after it.
    """
    run, layout = plan.run, plan.run.layout
    if run.precision != "bf16":
        raise UnsupportedError(f"DeepSpeed: its configuration has no recipe in {run.precision}; plan with bf16")
    zero = {"stage": STAGES[layout.sharding], "overlap_comm": True, "contiguous_gradients": True, **_offload(plan)}
    config = {
        "train_batch_size": plan.global_batch,
        "train_micro_batch_size_per_gpu": layout.micro_batch,
        "gradient_accumulation_steps": layout.accumulation,
        "bf16": {"enabled": True},
        "zero_optimization": zero,
        "gradient_clipping": 1.0,
        "steps_per_print": 10,
    }
    if layout.recompute != "none":
        config["activation_checkpointing"] = {"partition_activations": layout.tp > 1}
    return {"ds_config.json": json.dumps(config, indent=2) + "\n"}


def _offload(plan: TrainingPlan) -> dict[str, object]:
    """Keys of what lies outside, as ZeRO-Offload and ZeRO-Infinity do it."""
    place = plan.offload_place
    if place is None:
        return {}
    if plan.run.swapped_share or place.pool or place.far_share:
        raise UnsupportedError(f"DeepSpeed: its configuration cannot say: {plan.offload}; plan with a host and a store")
    if place.overlapped:
        raise UnsupportedError(
            "DeepSpeed: its optimiser comes after the backward pass; plan with training.offload.overlapped = false"
        )
    if not place.read_gb_per_s:
        return {"offload_param": {"device": "cpu"}, "offload_optimizer": {"device": "cpu", "pin_memory": True}}
    store = {"device": "nvme", "nvme_path": "NVME"}
    return {"offload_param": store, "offload_optimizer": dict(store)}
