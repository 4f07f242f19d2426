"""From a fleet to the Plan document: classes, services, offers, totals, and the reasons around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from comptroller import __version__
from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.ground.plan_document import OfferService, Plan, PlanTotals
from comptroller.planning.ground.service_document import LatencyDocument, ServiceDocument
from comptroller.planning.offer.intervals import RelativeInterval, ReplicaIntervals
from comptroller.planning.prove.proof_document import VerificationResult, with_mean
from comptroller.planning.prove.services import ModelServices, services_of
from comptroller.planning.reasons.pruning import pruned_choices, rejected_choices
from comptroller.planning.reasons.runners_up import NeighbouringFleets, frontier_of
from comptroller.planning.reasons.shadow_prices import shadow_prices
from comptroller.planning.risk.draws import RiskSimulation
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.write.classes import api_offers, classes_of, tokens_per_question
from comptroller.planning.write.facts import facts_of, input_digests
from comptroller.planning.write.notes import notes_of, reason_notes
from comptroller.planning.write.prices import price_interval, token_prices
from comptroller.planning.write.quality import quality_document, with_draws, with_rivals
from comptroller.quantities import short

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
        services, cost_basis(problem, best, offers), price_interval(problem, _intervals(problem, own.values()))
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
    update: dict[str, object] = {
        "runners_up": tuple(runner_up for runner_up, _ in around.runners_up),
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
    yield plan.model_copy(update={"frontier": tuple(frontier_of(search, goal, around, proofs))})


def _candidates(problem: PlanningProblem) -> int:
    """Choices that were looked at: deployments, and options where there is a choice of them."""
    options = len(problem.space.options) if problem.goal.quality else 0
    return options + sum(len(offers.deployments) for offers in problem.space.offers.values())


def _intervals(problem: PlanningProblem, own: Iterable[ModelServices]) -> list[ReplicaIntervals]:
    deployments = (deployment for model in own for deployment in model.deployments)
    return [ReplicaIntervals.of(deployment.replica, problem.calibration) for deployment in deployments]


@dataclass(frozen=True, slots=True)
class CostBasis:
    """What a plan's cost is spread over.

    requests_per_s: of requests, or of questions.  bought_usd_per_h: paid for tokens of APIs, beside the rent.
    metered: whether all that is consumed has a known power.
    """

    requests_per_s: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    bought_usd_per_h: float = 0.0
    metered: bool = True


def cost_basis(problem: PlanningProblem, best: Fleet, offers: Sequence[OfferService]) -> CostBasis:
    """Requests or questions, and their tokens; watts and emissions are unknown where anything is bought from an API."""
    rate = problem.space.rate_per_s
    inputs, outputs = (tokens_per_question(problem, best, name) for name in ("input_tokens", "output_tokens"))
    return CostBasis(
        requests_per_s=rate,
        input_tokens_per_s=inputs * rate,
        output_tokens_per_s=outputs * rate,
        bought_usd_per_h=sum(offer.usd_per_h for offer in offers),
        metered=not offers,
    )


def totals_of(services: Sequence[ServiceDocument], basis: CostBasis, price: RelativeInterval) -> PlanTotals:
    """Dollars, watts and grams of all services, per hour, request and token."""
    usd = sum(service.usd_per_h for service in services) + basis.bought_usd_per_h
    watts = sum(service.w.value for service in services) if basis.metered else float("nan")
    grams = sum(service.gco2e_per_h for service in services) if basis.metered else float("nan")
    requests_h = basis.requests_per_s * 3600.0
    output_h = basis.output_tokens_per_s * 3600.0
    tokens_h = output_h + basis.input_tokens_per_s * 3600.0
    power = RelativeInterval(*(sum(getattr(s.w, end) or 0.0 for s in services) / watts for end in ("low", "high")))
    return PlanTotals(
        usd_per_h=price.around(usd),
        usd_per_request=price.around(usd / requests_h),
        usd_per_million_tokens=price.around(usd / tokens_h * 1e6),
        usd_per_million_output_tokens=price.around(usd / output_h * 1e6),
        w=power.around(watts),
        j_per_request=power.around(watts * 3600.0 / requests_h),
        gco2e_per_h=power.around(grams),
        gco2e_per_request=power.around(grams / requests_h),
        devices=sum(p.replicas * p.tp * p.pp * p.dp for service in services for p in service.deployment.pools),
        requests_per_s=short(basis.requests_per_s),
    )


def latency_of(
    problem: PlanningProblem, own: Sequence[ModelServices], verified: VerificationResult | None
) -> tuple[LatencyDocument, ...]:
    """Every latency objective beside its prediction; none where nothing is rented."""
    states = [state for model in own for state in model.states]
    if not states:
        return ()
    goal, intervals = problem.goal, _intervals(problem, own)
    steady = [max(state.tails_s[number] for state in states) for number in range(len(goal.targets))]
    return tuple(
        LatencyDocument(
            quantity=target.quantity,
            quantile=target.quantile,
            predicted_s=RelativeInterval.widest(x.latency(target.quantity) for x in intervals).around(
                verified.seen[number].mean_s if verified else steady[number]
            ),
            steady_s=short(steady[number]),
            most_s=short(target.most_s),
            status="simulated" if verified else "unverified",
        )
        for number, target in enumerate(goal.targets)
    )
