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
        UnsupportedError: matrices in fewer than 16 bits, which this configuration has no key for.
    """
    run, layout = plan.run, plan.run.layout
    if run.precision != "bf16":
        raise UnsupportedError(f"DeepSpeed: its configuration has no recipe in {run.precision}; plan with bf16")
    config = {
        "train_batch_size": plan.global_batch,
        "train_micro_batch_size_per_gpu": layout.micro_batch,
        "gradient_accumulation_steps": layout.accumulation,
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": STAGES[layout.sharding], "overlap_comm": True, "contiguous_gradients": True},
        "gradient_clipping": 1.0,
        "steps_per_print": 10,
    }
    if layout.recompute != "none":
        config["activation_checkpointing"] = {"partition_activations": layout.tp > 1}
    return {"ds_config.json": json.dumps(config, indent=2) + "\n"}
