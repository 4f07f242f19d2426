"""Evaluated deployments of one model, and the market that they make for a goal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from comptroller.planning.ground.limit_names import AVAILABLE, CAP, LIMITS
from comptroller.planning.ground.nouns import AxisValues, Bools, Deployment, Floats, Goal, Ints, Market
from comptroller.planning.ground.way_freedom import WayFreedom
from comptroller.planning.offer.dominance import dominated_rows
from comptroller.planning.offer.evaluation import DeploymentTable, RentalUnits, units


@dataclass(frozen=True)
class DeploymentOffers:
    """Deployments of one model (or, for plain requests, of all models) with what each carries and costs."""

    table: DeploymentTable

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """What may be rented, in the order of the table."""
        return self.table.candidates

    @cached_property
    def unit(self) -> RentalUnits:
        """The smallest thing that can be rented of each."""
        return units(self.deployments)

    @cached_property
    def axes(self) -> list[AxisValues]:
        """Values of each deployment on every axis."""
        return [{axis: frozenset((value,)) for axis, value in item.axes.items()} for item in self.deployments]

    @cached_property
    def _grid(self) -> Floats:
        return np.array([item.site.grid_gco2e_per_j for item in self.deployments])

    @cached_property
    def _tariff(self) -> Floats:
        """Dollars per joule that the plan pays itself: only owned devices' electricity is not in their price."""
        return np.array([x.site.electricity_usd_per_j if x.offer.term == "owned" else 0.0 for x in self.deployments])

    def market(self, goal: Goal, allowed: Bools | None = None) -> Market:
        """One hour of all deployments, at the batch cap that the targets leave; those not allowed carry nothing.

        Loads are units per request (or call) per second of each bucket: of the replica's time, and of the part of it
        that prompts may take before decoding misses its TPOT target.
        """
        return self.with_energy(self.market_without_energy(goal, allowed), goal)

    def market_without_energy(self, goal: Goal, allowed: Bools | None = None) -> Market:
        """The same, in which loads add no joules and no dollars."""
        rate, column = self.table.best(goal.targets)
        if allowed is not None:
            rate = np.where(allowed[:, None], rate, 0.0)
        replicas = self.unit.replicas[:, None]
        with np.errstate(divide="ignore"):
            load = np.stack([(1.0 / rate / replicas).T, self._prefill_load(goal, column)])
        idle_j = self.unit.idle_w * 3600.0
        count = len(self.deployments)
        return Market(
            rows=np.arange(count),
            load=load,
            usd=(self.unit.usd_per_h + idle_j * self._tariff)[None],
            grid=self._grid[None],
            idle_j=idle_j,
            added_j=np.zeros(load[0].shape),
            added_usd=np.zeros(load[0].shape),
            takes={name: self.takes(name, column) for name, _ in goal.limits},
            all_day=np.zeros(count, bool),
            standing=np.ones(count),
            lost=np.zeros(count),
        )

    def with_energy(self, market: Market, goal: Goal) -> Market:
        """A market of some of the deployments, with the joules that loads add and the dollars paid for them."""
        rows = market.rows
        busy_w = self._busy_w(rows, self.table.best(goal.targets)[1][rows])
        gained_j = np.maximum(busy_w * 3600.0 - market.idle_j, 0.0)
        added_j = np.where(np.isfinite(market.load[0]), market.load[0], 0.0) * gained_j
        return replace(market, added_j=added_j, added_usd=added_j * self._tariff[rows])

    def is_energy_priced(self, goal: Goal) -> bool:
        """Whether what loads add in joules counts in a goal: as its objective, or as dollars of owned devices."""
        return goal.objective != "usd" or bool(self._tariff.any())

    def _prefill_load(self, goal: Goal, column: Ints) -> Floats:
        with np.errstate(divide="ignore"):
            return (1.0 / self.table.prompts_per_s(goal.targets, column) / self.unit.replicas[:, None]).T

    def takes(self, name: str, column: Ints) -> Floats:
        """What a unit of each deployment takes of a limit; watts and grams are those at full load.

        column: the batch cap of each deployment, as a column of the table.
        """
        if name == "budget":
            return self.unit.usd_per_h
        if name in LIMITS:
            full_w = self._busy_w(np.arange(len(column)), column)
            return full_w if name == "power" else full_w * 3600.0 * self._grid
        if name.startswith(AVAILABLE):
            return np.asarray(self.unit.devices * np.array([item.capacity == name for item in self.deployments]))
        device = np.array([item.replica.device.id for item in self.deployments])
        return np.asarray(self.unit.devices * (device == name.removeprefix(CAP)))

    def _busy_w(self, rows: Ints, column: Ints) -> Floats:
        """Watts of a unit at the meter, saturated at its cap, for some deployments."""
        unit = self.unit
        return (self.table.device_w(rows, column) * unit.devices[rows] + unit.host_w[rows]) * unit.pue[rows]


def with_capacities(goal: Goal, deployments: Iterable[Deployment]) -> Goal:
    """The goal within what offers have available, of those by which any of some deployments is rented."""
    known = {item.capacity: float(item.offer.available) for item in deployments if item.offer.available is not None}
    return replace(goal, limits=(*goal.limits, *(limit for limit in known.items() if limit not in goal.limits)))


def undominated_columns(market: Market, goal: Goal) -> Ints:
    """Columns of an hour's market that no other replaces at no more price, load, energy and use of any limit.

    Of equal columns the first stays. Dropping the others never changes the optimum.
    """
    return np.flatnonzero(~dominated_rows(replacement_values(market, goal.objective).T))


def replacement_values(market: Market, objective: str) -> Floats:
    """(values, j): all that must be no more in what replaces a column."""
    takes = [weights[None, :] for weights in market.takes.values()]
    return np.concatenate([market.unit(objective)[:1], *market.load, market.added(objective)[0], *takes])


class MarketCache:
    """Markets of models for goals, made once however often the questions are resampled."""

    def __init__(self, offers: Mapping[int, DeploymentOffers]) -> None:
        self._offers = offers
        self._known: dict[tuple[int, Goal, bytes, bytes], Market | None] = {}
        self._alike: dict[tuple[int, bytes], Market] = {}

    def of(self, model: int, goal: Goal, allowed: Bools, used: Ints) -> Market | None:
        """Undominated deployments for the calls of some buckets; `None` where none meets the goal's targets."""
        goal = replace(goal, demand=1.0, quality=(), spare=0, ways=WayFreedom.MIX_EACH)
        key = (model, goal, allowed.tobytes(), used.tobytes())
        if key not in self._known:
            market = self._market(model, goal, allowed, used)
            self._known[key] = market if market is None else self._alike.setdefault((model, market.digest), market)
        return self._known[key]

    def _market(self, model: int, goal: Goal, allowed: Bools, used: Ints) -> Market | None:
        offers = self._offers[model]
        whole = offers.market_without_energy(goal, allowed)
        some = replace(whole, load=whole.load[:, used], added_j=whole.added_j[used], added_usd=whole.added_usd[used])
        usable = np.flatnonzero(some.fits.all(axis=0))
        if not len(usable):
            return None
        some = some.only(usable)
        # Watts take as long as all else of a deployment: where they decide nothing, only what is left gets them.
        if offers.is_energy_priced(goal):
            some = offers.with_energy(some, goal)
            return some.only(undominated_columns(some, goal))
        return offers.with_energy(some.only(undominated_columns(some, goal)), goal)
