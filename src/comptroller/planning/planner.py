"""`plan`: from a workload to the cheapest fleet that meets its objectives, proven in simulation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from comptroller.costs.own_calibration import calibration_of_folder
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.executor import HERE, SILENT, PlanProgress, SearchExecutor
from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.day_market import without_spot
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.prove.proof_document import VerificationResult, fleet_search, verification_of
from comptroller.planning.reasons.explain import WhyNotExplanation, explain
from comptroller.planning.reasons.runners_up import runners_up
from comptroller.planning.risk.confidence import with_supported_ways
from comptroller.planning.routing_choice import best_of, routing_choices
from comptroller.planning.solve.infeasible import solve_or_explain
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.write.day import day_plan
from comptroller.planning.write.plan import answer, reasons_in_parts
from comptroller.work.workload import Workload

REHEARSAL = RehearsalSettings()

REASONS = ("comparing with what lost", "pricing limits", "looking at other objectives")
"""What is being done for each part of the reasons, the frontier last."""


class PlanDepth(IntEnum):
    """How far a plan is told."""

    ANSWER = 0
    """The proven fleet, and where there are hours the day."""
    REASONS = 1
    """What lost, what fell out, what limits cost."""
    FRONTIER = 2
    """The cost at tighter and looser objectives as well."""


ROUNDS = 3
"""How often the runners-up of a plan for questions are proven before it is told: one that answers otherwise and is
cheaper takes its place, and has others. Twice as many only matter where each is cheaper than the one before."""


def plan(
    workload: Workload,
    calibration: TimingCalibration | None = None,
    progress: PlanProgress = SILENT,
    rehearsal: RehearsalSettings | None = REHEARSAL,
    executor: SearchExecutor = HERE,
    quick: bool = False,
) -> Plan:
    """The cheapest fleet for a workload whose percentiles hold in simulation.

    rehearsal: how it is simulated. With None percentiles stay those of the queueing approximation, marked `unverified`.
    executor: where choices are evaluated; the plan is the same.  quick: without reasons: shadow prices, runners-up,
    what fell out, the frontier.

    Raises:
        InfeasibleError: no choice meets the objectives; names what binds and the closest feasible value.
        InputError: the workload, or a fact it names, is malformed; or its calibration speaks of nothing it may choose.
        UnsupportedError: the evidence supports no strategy.

    >>> from comptroller.work.workload import parse
    >>> document = {"name": "chat", "models": ["llama_3_1_8b"], "rate_per_s": 5}
    >>> document |= {"lengths": {"input": {"fixed": 300}, "output": {"fixed": 50}}}
    >>> allow = {"accelerators": ["l40s"], "sites": ["us_neocloud"], "engines": ["vllm"], "formats": ["bf16"]}
    >>> chosen = plan(parse({**document, "allow": allow}), quick=True)
    >>> chosen.totals.devices, chosen.services[0].price.usd_per_device_h
    (1, 1.09)
    """
    depth = PlanDepth.ANSWER if quick else PlanDepth.FRONTIER
    *_, whole = plan_in_parts(workload, calibration, progress, rehearsal, executor, depth)
    return whole


def plan_in_parts(
    workload: Workload,
    calibration: TimingCalibration | None = None,
    progress: PlanProgress = SILENT,
    rehearsal: RehearsalSettings | None = REHEARSAL,
    executor: SearchExecutor = HERE,
    depth: PlanDepth = PlanDepth.REASONS,
) -> Iterator[Plan]:
    """The plan as it becomes known: the answer first, then the answer with more and more of its reasons.

    Raises:
        InfeasibleError: no choice meets the objectives; names what binds and the closest feasible value.
        InputError: the workload, or a fact it names, is malformed; or its calibration speaks of nothing it may choose.
        UnsupportedError: the evidence supports no strategy.
    """
    choices = routing_choices(workload)
    if workload.allow.routing:

        def whole(choice: Workload) -> Plan:
            *_, told = plan_in_parts(choice, calibration, progress, rehearsal, executor, depth)
            return told

        yield best_of(choices, whole)
        return
    found = proven_problem(workload, progress, calibration, rehearsal, executor)
    problem, fleet, verified = found.problem, found.fleet, found.verified
    told = answer(problem, fleet, verified)
    yield told
    if workload.hours is not None:
        simulated = _settings_of(problem, rehearsal)
        progress.phase("planning the hours of the day")
        told = told.model_copy(update={"hours": day_plan(_as_sized(problem, verified), problem.steps, simulated)})
        yield told
    if depth is PlanDepth.ANSWER:
        return
    parts = reasons_in_parts(told, problem, fleet, verified)
    for phase in REASONS[: len(REASONS) if depth is PlanDepth.FRONTIER else -1]:
        progress.phase(phase)
        yield next(parts)


@dataclass(frozen=True, slots=True)
class ProvenProblem:
    """A workload as it is searched, its fleet, and what was simulated on the way."""

    problem: PlanningProblem
    fleet: Fleet
    verified: VerificationResult | None


def proven_problem(
    workload: Workload,
    progress: PlanProgress = SILENT,
    calibration: TimingCalibration | None = None,
    rehearsal: RehearsalSettings | None = REHEARSAL,
    executor: SearchExecutor = HERE,
) -> ProvenProblem:
    """The cheapest fleet of one routing, with the search that other questions can be asked of.

    Raises:
        InfeasibleError, InputError, UnsupportedError: as `plan`.
    """
    calibration = calibration or calibration_of(workload)
    progress.phase("evaluating deployments")
    problem = with_supported_ways(pose_problem(without_spot(workload), calibration, progress, executor))
    problem = replace(problem, workload=workload)
    progress.phase("choosing the mix")
    fleet = solve_or_explain(problem.search, problem.goal)
    return ProvenProblem(*rehearse(problem, fleet, problem.steps, _settings_of(problem, rehearsal), progress))


def _settings_of(problem: PlanningProblem, rehearsal: RehearsalSettings | None) -> RehearsalSettings | None:
    """How to simulate, at the workload's own confidence."""
    if rehearsal is None:
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
    problem: PlanningProblem,
    best: Fleet,
    calibration: TimingCalibration,
    settings: RehearsalSettings | None,
    progress: PlanProgress = SILENT,
) -> tuple[PlanningProblem, Fleet, VerificationResult | None]:
    """The cheapest fleet that holds in simulation, searched from the steady-state optimum on.

    The problem that comes back has the aims that the fleet was sized for. Without settings, or where nothing is rented,
    nothing is simulated.

    Raises:
        InfeasibleError: as `FleetSearch.proven_fleet`.
    """
    if settings is None or not best.units:
        return problem, best, None
    search = fleet_search(problem, best, calibration, settings, progress)
    proof = search.proven_fleet(problem.goal)
    for _ in range(ROUNDS if problem.quality else 0):
        runners_up(problem.search, search, problem.goal, proof.fleet)
        again = search.judged_again(problem.goal)
        if again.trial.fleet.key == proof.trial.fleet.key:
            break
        proof = again
    return replace(problem, goal=proof.goal), proof.fleet, verification_of(search, problem.goal)


def why_not(
    workload: Workload,
    wanted: Sequence[str],
    calibration: TimingCalibration | None = None,
    progress: PlanProgress = SILENT,
    rehearsal: RehearsalSettings | None = REHEARSAL,
) -> tuple[WhyNotExplanation, ...]:
    """What the plan would cost with each choice, written axis=value, proven as the plan is, and what it loses on.

    Raises:
        InputError, UnknownIdError, InfeasibleError: as `explain`.
    """
    calibration = calibration or calibration_of(workload)
    problem = with_supported_ways(pose_problem(without_spot(workload), calibration, progress))
    best, settings = problem.search.solve(problem.goal), _settings_of(problem, rehearsal)
    _, _, verified = rehearse(problem, best, problem.steps, settings, progress)
    return explain(problem, wanted, verified.search if verified else None)


def calibration_of(workload: Workload) -> TimingCalibration:
    """The calibration that a workload names, or the one that ships with the package.

    Raises:
        FactError: its folder holds no calibration.
    """
    return calibration_of_folder(workload.calibration) if workload.calibration else shipped_calibration()


def shipped_calibration() -> TimingCalibration:
    """The calibration that ships with the package."""
    return calibration_of_folder(None)
