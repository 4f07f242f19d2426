"""What the choice would be if deployments that nobody timed ran at their predicted speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from comptroller.planning.ground.nouns import AxisValues, Deployment, Fleet
from comptroller.planning.ground.odds_document import UntimedCaution
from comptroller.planning.offer.intervals import is_timed
from comptroller.planning.offer.step_factors import planned_factor, space_at
from comptroller.planning.prove.fleet_search import FleetSearch
from comptroller.planning.prove.proof_document import VerificationResult, fleet_search
from comptroller.planning.reasons.break_even import deployments_of
from comptroller.planning.reasons.proof_reader import STEADY
from comptroller.planning.reasons.shadow_prices import CHANGE, amount
from comptroller.planning.solve.description import describe_fleet
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import KeepChoice, PlanSearch
from comptroller.quantities import short


@dataclass(frozen=True)
class BolderChoice:
    """The choice at predicted speed; fleet: `None` where it is no cheaper than the plan.  proven: whether simulated."""

    told: UntimedCaution
    fleet: Fleet | None
    proven: bool

    @classmethod
    def of(cls, problem: PlanningProblem, best: Fleet, verified: VerificationResult | None) -> BolderChoice | None:
        """Beside a plan; `None` where nothing is taken slower than predicted.

        The steady state's choice; for requests whose plan was simulated its kinds are simulated too, at the least
        counts that hold.
        """
        factor = cautious_factors(problem)
        if not factor:
            return None
        bold = bold_problem(problem)
        fleet, base = bold.search.solve(bold.goal), problem.search.solve(bold.goal)
        simulated = verified is not None and problem.quality is None
        if verified is not None and simulated and _is_cheaper(fleet, base):
            stage = verified.search.stage
            proof: FleetSearch = fleet_search(bold, fleet, bold.calibration, stage.settings)
            fleet, base = proof.solve(bold.goal, _only_kinds(bold, fleet)), best
        used = dict.fromkeys(one.replica.device.id for one in deployments_of(problem, fleet))
        names = [name for name in used if name in factor]
        if not names or not _is_cheaper(fleet, base):
            return cls(_caution(factor, 0.0, "", "nothing is cheaper at predicted speed"), None, simulated)
        saves, line = base.objective - fleet.objective, describe_fleet(problem.search, fleet)
        whose = "its" if len(names) == 1 else "their"
        steady = f" ({STEADY})" if verified is not None and not simulated else ""
        less = f"{amount(saves, bold.goal.objective)}/h less{steady}"
        told = f"with {' and '.join(names)} at {whose} predicted speed: {less}"
        return cls(_caution(factor, saves, line, told), fleet, simulated)


def bold_problem(problem: PlanningProblem) -> PlanningProblem:
    """The problem in which all steps take what is predicted."""
    steps = problem.steps

    def predicted(one: Deployment) -> float:
        return 1.0 / planned_factor(one.replica, steps)

    trusting = problem.workload.model_copy(update={"trust_predicted_speed": True})
    search = PlanSearch(space_at(problem.space, predicted))
    return replace(problem, workload=trusting, goal=problem.goal.asked, search=search)


def cautious_factors(problem: PlanningProblem) -> dict[str, float]:
    """By accelerator, how many times as long as predicted the steps of what nobody timed are taken."""
    factor: dict[str, float] = {}
    for offers in problem.space.offers.values():
        for replica in (deployment.replica for deployment in offers.deployments):
            if not is_timed(replica, problem.calibration) and (taken := planned_factor(replica, problem.steps)) != 1.0:
                factor[replica.device.id] = max(factor.get(replica.device.id, 0.0), taken)
    return factor


def _only_kinds(problem: PlanningProblem, fleet: Fleet) -> KeepChoice:
    """Keep what a fleet rents, wherever it is rented."""
    kinds = [one.axes for one in deployments_of(problem, fleet)]

    def keep(axes: AxisValues) -> bool:
        return not axes or any(all(value in axes.get(axis, ()) for axis, value in one.items()) for one in kinds)

    return keep


def _is_cheaper(fleet: Fleet, base: Fleet) -> bool:
    return fleet.objective < base.objective * (1 - CHANGE)


def _caution(factor: Mapping[str, float], saves: float, fleet: str, sentence: str) -> UntimedCaution:
    told = {name: short(value) for name, value in factor.items()}
    return UntimedCaution(factor=told, saves_per_h=short(saves), fleet=fleet, sentence=sentence)
