"""NVIDIA Dynamo: a DynamoGraphDeployment for each service, prefill and decode apart or not, over nodes too.

github.com/ai-dynamo/dynamo, examples/backends/vllm/deploy (disagg.yaml, disagg-multinode.yaml); the operator gives the
ranks of a replica over nodes their arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comptroller.errors import UnsupportedError
from comptroller.export import ServiceLaunch, _yaml, pool_launches
from comptroller.facts.engine import version_numbers
from comptroller.planning.ground.plan_document import Plan


@dataclass(frozen=True)
class DynamoRuntime:
    """An engine as Dynamo runs it. version: of the engine in the image.  start: the worker's program.

    model: the flag before the model.  prefill: what makes a worker a prefiller.  left_out: flags with a value that the
    worker sets by itself.
    """

    image: str
    version: str
    start: tuple[str, ...]
    model: str
    prefill: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()


RUNTIMES: Mapping[str, DynamoRuntime] = {
    "vllm": DynamoRuntime(
        "nvcr.io/nvidia/ai-dynamo/vllm-runtime:0.8.1", "0.12.0", ("python3", "-m", "dynamo.vllm"), "--model",
        ("--is-prefill-worker",), frozenset({"--kv-transfer-config"}),
    ),
    "sglang": DynamoRuntime(
        "nvcr.io/nvidia/ai-dynamo/sglang-runtime:0.8.1", "0.5.6", ("python3", "-m", "dynamo.sglang"), "--model-path",
    ),
}  # fmt: skip
"""docs.nvidia.com/dynamo, support matrix of v0.8.1: vLLM 0.12.0 and SGLang 0.5.6.post2. Its vLLM worker hands caches on
by NIXL unless it is told otherwise; its SGLang worker takes SGLang's own arguments."""


ROUTING: Mapping[str, str] = {"round_robin": "round-robin", "prefix_load": "kv"}
"""Routing policy -> DYN_ROUTER_MODE of the front end (docs.nvidia.com/dynamo, router guide, of 0.8 and later)."""


def files(plan: Plan) -> dict[str, str]:
    """One graph for each service."""
    return {f"{pools[0].name}.yaml": _yaml.document(_graph(pools), _says(pools)) for pools in pool_launches(plan)}


def _says(pools: tuple[ServiceLaunch, ...]) -> tuple[str, ...]:
    return (
        f"{pools[0].service.id}: kubectl apply -f {pools[0].name}.yaml, where the operator of Dynamo 0.8 runs",
        f"HF_TOKEN comes from the secret hf-token-secret. The plan reckons with {pools[0].price}.",
    )


def _graph(pools: tuple[ServiceLaunch, ...]) -> dict[str, Any]:
    runtime = _runtime(pools[0])
    modes = {run.routed_as(ROUTING, "Dynamo's front end") for run in pools} - {""}
    frontend = {
        "componentType": "frontend", "replicas": 1, "extraPodSpec": {"mainContainer": {"image": runtime.image}},
        **({"envs": [{"name": "DYN_ROUTER_MODE", "value": mode} for mode in modes]} if modes else {}),
    }  # fmt: skip
    return {
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
        "metadata": {"name": pools[0].name, "annotations": {"comptroller/service": pools[0].service.id}},
        "spec": {"services": {"Frontend": frontend, **{_title(run): _worker(run, runtime) for run in pools}}},
    }  # fmt: skip


def _title(run: ServiceLaunch) -> str:
    return {"mixed": "Worker", "prefill": "PrefillWorker", "decode": "DecodeWorker"}[run.pool.phase]


def _runtime(run: ServiceLaunch) -> DynamoRuntime:
    """The image of the plan's engine.

    Raises:
        UnsupportedError: Dynamo's workers have other arguments than the engine, it holds another version, or the
            devices are not NVIDIA's.
    """
    planned = run.service.deployment.engine.version
    if run.engine not in RUNTIMES:
        raise UnsupportedError(f"{run.service.id}: Dynamo's worker of {run.engine} does not take its arguments")
    if run.device.vendor != "NVIDIA":
        raise UnsupportedError(f"{run.service.id}: Dynamo's images are for NVIDIA devices, not {run.device.vendor}'s")
    runtime = RUNTIMES[run.engine]
    wanted = version_numbers(planned)
    if version_numbers(runtime.version)[: len(wanted)] != wanted:
        raise UnsupportedError(
            f"{run.service.id}: the plan is for {run.engine} {planned}; {runtime.image} holds {runtime.version}"
        )
    run.require_repository()
    return runtime


def _worker(run: ServiceLaunch, runtime: DynamoRuntime) -> dict[str, Any]:
    """The workers of a pool. `gpu` counts the devices of a node."""
    role = {} if run.pool.phase == "mixed" else {"subComponentType": run.pool.phase}
    nodes = {"multinode": {"nodeCount": run.nodes}} if run.nodes > 1 else {}
    return {
        "componentType": "worker", **role, "replicas": run.pool.replicas, **nodes,
        "envFromSecret": "hf-token-secret",
        "resources": {"limits": {"gpu": str(run.devices)}},
        "sharedMemory": {"size": f"{16 * run.devices}Gi"},
        "extraPodSpec": {
            "nodeSelector": {"comptroller/accelerator": run.device.id},
            "mainContainer": {
                "image": runtime.image, "command": list(runtime.start), "args": arguments(run, runtime),
            },
        },
    }  # fmt: skip


def arguments(run: ServiceLaunch, runtime: DynamoRuntime) -> list[str]:
    """The plan's arguments of the engine, as Dynamo's worker takes them: the model by a flag, no address."""
    words = run.engine_words
    place = words.index(run.model_name)
    flags = words[place + 1 :]
    kept = [
        word for number, word in enumerate(flags)
        if not {word, *flags[max(0, number - 1) : number]} & runtime.left_out
    ]  # fmt: skip
    return [runtime.model, run.model_name, *kept, *(runtime.prefill if run.pool.phase == "prefill" else ())]
