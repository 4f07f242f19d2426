"""torchtitan 0.2: a job's TOML (torchtitan/models/*/train_configs) and the line that starts it; 0.3 reads none."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.errors import UnsupportedError
from comptroller.export.runs.megatron import save_steps, script, torchrun_words
from comptroller.facts.library import SHIPPED
from comptroller.training.plan_document import TrainingPlan

FLAVORS = {
    "llama_3_8b": ("llama3", "8B"),
    "llama_3_1_8b": ("llama3", "8B"),
    "llama_3_70b": ("llama3", "70B"),
    "llama_3_1_70b": ("llama3", "70B"),
    "llama_3_1_405b": ("llama3", "405B"),
}
"""Models that torchtitan trains, by its name and flavor."""

SCHEDULES = {
    "1f1b": "1F1B",
    "interleaved": "Interleaved1F1B",
    "zb_h1": "InterleavedZeroBubble",
    "zb_v": "ZBVZeroBubble",
}
"""Schedule of a plan -> PyTorch's class of it, less `Schedule` (torch/distributed/pipelining/schedules.py)."""

CONFIG = "train.toml"

CONVERTERS: Mapping[str, dict[str, dict[str, object]]] = {
    "bf16": {},
    "fp8": {"quantize.linear.float8": {"enable_fsdp_float8_all_gather": True, "filter_fqns": ["output"]}},
    "mxfp8": {"quantize.linear.mx": {"recipe_name": "mxfp8_cublas", "filter_fqns": ["output"]}},
}
"""Recipe -> the converter of the model that makes its matrices narrow, with its table: the head stays wide. A table
without its converter in `model.converters` changes nothing (torchtitan/protocols/model_converter.py)."""


def torchtitan_files(plan: TrainingPlan) -> dict[str, str]:
    """The configuration, and a script that starts one node.

    Raises:
        UnsupportedError: torchtitan does not train the model, shares out less than all, or lacks the precision.
    """
    words = [*torchrun_words(plan), "-m", "torchtitan.train", "--job.config_file", CONFIG]
    return {CONFIG: torchtitan_config(plan), "train.sh": script(plan, words)}


def torchtitan_config(plan: TrainingPlan) -> str:
    """The text of the configuration; raises as `torchtitan_files`."""
    run, layout = plan.run, plan.run.layout
    if plan.model not in FLAVORS:
        raise UnsupportedError(f"torchtitan: no flavor is known for {plan.model}; it has {', '.join(FLAVORS)}")
    if layout.sharding != "full" and layout.dp > 1:
        raise UnsupportedError('torchtitan: shares out weights too (FSDP); plan with program = "torchtitan"')
    if run.precision not in CONVERTERS:
        raise UnsupportedError(f"torchtitan: has no recipe in {run.precision}")
    name, flavor = FLAVORS[plan.model]
    converters = CONVERTERS[run.precision]
    tables: dict[str, dict[str, object]] = {
        "job": {"description": plan.name, "dump_folder": "./outputs"},
        "model": {"name": name, "flavor": flavor, **({"converters": [*converters]} if converters else {})},
        "training": {
            "local_batch_size": plan.global_batch // layout.dp if layout.pp > 1 else layout.micro_batch,
            "global_batch_size": plan.global_batch,
            "seq_len": plan.seq,
            "steps": run.steps,
        },
        "parallelism": _degrees(plan),
        "compile": {"enable": True, "components": ["model", *(["loss"] if plan.compiled_loss else [])]},
        "checkpoint": {"enable": True, "interval": save_steps(plan)},
        "activation_checkpoint": {
            "mode": layout.recompute,
            **({"selective_ac_option": "op"} if layout.recompute == "selective" else {}),
        },
        **converters,
    }
    return "\n".join(_table(title, rows) for title, rows in tables.items())


def _table(title: str, rows: dict[str, object]) -> str:
    return f"[{title}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in rows.items())


def _degrees(plan: TrainingPlan) -> dict[str, object]:
    layout = plan.run.layout
    found: dict[str, object] = {
        "data_parallel_replicate_degree": 1,
        "data_parallel_shard_degree": layout.dp,
        "fsdp_reshard_after_forward": "always",
        "tensor_parallel_degree": layout.tp,
        "pipeline_parallel_degree": layout.pp,
        "context_parallel_degree": layout.cp,
    }
    if layout.pp > 1:
        cuts, layers = layout.pp * layout.chunks, SHIPPED.model(plan.model).layers
        less = int(layers % cuts != 0)
        found["pipeline_parallel_schedule"] = SCHEDULES[layout.schedule]
        found["pipeline_parallel_microbatch_size"] = layout.micro_batch
        found["pipeline_parallel_layers_per_stage"] = (layers + 2 * less) // cuts
        found["pipeline_parallel_first_stage_less_layers"] = less
        found["pipeline_parallel_last_stage_less_layers"] = less
    return found


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
