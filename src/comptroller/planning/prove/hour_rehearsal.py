"""Every hour of a day simulated by itself, on what interactive requests get of its fleet; raised where it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InfeasibleError
from comptroller.planning.ground.day_document import HourTrial
from comptroller.planning.ground.nouns import Demand, Fleet, Floats, Ints, Market, SimulatedQuantile
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.offer.day_market import DayOffers
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.prove.arrivals import DrawRecord, RehearsalSettings, judge_draws, simulated_quantiles, traces
from comptroller.planning.prove.services import ServiceLoad, service_of, with_policies
from comptroller.planning.solve.day_freedoms import DayFreedom
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.quantities import short

ROUNDS = 4
"""Days that are simulated before giving up on an hour. Each raises every failing hour past what its fleet could carry;
an hour that fails in the last is reported as not shown to hold. Twice as many cost twice the time of such a day."""

RAISE = (1.03, 1.5)
"""Least and most factor on the demand that a failing hour is sized for, by how far its bound is off: smaller steps
often end with the same whole units, larger ones pass the cheapest fleet that holds."""

BEYOND = 1.001
"""Factor beyond what a fleet that failed could carry, so that the next is another one."""

CEILING_ROOM = 1e-6
"""Of a unit: what the solver may leave over a full one."""


class HourStage(Protocol):
    """What tries single hours of days."""

    def headroom(self, demand: Demand, day: Fleet, h: int) -> float:
        """How many times its sized load an hour's fleet could carry."""
        ...

    def seen(self, demand: Demand, day: Fleet, h: int) -> tuple[SimulatedQuantile, ...]:
        """What an hour showed of every objective."""
        ...


@dataclass
class RequestHourStage:
    """Fleets of single hours of plain requests, simulated once each.

    model, offers: columns of the day.  The draws of the peak's arrivals are stretched to the rate of an hour.
    """

    model: int
    offers: DayOffers
    problem: PlanningProblem
    calibration: TimingCalibration
    settings: RehearsalSettings
    known: dict[tuple[bytes, bytes, float], tuple[SimulatedQuantile, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        workload = self.problem.workload
        self.draws = traces(workload, traffic_of(workload), self.settings)

    def headroom(self, demand: Demand, day: Fleet, h: int) -> float:
        """See `HourStage`."""
        return headroom_factor(self.offers.market, demand, day, self.model, h)

    def seen(self, demand: Demand, day: Fleet, h: int) -> tuple[SimulatedQuantile, ...]:
        """What simulating the interactive requests of an hour on what they get of its fleet showed."""
        share = np.round(column_shares(day, self.model, h), 6)
        units = dependable_units(self.offers.market, demand, day, self.model, h)
        factor = float(demand.load[h] * day.share[h].sum())
        key = (units.tobytes(), share.tobytes(), factor)
        if key not in self.known:
            services = list(self._services(units, share, factor))
            draws = [trace.scaled(factor) for trace in self.draws]
            targets = self.problem.goal.targets
            library = self.problem.workload.library
            values = simulated_quantiles(services, self.calibration, draws, targets, self.settings.seed, library)
            self.known[key] = judge_draws(DrawRecord(values), targets, self.settings)
        return self.known[key]

    def _services(self, units: Ints, share: Floats, factor: float) -> Iterator[ServiceDocument]:
        """The hour's fleet as services, each deployment with its share of every size."""
        buckets, offers = self.problem.space.buckets[self.model], self.offers.offers
        load = replace(buckets.load, rate_per_s=buckets.load.rate_per_s * factor)
        calls = np.zeros((buckets.count, len(offers.deployments)))
        calls[:, self.offers.market.rows] = load.rate_per_s[:, None] * (share / share.sum())
        what = ServiceLoad(offers, load, calls, buckets.longest_tokens, self.calibration)
        for row, count in zip(self.offers.market.rows.tolist(), units.tolist(), strict=True):
            if count:
                service, _ = service_of(what, row, count, self.problem.goal)
                yield with_policies(service, self.problem.workload.policies.by_decision)


def column_shares(day: Fleet, model: int, h: int) -> Floats:
    """(j,): the part of an hour's interactive load that each column carries."""
    calls = day.calls_per_s[model][h].sum(axis=0)
    return np.asarray(calls / max(float(calls.sum()), 1e-12) * day.share[h].sum())


def dependable_units(market: Market, demand: Demand, day: Fleet, model: int, h: int) -> Ints:
    """Units that interactive load can count on: after an interruption, and beside work, which fills whole units."""
    units, used = day.units[model][h], column_shares(day, model, h) > 0
    work = np.zeros(len(units))
    if demand.works:
        own = [demand.works_per_s[k] for k, item in enumerate(demand.works) if item.name in market.works]
        rows = [market.row(item.name) for item in demand.works if item.name in market.works]
        taken = np.array(own)[:, None] * day.work[model][h]
        work = (market.finite[:, rows] * taken).sum(axis=1).max(axis=0)
    if model in day.waited:
        work = work + (market.finite[:, : market.buckets] * day.waited[model][h]).sum(axis=1).max(axis=0)
    beside = np.ceil(market.standing * units - work - CEILING_ROOM)
    after = units - np.ceil(market.lost * units - 1e-9)
    left = np.minimum(np.where(market.lost > 0, after, units), beside)
    return np.where(used, np.maximum(left, 1), 0).astype(np.int64)


def headroom_factor(market: Market, demand: Demand, day: Fleet, model: int, h: int) -> float:
    """How many times its sized load an hour's fleet could carry, were it shared as fits best."""
    units = dependable_units(market, demand, day, model, h)
    load = (market.finite[:, : market.buckets] * day.calls_per_s[model][h]).sum(axis=1).max(axis=0)
    calls = day.calls_per_s[model][h].sum(axis=0)
    used = (units > 0) & (load > 0)
    return float((units[used] * calls[used] / load[used]).sum() / max(float(calls.sum()), 1e-12))


@dataclass(frozen=True, slots=True)
class RehearsedDay:
    """A day whose hours were simulated. seen: by hour with load.  why: what kept a failing hour from being raised."""

    demand: Demand
    day: Fleet
    seen: Mapping[int, tuple[SimulatedQuantile, ...]]
    why: str = ""

    @property
    def failed(self) -> tuple[int, ...]:
        """Hours that did not hold."""
        return tuple(h for h, quantiles in self.seen.items() if not all(item.holds for item in quantiles))

    @property
    def holds(self) -> bool:
        """Whether every hour did."""
        return not self.failed

    def trial(self, factor: float, h: int) -> HourTrial | None:
        """What an hour showed, as it stands in a plan; factor: on the demand, that all hours are sized with."""
        if h not in self.seen:
            return None
        uppers = [item.upper_s for item in self.seen[h]]
        return HourTrial(
            sized_for=short(factor * self.demand.sizing[h]),
            upper_s=tuple(short(upper) if np.isfinite(upper) else None for upper in uppers),
            holds=h not in self.failed,
        )


def raise_hours_until_held(stage: HourStage, step: DayFreedom, day: Fleet) -> RehearsedDay:
    """The day with its hours raised until their percentiles hold in simulation, within `ROUNDS`."""
    why = ""

    def with_failing_hours_raised(last: RehearsedDay) -> RehearsedDay | None:
        nonlocal why
        factor = last.demand.sizing.copy()
        for h in last.failed:
            excess = max(item.upper_s / item.target.most_s for item in last.seen[h])
            least = float(np.clip(excess**0.25, *RAISE))
            factor[h] *= max(least, BEYOND * stage.headroom(last.demand, last.day, h))
        demand = replace(last.demand, factor=factor)
        try:
            return _simulate_hours(stage, demand, step.day(demand, last.day))
        except InfeasibleError as error:
            why = str(error)
            return None

    days = [_simulate_hours(stage, step.demand, day)]
    while not days[-1].holds and len(days) < ROUNDS:
        following = with_failing_hours_raised(days[-1])
        if following is None:
            break
        days.append(following)
    return replace(days[-1], why=why)


def _simulate_hours(stage: HourStage, demand: Demand, day: Fleet) -> RehearsedDay:
    busy = np.flatnonzero(demand.load * day.share.sum(axis=(1, 2)) > 0).tolist()
    return RehearsedDay(demand, day, {h: stage.seen(demand, day, h) for h in busy})


def hour_rehearsal_notes(rehearsed: RehearsedDay, factor: float) -> Iterator[str]:
    """What simulating the hours came to."""
    sizing = rehearsed.demand.sizing[list(rehearsed.seen)]
    yield (
        f"every hour was simulated at its own rate, on what interruptions and work leave of its fleet: "
        f"{int((sizing > 1).sum())} of {len(rehearsed.seen)} were raised above {factor:.3g} x their demand"
    )
    if rehearsed.failed:
        hours = ", ".join(f"{h:02d}" for h in rehearsed.failed)
        yield f"not shown to hold within {ROUNDS} rounds: hours {hours}" + (rehearsed.why and f" ({rehearsed.why})")
