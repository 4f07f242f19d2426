"""What a workload minimises, within what, and what it allows: its part in every search."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.costs.capacity import LatencyTarget
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.reader import ids
from comptroller.facts.site import site
from comptroller.planning.candidates import DeploymentSpace
from comptroller.planning.document import ENGINES
from comptroller.planning.search import CAP, Goal
from comptroller.work.workload import Workload


def goal_of(workload: Workload) -> Goal:
    """What a workload minimises, and within what."""
    return Goal(
        objective=workload.objective.value,
        targets=targets_of(workload),
        limits=tuple(_limits(workload)),
        spare=workload.spare_replicas,
    )


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
    allow = workload.allow
    return DeploymentSpace(
        models=() if workload.quality else tuple(model(name) for name in workload.models),
        accelerators=tuple(accelerator(name) for name in allow.accelerators or ids("accelerators")),
        engines=tuple(engine_facts(name) for name in allow.engines or ENGINES),
        sites=tuple(site(name) for name in allow.sites or ids("sites")),
        terms=allow.terms,
        formats=allow.formats,
    )


def targets_of(workload: Workload) -> tuple[LatencyTarget, ...]:
    """The latency objectives of a workload."""
    asked = workload.objectives
    named = (("ttft_s", asked.ttft), ("tpot_s", asked.tpot), ("e2e_s", asked.e2e))
    return tuple(LatencyTarget(name, bound.p / 100, bound.max_s) for name, bound in named if bound)
