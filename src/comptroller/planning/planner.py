"""`plan`: from a workload to the cheapest fleet that meets its objectives, proven in simulation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.capacity import SlicedLoad
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.steady import UniformRequests
from comptroller.costs.timing import TimingCalibration
from comptroller.errors import InfeasibleError
from comptroller.planning.candidates import RejectionTally, enumerate_candidates
from comptroller.planning.conflict import solve_or_explain
from comptroller.planning.document import PlanningProblem, VerificationResult, describe, document, service
from comptroller.planning.executor import HERE, Progress, SearchExecutor, gather, no_progress
from comptroller.planning.explain import WhyNotExplanation, explain, of_joint, of_problem
from comptroller.planning.hours_market import without_spot
from comptroller.planning.hours_planner import with_hours
from comptroller.planning.joint_confidence import with_confidence
from comptroller.planning.joint_document import joint_document
from comptroller.planning.joint_hours_planner import with_joint_hours
from comptroller.planning.joint_planner import JointProblem, pose_joint
from comptroller.planning.joint_proof import prove_joint
from comptroller.planning.plan import Plan
from comptroller.planning.proof import raise_until_proven
from comptroller.planning.search import Fleet, FleetSearch, Goal
from comptroller.planning.space import goal_of, space_of
from comptroller.planning.table import ReplicaEvaluator, chunks, table_of
from comptroller.planning.verify import RehearsalSettings, SimulatedQuantile, judge_draws, simulated_quantiles, traces
from comptroller.serving.jit import COMPILED
from comptroller.work.demand import TrafficDemand, demand
from comptroller.work.workload import Workload

GRID = (6, 6)
"""Request-size buckets, input x output: finer ones change the optimum by less than the model's own error."""

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
        InputError: the workload, or a fact it names, is malformed.
    """
    known = calibration or shipped_calibration()
    if workload.quality is not None:
        posed = with_confidence(pose_joint(without_spot(workload), known, progress, executor))
        return _joint(replace(posed, workload=workload), known, rehearsal)
    problem = replace(pose(without_spot(workload), known, progress, executor), workload=workload)
    best = solve_or_explain(problem.search, problem.goal)
    if rehearsal is None or not COMPILED:
        return with_hours(document(problem, best, None), problem, known)
    proven, best, verified = prove(problem, best, known, rehearsal)
    return with_hours(document(proven, best, verified), proven, known, rehearsal)


def _joint(problem: JointProblem, calibration: TimingCalibration, rehearsal: RehearsalSettings | None) -> Plan:
    """The plan of a quality target; what it rents is simulated where a latency objective has to hold."""
    best = solve_or_explain(problem.joint, problem.goal)
    if rehearsal is None or not COMPILED or not problem.goal.targets or not best.fleets:
        return with_joint_hours(joint_document(problem, best, None), problem, calibration)
    proven_, best, verified = prove_joint(problem, best, calibration, rehearsal)
    return with_joint_hours(joint_document(proven_, best, verified), proven_, calibration)


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
    known = calibration or shipped_calibration()
    if workload.quality is not None:
        return explain(of_joint(with_confidence(pose_joint(without_spot(workload), known, progress))), wanted)
    return explain(of_problem(pose(without_spot(workload), known, progress)), wanted)


def prove(
    problem: PlanningProblem, best: Fleet, calibration: TimingCalibration, rehearsal: RehearsalSettings
) -> tuple[PlanningProblem, Fleet, VerificationResult]:
    """Simulate the fleet on draws of the arrivals, and raise it until its percentiles hold.

    Raises:
        InfeasibleError: as `raise_until_proven`.
    """
    found = raise_until_proven(RequestStage(problem, calibration, rehearsal), best, rehearsal)
    return replace(problem, goal=found.goal), found.fleet, VerificationResult(found.document, found.seen)


class RequestStage:
    """The stage of a plan for requests: every request of a draw goes to the service that the plan names."""

    def __init__(self, problem: PlanningProblem, calibration: TimingCalibration, rehearsal: RehearsalSettings) -> None:
        self.goal, self._problem = problem.goal, problem
        self._calibration, self._rehearsal = calibration, rehearsal
        self._draws = traces(problem.workload, problem.asked, rehearsal)
        self.requests = len(self._draws[0])

    def sized(self, goal: Goal) -> Fleet:
        """The cheapest fleet for a goal."""
        return self._problem.search.solve(goal)

    def line(self, fleet: Fleet) -> str:
        """A fleet in one line."""
        return describe(self._problem.search, fleet.units)

    def usd_per_h(self, fleet: Fleet) -> float:
        """Its price."""
        return float(self._problem.search.unit.usd_per_h @ fleet.units)

    def seen(self, fleet: Fleet, goal: Goal) -> tuple[SimulatedQuantile, ...]:
        """What simulating it showed."""
        return judge_draws(self.measured(fleet, goal), goal.targets, self._rehearsal)

    def measured(self, fleet: Fleet, goal: Goal) -> Iterator[npt.NDArray[np.float64]]:
        """The objectives' quantiles, in seconds, draw by draw."""
        services = [service(self._problem, fleet, int(row))[0] for row in np.flatnonzero(fleet.units)]
        return simulated_quantiles(services, self._calibration, self._draws, goal.targets, self._rehearsal.seed)


def shipped_calibration() -> TimingCalibration:
    """The calibration that ships with the package."""
    return FittedCalibration.shipped()


def pose(
    workload: Workload,
    calibration: TimingCalibration,
    progress: Progress = no_progress,
    executor: SearchExecutor = HERE,
) -> PlanningProblem:
    """Enumerate the choices of a workload and evaluate them all.

    Raises:
        InfeasibleError: nothing that is allowed fits its memory, has a price and runs the formats; says why.
    """
    asked = demand(workload, GRID)
    rejected = RejectionTally()
    candidates = list(enumerate_candidates(space_of(workload), rejected))
    goal = goal_of(workload)
    load = load_of(asked)
    found = gather(executor, ReplicaEvaluator(goal.targets, calibration), chunks(candidates, load), progress)
    table = table_of(candidates, load, found, goal.targets, rejected)
    if not table.candidates:
        raise InfeasibleError(f"nothing that is allowed can serve {', '.join(workload.models)}: {rejected}")
    return PlanningProblem(workload, asked, goal, FleetSearch(table), rejected)


def load_of(asked: TrafficDemand) -> SlicedLoad:
    """A demand as the costs take it."""
    sizes = UniformRequests(asked.sizes.input_tokens, asked.sizes.output_tokens)
    return SlicedLoad(sizes, asked.rates_per_s, asked.window_cv)
