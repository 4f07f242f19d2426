"""llm-foundry: the YAML of `composer scripts/train/train.py` (scripts/train/yamls/pretrain)."""

from __future__ import annotations

from comptroller.errors import UnsupportedError
from comptroller.export import _yaml
from comptroller.export.runs.axolotl import ALPHA_OVER_RANK, BASES, adapted_modules
from comptroller.export.runs.megatron import save_steps
from comptroller.facts.library import SHIPPED
from comptroller.training.plan_document import TrainingPlan

PRECISION = {"bf16": "amp_bf16", "fp8_delayed": "amp_fp8"}
"""Recipe -> precision of Composer, whose `amp_fp8` scales by the history of a tensor."""
STRATEGIES = {"full": "FULL_SHARD", "gradients": "SHARD_GRAD_OP"}


def llm_foundry_files(plan: TrainingPlan) -> dict[str, str]:
    """The configuration of a run.

    Raises:
        UnsupportedError: the plan needs more than FSDP, a precision that Composer lacks, frozen weights in fewer than
            16 bits, or a model without repository.
    """
    run, layout = plan.run, plan.run.layout
    if layout.tp * layout.pp * layout.cp * layout.ep > 1 or layout.sharding not in STRATEGIES:
        raise UnsupportedError('llm-foundry: runs FSDP alone; plan with program = "llm_foundry"')
    if run.precision not in PRECISION:
        raise UnsupportedError(f"llm-foundry: has no precision {run.precision}; it has {', '.join(PRECISION)}")
    repository = SHIPPED.model(plan.model).repository
    if not repository:
        raise UnsupportedError(f"llm-foundry: no repository of {plan.model} is known")
    config = {
        "max_seq_len": plan.seq,
        "model": _model(plan, repository),
        "tokenizer": {"name": repository, "kwargs": {"model_max_length": plan.seq}},
        "max_duration": f"{run.steps}ba",
        "global_train_batch_size": plan.global_batch,
        "device_train_microbatch_size": layout.micro_batch,
        "device_eval_batch_size": layout.micro_batch,
        "precision": PRECISION[run.precision],
        "fsdp_config": {
            "sharding_strategy": STRATEGIES[layout.sharding],
            "mixed_precision": "PURE",
            "activation_checkpointing": layout.recompute == "full",
            "limit_all_gathers": True,
        },
        "save_interval": f"{save_steps(plan)}ba",
    }
    return {"train.yaml": _yaml.document(config, [plan.name, "add train_loader, optimizer and scheduler of your data"])}


def _model(plan: TrainingPlan, repository: str) -> dict[str, object]:
    """The table of the model; with adapters its weights are loaded and stay frozen."""
    trained = plan.trained_adapter
    table: dict[str, object] = {"name": "hf_causal_lm", "pretrained": trained is not None}
    table["pretrained_model_name_or_path"] = repository
    if trained is None:
        return table
    if BASES.get(trained.base) != "lora":
        raise UnsupportedError(f"llm-foundry: freezes no weights in {trained.base}; export to axolotl")
    modules = adapted_modules(SHIPPED.model(plan.model))
    peft = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": trained.rank}
    return {**table, "peft_config": {**peft, "lora_alpha": ALPHA_OVER_RANK * trained.rank, "target_modules": modules}}
