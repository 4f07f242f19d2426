"""The odds of a plan of requests: what its rivals would cost if steps took what they may truly take, and what knowing
it is worth.

Planning again in every draw is too dear. A fleet keeps its kinds and the calls of each, and every kind is rented anew:
in the steady state it needs L(x) units with steps x times as long, at the batch cap that is then best, and the units of
a fleet that was simulated are taken to grow as that need does,

    units(x) = ceil((n - 1/2) L(x) / L(1)) + units in reserve

n what the proof found: it holds and n - 1 does not, so that the need lies about between. Without a simulation n - 1/2
is L(1) itself, and for one kind the units are those of the steady state solved again. In a mix every kind is rounded up
by itself, where sharing the calls anew might save a unit. Kinds that no count lets hold cost infinitely much.

Measuring the step times s of some deployments before choosing saves, in expectation,

    min_k E[cost_k] - E_s[min_k E[cost_k | s]]

over the plan and its rivals k. What nobody timed counts among them only where s times it, or where the workload trusts
predictions, or if it is the plan. Errors are jointly normal, so that all others are drawn given s exactly:
z = A l + A A_s' (A_s A_s')^+ (z_s - A_s l), l the causes, A the loadings (Matheron's rule).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from comptroller.costs.deployment import ModelReplica
from comptroller.planning.ground.nouns import Deployment, Fleet, Floats, Goal
from comptroller.planning.offer.intervals import ReplicaIntervals, is_timed
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.planning.offer.step_factors import table_at
from comptroller.planning.risk.step_errors import shared_loadings
from comptroller.planning.solve.problem import PlanningProblem

DRAWS = 4096
"""Draws of the odds: a share is known to 0.8 points; twice as many make it 0.6."""

AXIS = 256
"""Draws on either axis of the nest, as `risk.worth` has them."""

FARTHEST, PER_DEVIATION = 4.0, 64
"""Deviates are rounded to so many levels of a standard deviation, as far as four: an error of 0.2 % of a step time at
an interval of 0.7x to 1.2x. Twice as many levels take twice the time and change no share told."""

LEVELS = np.linspace(-FARTHEST, FARTHEST, int(2 * FARTHEST * PER_DEVIATION) + 1)

HALF = 0.5
"""Of a unit, between the count that holds and the one that fails."""

BRIM = 1e-6
"""Of a unit: what the solver may leave over a full one."""


@dataclass(frozen=True)
class OddsFleet:
    """A fleet to weigh. proven: whether its counts held in simulation; at_predicted: with steps as predicted, where the
    plan takes them slower."""

    fleet: Fleet
    proven: bool
    at_predicted: bool = False


@dataclass(frozen=True)
class ContenderKind:
    """A kind of deployment of a fleet. usd_per_h: (levels,), its units' rent by how its step time deviates."""

    deployment: Deployment
    usd_per_h: Floats


@dataclass(frozen=True)
class ContenderFleet:
    """The plan or a rival. beside_usd_per_h: what it costs besides units."""

    kinds: tuple[ContenderKind, ...]
    beside_usd_per_h: float


def unit_need(offers: DeploymentOffers, goal: Goal, row: int, calls_per_s: Floats, factor: Floats) -> Floats:
    """Units that calls of each bucket take of a deployment in the steady state, by the factor on its steps.

    infinite where it cannot hold the goal's objectives.
    """
    many = DeploymentOffers(table_at(offers.table.only(np.full(len(factor), row)), factor))
    load = many.market_without_energy(goal).load[:, calls_per_s > 0]
    return np.asarray(np.einsum("lbj,b->lj", load, calls_per_s[calls_per_s > 0]).max(axis=0))


class FleetOdds:
    """A plan and its rivals on the same draws of what steps take. fleets: the plan first."""

    def __init__(self, problem: PlanningProblem, fleets: Sequence[OddsFleet]) -> None:
        self.problem, self._goal = problem, problem.goal.asked
        self.contenders = tuple(map(self._contender, fleets))

    @cached_property
    def replicas(self) -> tuple[ModelReplica, ...]:
        """Of all kinds, in the order of the contenders."""
        return tuple(kind.deployment.replica for each in self.contenders for kind in each.kinds)

    @cached_property
    def loadings(self) -> Floats:
        """(kinds, causes): see `shared_loadings`."""
        return shared_loadings(self.replicas, self.problem.calibration)

    def deviates(self, count: int, rng: np.random.Generator) -> Floats:
        """(count, kinds): joint draws."""
        return np.asarray(rng.standard_normal((count, self.loadings.shape[1])) @ self.loadings.T)

    def usd_per_h(self, deviates: Floats) -> Floats:
        """(contenders, ...): cost of each by deviates (..., kinds)."""
        level = np.rint((np.clip(deviates, -FARTHEST, FARTHEST) + FARTHEST) * PER_DEVIATION).astype(np.int64)
        costs, place = [], 0
        for each in self.contenders:
            cost = np.full(deviates.shape[:-1], each.beside_usd_per_h)
            for kind in each.kinds:
                cost = cost + kind.usd_per_h[level[..., place]]
                place += 1
            costs.append(cost)
        return np.stack(costs)

    @cached_property
    def drawn(self) -> Floats:
        """(contenders, draws): cost of each in joint draws."""
        return self.usd_per_h(self.deviates(DRAWS, np.random.default_rng([self.problem.workload.seed, 11])))

    def chance_cheaper(self, number: int) -> float:
        """Share of draws in which a contender costs less than the plan."""
        return float((self.drawn[number] < self.drawn[0] * (1 - BRIM)).mean())

    @property
    def stands(self) -> float:
        """Share of draws in which no contender costs less than the plan."""
        return float((self.drawn[0] <= self.drawn.min(axis=0) * (1 + BRIM)).mean())

    @property
    def sources(self) -> dict[tuple[str, str], list[int]]:
        """What can be timed: by accelerator and engine, the kinds that run on both."""
        found: dict[tuple[str, str], list[int]] = {}
        for place, replica in enumerate(self.replicas):
            found.setdefault((replica.device.id, replica.engine.id), []).append(place)
        return found

    def savings(self) -> Iterator[tuple[tuple[str, str], float]]:
        """What timing each source before choosing is expected to save, in dollars per hour."""
        for source, places in self.sources.items():
            cost = _finite(self.usd_per_h(self._given(places)))
            before, after = cost[self._open([])], cost[self._open(places)]
            saved = float(before.mean(axis=(1, 2)).min() - after.mean(axis=2).min(axis=0).mean())
            yield source, max(saved, 0.0)

    def _given(self, places: Sequence[int]) -> Floats:
        """(outer, inner, kinds): deviates with those of some kinds on the outer axis."""
        rng, loadings = np.random.default_rng([self.problem.workload.seed, 12]), self.loadings
        inner, outer = self.deviates(AXIS, rng), self.deviates(AXIS, rng)
        some = loadings[places]
        gain = loadings @ some.T @ np.linalg.pinv(some @ some.T)
        return np.asarray(inner[None] + (outer[:, None, places] - inner[None, :, places]) @ gain.T)

    def _open(self, places: Sequence[int]) -> list[int]:
        """Contenders that may be chosen when some kinds have been timed: the plan, and what is of timed kinds alone."""
        first, found = 0, []
        for number, each in enumerate(self.contenders):
            mine = range(first, first + len(each.kinds))
            first += len(each.kinds)
            trusted = self.problem.workload.trust_predicted_speed or number == 0
            if trusted or all(place in places or self._is_timed(place) for place in mine):
                found.append(number)
        return found

    def _is_timed(self, place: int) -> bool:
        return is_timed(self.replicas[place], self.problem.calibration)

    def _need(self, fleet: Fleet, model: int, row: int, factor: Floats) -> Floats:
        calls = fleet.calls_per_s[model][0][:, row]
        return unit_need(self.problem.space.offers[model], self._goal, row, calls, factor)

    def _contender(self, what: OddsFleet) -> ContenderFleet:
        kinds, rent, fleet = [], 0.0, what.fleet
        for model, row, count in _kinds(fleet):
            offers = self.problem.space.offers[model]
            price, deployment = float(offers.unit.usd_per_h[row]), offers.deployments[row]
            steps = ReplicaIntervals.of(deployment.replica, self.problem.steps).tpot
            factor = np.append(steps.of_deviates(LEVELS), steps.middle if what.at_predicted else 1.0)
            need = self._need(fleet, model, row, factor)
            units = self._grown(need, factor, count) if what.proven else np.ceil(need[:-1] - BRIM) + self._goal.spare
            kinds.append(ContenderKind(deployment, price * units))
            rent += price * count
        return ContenderFleet(tuple(kinds), fleet.objective - rent)

    def _grown(self, need: Floats, factor: Floats, held: int) -> Floats:
        """(levels,): units of a proven kind. need, factor: by level, then those that the units held at."""
        spare, grown = self._goal.spare, need if np.isfinite(need[-1]) else factor
        units = np.ceil((held - spare - HALF) * grown[:-1] / grown[-1] - BRIM)
        return np.asarray(np.maximum(units, 1.0) + spare)


def _kinds(fleet: Fleet) -> Iterator[tuple[int, int, int]]:
    """Model, row and units of every kind that a fleet rents."""
    for model, units in fleet.units.items():
        for row in np.flatnonzero(units[0]).tolist():
            yield model, row, int(units[0, row])


def _finite(cost: Floats) -> Floats:
    """Where a contender cannot hold at all, the cost of the dearest that can: one would have to move there."""
    held = np.isfinite(cost)
    dearest = np.where(held, cost, -np.inf).max(axis=0)
    return np.where(held, cost, np.where(np.isfinite(dearest), dearest, 0.0))
