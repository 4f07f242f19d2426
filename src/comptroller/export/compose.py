"""Docker Compose: one file for each service, for a machine that holds its replicas (compose-spec, deploy.resources)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comptroller.errors import UnsupportedError
from comptroller.export import PORT, ServiceLaunch, _yaml, service_launches
from comptroller.planning.ground.plan_document import Plan

DRIVERS: Mapping[str, str] = {"NVIDIA": "nvidia"}
"""Vendor -> driver of a reservation of devices; others are passed in as files of /dev."""

DEVICE_FILES: Mapping[str, tuple[str, ...]] = {"AMD": ("/dev/kfd", "/dev/dri")}
"""Vendor -> files of its devices (ROCm, "Running ROCm Docker containers"), all of the machine's at once."""

LOADING_S, PERIOD_S = 3600, 10
"""How long weights may take to load, and seconds between probes."""


def files(plan: Plan) -> dict[str, str]:
    """One file for each service."""
    return {f"{run.name}.compose.yaml": _yaml.document(_document(run), _says(run)) for run in service_launches(plan)}


def _says(run: ServiceLaunch) -> tuple[str, ...]:
    return (
        f"{run.service.id}: docker compose -f {run.name}.compose.yaml up, on a machine with {run.device.id}",
        f"{run.pool.replicas} replicas of {run.devices} devices each; ports count up from {PORT}.",
        *run.routing_says,
    )


def _document(run: ServiceLaunch) -> dict[str, Any]:
    """A file whose services are the replicas, each with devices of its own.

    Raises:
        UnsupportedError: a replica spans nodes, replicas do not fit a node, or the vendor's devices are not known to
            Docker.
    """
    if run.nodes > 1:
        raise UnsupportedError(f"{run.service.id}: Docker Compose starts one machine, and a replica spans {run.nodes}")
    if run.devices * run.pool.replicas > run.device.node_devices:
        raise UnsupportedError(
            f"{run.service.id}: {run.pool.replicas} replicas of {run.devices} devices are more than the "
            f"{run.device.node_devices} of a machine; export to kubernetes or commands"
        )
    return {"services": {name: _service(run, number) for number, name in enumerate(run.replica_names)}}


def _service(run: ServiceLaunch, number: int) -> dict[str, Any]:
    probe = f"curl -sf http://localhost:{PORT}/health"
    return {
        "image": run.image,
        "entrypoint": run.words[:1],
        "command": run.words[1:],
        "environment": {"HF_TOKEN": "${HF_TOKEN:-}"},
        "ports": [f"{PORT + number}:{PORT}"],
        "ipc": "host",
        "volumes": ["${HF_HOME:-~/.cache/huggingface}:/root/.cache/huggingface"],
        "healthcheck": {
            "test": ["CMD-SHELL", probe], "interval": f"{PERIOD_S}s", "start_period": f"{LOADING_S}s", "retries": 3,
        },
        **_devices(run, number),
    }  # fmt: skip


def _devices(run: ServiceLaunch, number: int) -> dict[str, Any]:
    """The devices of a replica, by their numbers on the machine."""
    numbers = [str(number * run.devices + place) for place in range(run.devices)]
    vendor = run.device.vendor
    if vendor in DRIVERS:
        kept = {"driver": DRIVERS[vendor], "device_ids": numbers, "capabilities": ["gpu"]}
        return {"deploy": {"resources": {"reservations": {"devices": [kept]}}}}
    if vendor in DEVICE_FILES:
        shown = {"HIP_VISIBLE_DEVICES": ",".join(numbers), "HF_TOKEN": "${HF_TOKEN:-}"}
        return {"devices": list(DEVICE_FILES[vendor]), "group_add": ["video"], "environment": shown}
    raise UnsupportedError(f"{run.service.id}: how Docker gives {vendor} devices to a container is not known")
