"""What a picture of time draws of a fleet: arrivals, replicas, queue, latencies, power, dollars, events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.over_time_play import PlayedPart
from comptroller.planning.pool_simulation import PoolSimulation
from comptroller.planning.power_simulation import PowerSimulation
from comptroller.planning.scaled_simulation import ScaledSimulation
from comptroller.planning.spot_simulation import ReplicaPrices, SpotSimulation
from comptroller.report.chart import ReportChart
from comptroller.report.figures import dollars, number, seconds, with_prefix
from comptroller.report.time_chart import TimePanel, time_chart
from comptroller.serving.elastic import ElasticOutcome
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.power_rows import RowRecord
from comptroller.serving.spot import ON_DEMAND, SpotOutcome

Floats = npt.NDArray[np.float64]

MOMENTS = 180
"""Points of the time line: one for twenty seconds of an hour, the start-up of a replica is nine of them."""

MOST_LINES = 4
"""Fleets with a line of their own; a fifth pattern of dashes is hard to tell."""

MOST_EVENTS = 3
"""Events that are ruled across the charts; more words would lie on each other."""


@dataclass(frozen=True, eq=False)
class PaidReplicas:
    """Replicas that were paid for: from when until when each, and its dollars a second; arrays of (leases,)."""

    since_s: Floats
    until_s: Floats
    usd_per_s: Floats

    def standing(self, clock: Floats) -> Floats:
        """How many there are from each moment on, of the last what there was before it."""
        changes = [np.searchsorted(np.sort(times), clock, side="right") for times in (self.since_s, self.until_s)]
        count = np.asarray(changes[0] - changes[1], np.float64)
        count[-1] = count[-2]  # everything ends at the horizon
        return count

    def spent(self, clock: Floats) -> Floats:
        """Dollars so far at each moment."""
        held = np.clip(clock[:, None], self.since_s, self.until_s) - self.since_s
        return np.asarray(held @ self.usd_per_s)


@dataclass(frozen=True, eq=False)
class FleetTimeline:
    """A fleet under a trace. arrival_s, admitted_s: of each time that a call was sent, infinite where it never was.

    calls_s, ttft_s, within: of each call.  watts: moments and the highest row's, of rows within a budget of budget_w.
    events: moments with words.
    """

    name: str
    plan: Plan
    horizon_s: float
    arrival_s: Floats
    admitted_s: Floats
    calls_s: Floats
    ttft_s: Floats
    within: npt.NDArray[np.bool_]
    paid: PaidReplicas
    watts: tuple[Floats, Floats] | None = None
    budget_w: float = 0.0
    events: tuple[tuple[float, str], ...] = field(default=())


def timeline_of_scaled(one: ScaledSimulation, name: str = "") -> FleetTimeline:
    """Of a fleet that a policy scales."""
    per_s = [replica.table.usd_per_s for _, replica in one.outcome.outcome.fleet.replicas()]
    rents = [per_s[lease.replica] for lease in one.outcome.leases]
    line = _of_elastic(name or one.settings.policy, one.plan, one.outcome, rents, one.within)
    moved = np.unique(np.round(one.outcome.outcome.arrival_s[len(one.trace) :], 3))
    return replace(line, events=tuple((float(at_s), "lost") for at_s in moved[:MOST_EVENTS]))


def timeline_of_pools(one: PoolSimulation) -> FleetTimeline:
    """Of pools of requests, with the first that were given another layout."""
    outcome = one.outcome
    per_s = [replica.table.usd_per_s for _, replica in outcome.elastic.outcome.fleet.replicas()]
    rents = [per_s[lease.replica] for lease in outcome.elastic.leases]
    line = _of_elastic(one.policy, one.plan, outcome.elastic, rents, one.within)
    told = [(at.at_s, f"{outcome.pools[at.pool].name}: tp {one.tp[at.setting.layout]}") for at in outcome.changes]
    return replace(line, events=tuple(told[:MOST_EVENTS]))


def timeline_of_spot(one: SpotSimulation) -> FleetTimeline:
    """Of a fleet with spot replicas, with the first that were taken back."""
    return _of_spot(one.settings.policy, one.plan, (one.outcome, one.prices), one.within)


def timeline_of_played(name: str, one: PlayedPart, prices: ReplicaPrices | None) -> FleetTimeline:
    """Of a choice over time on a part."""
    ran = one.simulation
    if one.spot is not None and prices is not None:
        return _of_spot(name, ran.plan, (one.spot, prices), ran.within)
    return timeline_of_scaled(ran, name) if one.rows is None else timeline_of_rows(ran, one.rows, name)


def timeline_of_rows(one: ScaledSimulation, rows: RowRecord, name: str) -> FleetTimeline:
    """Of a fleet that is scaled in rows, with the watts of the row that draws most."""
    watts = rows.at_s, rows.row_w.max(axis=1)
    return replace(timeline_of_scaled(one, name), watts=watts, budget_w=rows.conditions.row_budget_w)


def timeline_of_power(one: PowerSimulation, is_free: bool = False) -> FleetTimeline:
    """Of rows within a budget, or of the same rows where nothing is set; with the first brakes."""
    outcome = one.free if is_free else one.outcome
    ran, count = outcome.outcome, len(outcome.outcome.fleet.replicas())
    limits = {entry.quantity: entry.most_s for entry in one.plan.latency}
    whole = np.full(count, ran.horizon_s)
    paid = PaidReplicas(
        np.zeros(count), whole, np.array([replica.table.usd_per_s for _, replica in ran.fleet.replicas()])
    )
    braked = {n for n, setting in enumerate(outcome.conditions.settings) if setting.brake}
    brakes = sorted({order.at_s for order in outcome.orders if order.setting in braked})
    return FleetTimeline(
        "uncapped" if is_free else outcome.conditions.policy, one.plan, ran.horizon_s, ran.arrival_s, _admission_s(ran),
        ran.arrival_s, ran.ttft_s, ran.met(**limits) > 0, paid, (outcome.at_s, outcome.row_w.max(axis=1)),
        one.conditions.row_budget_w, tuple((at_s, "brake") for at_s in brakes[:MOST_EVENTS]),
    )  # fmt: skip


def _of_spot(
    name: str, plan: Plan, ran: tuple[SpotOutcome, ReplicaPrices], within: npt.NDArray[np.bool_]
) -> FleetTimeline:
    outcome, prices = ran
    by_place = {True: prices.on_demand_usd_per_h / 3600, False: prices.spot_usd_per_h / 3600}
    line = _of_elastic(name, plan, outcome.elastic, [by_place[zone == ON_DEMAND] for zone in outcome.places], within)
    told = dict.fromkeys((round(event.at_s, 3), event.zone) for event in outcome.interruptions)
    return replace(line, events=tuple((at_s, f"{zone} takes back") for at_s, zone in list(told)[:MOST_EVENTS]))


def _of_elastic(
    name: str, plan: Plan, outcome: ElasticOutcome, rents: Sequence[float], within: npt.NDArray[np.bool_]
) -> FleetTimeline:
    ran, leases = outcome.outcome, outcome.leases
    paid = PaidReplicas(
        np.array([one.since_s for one in leases]), np.array([one.until_s for one in leases]), np.array(rents)
    )
    return FleetTimeline(
        name, plan, ran.horizon_s, ran.arrival_s, _admission_s(ran), ran.arrival_s[: within.size],
        outcome.latency_s("ttft_s"), within, paid,
    )  # fmt: skip


def _admission_s(ran: EngineOutcome) -> Floats:
    return np.asarray(ran.arrival_s + np.nan_to_num(ran.queue_s, nan=np.inf))


def timeline_charts(lines: Sequence[FleetTimeline]) -> tuple[ReportChart, ...]:
    """Arrivals, replicas paid for, calls waiting, time to first token, share within objectives, power against the
    budget where there is one, dollars so far; the events of a fleet that is alone."""
    shown = lines[:MOST_LINES]
    first = shown[0]
    clock = np.linspace(0.0, max(one.horizon_s for one in shown), MOMENTS + 1)
    late = {one.name: _tails(one, clock) for one in shown}
    bands = {first.name: late[first.name]} if len(shown) == 1 else {}
    limit = {entry.quantity: entry.most_s for entry in first.plan.latency}.get("ttft_s")
    panels = [
        TimePanel(
            "Arrivals", ("requests/s", lambda rate: f"{number(rate)}/s"), {"": _rates(first.calls_s, clock)}
        ),
        TimePanel(
            "Replicas paid for", ("replicas", number), {one.name: one.paid.standing(clock) for one in shown},
            stepped=True,
        ),
        TimePanel("Requests waiting", ("requests", number), {one.name: _waiting(one, clock) for one in shown}),
        TimePanel(
            "Time to first token, p95 by arrival" + (", from the median" if bands else ""), ("TTFT", seconds),
            {name: tail for name, (_, tail) in late.items()}, bands, {"objective": limit} if limit else {},
        ),
        TimePanel(
            "Within the objectives", ("share", "{:.1%}".format), {one.name: _good(one, clock) for one in shown}
        ),
    ]  # fmt: skip
    drawn = {one.name: _highest(*one.watts, clock) for one in shown if one.watts}
    if drawn:
        panels.append(
            TimePanel("Power of the highest row", ("power", _watts), drawn, limits={"budget": first.budget_w})
        )
    panels.append(TimePanel("Dollars so far", ("dollars", dollars), {one.name: one.paid.spent(clock) for one in shown}))
    events = first.events if len({one.name for one in shown}) == 1 else ()
    return tuple(time_chart(panel, clock.tolist(), events) for panel in panels)


def _watts(value: float) -> str:
    return with_prefix(value, "W")


def _waiting(one: FleetTimeline, clock: Floats) -> Floats:
    """Calls that have arrived and are not admitted yet."""
    came, went = (np.searchsorted(np.sort(times), clock, side="right") for times in (one.arrival_s, one.admitted_s))
    return np.asarray(came - went, np.float64)


def _places(one: FleetTimeline, clock: Floats) -> npt.NDArray[np.int64]:
    """The interval of the clock that each call arrived in, by the moment that ends it."""
    return np.clip(np.searchsorted(clock, one.calls_s, side="left"), 1, clock.size - 1)


def _tails(one: FleetTimeline, clock: Floats) -> tuple[Floats, Floats]:
    """Median and 95th percentile of the time to the first token, by arrival; NaN where none arrived."""
    places, values = _places(one, clock), one.ttft_s
    found = np.full((2, clock.size), np.nan)
    for place in np.unique(places):
        mine = values[places == place]
        mine = mine[np.isfinite(mine)]
        if mine.size:
            found[:, place] = np.percentile(mine, (50, 95))
    return found[0], found[1]


def _good(one: FleetTimeline, clock: Floats) -> Floats:
    """Share of the calls of each interval within the objectives; NaN where none arrived."""
    places = _places(one, clock)
    calls = np.bincount(places, minlength=clock.size).astype(np.float64)
    held = np.bincount(places, one.within.astype(np.float64), minlength=clock.size)
    return np.where(calls > 0, held / np.maximum(calls, 1), np.nan)


def _highest(at_s: Floats, watts: Floats, clock: Floats) -> Floats:
    """The highest sample of each interval of the clock; NaN where there is none."""
    found = np.full(clock.size, np.nan)
    places = np.clip(np.searchsorted(clock, at_s, side="left"), 1, clock.size - 1)
    np.fmax.at(found, places, watts)
    return found


def _rates(times: Floats, clock: Floats) -> Floats:
    counts = np.histogram(times, clock)[0] / np.diff(clock)
    return np.concatenate([counts[:1], counts])
