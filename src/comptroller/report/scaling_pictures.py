"""A picture of time of a fleet that is scaled, policy by policy: replicas, what waits, latencies, dollars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.planning.scaled_simulation import ScaledSimulation
from comptroller.report.chart import ReportChart
from comptroller.report.drawing import ChartPicture
from comptroller.report.figures import dollars, number, seconds
from comptroller.report.page import PageSection, ReportPage, table_sections
from comptroller.report.scaling_tables import scaling_sheet
from comptroller.report.time_chart import TimePanel, time_chart
from comptroller.serving.elastic import ReplicaPhase

Floats = npt.NDArray[np.float64]

MOMENTS = 180
"""Points of the time line: one for twenty seconds of an hour, the start-up of a replica is nine of them."""

MOST_LINES = 4
"""Policies with a line of their own; a fifth pattern of dashes is hard to tell."""


def scaling_charts(simulations: Sequence[ScaledSimulation]) -> tuple[ReportChart, ...]:
    """Arrivals, replicas paid for, calls waiting, time to first token, share within objectives, dollars so far."""
    shown = simulations[:MOST_LINES]
    horizon_s = max(one.outcome.outcome.horizon_s for one in shown)
    clock = np.linspace(0.0, horizon_s, MOMENTS + 1)
    first = shown[0]
    arrivals = {"": _rates(first.trace.arrival_s, clock)}
    names = [one.settings.policy for one in shown]

    def lines(values: Sequence[Floats]) -> dict[str, Floats]:
        return dict(zip(names, values, strict=True))

    late = [_tails(one, clock) for one in shown]
    bands = {names[0]: (late[0][0], late[0][1])} if len(shown) == 1 else {}
    limit = {"objective": next((entry.most_s for entry in first.plan.latency if entry.quantity == "ttft_s"), 0.0)}
    paid = lines([_replicas_at(one, clock) for one in shown])
    panels = (
        TimePanel("Arrivals", ("requests/s", lambda rate: f"{number(rate)}/s"), arrivals),
        TimePanel("Replicas paid for", ("replicas", number), paid, stepped=True),
        TimePanel("Requests waiting", ("requests", number), lines([_waiting(one, clock) for one in shown])),
        TimePanel(
            "Time to first token, p95 by arrival" + (", from the median" if bands else ""), ("TTFT", seconds),
            lines([tail for _, tail in late]), bands, {name: most for name, most in limit.items() if most},
        ),
        TimePanel("Within the objectives", ("share", "{:.1%}".format), lines([_good(one, clock) for one in shown])),
        TimePanel("Dollars so far", ("dollars", dollars), lines([_dollars(one, clock) for one in shown])),
    )  # fmt: skip
    losses = _losses(first) if len(shown) == 1 else []
    return tuple(time_chart(panel, clock.tolist(), losses) for panel in panels)


def scaling_picture(simulations: Sequence[ScaledSimulation]) -> ChartPicture:
    """The charts as a file."""
    first = simulations[0]
    return ChartPicture(scaling_charts(simulations), f"{first.plan.name}: {scaling_sheet(simulations).title}")


def scaling_page(simulations: Sequence[ScaledSimulation]) -> str:
    """The charts and the table as a page."""
    sheet = scaling_sheet(simulations)
    hint = "Point at a chart, or move with Tab and the arrow keys, to read all policies of a moment."
    if len(simulations) > MOST_LINES:
        hint += f" The first {MOST_LINES} are drawn."
    return ReportPage(
        title=f"{simulations[0].plan.name}: scaling",
        subject=f"scaling of {simulations[0].plan.name}",
        headline=f"{len(simulations[0].trace):,} requests under {len(simulations)} scaling policies",
        lede=sheet.title,
        sections=(PageSection("Over time", hint, charts=scaling_charts(simulations)), *table_sections((sheet,))),
    ).html()


def _replicas_at(one: ScaledSimulation, clock: Floats) -> Floats:
    """Replicas that are paid for at each moment."""
    changes = {ReplicaPhase.STARTING: 1.0, ReplicaPhase.OFF: -1.0}
    found = [(event.at_s, changes[event.phase]) for event in one.outcome.events if event.phase in changes]
    if not found:
        return np.full(clock.size, float(one.settings.first))
    at_s, change = (np.array(column) for column in zip(*sorted(found), strict=True))
    sums = np.concatenate([[0.0], np.cumsum(change)])
    paid = one.settings.first + sums[np.searchsorted(at_s, clock, side="right")]
    paid[-1] = paid[-2]  # everything ends at the horizon
    return np.asarray(paid)


def _waiting(one: ScaledSimulation, clock: Floats) -> Floats:
    """Calls that have arrived and are not admitted yet."""
    outcome = one.outcome.outcome
    admitted = outcome.arrival_s + np.nan_to_num(outcome.queue_s, nan=np.inf)
    came, went = (np.searchsorted(np.sort(times), clock, side="right") for times in (outcome.arrival_s, admitted))
    return np.asarray(came - went, np.float64)


def _places(one: ScaledSimulation, clock: Floats) -> npt.NDArray[np.int64]:
    """The interval of the clock that each call arrived in, by the moment that ends it."""
    return np.clip(np.searchsorted(clock, one.trace.arrival_s, side="left"), 1, clock.size - 1)


def _tails(one: ScaledSimulation, clock: Floats) -> tuple[Floats, Floats]:
    """Median and 95th percentile of the time to the first token, by arrival; NaN where none arrived."""
    places, values = _places(one, clock), one.outcome.latency_s("ttft_s")
    found = np.full((2, clock.size), np.nan)
    for place in np.unique(places):
        mine = values[places == place]
        mine = mine[np.isfinite(mine)]
        if mine.size:
            found[:, place] = np.percentile(mine, (50, 95))
    return found[0], found[1]


def _good(one: ScaledSimulation, clock: Floats) -> Floats:
    """Share of the calls of each interval within the objectives; NaN where none arrived."""
    places = _places(one, clock)
    calls = np.bincount(places, minlength=clock.size).astype(np.float64)
    held = np.bincount(places, one.within.astype(np.float64), minlength=clock.size)
    return np.where(calls > 0, held / np.maximum(calls, 1), np.nan)


def _dollars(one: ScaledSimulation, clock: Floats) -> Floats:
    """Dollars so far: what was paid in all, spread as replicas were paid for."""
    paid = _replicas_at(one, clock)
    spent = np.concatenate([[0.0], np.cumsum(paid[:-1] * np.diff(clock))])
    return np.asarray(spent / spent[-1] * one.outcome.usd)


def _rates(times: Floats, clock: Floats) -> Floats:
    counts = np.histogram(times, clock)[0] / np.diff(clock)
    return np.concatenate([counts[:1], counts])


def _losses(one: ScaledSimulation) -> list[tuple[float, str]]:
    """Moments at which calls had to move, the first few: replicas that were lost."""
    outcome, calls = one.outcome.outcome, len(one.trace)
    moved = np.unique(np.round(outcome.arrival_s[calls:], 3))
    return [(float(at_s), "lost") for at_s in moved[:3]]
