"""`plan`: from a workload to the cheapest fleet that meets its objectives, proven in simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from comptroller.costs.own_calibration import calibration_of_folder
from comptroller.costs.timing import TimingCalibration
from comptroller.planning.ground.executor import HERE, Progress, SearchExecutor, no_progress
from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.day_market import without_spot
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.prove.rehearsal import raise_until_proven
from comptroller.planning.prove.stage import FleetStage, require_policies
from comptroller.planning.reasons.explain import WhyNotExplanation, explain
from comptroller.planning.risk.confidence import with_confidence
from comptroller.planning.solve.infeasible import solve_or_explain
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.write.day import day_plan
from comptroller.planning.write.plan import VerificationResult, document
from comptroller.serving.jit import COMPILED
from comptroller.work.workload import Workload

REHEARSAL = RehearsalSettings()


def plan(
    workload: Workload,
    calibration: TimingCalibration | None = None,
    progress: Progress = no_progress,
    rehearsal: RehearsalSettings | None = REHEARSAL,
    executor: SearchExecutor = HERE,
) -> Plan:
    """The cheapest fleet for a workload, simulated and raised until its percentiles hold.

    rehearsal: how it is simulated. With None, or without numba (the `sim` extra), percentiles stay those of the
    queueing approximation, marked `unverified`.  executor: where choices are evaluated; the plan is the same.

    Raises:
        InfeasibleError: no choice meets the objectives; names what binds and the closest feasible value.
        InputError: the workload, or a fact it names, is malformed; or its calibration speaks of nothing it may choose.
        UnsupportedError: the evidence supports no strategy.
    """
    require_policies(workload)
    calibration = calibration or calibration_of(workload)
    problem = with_confidence(pose_problem(without_spot(workload), calibration, progress, executor))
    problem = replace(problem, workload=workload)
    fleet = solve_or_explain(problem.search, problem.goal)
    simulated = rehearsal if COMPILED and _is_judged_by_latency(problem, fleet) else None
    problem, fleet, verified = rehearse(problem, fleet, calibration, simulated)
    day = day_plan(problem, calibration, simulated)
    return document(problem, fleet, verified).model_copy(update={"hours": day})


def _is_judged_by_latency(problem: PlanningProblem, fleet: Fleet) -> bool:
    """Whether there is anything to simulate: requests always, questions where a latency objective meets own devices."""
    return problem.quality is None or bool(problem.goal.targets and fleet.units)


def rehearse(
    problem: PlanningProblem, best: Fleet, calibration: TimingCalibration, settings: RehearsalSettings | None
) -> tuple[PlanningProblem, Fleet, VerificationResult | None]:
    """Simulate the fleet on draws of what arrives, and raise it until its percentiles hold.

    The problem that comes back has the goal that the fleet which held was sized for. Without settings nothing is
    simulated.

    Raises:
        InfeasibleError: as `raise_until_proven`.
    """
    if settings is None:
        return problem, best, None
    proof = raise_until_proven(FleetStage(problem, best, calibration, settings), best, settings)
    return replace(problem, goal=proof.goal), proof.fleet, VerificationResult(proof.document, proof.seen)


def why_not(
    workload: Workload,
    wanted: Sequence[str],
    calibration: TimingCalibration | None = None,
    progress: Progress = no_progress,
) -> tuple[WhyNotExplanation, ...]:
    """What the plan would cost with each choice, written axis=value, in steady state, and what it loses on.

    Raises:
        InputError, UnknownIdError, InfeasibleError: as `explain`.
    """
    calibration = calibration or calibration_of(workload)
    return explain(with_confidence(pose_problem(without_spot(workload), calibration, progress)), wanted)


def calibration_of(workload: Workload) -> TimingCalibration:
    """The calibration that a workload names, or the one that ships with the package.

    Raises:
        FactError: its folder holds no calibration.
    """
    return calibration_of_folder(workload.calibration) if workload.calibration else shipped_calibration()


def shipped_calibration() -> TimingCalibration:
    """The calibration that ships with the package."""
    return calibration_of_folder(None)
