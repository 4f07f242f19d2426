"""From a table of candidates to the cheapest fleet: objective, limits, exact pruning, and the mix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.capacity import LatencyTarget
from comptroller.errors import InfeasibleError
from comptroller.planning.dominance import dominated_rows
from comptroller.planning.mix import MixProblem, MixSolution, ReplicaLimit, balance, shares_of_replicas, solve
from comptroller.planning.table import DeploymentTable, RentalUnits, units

Array = npt.NDArray[np.float64]

SEED_CANDIDATES = 24
"""Candidates of the first, small program, whose optimum bounds the full one."""


LIMITS = {"budget": "USD/h", "power": "W", "carbon": "gCO2e/h"}
"""What may be limited, and its unit."""

CAP = "cap "
"""Before the id of an accelerator: its devices are limited."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is minimised and within what: everything a shadow price may move.

    objective: `usd`, `j` or `gco2e`, per hour.  demand: factor on the rate.  limits: most of each (`LIMITS`, or
    `cap` and the id of an accelerator).  spare: replicas in reserve for each candidate in use.  quality: least share
    of questions solved, by task, the empty name for all.
    """

    objective: str
    targets: tuple[LatencyTarget, ...]
    demand: float = 1.0
    limits: tuple[tuple[str, float], ...] = ()
    spare: int = 0
    quality: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Fleet:
    """The optimum of a goal over a table: units per candidate, share of each slice, objective per hour.

    considered: candidates left after pruning by bound.  column: batch cap per candidate and slice.
    """

    units: npt.NDArray[np.int64]
    share: Array
    objective: float
    considered: int
    column: npt.NDArray[np.int64]
    rate_per_s: Array


class FleetSearch:
    """A table made ready to be solved again and again for changing goals."""

    def __init__(self, table: DeploymentTable) -> None:
        self.table = table
        self.unit: RentalUnits = units(table.candidates)
        self._device = [c.replica.device.id for c in table.candidates]
        self._grid = np.array([c.site.grid_gco2e_per_j for c in table.candidates])
        self._tariff = np.array(
            [c.site.electricity_usd_per_j if c.offer.term == "owned" else 0.0 for c in table.candidates]
        )

    def solve(self, goal: Goal, keep: npt.NDArray[np.bool_] | None = None, most: Sequence[int] = ()) -> Fleet:
        """The cheapest fleet, optionally among some candidates only, or with at most so many replicas of each.

        Raises:
            InfeasibleError: names the objective or the limit that binds and what would be feasible.
        """
        rate, column = self.table.best(goal.targets)
        if keep is not None:
            rate = np.where(keep[:, None], rate, 0.0)
        self._require_feasible(rate, goal, keep)
        mix = self._mix(rate, column, goal)
        mix = replace(mix, limits=(*mix.limits, *self._at_most(most)))
        useful = np.flatnonzero(np.isfinite(mix.load).any(axis=0))
        useful = useful[undominated_columns(columns_of(mix, useful))]
        considered = useful[self.survivors(columns_of(mix, useful), goal)]
        small = columns_of(mix, considered)
        return self._expand(balance(small, simplest(small, solve(small))), considered, column, rate)

    def within(self, goal: Goal, most: float) -> bool:
        """Whether any fleet holds a goal for no more than so much per hour."""
        try:
            return self.solve(goal).objective <= most
        except InfeasibleError:
            return False

    def held(self, found: Fleet, goal: Goal) -> Fleet | None:
        """The same units at another goal, the slices shared anew; `None` where they do not hold it."""
        rate, column = self.table.best(goal.targets)
        used = np.flatnonzero(found.units)
        same = shares_of_replicas(columns_of(self._mix(rate, column, goal), used), found.units[used])
        return None if same is None else self._expand(same, used, column, rate)

    def mix(self, goal: Goal, allowed: npt.NDArray[np.bool_]) -> MixProblem:
        """All candidates as a mix, at the batch cap that the targets leave; those not allowed carry nothing."""
        rate, column = self.table.best(goal.targets)
        return self._mix(np.where(allowed[:, None], rate, 0.0), column, goal)

    def _mix(self, rate: Array, column: npt.NDArray[np.int64], goal: Goal) -> MixProblem:
        demand = self.table.load.rate_per_s * goal.demand
        with np.errstate(divide="ignore"):
            load = (demand[None, :] / rate / self.unit.replicas[:, None]).T
            prompts = self.table.prompts_per_s(goal.targets, column)
            prefill = (demand[None, :] / prompts / self.unit.replicas[:, None]).T
        price, energy = self._objective(load, column, goal.objective)
        limits = tuple(ReplicaLimit(name, self.weights(name, column), most) for name, most in goal.limits)
        return MixProblem(load, price, (prefill,), energy, limits, spare=goal.spare)

    def weights(self, name: str, column: npt.NDArray[np.int64]) -> Array:
        """What a unit of each candidate takes of a limit; watts and grams are those at full load."""
        if name == "budget":
            return self.unit.usd_per_h
        if name in LIMITS:
            full_w = self._busy_w(column)
            return full_w if name == "power" else full_w * 3600.0 * self._grid
        return np.asarray(self.unit.devices * (np.array(self._device) == name.removeprefix(CAP)))

    def _busy_w(self, column: npt.NDArray[np.int64]) -> Array:
        """Watts of a unit at the meter, saturated at its cap."""
        return (self.table.device_w(column) * self.unit.devices + self.unit.host_w) * self.unit.pue

    def _at_most(self, replicas: Sequence[int]) -> Iterator[ReplicaLimit]:
        for row, count in enumerate(replicas):
            only = np.zeros(len(self.unit.replicas))
            only[row] = self.unit.replicas[row]
            yield ReplicaLimit(f"replicas of {self.table.candidates[row].id}", only, float(count))

    def _objective(self, load: Array, column: npt.NDArray[np.int64], objective: str) -> tuple[Array, Array]:
        """Price of a unit and what a slice adds to it, in the objective's unit per hour."""
        idle_j = self.unit.idle_w * 3600.0
        per_j = {"usd": self._tariff, "j": np.ones(len(idle_j)), "gco2e": self._grid}[objective]
        added_j = np.zeros(load.shape)
        if per_j.any():
            gained = np.maximum(self._busy_w(column) * 3600.0 - idle_j, 0.0)
            added_j = np.where(np.isfinite(load), load, 0.0) * gained
        rent = self.unit.usd_per_h if objective == "usd" else 0.0
        return rent + idle_j * per_j, added_j * per_j

    def survivors(self, mix: MixProblem, goal: Goal) -> npt.NDArray[np.int64]:
        """Columns that may stand in an optimum, by an exact bound.

        Any fleet with a unit of j costs at least z + p_j - a_j: z prices every slice at its cheapest fraction of
        a unit, and a_j is the most of z that one unit of j can take over (a fractional knapsack). Columns whose
        bound exceeds a known fleet's cost are dropped.
        """
        everyone = np.arange(mix.load.shape[1])
        energy = np.zeros(mix.load.shape) if mix.energy is None else mix.energy
        with np.errstate(invalid="ignore"):
            unit_cost = np.where(np.isfinite(mix.load), mix.price[None, :] * mix.load + energy, np.inf)
        cheapest = unit_cost.min(axis=1)
        bound = cheapest.sum() + mix.price - _most_value_per_unit(mix.load, cheapest)
        seeds = np.unique(
            np.concatenate([unit_cost.argmin(axis=1), np.argsort(bound, kind="stable")[:SEED_CANDIDATES]])
        )
        try:
            known = solve(columns_of(mix, seeds)).objective
        except InfeasibleError:
            return everyone
        return np.flatnonzero((bound <= known * (1 + 1e-9)) | np.isin(everyone, seeds))

    def _require_feasible(self, rate: Array, goal: Goal, keep: npt.NDArray[np.bool_] | None) -> None:
        if (rate > 0).any(axis=0).all():
            return
        parts = []
        for target in goal.targets:
            others = [t for t in goal.targets if t is not target]
            least = self.table.least_latency_s(target, others, keep)
            if np.isfinite(least):
                parts.append(
                    f"{_name(target)} <= {target.most_s * 1e3:g} ms binds; "
                    f"the closest feasible value is {least / target.aim * 1e3:.4g} ms"
                )
        raise InfeasibleError("no candidate meets the objectives: " + ("; ".join(parts) or _jointly(goal)))

    def _expand(
        self, chosen: MixSolution, considered: npt.NDArray[np.int64], column: npt.NDArray[np.int64], rate: Array
    ) -> Fleet:
        count = len(self.table.candidates)
        number = np.zeros(count, np.int64)
        number[considered] = chosen.replicas
        share = np.zeros((len(self.table.load.rate_per_s), count))
        share[:, considered] = chosen.share
        return Fleet(number, share, chosen.objective, len(considered), column, rate)


def columns_of(mix: MixProblem, which: npt.NDArray[np.int64]) -> MixProblem:
    """A mix of some candidates only."""
    limits = tuple(replace(limit, weights=limit.weights[which]) for limit in mix.limits)
    energy = None if mix.energy is None else mix.energy[:, which]
    also = tuple(load[:, which] for load in mix.also)
    return replace(mix, load=mix.load[:, which], price=mix.price[which], also=also, energy=energy, limits=limits)


def simplest(mix: MixProblem, chosen: MixSolution) -> MixSolution:
    """Replicas of one kind that carry everything at no more cost, if there are any; else what was chosen."""
    energy = np.zeros(mix.load.shape) if mix.energy is None else mix.energy
    need = np.max([load.sum(axis=0) for load in (mix.load, *mix.also)], axis=0)
    count = np.where(np.isfinite(need), np.ceil(need - 1e-9) + mix.spare, np.inf)
    with np.errstate(invalid="ignore"):
        cost = np.where(np.isfinite(count), mix.price * count + energy.sum(axis=0), np.inf)
    for limit in mix.limits:
        cost[limit.weights * np.where(np.isfinite(count), count, 0.0) > limit.most + 1e-9] = np.inf
    best = int(cost.argmin())
    if not cost[best] <= chosen.objective * (1 + 1e-9):
        return chosen
    replicas, share = np.zeros(len(cost), np.int64), np.zeros(mix.load.shape)
    replicas[best], share[:, best] = int(count[best]), 1.0
    return MixSolution(replicas, share, float(cost[best]), chosen.bound)


def undominated_columns(mix: MixProblem) -> npt.NDArray[np.int64]:
    """Columns that no other column replaces at no more price, load, energy and use of any limit.

    Of equal columns the first stays. Dropping the others never changes the optimum.
    """
    energy = np.zeros(mix.load.shape) if mix.energy is None else mix.energy
    rows = [mix.price[None, :], mix.load, *mix.also, energy, *(limit.weights[None, :] for limit in mix.limits)]
    return np.flatnonzero(~dominated_rows(np.concatenate(rows).T))


def _most_value_per_unit(load: Array, value: Array) -> Array:
    """For each column the most value that one unit can carry: slices by value per load, the last in part."""
    result = np.zeros(load.shape[1])
    for j in range(load.shape[1]):
        size = load[:, j]
        order = np.argsort(-value / size, kind="stable")
        order = order[np.isfinite(size[order])]
        filled = np.cumsum(size[order])
        taken = np.clip((1.0 - (filled - size[order])) / size[order], 0.0, 1.0)
        result[j] = float((taken * value[order]).sum())
    return result


def _jointly(goal: Goal) -> str:
    if not goal.targets:
        return "nothing that is allowed fits its memory"
    wanted = ", ".join(f"{_name(t)} {t.most_s * 1e3:g} ms" for t in goal.targets)
    return f"{wanted} conflict with each other, or nothing that is allowed fits its memory"


def _name(target: LatencyTarget) -> str:
    return f"{target.quantity[:-2].upper()} p{target.quantile * 100:g}"
