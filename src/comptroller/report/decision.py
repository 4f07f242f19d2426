"""Pictures of a plan's decision: what it was chosen against, how near its limits it runs, what certainty costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comptroller.planning.ground.picture_document import AcceleratorChoice, ArrivalDrawDocument, LatencySpread
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import LatencyDocument, PredictedFigure
from comptroller.report import roofline
from comptroller.report.chart import BarSeries, ChartAxis, ChartMark, ChartNote, LineSeries, MarkSeries, ReportChart
from comptroller.report.figures import dollars, interval, number, seconds, with_prefix
from comptroller.report.plan_tables import objective_name

PER_HOUR = {"usd": ("$ per hour", "$"), "j": ("joules per hour", "J"), "gco2e": ("gCO2e per hour", "g")}
"""The axis of what a plan minimises, and its unit."""

MOST_TIMES = 4.0
"""Bars this many times the plan are named and not drawn: beside one of eight times, the others could not be told
apart."""

MOST_BARS = 8
"""Bars in one picture: at 390 pixels the words of twice as many touch."""

HEAD = 1.12
"""Height of a waterfall's axis over its tallest bar: room for the words on it."""

PLACES = 4
"""Places that a chart of sideways bars has at least, so that one bar is not drawn as a block."""

THIS_PLAN = "this plan"

CHOSEN_INK = 1
"""Place of the colour of what was chosen."""


def charts(plan: Plan) -> tuple[ReportChart, ...]:
    """What can be drawn of a plan's decision; what its document lacks is left out, never drawn empty."""
    drawn = plan.drawn
    every: list[ReportChart | None] = [
        accelerator_chart(plan),
        use_of_limits(plan),
        certainty_waterfall(plan),
        *(spread_charts(plan, drawn) if drawn else ()),
        energy_waterfall(drawn) if drawn else None,
    ]
    return tuple(chart for chart in every if chart is not None)


def roof_charts(plan: Plan) -> tuple[ReportChart, ...]:
    """The operations of the dearest services under the roof of their device."""
    return roofline.charts(plan)


@dataclass(frozen=True, slots=True)
class NamedBar:
    """A bar of a picture: its name, its length with an interval, the words at its end and what is read out."""

    name: str
    value: float
    span: tuple[float, float]
    label: str
    reading: str
    kind: str = ""


def _sideways(title: str, axis: ChartAxis, bars: Sequence[NamedBar], kinds: Sequence[BarSeries]) -> ReportChart:
    """Named bars one below the other; kinds: how each kind of bar looks, the first with the readings of all."""
    places = range(len(bars))
    series = list[BarSeries]()
    for look in kinds:
        mine = [bars[place].kind == look.name for place in places]
        if not any(mine):
            continue
        series.append(
            BarSeries(
                look.name,
                tuple(bar.value if drawn else 0.0 for bar, drawn in zip(bars, mine, strict=True)),
                sideways=True,
                labels=tuple(bar.label if drawn else "" for bar, drawn in zip(bars, mine, strict=True)),
                spans=tuple(bar.span if drawn else (0.0, 0.0) for bar, drawn in zip(bars, mine, strict=True)),
                readings=tuple((bar.name, bar.reading) for bar in bars) if not series else (),
                ink=look.ink,
                hollow=look.hollow,
                shade=look.shade,
            )
        )
    names = ChartAxis(
        "", low=max(len(bars), PLACES) - 0.5, high=-0.5, ticks=tuple((at, bar.name) for at, bar in enumerate(bars))
    )
    return ReportChart(title, axis, names, tuple(series))


def accelerator_chart(plan: Plan) -> ReportChart | None:
    """The best plan of every kind of accelerator alone, with 80 % intervals, the chosen one marked."""
    shown, _ = _shown_and_beyond(plan)
    if len(shown) < 2:
        return None
    label, unit = PER_HOUR[plan.objective]
    most = max(max(bar.value, bar.span[1]) for bar in shown)
    # a third of the width is left for the words beside the longest bar
    axis = ChartAxis(label, lambda value: _amount(value, unit), 0.0, 1.35 * most)
    kinds = (
        BarSeries("simulated", ()),
        BarSeries("chosen", (), ink=CHOSEN_INK),
        BarSeries("steady state only", (), hollow=True),
    )
    return _sideways("Best plan of each accelerator alone", axis, shown, kinds)


def beyond_sentence(plan: Plan) -> str:
    """Accelerators that cost too much to be drawn; empty where there are none."""
    _, beyond = _shown_and_beyond(plan)
    unit = PER_HOUR[plan.objective][1]
    named = ", ".join(f"{one.accelerator} {_amount(one.objective_per_h.value, unit)}/h" for one in beyond)
    return f"Not drawn, more than {MOST_TIMES:g} times the plan: {named}." if named else ""


def _shown_and_beyond(plan: Plan) -> tuple[list[NamedBar], list[AcceleratorChoice]]:
    """Bars of the accelerators, and those that are too dear for one. A plan of several kinds has a bar of its own."""
    unit = PER_HOUR[plan.objective][1]
    used = {pool.accelerator for service in plan.services for pool in service.deployment.pools}
    bars: list[NamedBar] = []
    mixed = len(used) > 1 or bool(plan.offers)
    chosen = next((one for one in plan.accelerators if {one.accelerator} == used and not mixed), None)
    cost = _objective(plan)
    if plan.accelerators and chosen is None:
        bars.append(_bar(THIS_PLAN, cost, unit, "the fleet of several kinds", "chosen"))
    most = MOST_TIMES * cost.value
    near = [one for one in plan.accelerators if one.objective_per_h.value <= most or one is chosen]
    for one in near[: MOST_BARS - len(bars)]:
        kind = "chosen" if one is chosen else "simulated" if one.simulated else "steady state only"
        bars.append(_bar(one.accelerator, one.objective_per_h, unit, one.fleet, kind))
    return bars, [one for one in plan.accelerators if one not in near]


def _objective(plan: Plan) -> PredictedFigure:
    """What the plan minimises, per hour."""
    totals = plan.totals
    if plan.objective == "j":
        return PredictedFigure(value=totals.w.value * 3600.0)
    return totals.usd_per_h if plan.objective == "usd" else totals.gco2e_per_h


def _bar(name: str, figure: PredictedFigure, unit: str, fleet: str, kind: str) -> NamedBar:
    told = f"{_amount(figure.value, unit)}/h {interval(figure, unit)}".strip()
    held = "" if kind != "steady state only" else ", at least: steady state, not simulated"
    low, high = figure.low, figure.high
    span = (figure.value, figure.value) if low is None or high is None else (low, high)
    return NamedBar(name, figure.value, span, _amount(figure.value, unit), f"{told}{held}; {fleet}", kind)


def _amount(value: float, unit: str) -> str:
    return dollars(value) if unit == "$" else with_prefix(value, unit)


def use_of_limits(plan: Plan) -> ReportChart | None:
    """How much of every limit the plan uses: latencies as predicted, money, power, carbon, caps, time of replicas."""
    bars = [*_latency_use(plan), *_limit_use(plan), *_busy(plan)][:MOST_BARS]
    if not bars:
        return None
    most = max(1.0, *(max(bar.value, bar.span[1]) for bar in bars))
    axis = ChartAxis("share of the limit", lambda share: f"{share:.0%}", 0.0, 1.3 * most)
    chart = _sideways("Use of every limit", axis, bars, (BarSeries("", ()),))
    places = [-0.5, max(len(bars), PLACES) - 0.5]
    limit = LineSeries("", [1.0, 1.0], places, reference=True)
    return ReportChart(chart.title, chart.x, chart.y, (*chart.series, limit))


def _latency_use(plan: Plan) -> Iterator[NamedBar]:
    for entry in plan.latency:
        figure, most = entry.predicted_s, entry.most_s
        low, high = figure.low, figure.high
        span = (0.0, 0.0) if low is None or high is None else (low / most, high / most)
        reading = f"{seconds(figure.value)} {interval(figure, 's')} of {seconds(most)}, {entry.status}"
        yield NamedBar(objective_name(entry), figure.value / most, span, f"{figure.value / most:.0%}", reading)


def _limit_use(plan: Plan) -> Iterator[NamedBar]:
    """Of limits that a plan was made within: their values stand among its shadow prices."""
    totals = plan.totals
    used = {"budget": totals.usd_per_h, "power": totals.w, "carbon": totals.gco2e_per_h}
    devices: dict[str, int] = {}
    for service in plan.services:
        for pool in service.deployment.pools:
            devices[pool.accelerator] = devices.get(pool.accelerator, 0) + pool.devices
    for price in plan.shadow_prices:
        name, most = price.constraint, price.value
        figure = used.get(name)
        if name.startswith("cap "):
            figure = PredictedFigure(value=float(devices.get(name.removeprefix("cap "), 0)))
        if figure is not None and most > 0:
            share = figure.value / most
            reading = f"{number(figure.value)} of {number(most)} {price.unit}"
            yield NamedBar(name, share, (0.0, 0.0), f"{share:.0%}", reading)


def _busy(plan: Plan) -> Iterator[NamedBar]:
    for service in plan.services:
        pool = service.deployment.pools[0]
        name = f"{pool.accelerator} busy"
        reading = f"{service.utilisation:.0%} of what {service.id} carries within the objectives"
        yield NamedBar(name, service.utilisation, (0.0, 0.0), f"{service.utilisation:.0%}", reading)


def certainty_waterfall(plan: Plan) -> ReportChart | None:
    """From the steady state over what holds in the mean of draws to what holds in a further one; `None` where all three
    are the same fleet's price."""
    found = plan.verification
    if found is None or not plan.services:
        return None
    steady, proven = found.steady_usd_per_h, found.steady_usd_per_h + found.added_usd_per_h
    middle = proven if found.mean_usd_per_h is None else found.mean_usd_per_h
    if steady == middle == proven:
        return None
    steps = (("queueing", middle - steady), (f"{found.confidence:.0%} sure", proven - middle))
    chart = _waterfall(("steady state", steady), steps, ("proven", proven), dollars)
    return ReportChart(
        "From the steady state to the proven fleet",
        chart[0],
        ChartAxis("$ per hour", dollars, 0.0, HEAD * max(steady, middle, proven)),
        chart[1],
    )


def certainty_sentence(plan: Plan) -> str:
    """What proof and certainty cost, where there is no picture of it."""
    if plan.verification is None or certainty_waterfall(plan) is not None:
        return ""
    return "The fleet of the steady state held in simulation: neither queueing nor certainty added a dollar."


def energy_waterfall(drawn: ArrivalDrawDocument) -> ReportChart:
    """Joules of a request at the meter: reading its prompt, writing its answer, what was done twice, waiting."""
    parts = [
        ("prompt", drawn.prompt_j),
        ("answer", drawn.answer_j),
        ("repeated", drawn.waste_j),
        ("idle", drawn.idle_j),
    ]
    steps = [(name, joules) for name, joules in parts[1:] if joules > 0]
    whole = sum(joules for _, joules in parts)
    axis, series = _waterfall(parts[0], steps, ("at the meter", whole), lambda joules: with_prefix(joules, "J"))
    return ReportChart(
        "Energy of a request, from prompt to meter",
        axis,
        ChartAxis("joules per request", low=0.0, high=HEAD * whole),
        series,
    )


def chain_sentence(drawn: ArrivalDrawDocument) -> str:
    """From question to watt in a line."""
    joules = drawn.prompt_j + drawn.answer_j + drawn.waste_j + drawn.idle_j
    return (
        f"A request of {number(drawn.prompt_tokens)} tokens in and {number(drawn.answer_tokens)} out holds its share "
        f"of the devices for {seconds(drawn.device_s)}, takes {with_prefix(joules, 'J')} at the meter with host and "
        f"cooling, costs {dollars(drawn.usd)} of rent ({dollars(drawn.idle_usd)} of it while devices wait) and emits "
        f"{with_prefix(drawn.gco2e, 'g')} CO2e; means of one draw of {drawn.requests:,} requests."
    )


def _waterfall(
    first: tuple[str, float], steps: Sequence[tuple[str, float]], last: tuple[str, float], words: object
) -> tuple[ChartAxis, tuple[BarSeries, ...]]:
    """Bars from the first to the last, each step standing where the one before ended; and their axis of names."""
    assert callable(words)
    names, ends, heights, labels = [first[0]], [0.0], [first[1]], [words(first[1])]
    at = first[1]
    for name, step in steps:
        names.append(name)
        ends.append(min(at, at + step))
        heights.append(abs(step))
        labels.append(f"{'+' if step >= 0 else '−'}{words(abs(step))}")
        at += step
    names.append(last[0])
    count = len(names)
    tops = (0.0,) * count
    readings = tuple(zip(names, [*labels, words(last[1])], strict=True))
    parts = BarSeries("", (*heights, 0.0), (*ends, 0.0), labels=(*labels, ""), readings=readings)
    total = BarSeries("", (*tops[:-1], last[1]), labels=(*("",) * (count - 1), words(last[1])), ink=CHOSEN_INK)
    axis = ChartAxis("", low=-0.6, high=count - 0.4, ticks=tuple(enumerate(names)))
    return axis, (parts, total)


def spread_charts(plan: Plan, drawn: ArrivalDrawDocument) -> Iterator[ReportChart]:
    """How every latency with an objective is spread over the simulated requests; of a plan without any, that of the
    first token and of the whole answer."""
    asked = {entry.quantity: entry for entry in plan.latency}
    wanted = set(asked) or {"ttft_s", "e2e_s"}
    for spread in drawn.spreads:
        if spread.quantity in wanted:
            yield _spread_chart(spread, asked.get(spread.quantity))


NAMES = {"ttft_s": "time to the first token", "tpot_s": "time per token", "e2e_s": "time to the whole answer"}


def _spread_chart(spread: LatencySpread, entry: LatencyDocument | None) -> ReportChart:
    name = NAMES[spread.quantity]
    line = LineSeries("", spread.seconds, spread.quantiles)
    told = {0.5, 0.9, 0.95, 0.99} | ({entry.quantile} if entry else set())
    marks = tuple(
        ChartMark(
            at_s, share, share, share, f"p{share * 100:g}", seconds(at_s), entry is not None and share == entry.quantile
        )
        for at_s, share in zip(spread.seconds, spread.quantiles, strict=True)
        if share in told
    )
    most_s = entry.most_s if entry else spread.seconds[-1]
    high = 1.15 * max(most_s, spread.seconds[-1])
    notes = () if entry is None else (ChartNote(most_s, 0.06, f"p{entry.quantile * 100:g} ≤ {seconds(most_s)}", True),)
    return ReportChart(
        f"{name[0].upper()}{name[1:]} of the simulated requests",
        ChartAxis(name, seconds, spread.seconds[0] / 1.15, high, log=True),
        ChartAxis("share of requests", lambda share: f"{share:.0%}", 0.0, 1.04),
        (line, MarkSeries(marks)),
        notes,
    )
