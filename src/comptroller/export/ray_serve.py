"""Ray Serve: one config for `serve deploy`, whose LLM application has a model for each service.

docs.ray.io/en/latest/serve/llm: `ray.serve.llm:build_openai_app` takes LLMConfigs; engine settings are vLLM's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from comptroller.errors import UnsupportedError
from comptroller.export import PORT, ServiceLaunch, _yaml, service_launches, slug
from comptroller.planning.ground.plan_document import Plan

ACCELERATORS: Mapping[str, str] = {
    "h100_sxm": "H100",
    "h100_pcie": "H100",
    "h200_sxm": "H200",
    "a100_80_sxm": "A100-80G",
    "a100_80_pcie": "A100-80G",
    "a100_40_sxm": "A100-40G",
    "a100_40_pcie": "A100-40G",
    "v100_sxm2_32": "V100",
    "b200_sxm": "B200",
    "b300_sxm": "B300",
    "mi300x": "AMD-Instinct-MI300X-OAM",
    "mi325x": "AMD-Instinct-MI325X-OAM",
    **{name: name.upper() for name in ("a10g", "l4", "l40s", "t4", "gb200", "gb300")},
}
"""`ray.util.accelerators`: what a node calls its devices."""


ROUTING: Mapping[str, str] = {"power_of_two": "its own choice of the less loaded of two"}
"""Routing policies that Ray Serve has; this is its default (docs.ray.io, serve/llm/architecture/routing-policies)."""


def files(plan: Plan) -> dict[str, str]:
    """The config of one application."""
    models = [_model(run) for run in service_launches(plan)]
    name = slug(plan.name)
    document = {
        "http_options": {"host": "0.0.0.0", "port": PORT},
        "applications": [
            {
                "name": name,
                "route_prefix": "/",
                "import_path": "ray.serve.llm:build_openai_app",
                "args": {"llm_configs": models},
            }
        ],
    }
    versions = sorted({run.service.deployment.engine.version for run in service_launches(plan)})
    says = [f"{plan.name}: serve deploy {name}.yaml", f"Nodes need vllm {' and '.join(versions)}, as planned."]
    routed = {run.routing: run.routed_as(ROUTING, "Ray Serve") for run in service_launches(plan) if run.routing}
    says += [f"Among replicas Ray Serve routes by {policy}, {words}." for policy, words in routed.items()]
    return {f"{name}.yaml": _yaml.document(document, says)}


def _model(run: ServiceLaunch) -> dict[str, Any]:
    """An LLMConfig.

    Raises:
        UnsupportedError: the engine is not vLLM, it has data-parallel ranks, Ray's name of the device is not known,
            no repository has its weights, or Ray chooses otherwise among replicas.
    """
    if run.engine != "vllm":
        raise UnsupportedError(f"{run.service.id}: Ray Serve's LLM application runs vllm, not {run.engine}")
    if run.pool.dp > 1:
        raise UnsupportedError(
            f"{run.service.id}: Ray Serve's LLM application has no {run.pool.dp} data-parallel ranks"
        )
    if run.device.id not in ACCELERATORS:
        raise UnsupportedError(f"{run.service.id}: Ray's name of {run.device.id} is not known")
    run.require_repository()
    run.routed_as(ROUTING, "Ray Serve")
    return {
        "model_loading_config": {"model_id": run.name, "model_source": run.words[2]},
        "accelerator_type": ACCELERATORS[run.device.id],
        "deployment_config": {
            "num_replicas": run.pool.replicas,
            "max_ongoing_requests": 2 * run.service.deployment.engine.max_batch,
        },
        "engine_kwargs": settings(run.words[3:-4]),
    }


def settings(words: list[str]) -> dict[str, Any]:
    """Flags of a command as keyword arguments.

    >>> settings(["--tensor-parallel-size", "4", "--dtype", "bfloat16", "--enable-expert-parallel"])
    {'tensor_parallel_size': 4, 'dtype': 'bfloat16', 'enable_expert_parallel': True}
    """
    options: dict[str, Any] = {}
    for place, word in enumerate(words):
        if word.startswith("--"):
            value = next(iter(words[place + 1 : place + 2]), "--")
            options[word[2:].replace("-", "_")] = True if value.startswith("--") else _number(value)
    return options


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
