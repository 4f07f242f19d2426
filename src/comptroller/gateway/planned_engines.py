"""A plan served on this machine: its engines are started here, each as the plan says, behind the gateway."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from comptroller import launch
from comptroller.errors import InputError
from comptroller.export import ServiceLaunch, service_launches
from comptroller.gateway.config import GatewayConfig, ServiceConfig
from comptroller.gateway.weights import FILE_TYPES, weights_in_format
from comptroller.launch import llama_cpp
from comptroller.planning.ground.plan_document import Plan, load_plan

EMBEDDED_MODEL = "smollm2_135m"
"""The model whose weights come with the extra `local`."""

GGUF_CACHE = {"bf16": "bf16", "fp16": "f16", "q8_0": "q8_0"}
"""Format of the cache -> its type in llama.cpp's words."""


def planned_config(path: Path) -> GatewayConfig:
    """The configuration under which this machine runs all of a plan; what cannot run is said before anything starts.

    Raises:
        FactError: the file is no plan.
        UnsupportedError: a service is a what-if, or its pools are apart.
        InputError: an engine, its version or its weights are not here, or the service spans machines.
    """
    plan = load_plan(path)
    services = dict(_services(plan))
    return GatewayConfig(services=services, plan=str(path)).checked()


def _services(plan: Plan) -> Iterator[tuple[str, ServiceConfig]]:
    for run in service_launches(plan):
        if run.nodes > 1:
            raise InputError(f"{run.service.id} spans {run.nodes} machines; export the plan, and start it on each")
        yield (
            run.service.id,
            _embedded_service(run) if run.engine == "llama_cpp" and _is_embedded(run) else _command_service(run),
        )


def _is_embedded(run: ServiceLaunch) -> bool:
    """Whether the engine that comes with the extra `local` runs it: llama.cpp in a process of its own, on a CPU."""
    return run.device.kind == "cpu" and find_spec("xllamacpp") is not None


def _embedded_service(run: ServiceLaunch) -> ServiceConfig:
    """llama.cpp by its bindings, one process and one thread for each replica, which is planned to have a core."""
    engine, recipe = run.service.deployment.engine, run.service.deployment.recipe
    settings: dict[str, Any] = {
        "threads": run.devices,
        "slots": engine.max_batch,
        "context_tokens": llama_cpp.context_of(shlex.split(run.service.launch)) // engine.max_batch,
        "chunk_tokens": engine.chunk_tokens,
        "cache": GGUF_CACHE[recipe.kv],
        "file": str(_weights(run)),
    }
    replicas = tuple(f"replica-{number}" for number in range(run.pool.replicas))
    return ServiceConfig(
        backend="embedded", urls=replicas, settings=settings, max_in_flight=engine.max_batch * len(replicas)
    )


def _weights(run: ServiceLaunch) -> Path:
    """The file that the plan's line names, if it was made; else the weights of the extra `local` in its format.

    Raises:
        InputError: there are none; says how they are made.
    """
    made, weights = run.conversion, run.service.deployment.recipe.weights
    if made is not None and Path(made.path).is_file():
        return Path(made.path)
    if run.service.deployment.model == EMBEDDED_MODEL and weights.upper() in {"Q4_1", *FILE_TYPES}:
        return weights_in_format(weights)
    how = f"make it: {made.command}" if made is not None else "no conversion is known"
    raise InputError(f"{run.service.id}: there is no file of its weights here; {how}")


def _command_service(run: ServiceLaunch) -> ServiceConfig:
    """The plan's own command, run here.

    Raises:
        InputError: the engine is not installed in the plan's version, or several replicas would share this machine.
    """
    engine = run.service.deployment.engine
    launch.require_version(run.engine, engine.version)
    if run.pool.replicas > 1:
        raise InputError(
            f"{run.service.id} has {run.pool.replicas} replicas, and one is started here; export the plan to where "
            "they run, and name their URLs in a gateway.toml"
        )
    return ServiceConfig(
        backend="command",
        model=run.model_name,
        settings={"words": run.engine_words, "engine": run.engine},
        context_tokens=engine.context_tokens,
        max_in_flight=engine.max_batch,
    )
