"""What a plan was made from, as digests."""

from __future__ import annotations

from comptroller.costs.own_calibration import OwnCalibration
from comptroller.facts.digests import facts_digest
from comptroller.planning.ground.plan_document import InputDigests
from comptroller.planning.solve.problem import PlanningProblem


def input_digests(problem: PlanningProblem) -> InputDigests:
    """Of the workload, of the shipped facts, and of the calibration that priced the steps."""
    facts, shipped = facts_digest()
    calibration = problem.calibration
    own = calibration.document.digest if isinstance(calibration, OwnCalibration) else shipped
    return InputDigests(workload=problem.workload.digest, facts=facts, calibration=own)
