"""Shell scripts that start one replica of each service, for machines that people manage themselves."""

from __future__ import annotations

import shlex

from comptroller.export import ServiceLaunch, service_launches
from comptroller.planning.ground.plan_document import Plan


def files(plan: Plan) -> dict[str, str]:
    """One script for each service."""
    return {f"{run.name}.sh": _script(run) for run in service_launches(plan)}


def _script(run: ServiceLaunch) -> str:
    where = f"on a node with {run.devices} x {run.device.id}"
    if run.nodes > 1:
        where = f"on each of {run.nodes} nodes with {run.devices} x {run.device.id}: RANK is the node's number from 0"
    lines = ["#!/bin/sh", f"# {run.service.id}: {run.pool.replicas} times, {where}"]
    lines.append(f"# planned for {run.engine} {run.service.deployment.engine.version}")
    lines += [f"# {text}" for text in run.routing_says]
    if run.nodes > 1:
        lines.append(': "${RANK:?the number of this node}" "${LEADER:?the address of node 0}"')
    if made := run.conversion:
        time = (
            "its time is not documented" if made.time_s is None else f"{made.time_s / 60:,.0f} min {made.timed}".strip()
        )
        lines += [f"# once, with {made.tool} ({made.install}), {made.disk_bytes / 1e9:,.0f} GB of disk, {time}:"]
        lines += [f"[ -e {shlex.quote(made.path)} ] || {{ {made.command}; }} || exit 1"]
    return "\n".join([*lines, f"exec {run.line}", ""])
