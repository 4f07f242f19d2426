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
from comptroller.planning.prove.proof_document import VerificationResult, fleet_search, verification_of
from comptroller.planning.prove.stage import require_policies
from comptroller.planning.reasons.explain import WhyNotExplanation, explain
from comptroller.planning.risk.confidence import with_confidence
from comptroller.planning.solve.infeasible import solve_or_explain
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.write.day import day_plan
from comptroller.planning.write.plan import document
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
    """The cheapest fleet for a workload whose percentiles hold in simulation.

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
    simulated = _settings_of(problem, fleet, rehearsal)
    problem, fleet, verified = rehearse(problem, fleet, calibration, simulated)
    day = day_plan(_as_sized(problem, verified), calibration, simulated)
    return document(problem, fleet, verified).model_copy(update={"hours": day})


def _settings_of(
    problem: PlanningProblem, fleet: Fleet, rehearsal: RehearsalSettings | None
) -> RehearsalSettings | None:
    """How to simulate, at the workload's own confidence; `None` where nothing can be, nothing is rented, or questions
    have no latency objective: of them the ceiling on use is kept, and the plan says that nothing was simulated."""
    if rehearsal is None or not COMPILED or not fleet.units:
        return None
    if problem.quality is not None and not problem.goal.targets:
        return None
    asked = problem.workload.confidence
    return rehearsal if asked is None else replace(rehearsal, confidence=asked)


def _as_sized(problem: PlanningProblem, verified: VerificationResult | None) -> PlanningProblem:
    """The problem at what the proven fleet was sized for: the hours of a day begin there."""
    goal, factor = problem.goal, 1.0 if verified is None else verified.sized_for
    targets = tuple(replace(target, aim=min(target.aim, 1.0)) for target in goal.targets)
    demand = max(goal.sizing, factor)
    return replace(problem, goal=replace(goal, targets=targets, demand=demand, most_use=1.0))


def rehearse(
    problem: PlanningProblem, best: Fleet, calibration: TimingCalibration, settings: RehearsalSettings | None
) -> tuple[PlanningProblem, Fleet, VerificationResult | None]:
    """The cheapest fleet that holds in simulation, searched from the steady-state optimum on.

    The problem that comes back has the aims that the fleet was sized for. Without settings nothing is simulated.

    Raises:
        InfeasibleError: as `FleetSearch.proven_fleet`.
    """
    if settings is None:
        return problem, best, None
    search = fleet_search(problem, best, calibration, settings)
    proof = search.proven_fleet(problem.goal)
    return replace(problem, goal=proof.goal), proof.fleet, verification_of(search, problem.goal)


def why_not(
    workload: Workload,
    wanted: Sequence[str],
    calibration: TimingCalibration | None = None,
    progress: Progress = no_progress,
    rehearsal: RehearsalSettings | None = REHEARSAL,
) -> tuple[WhyNotExplanation, ...]:
    """What the plan would cost with each choice, written axis=value, proven as the plan is, and what it loses on.

    Plans for questions are held against each other in the steady state.

    Raises:
        InputError, UnknownIdError, InfeasibleError: as `explain`.
    """
    calibration = calibration or calibration_of(workload)
    problem = with_confidence(pose_problem(without_spot(workload), calibration, progress))
    settings = None if problem.quality else _settings_of(problem, problem.search.solve(problem.goal), rehearsal)
    if settings is None:
        return explain(problem, wanted)
    best = problem.search.solve(problem.goal)
    return explain(problem, wanted, fleet_search(problem, best, calibration, settings))


def calibration_of(workload: Workload) -> TimingCalibration:
    """The calibration that a workload names, or the one that ships with the package.

    Raises:
        FactError: its folder holds no calibration.
    """
    return calibration_of_folder(workload.calibration) if workload.calibration else shipped_calibration()


def shipped_calibration() -> TimingCalibration:
    """The calibration that ships with the package."""
    return calibration_of_folder(None)
