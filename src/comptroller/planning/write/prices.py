"""The range of a plan's price, and dollars per million tokens that people can check: beside what APIs ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from comptroller.errors import InfeasibleError, UnsupportedError
from comptroller.facts.model import Model
from comptroller.facts.prices import PriceBook, services_of_model
from comptroller.planning.ground.plan_document import ApiPriceDocument, TokenPriceDocument
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.offer.intervals import RelativeInterval, ReplicaIntervals
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.solve.description import usd_per_h
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.quantities import short
from comptroller.work.demand import TrafficDemand

LEFT_OUT = (
    "people who run it: installation, on-call, upgrades of engines and models",
    "storage, network traffic, load balancers, monitoring, taxes",
    "devices that fail, and time to start and to move",
    "what the API includes beside: no idle hours, a service level, other models at the same door",
)
"""What the rent of a fleet does not hold, and the price of an API does."""

OFFERS_KEPT = 64
"""Models whose listed offers stay in memory: looking through all 2,300 takes 50 ms a model, and a plan is written once
for each workload. A plan has fewer than ten models, so that twice as many help nobody."""


def price_interval(problem: PlanningProblem, intervals: Iterable[ReplicaIntervals]) -> RelativeInterval:
    """The same demand if steps took as long as the ends of their interval: fleets of the steady state are re-solved
    for it."""
    if problem.goal.quality:
        return RelativeInterval(1.0, 1.0)
    search, goal = problem.search, problem.goal.asked
    steps = RelativeInterval.widest(interval.tpot for interval in intervals)

    def ratio(factor: float) -> float:
        try:
            fleets = [search.solve(replace(goal, demand=goal.demand * each)) for each in (factor, 1.0)]
        except InfeasibleError:
            return float("nan")
        return usd_per_h(search, fleets[0]) / usd_per_h(search, fleets[1])

    return RelativeInterval(ratio(steps.low), ratio(steps.high))


def token_prices(problem: PlanningProblem, services: Sequence[ServiceDocument]) -> TokenPriceDocument | None:
    """What a million tokens cost on the fleet, and bought; None for questions, whose tokens are the strategies'.

    At mean use: the fleet's dollars of an hour over the tokens of a mean hour (of the trace, or of the day whose
    busiest hour is known; else the stated rate). At full use: over the tokens of an hour in which every replica is as
    full as the objectives let it be in the steady state. Prompts and answers count alike, as in the plan's totals.
    """
    if problem.quality is not None or not services:
        return None
    traffic = traffic_of(problem.workload)
    usd = sum(service.usd_per_h for service in services)
    mean = traffic.mean_rate_per_s * (traffic.mean_input_tokens + traffic.mean_output_tokens)
    full = sum(_tokens_per_s(service) / service.utilisation for service in services if service.utilisation > 0)
    day = max(service.price.since for service in services)
    apis = [
        offer
        for name in dict.fromkeys(service.deployment.model for service in services)
        for offer in _api_prices(problem.workload.library.model(name), day, traffic)
    ]
    return TokenPriceDocument(
        mean_requests_per_s=short(traffic.mean_rate_per_s),
        usd_per_million_at_mean_use=short(usd / (mean * 3600.0) * 1e6),
        usd_per_million_at_full_use=short(usd / (full * 3600.0) * 1e6),
        mean_use=short(mean / full),
        priced_on=day,
        apis=tuple(sorted(apis, key=lambda offer: (offer.usd_per_million_tokens, offer.service))),
        left_out=LEFT_OUT,
    )


def _tokens_per_s(service: ServiceDocument) -> float:
    return sum((s.input_tokens + s.output_tokens) * s.rate_per_s * s.share for s in service.slices)


def _api_prices(sold: Model, day: str, traffic: TrafficDemand) -> Iterator[ApiPriceDocument]:
    """What each API asks for the model on a day, at the workload's mean prompt and answer."""
    inputs, outputs = traffic.mean_input_tokens, traffic.mean_output_tokens
    for service, rates, since, source in _listed_rates(sold.repository, day, round(inputs)):
        asked = rates["input_tokens"] * inputs + rates["output_tokens"] * outputs
        yield ApiPriceDocument(
            service=service,
            model=sold.id,
            usd_per_million_input=short(rates["input_tokens"]),
            usd_per_million_output=short(rates["output_tokens"]),
            usd_per_million_tokens=short(asked / (inputs + outputs)),
            since=since,
            source=source,
        )


@lru_cache(maxsize=OFFERS_KEPT)
def _listed_rates(
    repository: str, day: str, prompt_tokens: int
) -> tuple[tuple[str, Mapping[str, float], str | None, str], ...]:
    """Service, dollars per million tokens, first day and source of every listed price that is not zero."""
    found = []
    book, at = PriceBook.read(), datetime.fromisoformat(day).replace(tzinfo=UTC)
    for service in services_of_model(repository):
        try:
            price = book.price(service, at)
            rates = {unit: float(price.rate(unit, prompt_tokens)) * 1e-6 for unit in ("input_tokens", "output_tokens")}
        except UnsupportedError:
            continue  # no price per token on that day: nothing to compare with
        if any(rates.values()):
            found.append((service, rates, price.since.isoformat() if price.since else None, price.source))
    return tuple(found)
