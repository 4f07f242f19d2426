"""What is behind the deployments of a plan, in sentences: the efficiency, who rents them, weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from comptroller.costs.own_calibration import OwnCalibration
from comptroller.facts.stated_prices import STATED
from comptroller.launch import WHAT_IF, checkpoint
from comptroller.planning.offer.intervals import is_timed
from comptroller.planning.offer.step_factors import planned_factor
from comptroller.planning.prove.services import ModelServices
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.write.checkpoints import checkpoint_notes
from comptroller.planning.write.lever_notes import lever_notes
from comptroller.quantities import HOUR_S


def deployment_notes(problem: PlanningProblem, own: ModelServices) -> Iterator[str]:
    """All that a reader has to know of the deployments of one model."""
    yield from unchecked_architecture_notes(own)
    yield from borrowed_efficiency_notes(problem, own)
    yield from untimed_kernel_notes(problem, own)
    yield from rental_notes(own)
    yield from checkpoint_notes(own)
    yield from lever_notes(own)
    yield from calibration_notes(problem, own)


def unchecked_architecture_notes(own: ModelServices) -> Iterator[str]:
    """Models of the plan whose architecture no conformance suite checked."""
    for model in dict.fromkeys(deployment.replica.model for deployment in own.deployments):
        if model.doubt:
            yield f"{model.id}: {model.doubt}"


def rental_notes(own: ModelServices) -> Iterator[str]:
    """Who rents out what a plan rents, as what, and at which dated price; where more comes together than one needs."""
    for deployment in own.deployments:
        offer, devices = deployment.offer, deployment.devices
        kind = deployment.site.kind_of(offer.provider)
        few = "" if offer.available is None else f", {offer.available} available"
        known = "as the workload states" if offer.provider == STATED else f"since {offer.since}"
        pack = f"; sold by {offer.devices} devices, a replica takes {devices}" if offer.devices > devices else ""
        yield (
            f"{offer.accelerator} at {deployment.site.id}: {deployment.seller} ({kind}), "
            f"{offer.term.replace('_', '-')}, ${offer.usd_per_s * HOUR_S:.4g} a device and hour {known}{few}{pack}"
        )


def borrowed_efficiency_notes(problem: PlanningProblem, own: ModelServices) -> Iterator[str]:
    """Devices of the plan whose efficiency is borrowed from other families, and what their steps are taken for."""
    replicas = {(x.replica.device.id, x.replica.engine.launched_as): x.replica for x in own.deployments}
    for (device, engine), replica in replicas.items():
        if not is_timed(replica, problem.calibration):
            factor = planned_factor(replica, problem.steps)
            taken = (
                "its steps are taken as predicted (trust_predicted_speed)"
                if factor == 1.0
                else f"its steps under {engine} are taken at their interval's upper end, {factor:.2f}x as predicted"
            )
            yield (
                f"{device}: no kernel of its family was timed; its efficiency is pooled from other families "
                f"and its intervals are wider for it; {taken}; measure it before you rely on the choice"
            )


def untimed_kernel_notes(problem: PlanningProblem, own: ModelServices) -> Iterator[str]:
    """Kernels of the plan that nobody timed on their device's family, where others were timed on it."""
    for service, deployment in zip(own.services, own.deployments, strict=True):
        replica = deployment.replica
        if service.launch.startswith(WHAT_IF) or not is_timed(replica, problem.calibration):
            continue
        found = checkpoint(replica)
        if found.evidence != "timed":
            known = "has published speeds alone" if found.evidence == "published" else "was never timed"
            yield (
                f"{service.id}: the kernel of {replica.recipe.experts} on {replica.device.family} ({found.kernel}) "
                f"{known}; its efficiency is that of like formats; measure it before you rely on the choice"
            )


def calibration_notes(problem: PlanningProblem, own: ModelServices) -> Iterator[str]:
    """What of the plan rests on an own calibration, and what does not."""
    calibration = problem.calibration
    if not isinstance(calibration, OwnCalibration):
        return
    name = Path(problem.workload.calibration or "given").name
    for service, deployment in zip(own.services, own.deployments, strict=True):
        if calibration.covers(deployment.replica):
            yield f"{service.id}: step times and intervals of the own calibration {name}, measured for this server"
        else:
            yield (
                f"{service.id}: outside what the own calibration {name} was measured for ({calibration.scope()}); "
                "priced by the shipped one, with its wider intervals"
            )
