"""Compare a plan with the fleet that runs today: what it costs, whether it carries the demand, what the move costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InfeasibleError, UnsupportedError
from comptroller.highs import EXACT, solve
from comptroller.planning.ground.executor import no_progress
from comptroller.planning.ground.nouns import Goal
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.offer.deployments import RejectionTally
from comptroller.planning.offer.evaluation import build_table
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.planning.offer.requests import load_of, once_space
from comptroller.planning.reasons.current_fleet import OVERLAP_H, SPREAD_H, CurrentFleet, MovingTerms, deployment_of
from comptroller.planning.solve.program import pose
from comptroller.planning.solve.search import PlanSearch
from comptroller.work.demand import TrafficDemand

MOST = 1024.0
"""Factor on the demand beyond which it does not matter how much more is carried."""

PRECISION = 1e-3
"""Of the factor: a tenth of a per cent is less than the model's own error by a factor of ten at least."""

EQUAL = 1e-3
"""Share of today's price within which two prices are equal: steps of list prices and rounded dollars are coarser. At
twice this a saving of 0.2 % would not be taken."""


@dataclass(frozen=True, slots=True)
class FleetComparison:
    """Today's fleet beside the plan.

    usd_per_h: what it costs.  carries: demand it can carry within the objectives, as a share of the workload's, in the
    steady state.  changes: one line per service that goes, comes or is resized; none where what runs is kept.
    saves_usd_per_h: of rent, positive if the plan is cheaper.  moving_usd: the cost of the move, once.  net_usd_per_h:
    what is saved when that is spread over spread_h hours.  keep: what runs carries the demand, and costs no more than
    the plan with the move.
    """

    usd_per_h: float
    carries: float
    changes: tuple[str, ...]
    saves_usd_per_h: float
    moving_usd: float = 0.0
    overlap_h: float = OVERLAP_H
    spread_h: float = SPREAD_H
    net_usd_per_h: float = 0.0
    keep: bool = False


def compare(
    current: CurrentFleet,
    planned: Sequence[ServiceDocument],
    usd_per_h: float,
    problem: tuple[TrafficDemand, Goal],
    calibration: TimingCalibration,
) -> FleetComparison:
    """Price today's fleet, at its own prices or today's offers, see what it carries and what a move from it costs.

    planned: the services of the plan.  usd_per_h: the plan's price.  problem: what must be carried.

    Raises:
        UnsupportedError: the plan serves adapters, which the file of today's fleet cannot state.
    """
    if any(service.deployment.engine.adapters for service in planned):
        raise UnsupportedError("today's fleet: its file states no adapters; a plan that serves some is no match")
    traffic, goal = problem
    deployments = [deployment_of(x, current.library) for x in current.services]
    counts = [x.replicas for x in current.services]
    table = build_table(deployments, load_of(traffic), goal.targets, calibration, RejectionTally(), no_progress)
    search = PlanSearch(once_space(DeploymentOffers(table), traffic))
    price = sum(
        x.offer.usd_per_s * 3600.0 * x.replica.layout.devices * n for x, n in zip(deployments, counts, strict=True)
    )
    have: dict[str, int] = {}
    for deployment, count in zip(deployments, counts, strict=True):
        have[deployment.id] = have.get(deployment.id, 0) + count
    carries = carried_demand_factor(search, goal, counts)
    moving, saves = current.moving, price - usd_per_h
    cost = moving_cost(have, planned, moving) if _replicas(planned) != have else 0.0
    net = saves - cost / moving.spread_h
    keep = carries >= 1 - PRECISION and net <= EQUAL * price
    changes = () if keep else _changes(have, _replicas(planned))
    return FleetComparison(price, carries, changes, saves, cost, moving.overlap_h, moving.spread_h, net, keep)


def moving_cost(have: Mapping[str, int], planned: Sequence[ServiceDocument], moving: MovingTerms) -> float:
    """Dollars of a move: the rent of the replicas that come, for the hours that they overlap, and the stated rest.

    have: replicas that run by deployment id.
    """
    comes = 0.0
    for service in planned:
        replicas = _replicas([service])[service.id]
        comes += service.usd_per_h * max(replicas - have.get(service.id, 0), 0) / replicas
    return comes * moving.overlap_h + moving.usd


def _replicas(planned: Iterable[ServiceDocument]) -> dict[str, int]:
    """Replicas by deployment id."""
    return {service.id: sum(pool.replicas for pool in service.deployment.pools) for service in planned}


def carried_demand_factor(search: PlanSearch, goal: Goal, replicas: Sequence[int]) -> float:
    """Largest factor on the demand that so many replicas of each deployment carry, by bisection to one per mille."""
    low, high = 0.0, 1.0
    while _carries(search, goal, replicas, high) and high < MOST:
        low, high = high, high * 2
    while high - low > PRECISION * high and high > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if _carries(search, goal, replicas, middle) else (low, middle)
    return low


def _carries(search: PlanSearch, goal: Goal, replicas: Sequence[int], demand: float) -> bool:
    """Whether replicas carry a demand within the objectives: parts of a rented unit count, for they are there."""
    try:
        case, _ = search.case(replace(goal, demand=demand, limits=()))
    except InfeasibleError:
        return False
    ((model, offers),) = search.space.offers.items()
    market = offers.market(case.goal)
    market = market.only(np.flatnonzero(market.fits.all(axis=0)))
    units = np.array(replicas) / offers.unit.replicas
    posed = pose(case.with_markets({model: market}))
    program = posed.fixed({model: units[market.rows][None]}).relaxation
    return solve(program, EXACT).values is not None


def _changes(have: dict[str, int], planned: dict[str, int]) -> tuple[str, ...]:
    lines = []
    for name in dict.fromkeys((*have, *planned)):
        before, after = have.get(name, 0), planned.get(name, 0)
        if before != after:
            verb = "add" if not before else "remove" if not after else "resize"
            lines.append(f"{verb} {name}: {before} -> {after} replicas")
    return tuple(lines)
