"""From a fleet to the Plan document: classes, services, offers, totals, and the reasons around them."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller import __version__
from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.prove.proof_document import VerificationResult, with_mean
from comptroller.planning.prove.services import services_of
from comptroller.planning.reasons.pruning import pruned_choices, rejected_choices
from comptroller.planning.reasons.runners_up import NeighbouringFleets, frontier_of
from comptroller.planning.reasons.shadow_prices import shadow_prices
from comptroller.planning.risk.draws import RiskSimulation
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.write.classes import api_offers, classes_of
from comptroller.planning.write.facts import facts_of, input_digests
from comptroller.planning.write.notes import notes_of, reason_notes
from comptroller.planning.write.odds import ChoiceReasons, planned_load
from comptroller.planning.write.pictures import picture_figures
from comptroller.planning.write.prices import price_interval, token_prices
from comptroller.planning.write.quality import quality_document, with_draws, with_rivals
from comptroller.planning.write.totals import cost_basis, intervals_of_plan, latency_of, totals_of

QUEUEING = "Allen-Cunneen wait with an exponential tail for prefill; normal quantile of the batch for decode"


def document(problem: PlanningProblem, best: Fleet, verified: VerificationResult | None) -> Plan:
    """The plan of a fleet: what it does, what it rests on, and what would change it."""
    *_, frontier = reasons_in_parts(answer(problem, best, verified), problem, best, verified)
    return frontier


def answer(problem: PlanningProblem, best: Fleet, verified: VerificationResult | None) -> Plan:
    """The plan of a fleet without its reasons: what it does and what it rests on.

    Of plain requests intervals come from step times; of questions from everything uncertain, drawn together.
    """
    goal = problem.goal.asked
    own = services_of(problem, best)
    offers = tuple(api_offers(problem, best))
    drawn = RiskSimulation.of(problem, (best,)) if goal.quality else None
    services = tuple(service for model in own.values() for service in model.services)
    totals = totals_of(
        services, cost_basis(problem, best, offers), price_interval(problem, intervals_of_plan(problem, own.values()))
    )
    return Plan(
        schema_version=1,
        comptroller=__version__,
        name=problem.workload.name,
        objective=problem.workload.objective.value,
        seed=problem.workload.seed,
        digests=input_digests(problem),
        classes=tuple(classes_of(problem, best, own)),
        services=services,
        offers=offers,
        quality=quality_document(problem, best, drawn) if drawn else None,
        totals=with_draws(totals, drawn) if drawn else totals,
        prices=token_prices(problem, services),
        latency=latency_of(problem, list(own.values()), verified),
        queueing=QUEUEING,
        verification=verified.document if verified else None,
        load=planned_load(problem),
        shadow_prices=(),
        runners_up=(),
        frontier=(),
        candidates=_candidates(problem),
        considered=len(problem.space.plays.plays) if goal.quality else best.considered,
        pruned=(),
        notes=tuple(notes_of(problem, best, own, drawn, verified)),
        facts=tuple(facts_of(services, problem.workload.library, problem.calibration)),
    )


def reasons_in_parts(
    plan: Plan, problem: PlanningProblem, best: Fleet, verified: VerificationResult | None
) -> Iterator[Plan]:
    """The plan with more and more of its reasons: what lost and what fell out, then what limits cost, then the
    frontier."""
    search, goal = problem.search, problem.goal.asked
    proofs = verified.search if verified else None
    # A simulated fleet may cost less than the steady state's optimum; bounds are those of the steady state.
    bound = max(best, search.solve(goal), key=lambda fleet: fleet.objective) if proofs else best
    around = NeighbouringFleets.of(search, goal, best, proofs)
    choice = ChoiceReasons.of(problem, around, verified)
    update: dict[str, object] = {
        "runners_up": choice.runners_up,
        "odds": choice.odds,
        "untimed": choice.untimed,
        "pruned": (*rejected_choices(problem.rejected), *pruned_choices(search, goal, bound)),
    }
    drawn = RiskSimulation.of(problem, (best, *around.rivals)) if goal.quality else None
    if drawn and plan.quality:
        update |= {
            "quality": with_rivals(plan.quality, problem, around, drawn),
            "totals": with_draws(plan.totals, drawn),
        }
    notes = plan.notes
    if verified:
        verified = with_mean(verified, goal)
        notes = tuple(notes_of(problem, best, services_of(problem, best), drawn, verified))
        update["verification"] = verified.document
    plan = plan.model_copy(update={**update, "notes": (*notes, *reason_notes(problem))})
    yield plan
    plan = plan.model_copy(update={"shadow_prices": tuple(shadow_prices(search, proofs, goal, best))})
    yield plan
    frontier = tuple(frontier_of(search, goal, around, proofs))
    yield plan.model_copy(update={"frontier": frontier, **picture_figures(problem, best, verified)})


def _candidates(problem: PlanningProblem) -> int:
    """Choices that were looked at: deployments, and options where there is a choice of them."""
    options = len(problem.space.options) if problem.goal.quality else 0
    return options + sum(len(offers.deployments) for offers in problem.space.offers.values())
