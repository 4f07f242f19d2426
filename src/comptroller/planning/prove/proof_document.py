"""What a proof showed, as it stands in a plan: every fleet that was simulated, what certainty costs, what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.executor import SILENT, PlanProgress
from comptroller.planning.ground.nouns import Fleet, Goal, SimulatedQuantile, Trial
from comptroller.planning.ground.plan_document import RehearsalRound, VerificationDocument
from comptroller.planning.prove.arrivals import RehearsalSettings, judge_draws, of_the_mean
from comptroller.planning.prove.fleet_search import FleetSearch
from comptroller.planning.prove.proven_fleet import ProvenFleet
from comptroller.planning.prove.stage import FleetStage
from comptroller.planning.solve.description import usd_per_h
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.quantities import short

NEARLY = 1.5
"""Excess up to which a fleet that failed may yet hold in the mean of draws: with 8 draws and a bound of a further one
the mean lies within this of the bound for every fleet measured. Twice as much only simulates more fleets to the end."""

HeadroomReader = Callable[[Trial], float]
"""How many times its demand a fleet carries in the steady state."""


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The fleets that were simulated, what the one that was chosen showed, and the search for whatever else is asked.

    sized_for: how many times the demand the steady state would have to ask for until this fleet is its answer.
    """

    document: VerificationDocument
    seen: tuple[SimulatedQuantile, ...]
    search: FleetSearch
    sized_for: float


def fleet_search(
    problem: PlanningProblem,
    best: Fleet,
    calibration: TimingCalibration,
    settings: RehearsalSettings,
    progress: PlanProgress = SILENT,
) -> FleetSearch:
    """The search for fleets of a problem that hold in simulation. best: the optimum of the steady state."""
    return FleetSearch(FleetStage(problem, best, calibration, settings, progress))


def verification_of(search: FleetSearch, goal: Goal) -> VerificationResult:
    """What the proof of a goal showed."""
    proof, stage = search.proven_fleet(goal), search.stage
    steady = usd_per_h(stage.problem.search, proof.steady)
    units = sum(int(count.sum()) for count in proof.fleet.units.values())
    document = VerificationDocument(
        draws=stage.settings.draws,
        requests_per_draw=stage.requests,
        confidence=stage.settings.confidence,
        steady_usd_per_h=short(steady),
        added_usd_per_h=short(proof.trial.usd_per_h - steady),
        rounds=tuple(_rounds(proof, stage.headroom)),
        complete=not proof.cut,
    )
    factor = stage.headroom(proof.trial) * (1 - 1 / units if units else 1.0)
    return VerificationResult(document, proof.trial.seen, search, factor)


def _rounds(proof: ProvenFleet, headroom: HeadroomReader) -> Iterator[RehearsalRound]:
    """The answer of the steady state, then by price the fleet that came nearest to holding, the chosen one last."""
    nearest: dict[float, Trial] = {}
    for trial in sorted(proof.tried, key=lambda trial: (trial.usd_per_h, trial.excess)):
        nearest.setdefault(short(trial.usd_per_h), trial)
    shown = {trial.shown: trial for trial in (proof.tried[0], *nearest.values())}
    for trial in (*(trial for key, trial in shown.items() if key != proof.trial.shown), proof.trial):
        yield RehearsalRound(
            sized_for=short(headroom(trial)),
            usd_per_h=short(trial.usd_per_h),
            fleet=trial.line,
            upper_s=tuple(short(item.upper_s) for item in trial.seen),
            holds=trial.holds,
        )


def with_mean(verified: VerificationResult, goal: Goal) -> VerificationResult:
    """The same with what would do if the mean of draws had to hold, for which more draws may be simulated."""
    told = _mean_usd_per_h(verified.search, verified.search.proven_fleet(goal))
    return replace(verified, document=verified.document.model_copy(update={"mean_usd_per_h": told}))


def _mean_usd_per_h(search: FleetSearch, proof: ProvenFleet) -> float | None:
    """The cheapest fleet of the pool whose mean over draws holds with the same confidence; `None` without objectives.

    What the chosen one costs beside it is the price of holding in a further draw.
    """
    stage = search.stage
    if not proof.goal.targets:
        return None
    settings = replace(stage.settings, bound=of_the_mean)
    for trial in sorted(proof.tried, key=lambda trial: trial.usd_per_h):
        if trial.usd_per_h < proof.trial.usd_per_h and trial.excess < NEARLY:
            seen = judge_draws(stage.record(trial.fleet, trial.goal), trial.goal.targets, settings)
            if all(item.holds for item in seen):
                return short(trial.usd_per_h)
    return short(proof.trial.usd_per_h)
