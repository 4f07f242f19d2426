"""From a workload's `[hours]` to a market: every candidate at every term, with its risk, hour by hour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.steady import Requests
from comptroller.costs.timing import Calibration
from comptroller.errors import FactError, UnknownId
from comptroller.facts.reader import ids
from comptroller.planning.candidates import Candidate, Rejected, enumerate_candidates
from comptroller.planning.capacity import Load
from comptroller.planning.executor import no_progress
from comptroller.planning.hours import Asked
from comptroller.planning.hours_blocks import Array, Indices, Market, Work
from comptroller.planning.mix import Limit, Mix
from comptroller.planning.search import Goal, Search, columns_of, undominated
from comptroller.planning.space import space_of
from comptroller.planning.table import build_table
from comptroller.quantities import to_si
from comptroller.work.demand import DEFAULT_PEAK, recorded
from comptroller.work.hours import HOURS, Hours, Spot, rates_by_hour
from comptroller.work.workload import Workload

TINY = 1e-9
"""Share of the traffic that a size of deferrable work has in the table, so that it moves no latency and no batch."""

OVER_THE_DAY = {"budget": "usd", "carbon": "gco2e"}
"""Limits per hour that hold for the mean over the day; all others hold in every hour."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A market with what its columns are: rows of the search's table."""

    search: Search
    rows: Indices
    market: Market
    asked: Asked

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What each column rents."""
        return tuple(self.search.table.candidates[row] for row in self.rows)

    @property
    def terms(self) -> tuple[str, ...]:
        """How each column is rented."""
        return tuple(candidate.offer.term for candidate in self.candidates)

    def only(self, which: Indices) -> Offered:
        """Some columns."""
        return replace(self, rows=self.rows[which], market=self.market.only(which))


def firm(workload: Workload) -> Workload:
    """The workload without spot, for the fleet that is held all day.

    Raises:
        FactError: a risk of spot is given and spot is not allowed, or nothing else is; the load of a trace, of none.
        UnknownId: no site has the name that a grid is given for.
    """
    hours, terms = workload.hours, workload.allow.terms
    if hours is None:
        return workload
    unknown = set(hours.grid_gco2e_per_kwh) - set(ids("sites")) - set(workload.allow.sites)
    if unknown:
        raise UnknownId("site", min(unknown), ids("sites"))
    if hours.load == "trace" and workload.trace is None:
        raise FactError(workload.name, "hours.load", "there is no trace", f"{HOURS} numbers, or trace")
    if hours.spot is not None and "spot" not in terms:
        raise FactError(workload.name, "hours.spot", "spot is not allowed", 'allow.terms with "spot"')
    rest = tuple(term for term in terms if term != "spot")
    if not rest:
        raise FactError(
            workload.name, "allow.terms", "spot alone cannot hold objectives", "another term besides"
        )
    return workload.model_copy(update={"allow": workload.allow.model_copy(update={"terms": rest})})


def offered(workload: Workload, hours: Hours, load: Load, goal: Goal, calibration: Calibration) -> Offered:
    """All that the day may rent.

    Raises:
        FactError: the trace leaves out an hour.
    """
    candidates = list(enumerate_candidates(space_of(workload), Rejected()))
    wider = _wider(load, hours)
    table = build_table(candidates, wider, goal.targets, calibration, Rejected(), no_progress)
    search = Search(table)
    everyone = np.ones(len(table.candidates), bool)
    usd, j = (search.mix(replace(goal, objective=name), everyone) for name in ("usd", "j"))
    rows = np.array(sorted(_worth(table.candidates, usd, j, hours.spot)), np.int64)
    market = _market(search, rows, (columns_of(usd, rows), columns_of(j, rows)), goal, len(hours.deferrable))
    found = Offered(search, rows, market, _asked(workload, hours, goal, load))
    return replace(found, market=_by_the_hour(found, goal, hours))


def _wider(load: Load, hours: Hours) -> Load:
    """The load with the sizes of work beside its slices."""
    works = hours.deferrable
    inputs, outputs = (
        np.array([getattr(work, name) for work in works], float) for name in ("input_tokens", "output_tokens")
    )
    sizes = Requests(
        np.concatenate([load.requests.input_tokens, inputs]),
        np.concatenate([load.requests.output_tokens, outputs]),
    )
    rates = np.full(len(works), load.rate_per_s.sum() * TINY)
    return Load(sizes, np.concatenate([load.rate_per_s, rates]), load.arrival_cv)


def _worth(candidates: tuple[Candidate, ...], usd: Mix, j: Mix, spot: Spot | None) -> Iterator[int]:
    """Rows that no other of the same term and site replaces; spot only where its risk is known."""
    energy = np.zeros(j.load.shape) if j.energy is None else j.energy
    limits = (*usd.limits, Limit("energy", j.price, np.inf))
    mix = replace(usd, also=(*usd.also, energy), limits=limits)
    usable = np.isfinite(mix.load).any(axis=0)
    kinds = [(item.offer.term, item.site.id) for item in candidates]
    for kind in dict.fromkeys(kinds):
        rows = np.flatnonzero(usable & np.array([other == kind for other in kinds]))
        if len(rows) and (spot is not None or kind[0] != "spot"):
            yield from rows[undominated(columns_of(mix, rows))].tolist()


def _market(search: Search, rows: Indices, mixes: tuple[Mix, Mix], goal: Goal, works: int) -> Market:
    """The columns before the hours are known. All kinds serve the same mixture: slices are one load."""
    usd, j = mixes
    rate_per_s = search.table.load.rate_per_s
    slices = len(rate_per_s) - works
    into = np.zeros((1 + works, len(rate_per_s)))
    into[0, :slices] = 1.0
    into[1:, slices:] = np.diag(1.0 / (rate_per_s[slices:] * goal.demand))
    load = np.stack(
        [
            np.where(np.isfinite(x).all(axis=0), into @ np.nan_to_num(x, posinf=0.0), np.inf)
            for x in (usd.load, *usd.also)
        ]
    )
    into[0] /= goal.demand
    added = [into @ (np.zeros(usd.load.shape) if mix.energy is None else mix.energy) for mix in mixes]
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


def _by_the_hour(found: Offered, goal: Goal, hours: Hours) -> Market:
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
        load = load * np.where(spot, redone(found, goal, risk), 1.0)
        standing, lost = np.where(spot, risk.standing, 1.0), np.where(spot, risk.lost_at_once, 0.0)
    constant = np.isin(terms, ("reserved", "owned"))
    return replace(market, load=load, usd=usd, grid=grid, constant=constant, standing=standing, lost=lost)


def redone(found: Offered, goal: Goal, risk: Spot) -> Array:
    """Work per useful work, (1 + works, columns): an interruption loses half of what is in flight.

    1 + lambda T / 2, where T = B / r is how long a request stays in a batch of B that serves r a second; of the
    mixture, T = B sum_i w_i / r_i.
    """
    table, works = found.search.table, len(found.asked.works)
    rate, column = table.best(goal.targets)
    batch, weight = table.cap[found.rows, column[found.rows]], table.load.weight
    with np.errstate(divide="ignore"):
        each_s = (1.0 / rate[found.rows]).T
    slices = len(weight) - works
    stay_s = batch * np.vstack([weight[:slices] @ each_s[:slices], each_s[slices:]])
    return np.asarray(1.0 + risk.interruptions_per_h / 3600.0 * stay_s / 2)


def _asked(workload: Workload, hours: Hours, goal: Goal, load: Load) -> Asked:
    works = tuple(Work(x.name, x.by_hour, x.deadline_h, x.saves) for x in hours.deferrable)
    most = {OVER_THE_DAY[name]: each * HOURS for name, each in goal.limits if name in OVER_THE_DAY}
    return Asked(_factors(workload, hours, load), works, goal.objective, most, goal.spare)


def _factors(workload: Workload, hours: Hours, load: Load) -> Array:
    """The load of each hour over the rate to hold."""
    if hours.load != "trace":
        each = np.array(hours.load, float)
        return np.asarray(each / each.max())
    peak, arrival_s = workload.peak or DEFAULT_PEAK, recorded(workload).arrival_s
    rates = rates_by_hour(arrival_s, hours.starts_h, peak.quantile, peak.window_s)
    return np.asarray(rates / load.rate_per_s.sum())
