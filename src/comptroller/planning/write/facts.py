"""What a plan was made from: digests, the facts that travel with it, and the own calibration that priced it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from comptroller.costs.own_calibration import OwnCalibration
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.facts.digests import facts_digest
from comptroller.facts.library import FactLibrary
from comptroller.facts.reader import FactEntry
from comptroller.planning.ground.plan_document import CALIBRATION, InputDigests
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.solve.problem import PlanningProblem


def facts_of(
    services: Iterable[ServiceDocument], library: FactLibrary, calibration: TimingCalibration
) -> Iterator[FactEntry]:
    """The facts that the ids in services stand for, each once, by kind and id; an own calibration last."""
    names: set[tuple[str, str]] = set()
    for deployment in (service.deployment for service in services):
        recipe = deployment.recipe
        names |= {("models", deployment.model), ("engines", deployment.engine.id), ("sites", deployment.site)}
        speculation = deployment.engine.speculation
        names |= {("models", speculation.draft)} if speculation and speculation.draft else set()
        names |= {("accelerators", pool.accelerator) for pool in deployment.pools}
        names |= {("formats", name) for name in (recipe.weights, recipe.experts, recipe.activations, recipe.kv)}
    for kind, name in sorted(names):
        yield library.entry(kind, name)
    if isinstance(calibration, OwnCalibration):
        yield FactEntry.of(CALIBRATION, "own", "measured", calibration.document.content)


def input_digests(problem: PlanningProblem) -> InputDigests:
    """Of the workload, of the shipped facts, and of the calibration that priced the steps."""
    facts, shipped = facts_digest()
    calibration = problem.calibration
    own = calibration.document.digest if isinstance(calibration, OwnCalibration) else shipped
    return InputDigests(workload=problem.workload.digest, facts=facts, calibration=own)
