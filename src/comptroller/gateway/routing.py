"""The plan, live: which strategy and which services a request gets, what was predicted, and what happened."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import log, nan
from typing import Any

from comptroller.costs.carbon import CallEnergy
from comptroller.costs.rating import PUSD, CallReceipt, TokenUsage
from comptroller.errors import InputError
from comptroller.facts.prices import STANDARD, PriceBook, ProviderPrice
from comptroller.gateway.config import ServiceConfig
from comptroller.gateway.plan_drift import digest_of
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.replica_choice import DEFAULT_POLICY, ReplicaRoutingSettings
from comptroller.gateway.service import UpstreamService, rank
from comptroller.gateway.tariff import PerTokenTariff
from comptroller.planning.ground.plan_document import Plan, QuestionClassDocument
from comptroller.planning.ground.service_document import ServiceDocument as PlannedService
from comptroller.quantities import BYTES_PER_TOKEN

log_ = logging.getLogger("comptroller.gateway")

FORGET = 1000
"""Choices after which older ones count half: enough that shares hold to a few percent, few enough that an hour of
other traffic is forgotten. At twice it a change of shares takes twice as many requests to show."""
SIMULATED_POLICY = "least_request"
"""What the simulator runs where a plan names no routing policy: the default of `ServingPolicies`."""
SPREAD = 1.25
"""A service takes its keys up to so many times its share; then the next takes them, as with consistent hashing with
bounded loads (Mirrokni et al., arXiv 1608.01350). At twice it one popular prefix could take all of a plan's traffic
from a service with a share of 40 %."""


class AffinityBalancer:
    """Spreads keys over names in proportion to weights; a key keeps its name while that one is not ahead of its share.

    >>> shares = AffinityBalancer()
    >>> picks = [shares.pick("same prefix", {"a": 0.7, "b": 0.3}) for _ in range(1000)]
    >>> 0.1 < picks.count("b") / 1000 < 0.45
    True
    """

    def __init__(self) -> None:
        self._counts: dict[str, float] = {}

    def pick(self, key: str, weights: Mapping[str, float]) -> str:
        """The name for a key."""
        if len(weights) == 1:
            return next(iter(weights))
        order = sorted(weights, key=lambda name: rank(key, name, weights[name]), reverse=True)
        whole, total = sum(weights.values()), sum(self._counts.get(name, 0.0) for name in weights) + 1
        room = (name for name in order if self._counts.get(name, 0.0) + 1 <= SPREAD * total * weights[name] / whole + 1)
        name = next(room, order[0])
        self._counts[name] = self._counts.get(name, 0.0) + 1
        if total > FORGET:
            self._counts = {name: count / 2 for name, count in self._counts.items()}
        return name


@dataclass(frozen=True)
class GatewayRoute:
    """What the plan says about a request: its class, strategy, and role -> weights of services."""

    name: str
    strategy: str
    roles: Mapping[str, Mapping[str, float]]


class PlanRouter:
    """A plan bound to services.

    Raises:
        InputError: the plan names a service that is not configured; names it and how it is launched.
    """

    def __init__(self, plan: Plan, services: Mapping[str, UpstreamService]) -> None:
        self.plan = plan
        self.digest = digest_of(plan)
        self._slices = {service.id: service.slices for service in plan.services}
        self._shares: dict[tuple[str, str], AffinityBalancer] = {}
        launch = {service.id: service.launch for service in plan.services}
        for name in {share.service for each in plan.classes for role in each.roles.values() for share in role}:
            if name not in services:
                hint = f"; it is started with: {launch[name]}" if name in launch else ""
                raise InputError(f"the plan's service {name}: add [services.{name!r}] with its url{hint}")

    def choose(self, klass: str | None, request: int, size: int) -> GatewayRoute:
        """Strategy and services of a request of `size` bytes.

        Raises:
            GatewayError: the plan has no such class, or several and none was named.
        """
        names = list(dict.fromkeys(item.name for item in self.plan.classes))
        if klass is None and len(names) > 1:
            raise GatewayError(400, f"name a class of the plan: {', '.join(names)}", "missing", "comptroller.class")
        name = klass or names[0]
        shares = [item for item in self.plan.classes if item.name == name]
        if not shares:
            raise GatewayError(
                400, f"the plan has no class {name!r}; it has {', '.join(names)}", "invalid_value", "comptroller.class"
            )  # fmt: skip
        chosen = max(shares, key=lambda item: rank(str(request), item.strategy, item.share or 1.0))
        return GatewayRoute(name, chosen.strategy, {role: self._weights(chosen, role, size) for role in chosen.roles})

    def _weights(self, chosen: QuestionClassDocument, role: str, size: int) -> dict[str, float]:
        """Shares of a role, by the plan's bucket of prompt lengths nearest to the request's where it has buckets."""
        plain = {item.service: item.share for item in chosen.roles[role] if item.share > 0}
        tokens = max(size / BYTES_PER_TOKEN, 1.0)
        knots = sorted({item.input_tokens for name in plain for item in self._slices.get(name, ())})
        if not knots or len(plain) == 1:
            return plain
        nearest = min(knots, key=lambda knot: abs(log(max(knot, 1.0) / tokens)))
        sliced = {name: _rate_in_slice(self._slices.get(name, ()), nearest) for name in plain}
        return {name: weight for name, weight in sliced.items() if weight > 0} or plain

    def tariff_of(self, name: str) -> PlannedDeploymentTariff | None:
        """What a deployment of the plan costs; None of a service that it only buys from."""
        planned = next((service for service in self.plan.services if service.id == name), None)
        return None if planned is None else PlannedDeploymentTariff(planned, self.digest)

    def pick(self, chosen: GatewayRoute, role: str, key: str) -> str:
        """The service that plays a role for a key."""
        weights = chosen.roles.get(role) or next(iter(chosen.roles.values()))
        return self._shares.setdefault((chosen.name, role), AffinityBalancer()).pick(key, weights)


def _rate_in_slice(slices: Iterable[Any], input_tokens: float) -> float:
    return float(sum(item.rate_per_s * item.share for item in slices if item.input_tokens == input_tokens))


class PlannedDeploymentTariff(PerTokenTariff):
    """A deployment of the plan: its rent and joules over the tokens it is planned to make.

    price of an output token = usd_per_h / 3600 / output_tokens_per_s; joules likewise, with the plan's interval
    """

    def __init__(self, service: PlannedService, digest: str) -> None:
        rate = Decimal(service.usd_per_h) / 3600 / Decimal(service.output_tokens_per_s) * PUSD
        rates = {"input_tokens": ((0, Decimal(0)),), "output_tokens": ((0, rate),)}
        since = date.fromisoformat(service.price.since)
        super().__init__(ProviderPrice("plan", service.id, STANDARD, since, rates, f"plan {digest}"), PriceBook.read())
        self._w, self._tokens_per_s = service.w, service.output_tokens_per_s

    def receipt(self, usage: TokenUsage, energy: CallEnergy, served: Any = None) -> CallReceipt:
        """Usage at the planned price, with planned joules where none were measured."""
        if not energy.known:
            seconds = usage.output_tokens / self._tokens_per_s
            low, high = (nan if end is None else end * seconds for end in (self._w.low, self._w.high))
            energy = CallEnergy(0.0, self._w.value * seconds, low, high, source="predicted")
        return super().receipt(usage, energy, served)


def replica_routing(name: str, config: ServiceConfig, plan: Plan | None) -> ReplicaRoutingSettings:
    """How the replicas of a service are chosen among: as configured, else as the plan says, else by the default."""
    planned = next((item for item in plan.services if item.id == name), None) if plan else None
    policy, kv_tokens = config.routing, config.kv_tokens
    if planned is not None:
        kv_tokens = kv_tokens or planned.kv_capacity_tokens
        simulated = dict(planned.deployment.policies).get("routing", SIMULATED_POLICY)
        if policy and policy != simulated:
            log_.warning("service %s is routed by %s, as configured; the plan was made for %s", name, policy, simulated)
        policy = policy or simulated
    return ReplicaRoutingSettings(policy or DEFAULT_POLICY, config.weights, kv_tokens)


def with_fallbacks(first: UpstreamService, services: Mapping[str, UpstreamService]) -> tuple[UpstreamService, ...]:
    """A service and the services that stand in for it."""
    return (first, *(services[name] for name in first.config.fallback))
