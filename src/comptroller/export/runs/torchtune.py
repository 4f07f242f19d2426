"""torchtune: the YAML of a run of adapters (`tune run lora_finetune_distributed --config torchtune.yaml`)."""

from __future__ import annotations

from comptroller.errors import UnsupportedError
from comptroller.export import _yaml
from comptroller.export.runs.axolotl import ALPHA_OVER_RANK, BASES
from comptroller.export.runs.megatron import script, torchrun_words
from comptroller.training.plan_document import TrainingPlan

CONFIG = "torchtune.yaml"

BUILDERS = {
    "gemma_2_27b": "gemma2.lora_gemma2_27b",
    "gemma_2_9b": "gemma2.lora_gemma2_9b",
    "llama_2_13b": "llama2.lora_llama2_13b",
    "llama_2_70b": "llama2.lora_llama2_70b",
    "llama_2_7b": "llama2.lora_llama2_7b",
    "llama_3_1_405b": "llama3_1.lora_llama3_1_405b",
    "llama_3_1_70b": "llama3_1.lora_llama3_1_70b",
    "llama_3_1_8b": "llama3_1.lora_llama3_1_8b",
    "llama_3_2_1b": "llama3_2.lora_llama3_2_1b",
    "llama_3_2_3b": "llama3_2.lora_llama3_2_3b",
    "llama_3_70b": "llama3.lora_llama3_70b",
    "llama_3_8b": "llama3.lora_llama3_8b",
    "mistral_7b": "mistral.lora_mistral_7b",
    "phi_4": "phi4.lora_phi4_14b",
    "qwen2_5_14b": "qwen2_5.lora_qwen2_5_14b_instruct",
    "qwen2_5_32b": "qwen2_5.lora_qwen2_5_32b_instruct",
    "qwen2_5_72b": "qwen2_5.lora_qwen2_5_72b_instruct",
    "qwen2_5_7b": "qwen2_5.lora_qwen2_5_7b_instruct",
}
"""Models that torchtune trains adapters of, by its builder (torchtune/models)."""

RESHARDED = {"full": True, "gradients": False}
"""Sharding -> whether weights are shared out again after the forward pass."""


def torchtune_files(plan: TrainingPlan) -> dict[str, str]:
    """The configuration and a script that starts one node.

    Raises:
        UnsupportedError: the plan trains no adapters, cuts the model, keeps whole states on every device, or freezes
            weights in a format that torchtune lacks; a model without builder.
    """
    alone = plan.run.devices == 1
    recipe = "lora_finetune_single_device" if alone else "lora_finetune_distributed"
    words = [*([] if alone else torchrun_words(plan)[1:]), recipe, "--config", CONFIG]
    return {CONFIG: torchtune_config(plan), "train.sh": script(plan, ["tune", "run", *words])}


def torchtune_config(plan: TrainingPlan) -> str:
    """The text of the configuration; raises as `torchtune_files`."""
    layout, trained = plan.run.layout, plan.trained_adapter
    if trained is None:
        raise UnsupportedError("torchtune: is written for adapters alone; plan with training.adapter")
    if layout.tp * layout.pp * layout.cp * layout.ep > 1 or (layout.dp > 1 and layout.sharding not in RESHARDED):
        raise UnsupportedError('torchtune: runs adapters by FSDP alone; plan with program = "llm_foundry"')
    if trained.base not in BASES or trained.base == "fp16":
        raise UnsupportedError(f"torchtune: freezes no weights in {trained.base}; it has bf16, nf4_dq")
    if plan.model not in BUILDERS:
        raise UnsupportedError(f"torchtune: no builder is known for {plan.model}; it has {', '.join(BUILDERS)}")
    shared = {"fsdp_reshard_after_forward": RESHARDED[layout.sharding]} if layout.dp > 1 else {}
    config = {
        "output_dir": "./outputs",
        "model": {
            "_component_": f"torchtune.models.{BUILDERS[plan.model]}",
            "lora_attn_modules": ["q_proj", "k_proj", "v_proj", "output_proj"],
            "apply_lora_to_mlp": True,
            "lora_rank": trained.rank,
            "lora_alpha": ALPHA_OVER_RANK * trained.rank,
            "lora_dropout": 0.0,
            "quantize_base": BASES[trained.base] == "qlora",
        },
        "loss": {"_component_": "torchtune.modules.loss.CEWithChunkedOutputLoss"},
        "batch_size": layout.micro_batch,
        "gradient_accumulation_steps": layout.accumulation,
        "epochs": 1,
        "max_steps_per_epoch": plan.run.steps,
        "enable_activation_checkpointing": layout.recompute == "full",
        **shared,
        "metric_logger": {"_component_": "torchtune.training.metric_logging.DiskLogger", "log_dir": "./outputs/logs"},
        "resume_from_checkpoint": False,
        "shuffle": True,
        "seed": 0,
        "device": "cuda",
        "dtype": "bf16",
    }
    yours = f"add tokenizer (max_seq_len: {plan.seq}), checkpointer, dataset (packed), optimizer, lr_scheduler of yours"
    return _yaml.document(config, [plan.name, yours])
