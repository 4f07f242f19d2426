"""How far a choice depends on step times that were predicted: what stands in the Plan document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.ground.odds_document import ChoiceOdds, PlannedLoad, StepMeasurement, UntimedCaution
from comptroller.planning.ground.plan_document import RunnerUp
from comptroller.planning.offer.intervals import ReplicaIntervals
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.offer.step_factors import planned_factor
from comptroller.planning.prove.proof_document import VerificationResult
from comptroller.planning.reasons.break_even import break_evens, deployments_of
from comptroller.planning.reasons.runners_up import NeighbouringFleets
from comptroller.planning.risk.fleet_odds import DRAWS, FleetOdds, OddsFleet
from comptroller.planning.risk.worth import NOTHING, how_to_time
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.write.bolder import BolderChoice
from comptroller.quantities import short


@dataclass(frozen=True)
class ChoiceReasons:
    """What of a plan's reasons depends on step times."""

    runners_up: tuple[RunnerUp, ...]
    odds: ChoiceOdds | None
    untimed: UntimedCaution | None

    @classmethod
    def of(
        cls, problem: PlanningProblem, around: NeighbouringFleets, verified: VerificationResult | None
    ) -> ChoiceReasons:
        """Of a plan. verified: what was simulated of it and, of requests, of its runners-up.

        Odds are of plans of requests that minimise dollars; `quality.risk` has those of questions.
        """
        told = tuple(rival for rival, _ in around.runners_up)
        bold, proven = BolderChoice.of(problem, around.best, verified), verified is not None
        caution = None if bold is None else bold.told
        if problem.quality is not None or problem.goal.objective != "usd":
            return cls(told, None, caution)
        fleets = [around.best, *(fleet for _, fleet in around.runners_up if fleet is not None)]
        every = {fleet.key: OddsFleet(fleet, proven) for fleet in fleets}
        if bold is not None and bold.fleet is not None:
            every[b"bold", *bold.fleet.key] = OddsFleet(bold.fleet, bold.proven, at_predicted=True)
        odds = FleetOdds(problem, tuple(every.values()))
        number = {key: place for place, key in enumerate(every)}
        chances = tuple(
            rival
            if fleet is None
            else rival.model_copy(update={"chance_cheaper": short(odds.chance_cheaper(number[fleet.key]))})
            for rival, fleet in around.runners_up
        )
        return cls(chances, _document(problem, around, odds, proven), caution)


def _document(problem: PlanningProblem, around: NeighbouringFleets, odds: FleetOdds, proven: bool) -> ChoiceOdds:
    rivals, stands = len(odds.contenders) - 1, odds.stands
    measured = tuple(_measurements(odds, float(around.best.objective)))
    first = f"; measure first: {measured[0].what}" if measured else "; no single measurement of steps changes it"
    return ChoiceOdds(
        draws=DRAWS,
        rivals=rivals,
        stands=short(stands),
        break_evens=tuple(break_evens(problem, around, proven)),
        next=measured,
        rests_on=_rests_on(problem, around.best),
        sentence=f"In {stands:.0%} of {DRAWS:,} draws of step times none of {rivals} rivals is cheaper{first}",
    )


def _measurements(odds: FleetOdds, usd_per_h: float) -> Iterator[StepMeasurement]:
    """What is worth timing, best first; what saves next to nothing is left out."""
    for source, saves in sorted(odds.savings(), key=lambda one: (-one[1], one[0])):
        if saves > NOTHING * usd_per_h:
            models = dict.fromkeys(odds.replicas[place].model.id for place in odds.sources[source])
            what = f"step time of {' or '.join(models)} on {source[0]} under {source[1]}"
            yield StepMeasurement(what=what, how=how_to_time(source), saves_usd_per_h=short(saves))


def _rests_on(problem: PlanningProblem, best: Fleet) -> str:
    """The intervals that step times are drawn from, as ratios to the prediction."""
    bands = []
    for one in deployments_of(problem, best):
        factor = planned_factor(one.replica, problem.steps)
        steps = ReplicaIntervals.of(one.replica, problem.steps).tpot.beside(1.0 / factor)
        bands.append(f"{one.replica.device.id} under {one.replica.engine.id} {steps.low:.2g}x to {steps.high:.2g}x")
    return "; ".join(dict.fromkeys(bands))


def planned_load(problem: PlanningProblem) -> PlannedLoad | None:
    """What a plan of requests is for; `None` for questions, whose lengths are the strategies'."""
    if problem.quality is not None:
        return None
    traffic = traffic_of(problem.workload)
    return PlannedLoad(
        requests_per_s=short(traffic.rate_per_s),
        mean_input_tokens=short(traffic.mean_input_tokens),
        mean_output_tokens=short(traffic.mean_output_tokens),
        longest_tokens=round(traffic.longest_tokens),
    )
