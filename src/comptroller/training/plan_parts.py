"""Parts of a plan of training: its notes, the memory of its stages, its recipe and adapters in words."""

from __future__ import annotations

from comptroller.costs.training_adapter import adapter_params
from comptroller.costs.training_pace import memory_habits
from comptroller.facts.training import training_calibration
from comptroller.facts.training_recipe import TrainingRecipe
from comptroller.training.document import TrainingWorkload
from comptroller.training.options import TrainingOption
from comptroller.training.plan_document import StageMemoryDocument
from comptroller.training.stages import stage_documents

PRODUCTS = {"forward": "the forward pass", "inputs": "inputs' gradients", "weights": "weights' gradients"}
"""A product of matrices -> its name for readers."""


def recipe_words(recipe: TrainingRecipe, family: str) -> str:
    """What is narrow, what stays wide, and what quantising moves and keeps on a family of accelerators.

    >>> from comptroller.facts.training_recipe import training_recipe
    >>> recipe_words(training_recipe("fp8_delayed"), "hopper").partition(";")[0]
    "fp8_delayed: fp8_e4m3 (gradients fp8_e5m2) in products of the forward pass, inputs' gradients, weights' gradients"
    """
    narrow = ", ".join(PRODUCTS[one] for one in recipe.narrow)
    wide = ", ".join(recipe.wide)
    wide += f" and {recipe.wide_share:.0%} of the linear layers" if recipe.wide_share else ""
    return (
        f"{recipe.id}: {recipe.weights} (gradients {recipe.gradients}) in products of {narrow}; {wide} stay wide; "
        f"quantising moves {recipe.moved_bytes(family):.3g} bytes an element, and copies of weights take "
        f"{recipe.copy_bytes(family):.3g}"
    )


def adapter_words(option: TrainingOption) -> str:
    """What alone is trained; empty where all is."""
    adapter = option.job.adapter
    if adapter is None:
        return ""
    trained = adapter_params(option.job.model, adapter.rank)
    return f"adapters of rank {adapter.rank}, {trained / 1e6:,.1f} M, beside weights in {adapter.base_bits:.3g} bits"


def plan_stages(option: TrainingOption, workload: TrainingWorkload) -> tuple[StageMemoryDocument, ...]:
    """Memory of every stage of the run."""
    run = workload.training
    habits = memory_habits(run.program, run.compiled_loss)
    return stage_documents(option.job, option.choice.layout, run.global_batch, habits)


def plan_notes(option: TrainingOption, workload: TrainingWorkload) -> tuple[str, ...]:
    """What a reader of a plan has to know besides."""
    found = []
    program = training_calibration().program(workload.training.program)
    if option.job.device.family not in program.families:
        found.append(
            f"{program.id} was measured on {', '.join(program.families)}, not on {option.job.device.family}: intervals "
            f"are wider"
        )
    if option.job.model.is_moe and program.id != "megatron_bridge":
        found.append(f"{program.id} was measured on dense models alone")
    if workload.training.experts is not None:
        found.append(workload.training.experts.words)
    if option.job.narrow is not None:
        found.append(recipe_words(option.job.narrow, option.job.device.family))
    if option.job.adapter is not None:
        found.append("no run with adapters was measured: steps follow from passes and bytes, with the same constants")
    if option.job.model.doubt:
        found.append(option.job.model.doubt)
    return tuple(found)
