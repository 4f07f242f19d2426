"""axolotl: the YAML of a run of adapters (`axolotl train axolotl.yaml`), with DeepSpeed's configuration beside it."""

from __future__ import annotations

from comptroller.errors import UnsupportedError
from comptroller.export import _yaml
from comptroller.export.runs.ds_config import deepspeed_files
from comptroller.export.runs.megatron import save_steps, script, torchrun_words
from comptroller.facts.library import SHIPPED
from comptroller.facts.model import LatentAttention, Model, SoftmaxAttention
from comptroller.training.plan_document import TrainingPlan

CONFIG = "axolotl.yaml"
ALPHA_OVER_RANK = 2
"""Scale of an adapter over its rank, as the examples of axolotl and peft have it; no figure of a plan depends on it."""

BASES = {"bf16": "lora", "fp16": "lora", "nf4_dq": "qlora"}
"""Format of the frozen weights -> adapter: bitsandbytes quantises to 4-bit normal floats, scales in 8 bits."""


def axolotl_files(plan: TrainingPlan) -> dict[str, str]:
    """The configuration and a script that starts one node.

    Raises:
        UnsupportedError: the plan trains no adapters, cuts the model, or freezes weights in a format that
            bitsandbytes lacks; a model without repository.
    """
    words = [*torchrun_words(plan), "-m", "axolotl.cli.train", CONFIG]
    return {CONFIG: axolotl_config(plan), **deepspeed_files(plan), "train.sh": script(plan, words)}


def axolotl_config(plan: TrainingPlan) -> str:
    """The text of the configuration; raises as `axolotl_files`."""
    run, layout, trained = plan.run, plan.run.layout, plan.trained_adapter
    if trained is None:
        raise UnsupportedError("axolotl: is written for adapters alone; plan with training.adapter")
    if layout.tp * layout.pp * layout.cp * layout.ep > 1:
        raise UnsupportedError('axolotl: shares out states alone; plan with program = "llm_foundry"')
    if trained.base not in BASES:
        raise UnsupportedError(f"axolotl: freezes no weights in {trained.base}; it has {', '.join(BASES)}")
    model = SHIPPED.model(plan.model)
    if not model.repository:
        raise UnsupportedError(f"axolotl: no repository of {plan.model} is known")
    kind = BASES[trained.base]
    config = {
        "base_model": model.repository,
        "adapter": kind,
        **({"load_in_4bit": True} if kind == "qlora" else {}),
        "lora_r": trained.rank,
        "lora_alpha": ALPHA_OVER_RANK * trained.rank,
        "lora_target_modules": adapted_modules(model),
        "sequence_len": plan.seq,
        "sample_packing": True,
        "micro_batch_size": layout.micro_batch,
        "gradient_accumulation_steps": layout.accumulation,
        "max_steps": run.steps,
        "save_steps": save_steps(plan),
        "bf16": True,
        "gradient_checkpointing": layout.recompute == "full",
        "deepspeed": "ds_config.json",
        "output_dir": "./outputs",
    }
    return _yaml.document(config, [plan.name, "add datasets, learning_rate and optimizer of yours"])


def adapted_modules(model: Model) -> list[str]:
    """Names of the matrices that get adapters: of attention, and of feed-forward parts without experts.

    Raises:
        UnsupportedError: layers mix tokens in several ways.

    >>> from comptroller.facts.config import model
    >>> adapted_modules(model("llama_3_1_8b"))[4:]
    ['gate_proj', 'up_proj', 'down_proj']
    """
    mixers = {type(block.mixer) for block in model.blocks}
    if mixers == {SoftmaxAttention}:
        found = ["q_proj", "k_proj", "v_proj", "o_proj"]
    elif mixers == {LatentAttention}:
        found = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
    else:
        raise UnsupportedError(f"{model.id}: names of the matrices of its layers are not known")
    return found if model.is_moe else [*found, "gate_proj", "up_proj", "down_proj"]
