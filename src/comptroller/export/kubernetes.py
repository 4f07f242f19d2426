"""Kubernetes: a Deployment for a replica, a StatefulSet for several, or for each that spans nodes; core APIs only.

Nodes are chosen by the label `comptroller/accelerator`. Every one of several replicas has a Service of its own, among
which the gateway chooses by the plan's routing policy; the Service of all spreads connections without looking at load.
Where a replica spans nodes, a pod's rank is its index in the StatefulSet (a label since Kubernetes 1.28) and the first
pod leads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comptroller.errors import UnsupportedError
from comptroller.export import PORT, ServiceLaunch, _yaml, service_launches
from comptroller.planning.ground.plan_document import Plan

Json = dict[str, Any]

RESOURCES: Mapping[str, str] = {
    "NVIDIA": "nvidia.com/gpu",
    "AMD": "amd.com/gpu",
    "Google": "google.com/tpu",
    "Intel": "habana.ai/gaudi",
    "Amazon": "aws.amazon.com/neuron",
}
"""The resource that the vendor's device plugin offers."""

INDEX = "apps.kubernetes.io/pod-index"
LOADING_S, PERIOD_S = 3600, 10
"""How long weights may take to load, and seconds between probes."""


def files(plan: Plan) -> dict[str, str]:
    """One manifest for each service."""
    says = (f"{plan.name}: kubectl apply -f .", "HF_TOKEN comes from the secret hf-token, if there is one.")
    return {
        f"{run.name}.yaml": "---\n".join(
            _yaml.document(item, (*says, *run.routing_says) if not number else ())
            for number, item in enumerate(_objects(run))
        )
        for run in service_launches(plan)
    }


def _objects(run: ServiceLaunch) -> Iterator[Json]:
    chosen = {"app": run.name}
    if run.nodes == 1:
        yield address_of(run.name, chosen)
        yield from _replicas(run, chosen) if run.routing else [_workload("Deployment", run, run.name, {"replicas": 1})]
        return
    yield address_of(run.name, {**chosen, INDEX: "0"})
    for name in run.replica_names:
        labels = {"replica": name}
        if run.routing:
            yield address_of(name, {**labels, INDEX: "0"})
        yield address_of(f"{name}-nodes", labels) | {"spec": _headless(labels)}
        spec = {
            "serviceName": f"{name}-nodes", "replicas": run.nodes, "podManagementPolicy": "Parallel",
        }  # fmt: skip
        yield _workload("StatefulSet", run, name, spec)


def _replicas(run: ServiceLaunch, chosen: Mapping[str, str]) -> Iterator[Json]:
    """Replicas inside a node, each behind a Service of its own."""
    for number, name in enumerate(run.replica_names):
        yield address_of(name, {**chosen, INDEX: str(number)})
    name = f"{run.name}-pods"
    yield address_of(name, chosen) | {"spec": _headless(chosen)}
    spec = {"serviceName": name, "replicas": run.pool.replicas, "podManagementPolicy": "Parallel"}
    yield _workload("StatefulSet", run, run.name, spec)


def address_of(name: str, chosen: Mapping[str, str]) -> Json:
    """The Service before pods with these labels."""
    ports = [{"name": "http", "port": PORT, "targetPort": PORT}]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": dict(chosen), "ports": ports},
    }  # fmt: skip


def _headless(chosen: Mapping[str, str]) -> Json:
    return {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": dict(chosen)}


def _workload(kind: str, run: ServiceLaunch, name: str, spec: Json) -> Json:
    labels = {"app": run.name} if run.nodes == 1 else {"app": run.name, "replica": name}
    about = about_of(run)
    return {
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "labels": labels, "annotations": about},
        "spec": {
            **spec, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_of(run, name)},
        },
    }  # fmt: skip


def about_of(run: ServiceLaunch) -> Json:
    """Annotations: the service of the plan, its price, and what chooses among replicas."""
    routing = {"comptroller/routing": run.routing} if run.routing else {}
    return {"comptroller/service": run.service.id, "comptroller/price": run.price, **routing}


def pod_of(run: ServiceLaunch, name: str) -> Json:
    """The pod that runs a replica, or one of its nodes."""
    return {
        "nodeSelector": {"comptroller/accelerator": run.device.id},
        "containers": [_container(run, name)],
        "volumes": [{"name": "shared-memory", "emptyDir": {"medium": "Memory"}}],
    }


def _container(run: ServiceLaunch, name: str) -> Json:
    if run.device.vendor not in RESOURCES:
        raise UnsupportedError(f"{run.service.id}: no Kubernetes resource is known for {run.device.vendor} devices")
    command = run.words if run.nodes == 1 else ["sh", "-c", f"exec {run.line}"]
    token = {"name": "hf-token", "key": "token", "optional": True}
    return {
        "name": "engine", "image": run.image, "command": command,
        "env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": token}}, *_ranks(run, name)],
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": {"limits": {RESOURCES[run.device.vendor]: str(run.devices)}},
        "startupProbe": {**_probe(run), "failureThreshold": LOADING_S // PERIOD_S},
        "readinessProbe": _probe(run),
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],
    }  # fmt: skip


def _ranks(run: ServiceLaunch, name: str) -> Iterator[Json]:
    if run.nodes > 1:
        index = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
        yield {"name": "RANK", "valueFrom": index}
        yield {"name": "LEADER", "value": f"{name}-0.{name}-nodes"}


def _probe(run: ServiceLaunch) -> Json:
    if run.nodes == 1:
        return {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": PERIOD_S}
    line = f'[ "$RANK" != 0 ] || curl -sf http://localhost:{PORT}/health'
    return {"exec": {"command": ["sh", "-c", line]}, "periodSeconds": PERIOD_S}
