"""A simulation as a page: what queued, ran, filled the cache and drew power over time, and its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from comptroller import __version__
from comptroller.errors import InputError
from comptroller.planning.simulation import PlanSimulation
from comptroller.report import simulation_tables
from comptroller.report.chart import ReportChart
from comptroller.report.drawing import ChartPicture
from comptroller.report.figures import dollars, number, seconds, with_prefix
from comptroller.report.page import PageSection, PageTile, ReportPage
from comptroller.report.perfetto import power_w, rank_tables
from comptroller.report.sharing_tables import sharing_sheets
from comptroller.report.time_chart import TimePanel, time_chart

Floats = npt.NDArray[np.float64]

LEAST_SAMPLES = 2
"""Samples that a line over time needs; twice as many would refuse what can be drawn."""

MOST_LINES = 6
"""Services up to which each has a line of its own; `drawing.INKS` has colours for seven."""


def page(simulation: PlanSimulation, beside: Sequence[PlanSimulation] = ()) -> str:
    """The page as text; beside: the same requests under other routings, or questions by other strategies.

    Raises:
        InputError: the simulation was not sampled.
    """
    if len(simulation.outcome.series) < LEAST_SAMPLES:
        raise InputError("the time line needs at least two samples of the simulation")
    headline = simulation_tables.headline(simulation)
    return ReportPage(
        title=f"{simulation.plan.name}: {headline}",
        subject=f"simulation of {simulation.plan.name}",
        headline=headline,
        lede=simulation_tables.setting(simulation),
        tiles=_tiles(simulation),
        sections=_sections(simulation, beside),
        footer=_footer(simulation),
    ).html()


def picture(simulation: PlanSimulation) -> ChartPicture:
    """What is drawn over time, as a file.

    Raises:
        InputError: the simulation was not sampled.
    """
    if len(simulation.outcome.series) < LEAST_SAMPLES:
        raise InputError("a picture over time needs samples: simulate(plan, trace, TraceReplaySettings(samples=200))")
    return ChartPicture(charts(simulation), simulation_tables.headline(simulation))


def _sections(simulation: PlanSimulation, beside: Sequence[PlanSimulation]) -> tuple[PageSection, ...]:
    over_time = PageSection(
        "Over time",
        "Point at a chart, or move with Tab and the arrow keys, to read all lines of a moment.",
        charts=charts(simulation),
    )
    tables = (
        ("Scored by the record. What the unsolved took is paid for by the solved.", simulation_tables.questions),
        ("The same requests on the same fleet.", lambda one: simulation_tables.side_by_side((one, *beside))),
        (
            "The percentile asked for, as it came out; requests that never got there count as infinitely late.",
            simulation_tables.objectives,
        ),
        (
            "Over the requests that got so far; queue is from arrival to admission, TPOT after the first token.",
            simulation_tables.latencies,
        ),
        (
            "At the meter, with hosts and cooling. Within: done inside every objective, so the waste of the others is "
            "carried by them.",
            simulation_tables.spending,
        ),
        ("Every request ends in exactly one state; tokens are counted once.", simulation_tables.ends),
        ("Busy is the share of the time in which a step ran.", simulation_tables.services),
    )
    sheets = ((hint, make(simulation)) for hint, make in tables)
    shared = PageSection(
        "Who shared the fleet",
        "Tokens/s in the fleet: tokens over the seconds that their calls were in it.",
        sheets=sharing_sheets(simulation),
    )
    parts = (PageSection(sheet.title, hint, sheets=(sheet,)) for hint, sheet in sheets)
    return (over_time, *parts, *((shared,) if shared.sheets else ()))


def charts(simulation: PlanSimulation) -> tuple[ReportChart, ...]:
    """What is drawn: requests waiting and running, cache in use, power, requests per second, time to first token."""
    series = simulation.outcome.series
    waiting = np.array([sample.queued for sample in series], float)
    running = np.array([sample.running for sample in series], float)
    cached = np.array([sample.kv_tokens for sample in series])
    watts = np.array([power_w(simulation, a, b) for a, b in pairwise(series)])
    watts = np.concatenate([watts[:1], watts])
    room = np.array([table.kv_capacity_tokens for table in rank_tables(simulation)], float)
    by_service = partial(_by_service, simulation)
    chart = partial(_chart, simulation)
    return (
        chart("Requests waiting", ("requests", number), by_service(waiting)),
        chart("Requests running", ("requests", number), by_service(running)),
        chart("KV cache in use", ("share of the cache", lambda share: f"{share:.1%}"), by_service(cached, room)),
        chart("Power at the meter", ("power", partial(with_prefix, unit="W")), by_service(watts)),
        chart("Requests per second", ("requests/s", lambda rate: f"{number(rate)}/s"), _flows(simulation)),
        chart("Time to first token, p95 by arrival", ("TTFT", seconds), {"": _tails(simulation)}),
    )


def _chart(
    simulation: PlanSimulation, title: str, unit: tuple[str, Callable[[float], str]], lines: Mapping[str, Floats]
) -> ReportChart:
    """Lines over time from 0 on. unit: the label of their axis, and how a value is read out."""
    return time_chart(TimePanel(title, unit, lines), [sample.at_s for sample in simulation.outcome.series])


def _by_service(simulation: PlanSimulation, values: Floats, weight: Floats | None = None) -> dict[str, Floats]:
    """Sums over a service's ranks (as a share of their summed weight), a line a service; one line if too many."""
    fleet = simulation.outcome.fleet
    owner = np.repeat(np.arange(len(fleet.services)), [sum(r.ranks for r in s.replicas) for s in fleet.services])
    names = simulation_tables.service_names(simulation.plan)
    groups = {names[service.name]: owner == place for place, service in enumerate(fleet.services)}
    if not 1 < len(groups) <= MOST_LINES:
        groups = {"": np.ones(owner.size, bool)}
    return {
        name: values[:, mine].sum(axis=1) / (weight[mine].sum() if weight is not None else 1.0)
        for name, mine in groups.items()
    }


def _flows(simulation: PlanSimulation) -> dict[str, Floats]:
    """Arrivals, and requests done within the objectives, per second of each interval between samples."""
    edges = np.array([sample.at_s for sample in simulation.outcome.series])
    calls = simulation.calls
    good = calls["last_s"][simulation.within]
    return {"arrive": _rates(edges, calls["arrival_s"]), "within": _rates(edges, good)}


def _tails(simulation: PlanSimulation) -> Floats:
    """95th percentile of the time to the first token of the requests that arrived in each interval; NaN for none."""
    edges = np.array([sample.at_s for sample in simulation.outcome.series])
    place = np.searchsorted(edges, simulation.calls["arrival_s"], side="right")
    ttft_s, tails_s = simulation.outcome.ttft_s, np.full(edges.size, np.nan)
    for i in np.unique(place[np.isfinite(ttft_s) & (place < edges.size)]).tolist():
        tails_s[i] = np.nanpercentile(ttft_s[place == i], 95)
    return tails_s


def _rates(edges: Floats, times: Floats) -> Floats:
    counts = np.histogram(times, edges)[0] / np.diff(edges)
    return np.concatenate([counts[:1], counts])


def _tiles(simulation: PlanSimulation) -> tuple[PageTile, ...]:
    outcome, good = simulation.outcome, int(simulation.within.sum())
    requests = len(outcome)
    per_good = simulation_tables.usd_per_good(simulation)
    ttft, tpot = (
        {percent: seconds(outcome.percentile(name, percent)) for percent in (50, 95)} for name in ("ttft_s", "tpot_s")
    )
    return (
        PageTile("Within the objectives", f"{simulation.attainment:.1%}", f"{good:,} of {requests:,} requests"),
        PageTile("Goodput", f"{number(simulation.goodput_per_s)}/s", "requests within, per second"),
        PageTile("TTFT p95", ttft[95], f"p50 {ttft[50]}"),
        PageTile("TPOT p95", tpot[95], f"p50 {tpot[50]}"),
        PageTile("Per request within", per_good, f"{dollars(outcome.meter_usd / requests)} per request"),
        PageTile(
            "Energy per request",
            with_prefix(outcome.meter_j / requests, "J"),
            f"{with_prefix(outcome.meter_gco2e / requests, 'g')} CO2e",
        ),
    )


def _footer(simulation: PlanSimulation) -> tuple[str, ...]:
    policies, digests = simulation.outcome.fleet.policies, simulation.plan.digests
    return (
        f"Routing {policies.routing}, batching {policies.batching}, scheduling {policies.scheduling}; "
        f"seed {simulation.conditions.seed}.",
        f"Comptroller {__version__}; SHA-256 of the plan's workload {digests.workload[:16]}, "
        f"facts {digests.facts[:16]}, calibration {digests.calibration[:16]}.",
    )
