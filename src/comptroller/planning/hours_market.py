"""From a workload's `[hours]` to a market: every candidate at every term, with its risk, hour by hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.capacity import SlicedLoad
from comptroller.costs.steady import UniformRequests
from comptroller.costs.timing import TimingCalibration
from comptroller.errors import FactError, UnknownIdError
from comptroller.facts.reader import ids
from comptroller.planning.candidates import Deployment, RejectionTally, enumerate_candidates
from comptroller.planning.executor import no_progress
from comptroller.planning.hours import DayDemand
from comptroller.planning.hours_blocks import Array, DeferrableLoad, Indices, Market
from comptroller.planning.mix import MixProblem, ReplicaLimit
from comptroller.planning.search import FleetSearch, Goal, columns_of, undominated_columns
from comptroller.planning.space import space_of
from comptroller.planning.table import DeploymentTable, build_table
from comptroller.quantities import to_si
from comptroller.work.demand import DEFAULT_PEAK, recorded_trace
from comptroller.work.hours import HOURS, DeferrableWork, SpotRisk, WorkloadDay, rates_by_hour
from comptroller.work.workload import Workload

TINY = 1e-9
"""Share of the traffic that a size of deferrable work has in the table, so that it moves no latency and no batch."""

OVER_THE_DAY = {"budget": "usd", "carbon": "gco2e"}
"""Limits per hour that hold for the mean over the day; all others hold in every hour."""


@dataclass(frozen=True, slots=True)
class DeploymentMarket:
    """A market with what its columns are: rows of the search's table."""

    search: FleetSearch
    rows: Indices
    market: Market
    asked: DayDemand

    @property
    def candidates(self) -> tuple[Deployment, ...]:
        """What each column rents."""
        return tuple(self.search.table.candidates[row] for row in self.rows)

    @property
    def terms(self) -> tuple[str, ...]:
        """How each column is rented."""
        return tuple(candidate.offer.term for candidate in self.candidates)

    def only(self, which: Indices) -> DeploymentMarket:
        """Some columns."""
        return replace(self, rows=self.rows[which], market=self.market.only(which))


def without_spot(workload: Workload) -> Workload:
    """The workload without spot, for the fleet that is held all day.

    Raises:
        FactError: a risk of spot is given and spot is not allowed, or nothing else is; the load of a trace, of none.
        UnknownIdError: no site has the name that a grid is given for.
    """
    hours, terms = workload.hours, workload.allow.terms
    if hours is None:
        return workload
    unknown = set(hours.grid_gco2e_per_kwh) - set(ids("sites")) - set(workload.allow.sites)
    if unknown:
        raise UnknownIdError("site", min(unknown), ids("sites"))
    if hours.load == "trace" and workload.trace is None:
        raise FactError(workload.name, "hours.load", "there is no trace", f"{HOURS} numbers, or trace")
    if hours.spot is not None and "spot" not in terms:
        raise FactError(workload.name, "hours.spot", "spot is not allowed", 'allow.terms with "spot"')
    rest = tuple(term for term in terms if term != "spot")
    if not rest:
        raise FactError(workload.name, "allow.terms", "spot alone cannot hold objectives", "another term besides")
    return workload.model_copy(update={"allow": workload.allow.model_copy(update={"terms": rest})})


@dataclass(frozen=True, slots=True)
class LoadMapping:
    """How the sizes of a table become loads of a market: three matrices (loads, sizes).

    sized: from units that the sized rates take.  paid: the same at the demand itself.  stay: weights of the sizes
    among which a load stays in a batch.
    """

    sized: Array
    paid: Array
    stay: Array


def deployment_market(
    workload: Workload, hours: WorkloadDay, load: SlicedLoad, goal: Goal, calibration: TimingCalibration
) -> DeploymentMarket:
    """All that the day of a plan for requests may rent.

    Raises:
        FactError: the trace leaves out an hour.
    """
    works = len(hours.deferrable)
    candidates = list(enumerate_candidates(space_of(workload), RejectionTally()))
    search = FleetSearch(table_with(candidates, load, hours.deferrable, goal, calibration))
    rates = search.table.load.rate_per_s
    sized, stay = np.zeros((1 + works, len(rates))), np.zeros((1 + works, len(rates)))
    slices = len(rates) - works
    sized[0, :slices], stay[0] = 1.0, search.table.load.weight
    stay[0, slices:] = 0.0
    sized[1:, slices:], stay[1:, slices:] = np.diag(1.0 / (rates[slices:] * goal.demand)), np.eye(works)
    paid = sized.copy()
    paid[0] /= goal.demand
    asked = asked_of(workload, hours, goal, float(load.rate_per_s.sum()))
    return on_offer(search, LoadMapping(sized, paid, stay), asked, goal, hours)


def table_with(
    candidates: Sequence[Deployment],
    load: SlicedLoad,
    works: Sequence[DeferrableWork],
    goal: Goal,
    calibration: TimingCalibration,
) -> DeploymentTable:
    """Candidates at a load with the sizes of work beside its own, in its order."""
    extra = np.array([work.size_tokens for work in works], float).reshape(-1, 2)
    sizes = UniformRequests(
        np.concatenate([load.requests.input_tokens, extra[:, 0]]),
        np.concatenate([load.requests.output_tokens, extra[:, 1]]),
        np.concatenate([np.broadcast_to(load.requests.cached_tokens, load.rate_per_s.shape), np.zeros(len(works))]),
    )
    rates = np.full(len(works), load.rate_per_s.sum() * TINY)
    wider = SlicedLoad(sizes, np.concatenate([load.rate_per_s, rates]), load.arrival_cv)
    return build_table(candidates, wider, goal.targets, calibration, RejectionTally(), no_progress)


def on_offer(
    search: FleetSearch, into: LoadMapping, asked: DayDemand, goal: Goal, hours: WorkloadDay
) -> DeploymentMarket:
    """All that a search has to offer at every term, hour by hour."""
    everyone = np.ones(len(search.table.candidates), bool)
    usd, j = (search.mix(replace(goal, objective=name), everyone) for name in ("usd", "j"))
    rows = np.array(sorted(_worth(search.table.candidates, usd, j, hours.spot)), np.int64)
    market = _market(search, rows, (columns_of(usd, rows), columns_of(j, rows)), into)
    found = DeploymentMarket(search, rows, market, asked)
    stay_s = _stay_s(found, goal, into.stay) if len(rows) else np.zeros((len(into.stay), 0))
    return replace(found, market=_by_the_hour(found, hours, stay_s))


def _worth(candidates: tuple[Deployment, ...], usd: MixProblem, j: MixProblem, spot: SpotRisk | None) -> Iterator[int]:
    """Rows that no other of the same term and site replaces; spot only where its risk is known."""
    energy = np.zeros(j.load.shape) if j.energy is None else j.energy
    limits = (*usd.limits, ReplicaLimit("energy", j.price, np.inf))
    mix = replace(usd, also=(*usd.also, energy), limits=limits)
    usable = np.isfinite(mix.load).any(axis=0)
    kinds = [(item.offer.term, item.site.id) for item in candidates]
    for kind in dict.fromkeys(kinds):
        rows = np.flatnonzero(usable & np.array([other == kind for other in kinds]))
        if len(rows) and (spot is not None or kind[0] != "spot"):
            yield from rows[undominated_columns(columns_of(mix, rows))].tolist()


def _market(search: FleetSearch, rows: Indices, mixes: tuple[MixProblem, MixProblem], into: LoadMapping) -> Market:
    """The columns before the hours are known. A column carries all sizes or nothing."""
    usd, j = mixes
    load = np.stack(
        [
            np.where(np.isfinite(x).all(axis=0), into.sized @ np.nan_to_num(x, posinf=0.0), np.inf)
            for x in (usd.load, *usd.also)
        ]
    )
    added = [into.paid @ (np.zeros(usd.load.shape) if mix.energy is None else mix.energy) for mix in mixes]
    grid = np.array([search.table.candidates[row].site.grid_gco2e_per_j for row in rows])
    return Market(
        load=load,
        usd=np.tile(usd.price, (HOURS, 1)),
        grid=np.tile(grid, (HOURS, 1)),
        idle_j=j.price,
        added_j=added[1],
        added_usd=added[0],
        constant=np.zeros(len(rows), bool),
        standing=np.ones(len(rows)),
        lost=np.zeros(len(rows)),
        caps=tuple((x.name, x.weights, x.most) for x in usd.limits if x.name not in OVER_THE_DAY),
    )


def _by_the_hour(found: DeploymentMarket, hours: WorkloadDay, stay_s: Array) -> Market:
    """The market with grids, spot prices, and what an interruption does."""
    market, terms = found.market, np.array(found.terms)
    grid, usd = market.grid.copy(), market.usd.copy()
    for number, candidate in enumerate(found.candidates):
        known = hours.grid_gco2e_per_kwh.get(candidate.site.id)
        if known is not None:
            grid[:, number] = [to_si(value, "gCO2e/kWh")[0] for value in known]
    spot, risk = terms == "spot", hours.spot
    load, standing, lost = market.load, market.standing, market.lost
    if risk is not None:
        usd[:, spot] *= np.array(risk.price_factor or np.ones(HOURS))[:, None]
        load = load * np.where(spot, rework_factor(stay_s, risk), 1.0)
        standing, lost = np.where(spot, risk.standing, 1.0), np.where(spot, risk.lost_at_once, 0.0)
    constant = np.isin(terms, ("reserved", "owned"))
    return replace(market, load=load, usd=usd, grid=grid, constant=constant, standing=standing, lost=lost)


def rework_factor(stay_s: Array, risk: SpotRisk) -> Array:
    """Work per useful work: an interruption loses half of what is in flight, 1 + lambda T / 2.

    >>> risk = SpotRisk(interruptions_per_h=36.0, outage_s=0.0, source="a doctest")
    >>> rework_factor(np.array([20.0]), risk).tolist()
    [1.1]
    """
    return np.asarray(1.0 + risk.interruptions_per_h / 3600.0 * stay_s / 2)


def _stay_s(found: DeploymentMarket, goal: Goal, stay: Array) -> Array:
    """How long a request stays in a batch, (loads, columns): T = B sum_i w_i / r_i, B at once of which r_i a second."""
    table = found.search.table
    rate, column = table.best(goal.targets)
    batch = table.cap[found.rows, column[found.rows]]
    with np.errstate(divide="ignore"):
        each_s = (1.0 / rate[found.rows]).T
    return np.asarray(batch * np.stack([_dot(weights, each_s) for weights in stay]))


def _dot(weights: Array, each_s: Array) -> Array:
    used = np.flatnonzero(weights)
    return np.asarray(weights[used] @ each_s[used])


def asked_of(workload: Workload, hours: WorkloadDay, goal: Goal, rate_per_s: float) -> DayDemand:
    """The day that is asked for, its load relative to the rate to hold."""
    works = tuple(DeferrableLoad(x.name, x.by_hour, x.deadline_h, x.saves) for x in hours.deferrable)
    most = {OVER_THE_DAY[name]: each * HOURS for name, each in goal.limits if name in OVER_THE_DAY}
    return DayDemand(_factors(workload, hours, rate_per_s), works, goal.objective, most, goal.spare)


def _factors(workload: Workload, hours: WorkloadDay, rate_per_s: float) -> Array:
    """The load of each hour over the rate to hold."""
    if hours.load != "trace":
        each = np.array(hours.load, float)
        return np.asarray(each / each.max())
    peak, arrival_s = workload.peak or DEFAULT_PEAK, recorded_trace(workload).arrival_s
    rates = rates_by_hour(arrival_s, hours.starts_h, peak.quantile, peak.window_s)
    return np.asarray(rates / rate_per_s)
