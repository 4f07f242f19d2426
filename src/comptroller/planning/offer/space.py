"""What a workload minimises, within what, and what it allows: its part in every search."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.costs.capacity import LatencyTarget
from comptroller.facts.reader import ids
from comptroller.planning.ground.nouns import CAP, Goal
from comptroller.planning.offer.deployments import DeploymentSpace
from comptroller.work.fleet_limits import MOST_USE
from comptroller.work.quality import WorkloadQuality
from comptroller.work.workload import Workload

ENGINES = ("vllm", "sglang")
"""Engines tried when the workload names none: the open ones that serve on more than one vendor's devices."""


def goal_of(workload: Workload) -> Goal:
    """What a workload minimises, and within what."""
    targets = targets_of(workload)
    most_use = workload.most_use or (1.0 if targets else MOST_USE)
    return Goal(
        objective=workload.objective.value,
        targets=targets,
        most_use=most_use,
        limits=tuple(_limits(workload)),
        spare=workload.spare_replicas,
        quality=quality_targets(workload.quality),
        most_kinds=workload.most_kinds,
        kind_usd_per_h=workload.kind_usd_per_h,
    )


def quality_targets(quality: WorkloadQuality | None) -> tuple[tuple[str, float], ...]:
    """The shares to solve: over all, then by class of questions; none for plain requests."""
    if quality is None:
        return ()
    return (("", quality.solve.least), *((task, share.least) for task, share in quality.each.items()))


def _limits(workload: Workload) -> Iterator[tuple[str, float]]:
    for device, most in workload.caps.items():
        yield f"{CAP}{device}", float(most)
    if workload.budget:
        yield "budget", workload.budget.max_usd_per_s * 3600.0
    if workload.power:
        yield "power", workload.power.in_si("w")
    if workload.carbon:
        yield "carbon", workload.carbon.in_si("gco2e_per_s") * 3600.0


def space_of(workload: Workload) -> DeploymentSpace:
    """What a workload allows; an empty list allows everything there is."""
    allow, library = workload.allow, workload.library
    return DeploymentSpace(
        models=() if workload.quality else tuple(map(library.model, workload.models)),
        accelerators=tuple(map(library.accelerator, allow.accelerators or ids("accelerators"))),
        engines=tuple(map(library.engine, allow.engines or ENGINES)),
        sites=tuple(map(library.site, allow.sites or ids("sites"))),
        terms=allow.terms,
        formats=allow.formats,
        library=library,
        what_if=workload.what_if,
        sellers=allow.sellers,
    )


def targets_of(workload: Workload) -> tuple[LatencyTarget, ...]:
    """The latency objectives of a workload."""
    asked = workload.objectives
    named = (("ttft_s", asked.ttft), ("tpot_s", asked.tpot), ("e2e_s", asked.e2e))
    return tuple(LatencyTarget(name, bound.p / 100, bound.max_s) for name, bound in named if bound)
