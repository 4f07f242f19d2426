"""A plan of training for the tools that run it: files by target."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from comptroller.errors import UnknownIdError, UnsupportedError
from comptroller.export.runs.axolotl import axolotl_files
from comptroller.export.runs.ds_config import deepspeed_files
from comptroller.export.runs.jobs import kubernetes_files, skypilot_files, slurm_files
from comptroller.export.runs.llm_foundry import llm_foundry_files
from comptroller.export.runs.megatron import megatron_files
from comptroller.export.runs.torchtitan import torchtitan_files
from comptroller.export.runs.torchtune import torchtune_files
from comptroller.training.plan_document import TrainingPlan

RUN_TARGETS: Mapping[str, Callable[[TrainingPlan], dict[str, str]]] = {
    "axolotl": axolotl_files,
    "deepspeed": deepspeed_files,
    "kubernetes": kubernetes_files,
    "llm_foundry": llm_foundry_files,
    "megatron": megatron_files,
    "skypilot": skypilot_files,
    "slurm": slurm_files,
    "torchtitan": torchtitan_files,
    "torchtune": torchtune_files,
}
"""Target -> what makes its files: configurations of programs, and jobs around the command of the plan's program."""


OFFLOADING = ("axolotl", "deepspeed")
"""Targets whose files say what lies outside of devices."""

ADAPTING = ("axolotl", "deepspeed", "kubernetes", "llm_foundry", "skypilot", "slurm", "torchtune")
"""Targets whose files say what is trained beside frozen weights, and jobs around them."""


def export_run(target: str, plan: TrainingPlan) -> dict[str, str]:
    """Files for a tool: text by name.

    Raises:
        UnknownIdError: there is no such target.
        UnsupportedError: the tool cannot run what the plan asks for; says what.
    """
    if target not in RUN_TARGETS:
        raise UnknownIdError("export target of training", target, RUN_TARGETS)
    if plan.adapter and target not in ADAPTING:
        raise UnsupportedError(f"{target}: adapters are written for {', '.join(ADAPTING)} alone: {plan.adapter}")
    if plan.offload and target not in OFFLOADING:
        raise UnsupportedError(f"{target}: what lies outside of devices is written for {', '.join(OFFLOADING)} alone")
    if plan.packing and plan.packing.servers:
        raise UnsupportedError(f"{target}: no tool's configuration names attention servers; plan without them")
    return RUN_TARGETS[target](plan)
