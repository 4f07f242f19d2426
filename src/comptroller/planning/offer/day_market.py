"""From a workload's `[hours]` to markets by the hour: every deployment at every term, with its risk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.capacity import SlicedLoad
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.steady import UniformRequests
from comptroller.errors import FactError, UnknownIdError
from comptroller.facts.reader import ids
from comptroller.planning.ground.executor import no_progress
from comptroller.planning.ground.nouns import DeferrableLoad, Demand, Deployment, Floats, Goal, Ints, Market
from comptroller.planning.offer.deployments import RejectionTally
from comptroller.planning.offer.dominance import dominated_rows
from comptroller.planning.offer.evaluation import build_table
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.quantities import to_si
from comptroller.work.demand import DEFAULT_PEAK, recorded_trace
from comptroller.work.hours import HOURS, DeferrableWork, SpotRisk, WorkloadDay, rates_by_hour
from comptroller.work.workload import Workload

TINY = 1e-9
"""Share of the traffic that a size of deferrable work has in the table, so that it moves no latency and no batch."""

OVER_THE_DAY = {"budget": "usd", "carbon": "gco2e"}
"""Limits per hour that hold for the mean over the day; all others hold in every hour."""


@dataclass(frozen=True, slots=True)
class DayOffers:
    """The deployments of one model over a day, and the market that they make."""

    offers: DeploymentOffers
    market: Market

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """What each column of the market rents."""
        return tuple(self.offers.deployments[row] for row in self.market.rows)

    @property
    def terms(self) -> tuple[str, ...]:
        """How each column is rented."""
        return tuple(deployment.offer.term for deployment in self.deployments)

    def only(self, columns: Ints) -> DayOffers:
        """Some columns."""
        return replace(self, market=self.market.only(columns))


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
    firm_terms = tuple(term for term in terms if term != "spot")
    if not firm_terms:
        raise FactError(workload.name, "allow.terms", "spot alone cannot hold objectives", "another term besides")
    return workload.model_copy(update={"allow": workload.allow.model_copy(update={"terms": firm_terms})})


@dataclass(frozen=True, slots=True)
class LoadMapping:
    """How the sizes of a table become loads of a market, (loads, sizes): sizes in one request per second of each load.

    stay: weights of the sizes among which a load stays in a batch.  works: names of the loads that are works.
    """

    sizes: Floats
    stay: Floats
    works: tuple[str, ...] = ()


def mixture_mapping(load: SlicedLoad, works: Sequence[DeferrableWork]) -> LoadMapping:
    """All sizes of a load as one mixture, then each work's own size: what the day of plain requests rents for."""
    slices, extra = len(load.rate_per_s), len(works)
    sizes = np.zeros((1 + extra, slices + extra))
    sizes[0, :slices] = load.weight
    sizes[1:, slices:] = np.eye(extra)
    return LoadMapping(sizes, sizes, tuple(work.name for work in works))


def bucket_mapping(load: SlicedLoad, used: Ints, works: Sequence[DeferrableWork]) -> LoadMapping:
    """Every bucket that is used by itself, then each work's own size; calls stay as the whole load does."""
    slices, extra = len(load.rate_per_s), len(works)
    rows = np.concatenate([used, slices + np.arange(extra)])
    sizes = np.zeros((len(rows), slices + extra))
    sizes[np.arange(len(rows)), rows] = 1.0
    stay = sizes.copy()
    stay[: len(used)] = 0.0
    stay[: len(used), :slices] = load.weight
    return LoadMapping(sizes, stay, tuple(work.name for work in works))


def offers_with_works(
    deployments: Sequence[Deployment],
    load: SlicedLoad,
    works: Sequence[DeferrableWork],
    goal: Goal,
    calibration: TimingCalibration,
) -> DeploymentOffers:
    """Deployments at a load with the sizes of work beside its own, in its order."""
    extra = np.array([work.size_tokens for work in works], float).reshape(-1, 2)
    cached = np.broadcast_to(load.requests.cached_tokens, load.rate_per_s.shape)
    sizes = UniformRequests(
        np.concatenate([load.requests.input_tokens, extra[:, 0]]),
        np.concatenate([load.requests.output_tokens, extra[:, 1]]),
        np.concatenate([cached, np.zeros(len(works))]),
    )
    rates = np.full(len(works), load.rate_per_s.sum() * TINY)
    longest = max(load.longest_tokens, float(extra.sum(axis=1).max(initial=0.0)))
    every = np.concatenate([load.rate_per_s, rates])
    wider = SlicedLoad(sizes, every, load.arrival_cv, longest, load.working_tokens)
    return DeploymentOffers(build_table(deployments, wider, goal.targets, calibration, RejectionTally(), no_progress))


def day_offers(offers: DeploymentOffers, mapping: LoadMapping, goal: Goal, hours: WorkloadDay) -> DayOffers:
    """All that a model's deployments offer at every term, hour by hour. A column carries all sizes or nothing."""
    hour = offers.market(day_goal(goal))
    kept = np.array(sorted(_undominated_by_term(offers, hour, hours.spot)), np.int64)
    hour = hour.only(kept)
    usable = np.asarray(np.isfinite(hour.load).all(axis=1))[:, None]
    load = np.where(usable, mapping.sizes @ np.nan_to_num(hour.load, posinf=0.0), np.inf)
    market = replace(
        hour,
        load=load,
        usd=np.tile(hour.usd, (HOURS, 1)),
        grid=np.tile(hour.grid, (HOURS, 1)),
        added_j=mapping.sizes @ hour.added_j,
        added_usd=mapping.sizes @ hour.added_usd,
        works=mapping.works,
    )
    stay_s = _stay_s(offers, market.rows, goal, mapping.stay) if len(kept) else np.zeros((len(mapping.stay), 0))
    return DayOffers(offers, _by_the_hour(DayOffers(offers, market), hours, stay_s))


def _undominated_by_term(offers: DeploymentOffers, market: Market, spot: SpotRisk | None) -> Iterator[int]:
    """Rows that no other of the same term and site replaces in dollars and joules; spot where its risk is known."""
    takes = [weights[None, :] for weights in market.takes.values()]
    values = np.concatenate([market.usd, market.idle_j[None], *market.load, market.added_usd, market.added_j, *takes])
    usable = np.isfinite(market.load).any(axis=(0, 1))
    kinds = [(deployment.offer.term, deployment.site.id) for deployment in offers.deployments]
    for kind in dict.fromkeys(kinds):
        rows = np.flatnonzero(usable & np.array([other == kind for other in kinds]))
        if len(rows) and (spot is not None or kind[0] != "spot"):
            yield from rows[~dominated_rows(values[:, rows].T)].tolist()


def _by_the_hour(day: DayOffers, hours: WorkloadDay, stay_s: Floats) -> Market:
    """The market with grids, spot prices, and what an interruption does."""
    market, terms = day.market, np.array(day.terms)
    grid, usd = market.grid.copy(), market.usd.copy()
    for number, deployment in enumerate(day.deployments):
        known = hours.grid_gco2e_per_kwh.get(deployment.site.id)
        if known is not None:
            grid[:, number] = [to_si(value, "gCO2e/kWh")[0] for value in known]
    spot, risk = terms == "spot", hours.spot
    load, standing, lost = market.load, market.standing, market.lost
    if risk is not None:
        usd[:, spot] *= np.array(risk.price_factor or np.ones(HOURS))[:, None]
        load = load * np.where(spot, rework_factor(stay_s, risk), 1.0)
        standing, lost = np.where(spot, risk.standing, 1.0), np.where(spot, risk.lost_at_once, 0.0)
    all_day = np.isin(terms, ("reserved", "owned"))
    return replace(market, load=load, usd=usd, grid=grid, all_day=all_day, standing=standing, lost=lost)


def rework_factor(stay_s: Floats, risk: SpotRisk) -> Floats:
    """Work per useful work: an interruption loses half of what is in flight, 1 + lambda T / 2.

    stay_s: T, how long a request stays in a batch.  risk: lambda, interruptions of a unit per second.

    >>> risk = SpotRisk(interruptions_per_h=36.0, outage_s=0.0, source="a doctest")
    >>> rework_factor(np.array([20.0]), risk).tolist()
    [1.1]
    """
    return np.asarray(1.0 + risk.interruptions_per_h / 3600.0 * stay_s / 2)


def _stay_s(offers: DeploymentOffers, rows: Ints, goal: Goal, stay: Floats) -> Floats:
    """How long a request stays in a batch, (loads, columns): T = B sum_i w_i / r_i, B at once of which r_i a second."""
    rate, column = offers.table.best(goal.targets)
    batch = offers.table.cap[rows, column[rows]]
    with np.errstate(divide="ignore"):
        each_s = (1.0 / rate[rows]).T
    return np.asarray(batch * np.stack([_dot(weights, each_s) for weights in stay]))


def _dot(weights: Floats, each_s: Floats) -> Floats:
    used = np.flatnonzero(weights)
    return np.asarray(weights[used] @ each_s[used])


def day_goal(goal: Goal) -> Goal:
    """The goal of a day: limits that hold for its mean become limits of its sum."""
    over_day = tuple((OVER_THE_DAY[name], most * HOURS) for name, most in goal.limits if name in OVER_THE_DAY)
    limits = tuple((name, most) for name, most in goal.limits if name not in OVER_THE_DAY)
    return replace(goal, limits=limits, over_day=over_day)


def day_demand(workload: Workload, hours: WorkloadDay, base: Demand) -> Demand:
    """The day that is asked for: the load of every hour relative to the rate to hold, and the work that may wait.

    Raises:
        FactError: the trace leaves out an hour.
    """
    works = tuple(DeferrableLoad(work.name, work.by_hour, work.deadline_h, work.saves) for work in hours.deferrable)
    return replace(base, load=_load_by_hour(workload, hours, base.rate_per_s), works=works)


def _load_by_hour(workload: Workload, hours: WorkloadDay, rate_per_s: float) -> Floats:
    if hours.load != "trace":
        load = np.array(hours.load, float)
        return np.asarray(load / load.max())
    peak, arrival_s = workload.peak or DEFAULT_PEAK, recorded_trace(workload).arrival_s
    rates = rates_by_hour(arrival_s, hours.starts_h, peak.quantile, peak.window_s)
    return np.asarray(rates / rate_per_s)
