"""Every hour simulated by itself: what interactive requests get of its fleet, and sizing raised where it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from comptroller.costs.timing import TimingCalibration
from comptroller.errors import InfeasibleError
from comptroller.planning.ground.day_document import HourTrial
from comptroller.planning.ground.plan_document import ServiceDocument
from comptroller.planning.offer.day_market import DeploymentMarket
from comptroller.planning.prove.arrivals import (
    RehearsalSettings,
    SimulatedQuantile,
    judge_draws,
    simulated_quantiles,
    traces,
)
from comptroller.planning.prove.rehearsal import RAISE
from comptroller.planning.solve.fleet_search import Fleet, FleetSearch
from comptroller.planning.solve.hours import DayDemand, DayFleet
from comptroller.planning.solve.program_blocks import Array, Indices, Market
from comptroller.planning.write.day_steps import DayFreedom
from comptroller.planning.write.plan import PlanningProblem, service
from comptroller.quantities import short

ROUNDS = 4
"""Days that are simulated before giving up on an hour."""

BEYOND = 1.001
"""Factor beyond what a fleet that failed could carry, so that the next is another one."""


class HourRehearsalStage(Protocol):
    """What tries single hours of the days of a market."""

    @property
    def market(self) -> Market:
        """What the days rent."""
        ...

    def seen(self, asked: DayDemand, day: DayFleet, h: int) -> tuple[SimulatedQuantile, ...]:
        """What an hour showed of every objective."""
        ...


@dataclass
class RequestHourStage:
    """Fleets of single hours, simulated once each.

    of: columns of the day.  draws of the peak's arrivals are stretched to the rate of an hour.
    """

    of: DeploymentMarket
    problem: PlanningProblem
    calibration: TimingCalibration
    rehearsal: RehearsalSettings
    known: dict[tuple[bytes, bytes, float], tuple[SimulatedQuantile, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draws = traces(self.problem.workload, self.problem.asked, self.rehearsal)

    @property
    def market(self) -> Market:
        """What the days rent."""
        return self.of.market

    def seen(self, asked: DayDemand, day: DayFleet, h: int) -> tuple[SimulatedQuantile, ...]:
        """What simulating the interactive requests of an hour on what they get of its fleet showed."""
        units, share = dependable_units(self.market, asked, day, h), np.round(day.share[h], 6)
        factor = float(asked.load[h] * share.sum())
        key = (units.tobytes(), share.tobytes(), factor)
        if key not in self.known:
            services = list(self._services(units, share, factor))
            draws = [trace.scaled(factor) for trace in self.draws]
            targets = self.problem.goal.targets
            values = simulated_quantiles(services, self.calibration, draws, targets, self.rehearsal.seed)
            self.known[key] = judge_draws(values, targets, self.rehearsal)
        return self.known[key]

    def _services(self, units: Indices, share: Array, factor: float) -> Iterator[ServiceDocument]:
        """The hour's fleet as services, each kind with its share of every size."""
        whole, goal, sizes = self.of.search.table, self.problem.goal, len(self.problem.asked)
        load = self.problem.search.table.load
        load = replace(load, rate_per_s=load.rate_per_s * factor)
        table = replace(
            whole, load=load, rate_per_s=whole.rate_per_s[:, :sizes], marginal_s=whole.marginal_s[:, :sizes]
        )
        per_s, column = whole.best(goal.targets)
        count, among = np.zeros(len(whole.candidates), np.int64), np.zeros((sizes, len(whole.candidates)))
        count[self.of.rows], among[:, self.of.rows] = units, share / share.sum()
        fleet = Fleet(count, among, 0.0, 0, column, per_s[:, :sizes])
        problem = replace(self.problem, search=FleetSearch(table))
        for row in np.flatnonzero(count):
            yield service(problem, fleet, int(row))[0]


def dependable_units(market: Market, asked: DayDemand, day: DayFleet, h: int) -> Indices:
    """Units that interactive load can count on: after an interruption, and beside work, which fills whole units."""
    units, used = day.units[h], day.share[h] > 0
    work = np.zeros(len(units))
    if asked.works:
        taken = asked.size[h, 1:, None] * day.done[h]
        work = (market.finite[:, 1:] * taken).sum(axis=1).max(axis=0)
    beside = np.ceil(market.standing * units - work - 1e-6)
    after = units - np.ceil(market.lost * units - 1e-9)
    found = np.minimum(np.where(market.lost > 0, after, units), beside)
    return np.where(used, np.maximum(found, 1), 0).astype(np.int64)


def headroom_factor(market: Market, asked: DayDemand, day: DayFleet, h: int) -> float:
    """How many times its sized load an hour's fleet could carry, were it shared as fits best."""
    each = market.finite[:, 0].max(axis=0)
    units = dependable_units(market, asked, day, h)
    sized = asked.load[h] * asked.raised[h] * day.share[h].sum()
    return float((units[units > 0] / each[units > 0]).sum() / max(sized, 1e-12))


@dataclass(frozen=True, slots=True)
class RehearsedDay:
    """A day whose hours were simulated. seen: by hour with load.  why: what kept a failing hour from being raised."""

    asked: DayDemand
    day: DayFleet
    seen: Mapping[int, tuple[SimulatedQuantile, ...]]
    why: str = ""

    @property
    def failed(self) -> tuple[int, ...]:
        """Hours that did not hold."""
        return tuple(h for h, each in self.seen.items() if not all(one.holds for one in each))

    def tried(self, demand: float, h: int) -> HourTrial | None:
        """What an hour showed, as it stands in a plan; demand: factor that all hours are sized with."""
        if h not in self.seen:
            return None
        uppers = [one.upper_s for one in self.seen[h]]
        return HourTrial(
            sized_for=short(demand * self.asked.raised[h]),
            upper_s=tuple(short(upper) if np.isfinite(upper) else None for upper in uppers),
            holds=h not in self.failed,
        )


def raise_hours_until_held(stage: HourRehearsalStage, step: DayFreedom[DayFleet], day: DayFleet) -> RehearsedDay:
    """The day with its hours raised until their percentiles hold in simulation, within `ROUNDS`."""
    market, found = stage.market, _simulate_hours(stage, step.asked, day)
    for _ in range(ROUNDS - 1):
        if not found.failed:
            break
        factor = found.asked.raised.copy()
        for h in found.failed:
            excess = max(one.upper_s / one.target.most_s for one in found.seen[h])
            least = float(np.clip(excess**0.25, *RAISE))
            factor[h] *= max(least, BEYOND * headroom_factor(market, found.asked, found.day, h))
        asked = replace(found.asked, factor=factor)
        try:
            found = _simulate_hours(stage, asked, step.day(asked, found.day))
        except InfeasibleError as error:
            return replace(found, why=str(error))
    return found


def _simulate_hours(stage: HourRehearsalStage, asked: DayDemand, day: DayFleet) -> RehearsedDay:
    busy = np.flatnonzero(asked.load * day.share.sum(axis=1) > 0).tolist()
    return RehearsedDay(asked, day, {h: stage.seen(asked, day, h) for h in busy})


def hour_rehearsal_notes(found: RehearsedDay, demand: float) -> Iterator[str]:
    """What simulating the hours came to."""
    raised = found.asked.raised[list(found.seen)]
    yield (
        f"every hour was simulated at its own rate, on what interruptions and work leave of its fleet: "
        f"{int((raised > 1).sum())} of {len(found.seen)} were raised above {demand:.3g} x their demand"
    )
    if found.failed:
        hours = ", ".join(f"{h:02d}" for h in found.failed)
        yield f"not shown to hold within {ROUNDS} rounds: hours {hours}" + (found.why and f" ({found.why})")
