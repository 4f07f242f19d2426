"""llm-d: values of the chart llm-d-modelservice, one file for each service, prefill and decode apart or not.

github.com/llm-d-incubation/llm-d-modelservice, values.yaml; guides/pd-disaggregation of github.com/llm-d/llm-d. The
chart puts a sidecar before every decoder, which has the prompt computed by a prefiller and its cache handed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comptroller.errors import UnsupportedError
from comptroller.export import PORT, ServiceLaunch, _yaml, pool_launches
from comptroller.planning.ground.plan_document import Plan

ACCELERATORS: Mapping[str, str] = {"NVIDIA": "nvidia", "AMD": "amd", "Google": "google", "Intel": "intel-gaudi"}
"""Vendor -> the chart's `accelerator.type`, which names the resource of a pod."""

ROUTING: Mapping[str, str] = {
    "least_request": "active-request-scorer",
    "least_kv": "kv-cache-utilization-scorer",
    "prefix_match": "prefix-cache-scorer",
    "session_affinity": "session-affinity-scorer",
}
"""Routing policy -> scorer of the endpoint picker (docs/architecture.md of llm-d/llm-d-inference-scheduler)."""

DECODER_PORT = 8200
"""Where a decoder listens behind its sidecar (`routing.proxy.targetPort`), which takes the port of the service."""

TRANSFER_PORT = 5600
"""VLLM_NIXL_SIDE_CHANNEL_PORT: where replicas tell each other of caches."""

LOADING_S, PERIOD_S = 3600, 10
"""How long weights may take to load, and seconds between probes."""


def files(plan: Plan) -> dict[str, str]:
    """The values of one release of the chart for each service."""
    return {
        f"{pools[0].name}.values.yaml": _yaml.document(_values(pools), _says(pools)) for pools in pool_launches(plan)
    }


def _says(pools: tuple[ServiceLaunch, ...]) -> tuple[str, ...]:
    name = pools[0].name
    routed = {f"{x.pool.phase}: {x.routing} is {x.routed_as(ROUTING, 'llm-d')}" for x in pools if x.routing}
    return (
        f"{pools[0].service.id}: helm install {name} llm-d-modelservice/llm-d-modelservice -f {name}.values.yaml",
        "In front: an InferencePool that selects llm-d.ai/model, with the profiles of guides/pd-disaggregation.",
        *((f"Scorer of these profiles, as planned for pools: {'; '.join(sorted(routed))}.",) if routed else ()),
        f"Weights come with the token in the secret hf-token, key HF_TOKEN. The plan reckons with {pools[0].price}.",
        *(() if len(pools) == 1 else ("Caches are handed on by NIXL, which the image has to hold.",)),
    )


def _values(pools: tuple[ServiceLaunch, ...]) -> dict[str, Any]:
    """The values of a service.

    Raises:
        UnsupportedError: another engine than vLLM, a replica over nodes, or a vendor that the chart has no name for.
    """
    first, service = pools[0], pools[0].service
    for run in pools:
        if run.engine != "vllm":
            raise UnsupportedError(f"{service.id}: the sidecar of llm-d hands on caches of vllm, not of {run.engine}")
        if run.nodes > 1:
            raise UnsupportedError(
                f"{service.id}: a replica spans {run.nodes} nodes, whose ranks the chart sets by itself; export it to "
                "dynamo, leader_worker_set or kubernetes"
            )
    if first.device.vendor not in ACCELERATORS:
        raise UnsupportedError(f"{service.id}: llm-d has no name for {first.device.vendor} devices")
    apart = len(pools) > 1
    roles = {"decode": pools[-1]} | ({"prefill": pools[0]} if apart else {})
    disk_gb = max(2 * round(run.devices * run.device.memory_bytes / 1e9) for run in pools)
    return {
        "fullnameOverride": first.name,
        "multinode": False,
        "accelerator": {"type": ACCELERATORS[first.device.vendor]},
        "modelArtifacts": {
            "name": first.model_name, "uri": f"hf://{first.model_name}", "size": f"{disk_gb}G",
            "authSecretName": "hf-token",
            "labels": {"llm-d.ai/inferenceServing": "true", "llm-d.ai/model": first.name},
        },
        "routing": {"servicePort": PORT, "proxy": _sidecar(apart)},
        "decode": {"create": True, **_role(roles["decode"], DECODER_PORT if apart else PORT)},
        "prefill": {"create": True, **_role(roles["prefill"], PORT)} if apart else {"create": False},
    }  # fmt: skip


def _sidecar(apart: bool) -> dict[str, Any]:
    known = {"targetPort": DECODER_PORT, "connector": "nixlv2", "secure": False}
    return {"enabled": True, **known} if apart else {"enabled": False}


def _role(run: ServiceLaunch, port: int) -> dict[str, Any]:
    """A pool. The chart counts devices by `parallelism.tensor`; degrees stand in the command, which is the plan's."""
    words = run.listening(port)
    probe = {"httpGet": {"path": "/health", "port": port}, "periodSeconds": PERIOD_S}
    address = {"fieldRef": {"fieldPath": "status.podIP"}}
    return {
        "replicas": run.pool.replicas,
        "parallelism": {"tensor": run.devices},
        "extraConfig": {"nodeSelector": {"comptroller/accelerator": run.device.id}},
        "containers": [
            {
                "name": "vllm", "image": run.image, "modelCommand": "custom", "command": words[:1], "args": words[1:],
                "env": [
                    {"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "valueFrom": address},
                    {"name": "VLLM_NIXL_SIDE_CHANNEL_PORT", "value": str(TRANSFER_PORT)},
                ],
                "ports": [{"containerPort": port}, {"containerPort": TRANSFER_PORT}],
                "mountModelVolume": True,
                "startupProbe": {**probe, "failureThreshold": LOADING_S // PERIOD_S}, "readinessProbe": probe,
                "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],
            }
        ],
        "volumes": [{"name": "shared-memory", "emptyDir": {"medium": "Memory"}}],
    }  # fmt: skip
