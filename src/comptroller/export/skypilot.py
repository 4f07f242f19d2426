"""SkyPilot: one SkyServe task for each service, `sky serve up FILE` (docs.skypilot.co, task and service schemas)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comptroller.errors import UnsupportedError
from comptroller.export import PORT, ServiceLaunch, _yaml, service_launches
from comptroller.planning.ground.plan_document import Plan

ACCELERATORS: Mapping[str, tuple[str, ...]] = {
    "h100_sxm": ("H100", "H100-SXM"),
    "h200_sxm": ("H200", "H200-SXM"),
    "a100_80_sxm": ("A100-80GB", "A100-80GB-SXM"),
    "a100_40_sxm": ("A100",),
    "v100_sxm2_32": ("V100-32GB",),
    "b200_sxm": ("B200",),
    "b300_sxm": ("B300",),
    **{name: (name.upper(),) for name in ("a10g", "l4", "l40s", "t4", "gb200", "gb300", "gh200", "mi300x")},
}
"""Names that SkyPilot's catalogs give a device; clouds differ, any of them will do."""

CLOUDS: Mapping[str, str] = {
    "AWS": "aws",
    "Google Cloud": "gcp",
    "Microsoft Azure": "azure",
    "RunPod": "runpod",
    "RunPod Community": "runpod",
    "Lambda": "lambda",
    "Nebius": "nebius",
    "Vast.ai": "vast",
    "DigitalOcean": "do",
}
"""Providers of the facts that SkyPilot rents from; with others it chooses among the clouds that are set up."""

ROUTING: Mapping[str, str] = {"least_request": "least_load", "round_robin": "round_robin"}
"""Routing policy -> `load_balancing_policy` of SkyServe (docs.skypilot.co, service YAML)."""

LEAST_DISK_GB = 256
LOADING_S = 3600
"""How long weights may take to load."""

RANKS = 'export RANK=$SKYPILOT_NODE_RANK LEADER=$(echo "$SKYPILOT_NODE_IPS" | head -n1)\n'


def files(plan: Plan) -> dict[str, str]:
    """One task for each service."""
    return {f"{run.name}.yaml": _yaml.document(_task(run), _says(run)) for run in service_launches(plan)}


def _says(run: ServiceLaunch) -> tuple[str, ...]:
    return (f"{run.service.id}: sky serve up -n {run.name} {run.name}.yaml", f"The plan reckons with {run.price}.")


def _task(run: ServiceLaunch) -> dict[str, Any]:
    probe = {"path": "/health", "initial_delay_seconds": LOADING_S}
    routing = {"load_balancing_policy": run.routed_as(ROUTING, "SkyServe") or "least_load"}
    return {
        "name": run.name,
        "num_nodes": run.nodes,
        "resources": _resources(run),
        "envs": {"HF_TOKEN": ""},
        "service": {"readiness_probe": probe, "replicas": run.pool.replicas, **routing},
        "run": f"{RANKS if run.nodes > 1 else ''}exec {run.line}\n",
    }  # fmt: skip


def _resources(run: ServiceLaunch) -> dict[str, Any]:
    if run.device.id not in ACCELERATORS:
        known = ", ".join(sorted(ACCELERATORS))
        raise UnsupportedError(f"{run.service.id}: SkyPilot's name of {run.device.id} is not known; known: {known}")
    paid = run.service.price
    cloud = {"infra": CLOUDS[paid.provider]} if paid.provider in CLOUDS else {}
    held_gb = round(run.devices * run.device.memory_bytes / 1e9)
    return cloud | {
        "accelerators": dict.fromkeys(ACCELERATORS[run.device.id], run.devices),
        "use_spot": paid.term == "spot",
        "image_id": f"docker:{run.image}",
        "disk_size": max(LEAST_DISK_GB, 2 * held_gb),
        "ports": PORT,
    }
