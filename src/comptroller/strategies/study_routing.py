"""Curves of the routers that the strategies of a comparison use."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.strategies import routers
from comptroller.strategies.protocol import Strategy
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.routing import RoutingComparison as RoutingComparison  # noqa: PLC0414 - of studies too
from comptroller.strategies.routing import outcomes, references, routing_curve
from comptroller.strategies.rules.route import RouteStrategy
from comptroller.work.evidence import RecordedModel


def routing_comparisons(
    replay: EvidenceReplay, strategies: Sequence[Strategy], chosen: list[int]
) -> list[RoutingComparison]:
    """One comparison for each tuple of bound models, on the chosen questions (indices into the evidence)."""
    routers_by_arms: dict[tuple[RecordedModel, ...], list[str]] = {}
    for route in [strategy for strategy in strategies if isinstance(strategy, RouteStrategy)]:
        bound = [replay.roles.get(role) for role in route.roles]
        arms = tuple(service.arm for service in bound if isinstance(service, RecordedService))
        if len(arms) == len(bound):
            routers_by_arms.setdefault(arms, []).append(route.by)
    comparisons = []
    for arms, names in routers_by_arms.items():
        recorded = outcomes(replay.evidence, arms, among=chosen)
        curves = [
            routing_curve(name, used.expected(recorded.questions), recorded, used.cost)
            for name in dict.fromkeys(names)
            for used in (routers.router(name),)
        ]
        curves += references(recorded)
        comparisons.append(RoutingComparison(recorded.cheapest_first.models, recorded.unit, tuple(curves)))
    return comparisons
