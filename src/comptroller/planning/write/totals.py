"""What a plan costs in all, per request and per token, and every latency objective beside its prediction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.ground.plan_document import OfferService, PlanTotals
from comptroller.planning.ground.service_document import LatencyDocument, ServiceDocument
from comptroller.planning.offer.intervals import RelativeInterval, ReplicaIntervals
from comptroller.planning.prove.proof_document import VerificationResult
from comptroller.planning.prove.services import ModelServices
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.write.classes import tokens_per_question
from comptroller.quantities import short


def intervals_of_plan(problem: PlanningProblem, own: Iterable[ModelServices]) -> list[ReplicaIntervals]:
    """The spreads of the figures of every deployment of a plan."""
    deployments = (deployment for model in own for deployment in model.deployments)
    return [ReplicaIntervals.of(deployment.replica, problem.steps) for deployment in deployments]


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
    goal, intervals = problem.goal, intervals_of_plan(problem, own)
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
