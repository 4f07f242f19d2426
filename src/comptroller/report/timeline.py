"""A simulation as one self-contained HTML page: what queued, ran, filled the cache and drew power over time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from comptroller import __version__
from comptroller.errors import InputError
from comptroller.planning.simulation import PlanSimulation
from comptroller.report import simulation_tables
from comptroller.report.chart import nice_ceiling
from comptroller.report.figures import dollars, number, seconds, with_prefix
from comptroller.report.page import asset, document, section, tiles
from comptroller.report.perfetto import power_w, rank_tables

Floats = npt.NDArray[np.float64]

WIDTH, HEIGHT = 560.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 14.0, 26.0
INKS = ("var(--accent)", "var(--mark)", "var(--good)", "var(--bad)", "var(--soft)", "var(--ink)")
CLOCKS_S = tuple(step * unit for unit in (1e-3, 1e-2, 0.1, 1, 60, 3600, 86400) for step in (1, 2, 5, 10, 15, 30))

HINTS = {
    "latency": "Over the requests that got so far; queue is from arrival to admission, TPOT after the first token.",
    "objectives": "The percentile asked for, as it came out; requests that never got there count as infinitely late.",
    "spending": "At the meter, with hosts and cooling. Within: done inside every objective, so the waste of the "
    "others is carried by them.",
    "ends": "Every request ends in exactly one state; tokens are counted once.",
    "services": "Busy is the share of the time in which a step ran.",
    "questions": "Scored by the record. What the unsolved took is paid for by the solved.",
    "routing": "The same requests on the same fleet.",
}


@dataclass(frozen=True, slots=True)
class TimelineSeries:
    """One quantity over time."""

    name: str
    values: Floats


@dataclass(frozen=True, slots=True)
class TimelineChart:
    """Lines that share an axis from 0; unit: as `figures.scaled` takes it, `%` for shares, or none."""

    name: str
    unit: str
    lines: tuple[TimelineSeries, ...]

    @property
    def most(self) -> float:
        """The top of the axis."""
        top = max(float(np.nanmax(line.values, initial=0.0)) for line in self.lines)
        return nice_ceiling(top) if top > 0 else 1.0

    def words(self, value: float) -> str:
        """A value as a reader wants it."""
        if self.unit == "%":
            return f"{value:.1%}"
        if np.isnan(value):
            return "–"
        return with_prefix(value, self.unit) if self.unit in {"W", "s"} else f"{number(value)}{self.unit}"


def timeline(simulation: PlanSimulation, beside: Sequence[PlanSimulation] = ()) -> str:
    """The page as text; beside: the same requests under other routings.

    Raises:
        InputError: the simulation was not sampled.
    """
    if len(simulation.outcome.series) < 2:
        raise InputError("the time line needs at least two samples of the simulation")
    shown = charts(simulation)
    body = [
        _header(simulation),
        _figures(simulation, shown),
        section("Questions", simulation_tables.questions(simulation), HINTS["questions"]),
        section("Routing", simulation_tables.routings((simulation, *beside)), HINTS["routing"]),
        section("Objectives", simulation_tables.objectives(simulation), HINTS["objectives"]),
        section("Latency", simulation_tables.latencies(simulation), HINTS["latency"]),
        section("Spent", simulation_tables.spending(simulation), HINTS["spending"]),
        section("Requests and tokens", simulation_tables.ends(simulation), HINTS["ends"]),
        section("Services", simulation_tables.services(simulation), HINTS["services"]),
        _footer(simulation),
        _data(simulation, shown),
    ]
    title = f"{simulation.plan.name}: {simulation_tables.headline(simulation)}"
    return document(title, "".join(body), asset("timeline.js"))


def charts(simulation: PlanSimulation) -> tuple[TimelineChart, ...]:
    """What is drawn: requests waiting and running, cache in use, power, and requests per second."""
    series = simulation.outcome.series
    waiting = np.array([sample.queued for sample in series], float)
    running = np.array([sample.running for sample in series], float)
    cached = np.array([sample.kv_tokens for sample in series])
    watts = np.array([power_w(simulation, a, b) for a, b in pairwise(series)])
    watts = np.concatenate([watts[:1], watts])
    held = np.array([table.kv_capacity_tokens for table in rank_tables(simulation)], float)
    return (
        TimelineChart("Requests waiting", "", _by_service(simulation, waiting)),
        TimelineChart("Requests running", "", _by_service(simulation, running)),
        TimelineChart("KV cache in use", "%", _by_service(simulation, cached, held)),
        TimelineChart("Power at the meter", "W", _by_service(simulation, watts)),
        TimelineChart("Requests per second", "/s", _flows(simulation)),
        TimelineChart("Time to first token, p95 by arrival", "s", (TimelineSeries("all", _tails(simulation)),)),
    )


def _by_service(simulation: PlanSimulation, values: Floats, weight: Floats | None = None) -> tuple[TimelineSeries, ...]:
    """Sums over a service's ranks (as a share of their summed weight), a line a service; one line if too many."""
    fleet = simulation.outcome.fleet
    owner = np.repeat(np.arange(len(fleet.services)), [sum(r.ranks for r in s.replicas) for s in fleet.services])
    names = simulation_tables.service_names(simulation.plan)
    groups = {names[service.name]: owner == place for place, service in enumerate(fleet.services)}
    if not 1 < len(groups) <= len(INKS):
        groups = {"all": np.ones(owner.size, bool)}
    return tuple(
        TimelineSeries(name, values[:, mine].sum(axis=1) / (weight[mine].sum() if weight is not None else 1.0))
        for name, mine in groups.items()
    )


def _flows(simulation: PlanSimulation) -> tuple[TimelineSeries, ...]:
    """Arrivals, and requests done within the objectives, per second of each interval between samples."""
    edges = np.array([sample.at_s for sample in simulation.outcome.series])
    calls = simulation.calls
    good = calls["last_s"][simulation.within]
    return tuple(
        TimelineSeries(name, _rates(edges, times)) for name, times in (("arrive", calls["arrival_s"]), ("within", good))
    )


def _tails(simulation: PlanSimulation) -> Floats:
    """95th percentile of the time to first token of the requests that arrived in each interval; NaN for none."""
    edges = np.array([sample.at_s for sample in simulation.outcome.series])
    place = np.searchsorted(edges, simulation.calls["arrival_s"], side="right")
    ttft_s, found = simulation.outcome.ttft_s, np.full(edges.size, np.nan)
    for i in np.unique(place[np.isfinite(ttft_s) & (place < edges.size)]).tolist():
        found[i] = np.nanpercentile(ttft_s[place == i], 95)
    return found


def _rates(edges: Floats, times: Floats) -> Floats:
    counts = np.histogram(times, edges)[0] / np.diff(edges)
    return np.concatenate([counts[:1], counts])


def _header(simulation: PlanSimulation) -> str:
    outcome, good = simulation.outcome, int(simulation.within.sum())
    per_good = dollars(outcome.meter_usd / good) if good else "–"
    shown = (
        ("Within the objectives", f"{simulation.attainment:.1%}", f"{good:,} of {len(outcome):,} requests"),
        ("Goodput", f"{number(simulation.goodput_per_s)}/s", "requests within, per second"),
        ("TTFT p95", seconds(outcome.percentile("ttft_s", 95)), f"p50 {seconds(outcome.percentile('ttft_s', 50))}"),
        ("TPOT p95", seconds(outcome.percentile("tpot_s", 95)), f"p50 {seconds(outcome.percentile('tpot_s', 50))}"),
        ("Per request within", per_good, f"{dollars(outcome.meter_usd / len(outcome))} per request"),
        (
            "Energy per request",
            with_prefix(outcome.meter_j / len(outcome), "J"),
            f"{with_prefix(outcome.meter_gco2e / len(outcome), 'g')} CO2e",
        ),
    )
    return (
        f'<p class="eyebrow"><b>Comptroller</b> simulation of {escape(simulation.plan.name)}</p>'
        f"<h1>{escape(simulation_tables.headline(simulation))}</h1>"
        f'<p class="lede">{escape(simulation_tables.setting(simulation))}</p>{tiles(shown)}'
    )


def _figures(simulation: PlanSimulation, shown: Sequence[TimelineChart]) -> str:
    figures = "".join(
        f"<figure><figcaption>{escape(chart.name)}{_legend(chart)}</figcaption>"
        f"{_chart_svg(number_, chart, simulation)}</figure>"
        for number_, chart in enumerate(shown)
    )
    return (
        "<section><h2>Over time</h2>"
        '<p class="hint">Point at a chart, or move with Tab and the arrow keys, to read all lines of a moment.'
        f'</p><div class="charts">{figures}</div></section>'
    )


def _legend(chart: TimelineChart) -> str:
    if len(chart.lines) == 1:
        return ""
    return "".join(
        f' &nbsp;<span style="color:{ink}">&#9632;</span> {escape(line.name)}'
        for ink, line in zip(INKS, chart.lines, strict=False)
    )


def _chart_svg(place: int, chart: TimelineChart, simulation: PlanSimulation) -> str:
    clock = np.array([sample.at_s for sample in simulation.outcome.series])
    xs = LEFT + np.linspace(0.0, 1.0, clock.size) * (WIDTH - LEFT - RIGHT)
    parts = [*_axis(chart), *_clock(float(clock[0]), float(clock[-1]))]
    for ink, line in zip(INKS, chart.lines, strict=False):
        heights = HEIGHT - BOTTOM - line.values / chart.most * (HEIGHT - TOP - BOTTOM)
        parts.append(f'<path class="line" style="stroke:{ink};stroke-width:1.5" d="{_path(xs, heights)}"/>')
    parts.append(f'<line class="hair axis" visibility="hidden" x1="0" x2="0" y1="{TOP:g}" y2="{HEIGHT - BOTTOM:g}"/>')
    peaks = "; ".join(
        f"{line.name} at most {chart.words(float(np.nanmax(line.values, initial=0.0)))}" for line in chart.lines
    )
    return (
        f'<svg class="chart" data-panel="{place}" tabindex="0" role="slider" aria-valuemin="0" aria-valuenow="0"'
        f' aria-valuemax="{clock.size - 1}" aria-label="{escape(chart.name)} over time; {escape(peaks)}"'
        f' viewBox="0 0 {WIDTH:g} {HEIGHT:g}">{"".join(parts)}</svg>'
    )


def _path(xs: Floats, heights: Floats) -> str:
    """A path through the points, lifted where a height is unknown."""
    known = np.isfinite(heights)
    marks = np.where(known & ~np.concatenate([[False], known[:-1]]), "M", "L")
    points = zip(marks[known].tolist(), xs[known].tolist(), heights[known].tolist(), strict=True)
    return "".join(f"{mark}{x:.1f} {y:.1f}" for mark, x, y in points)


def _axis(chart: TimelineChart) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        kind = "grid" if share else "axis"
        words = escape(chart.words(chart.most * share)) if share else "0"
        parts.append(
            f'<line class="{kind}" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{words}</text>'
        )
    return parts


def _clock(start_s: float, end_s: float) -> list[str]:
    """Marks at round times, at most six."""
    span = end_s - start_s
    step = next((s for s in CLOCKS_S if span / s <= 6), CLOCKS_S[-1])
    marks = np.arange(np.ceil(start_s / step), np.floor(end_s / step) + 1) * step
    y = HEIGHT - BOTTOM
    return [
        f'<text x="{LEFT + (at - start_s) / span * (WIDTH - LEFT - RIGHT):.1f}" y="{y + 17:g}" '
        f'text-anchor="middle">{escape(simulation_tables.moment(at))}</text>'
        for at in marks.tolist()
    ]


def _data(simulation: PlanSimulation, shown: Sequence[TimelineChart]) -> str:
    """What the script reads out: every line in words."""
    clock = [simulation_tables.moment(sample.at_s) for sample in simulation.outcome.series]
    panels = [
        {
            "name": chart.name,
            "lines": [
                {"name": line.name, "words": [chart.words(value) for value in line.values.tolist()]}
                for line in chart.lines
            ],
        }
        for chart in shown
    ]
    values = {"clock": clock, "left": LEFT, "right": WIDTH - RIGHT, "panels": panels}
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="lines">{text}</script>'


def _footer(simulation: PlanSimulation) -> str:
    policies = simulation.outcome.fleet.policies
    lines = (
        f"Routing {policies.routing}, batching {policies.batching}, scheduling {policies.scheduling}; "
        f"seed {simulation.conditions.seed}.",
        f"Comptroller {__version__}; SHA-256 of the plan's workload {simulation.plan.digests.workload[:16]}, "
        f"facts {simulation.plan.digests.facts[:16]}, calibration {simulation.plan.digests.calibration[:16]}.",
    )
    return f"<footer>{''.join(f'<p>{escape(line)}</p>' for line in lines)}</footer>"
