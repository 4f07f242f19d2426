"""The tables of a simulation: latencies, objectives, what was spent on what, how requests ended, and where."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.simulation import QUANTITIES, ObjectiveAttainment, PlanSimulation
from comptroller.report.figures import dollars, number, seconds, with_prefix
from comptroller.report.latency_spread import PERCENTS, spread
from comptroller.report.plan_tables import devices, layout, objective_name
from comptroller.report.sharing_tables import sharing_sheets
from comptroller.report.sheet import UNKNOWN, Cell, ReportSheet, SheetColumns, left, right
from comptroller.report.simulation_figures import (
    Record,
    service_records,
    session_counts,
    solving,
    spending_totals,
    tier_records,
    token_counts,
)
from comptroller.report.task_figures import tasks_sheet

NAMES = {"queue_s": "queue", "ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "end to end"}


INSET = "\u00a0\u00a0"
"""Before the name of a part that stands below its whole."""


def headline(simulation: PlanSimulation) -> str:
    """What came of it in one line."""
    rate = f"at {number(simulation.trace.rate_per_s)}/s"
    share = f"{simulation.attainment:.1%}" if simulation.limits_s else "all"
    held = f"{share} within the objectives, goodput {number(simulation.goodput_per_s)} req/s"
    if simulation.solved is None:
        return f"{len(simulation.trace):,} requests {rate}: {held}"
    answers = solving(simulation)
    each = (
        f"{answers['share']:.1%} solved at {dollars(answers['usd_per_solved'])} each"
        if answers["share"]
        else "none solved"
    )
    return f"{answers['questions']:,} questions {rate}: {each}; {len(simulation.asked):,} calls, {held}"


def questions(simulation: PlanSimulation) -> ReportSheet:
    """What came of the questions, if it was questions that arrived."""
    answers = solving(simulation)
    rows: tuple[tuple[Cell, ...], ...] = ()
    if answers:
        rows = (
            ("strategy", answers["strategy"]),
            ("questions", answers["questions"]),
            (INSET + "solved", f"{answers['share']:.1%}"),
            (INSET + "calls each", number(answers["calls_per_question"])),
            (INSET + "time to the answer, p50", seconds(answers["answer_s"]["p50"])),
            (INSET + "time to the answer, p95", seconds(answers["answer_s"]["p95"])),
            ("dollars per solved question", dollars(answers["usd_per_solved"])),
            ("energy per solved question", with_prefix(answers["j_per_solved"], "J")),
            ("emissions per solved question, CO2e", with_prefix(answers["gco2e_per_solved"], "g")),
        )
    return ReportSheet("Questions", (left("what", ""), right("value", "")), rows)


def setting(simulation: PlanSimulation) -> str:
    """What was replayed on what."""
    scale = simulation.conditions.scale
    faster = f", {number(scale)} times as fast" if scale != 1 else ""
    dropped = f"; {simulation.trace.dropped:,} bad rows left out" if simulation.trace.dropped else ""
    replicas = len(simulation.outcome.fleet.replicas())
    return (
        f"{simulation.trace.source}{faster}{dropped}, over {moment(simulation.outcome.horizon_s)} on "
        f"{replicas} replica{'s' * (replicas != 1)}; routing {simulation.routing}"
    )


def moment(at_s: float) -> str:
    """A moment as a clock shows it from two minutes on, in seconds before.

    >>> moment(12.5), moment(1761.2), moment(7322.0)
    ('12.5 s', '29:21', '2:02:02')
    """
    if at_s < 120:
        return f"{number(at_s, 4)} s"
    minutes, rest = divmod(round(at_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def latencies(simulation: PlanSimulation) -> ReportSheet:
    """Percentiles of the time in queue, to the first token, per token, and end to end."""
    columns = (left("quantity", ""), *(right(key) for key in ("mean", *(f"p{p}" for p in PERCENTS), "most")))
    times = {NAMES[name]: spread(getattr(simulation.outcome, name)).values() for name in QUANTITIES}
    rows = tuple((name, *map(seconds, values)) for name, values in times.items())
    return ReportSheet("Latency", columns, rows)


def _status(entry: ObjectiveAttainment) -> str:
    if not math.isfinite(entry.seen_s):
        return "missed, without an end"
    return f"{'met' if entry.holds else 'missed'}, {number(entry.seen_s / entry.objective.most_s, 2)}x the limit"


OBJECTIVES: SheetColumns[ObjectiveAttainment] = (
    left("objective", None, lambda entry: objective_name(entry.objective)),
    right("most", "at most", lambda entry: seconds(entry.objective.most_s)),
    right("planned", None, lambda entry: seconds(entry.objective.predicted_s.value)),
    right("simulated", None, lambda x: seconds(x.seen_s) if math.isfinite(x.seen_s) else "not reached"),
    right("share", "requests within", lambda entry: f"{entry.share:.1%}"),
    left("status", "", _status),
)


def objectives(simulation: PlanSimulation) -> ReportSheet:
    """Every objective of the plan: what was promised, what came of it."""
    return ReportSheet.of("Objectives", OBJECTIVES, simulation.attained())


SPENDING: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
    ("rent of the fleet", "usd", "usd", dollars),
    (INSET + "while it worked", "usd_requests", "usd", dollars),
    (INSET + "while it waited", "usd_idle", "usd", dollars),
    ("energy at the meter", "j", "j", partial(with_prefix, unit="J")),
    (INSET + "prefill", "j_prefill", "j", partial(with_prefix, unit="J")),
    (INSET + "decode", "j_decode", "j", partial(with_prefix, unit="J")),
    (INSET + "computed again", "j_waste", "j", partial(with_prefix, unit="J")),
    (INSET + "idle", "j_idle", "j", partial(with_prefix, unit="J")),
    ("emissions, CO2e", "gco2e", "gco2e", partial(with_prefix, unit="g")),
)
"""Lines of the table: a name, the total it shows, the total that it is a share of, and how it is printed."""


def spending(simulation: PlanSimulation) -> ReportSheet:
    """Dollars, joules and emissions of the fleet, per request, and per request done within the objectives."""
    columns = (
        *(left("what", ""), right("total"), right("share")),
        *(right("per_request", "per request"), right("per_good", "per request within")),
    )
    totals = spending_totals(simulation)
    requests, good = len(simulation.asked), int(simulation.within.sum())
    rows: list[tuple[Cell, ...]] = []
    for label, key, whole, show in SPENDING:
        value, total = totals[key], totals[whole]
        share = f"{value / total:.1%}" if key != whole and total else ""
        rows.append((label, show(value), share, show(value / requests), show(value / good) if good else UNKNOWN))
    return ReportSheet("Spent", columns, tuple(rows))


ENDS = {
    "stop": "done",
    "refused": "refused: longer than the context",
    "cancelled": "cancelled",
    "unfinished": "unfinished",
}


def ends(simulation: PlanSimulation) -> ReportSheet:
    """How requests ended, and what happened to tokens on the way."""
    counts = simulation.outcome.counts()
    tokens = token_counts(simulation)
    rows: list[tuple[Cell, ...]] = [("requests", len(simulation.asked))]
    rows += [(INSET + words, counts[name]) for name, words in ENDS.items() if counts[name] or name == "stop"]
    rows += [
        (INSET + "of them within all objectives", int(simulation.within.sum())),
        ("prompt tokens", tokens["prompt"]),
        (INSET + "from the prefix cache", tokens["cached"]),
        *(((INSET + INSET + "loaded from outside the device", tokens["loaded"]),) if tokens["loaded"] else ()),
        ("output tokens", tokens["output"]),
        ("preemptions", tokens["preemptions"]),
        (INSET + "tokens computed again", tokens["recomputed"]),
    ]
    if of := session_counts(simulation):
        rows += [
            ("sessions", of["sessions"]),
            (INSET + "all calls within all objectives", of["within"]),
            (INSET + "on one replica throughout", of["one_replica"]),
        ]
    if asked := tokens["adapter_calls"]:
        found = max(1 - tokens["adapter_loads"] / asked, 0.0)
        rows += [
            ("begun with an adapter", asked),
            (INSET + f"loads of adapters, {found:.1%} found", tokens["adapter_loads"]),
        ]
    return ReportSheet("Requests and tokens", (left("what", ""), right("count")), tuple(rows))


def services(simulation: PlanSimulation) -> ReportSheet:
    """What each service did."""
    names = service_names(simulation.plan)
    columns: SheetColumns[Record] = (
        left("service", None, lambda one: names[one["service"]] + f" {one['pool']}" * (one["pool"] != "mixed")),
        right("replicas", None, lambda one: one["replicas"]),
        right("requests", None, lambda one: one["requests"]),
        right("busy", None, lambda one: f"{one['busy']:.0%}"),
        right("within", None, lambda one: f"{one['within']:.1%}" if one["requests"] else UNKNOWN),
        right("ttft_p95", "TTFT p95", lambda one: seconds(one["ttft_p95_s"])),
        right("tpot_p95", "TPOT p95", lambda one: seconds(one["tpot_p95_s"])),
        right("w", "power", lambda one: with_prefix(one["w"], "W")),
    )
    return ReportSheet.of("Services", columns, service_records(simulation))


TIERS: SheetColumns[Record] = (
    left("tier", "", lambda one: one["tier"]),
    right("blocks", "blocks that fit", lambda one: one["blocks"]),
    right("loaded", None, lambda one: one["loaded"]),
    right("written", None, lambda one: one["written"]),
    right("forgotten", None, lambda one: one["forgotten"]),
    right("load_s", "time of loads", lambda one: seconds(one["load_s"])),
)


def tiers(simulation: PlanSimulation) -> ReportSheet:
    """What each cache tier did, over all replicas; nothing where there is none."""
    return ReportSheet.of("Cache tiers, in blocks", TIERS, tier_records(simulation))


def service_names(plan: Plan) -> dict[str, str]:
    """A short name for every service, by id: its devices and layout, the id where that is not enough."""
    short = {service.id: _short(service) for service in plan.services}
    counts = Counter(short.values())
    return {id_: name if counts[name] == 1 else id_ for id_, name in short.items()}


def _short(service: ServiceDocument) -> str:
    pool = service.deployment.pools[0]
    return f"{devices(pool) // pool.replicas} {pool.accelerator} {layout(pool)}"


def usd_per_good(simulation: PlanSimulation) -> str:
    """Dollars of the fleet per request done within the objectives."""
    good = int(simulation.within.sum())
    return dollars(simulation.outcome.meter_usd / good) if good else UNKNOWN


ROUTINGS: SheetColumns[PlanSimulation] = (
    left("routing"),
    right("within", None, lambda one: f"{one.attainment:.1%}"),
    right("goodput", None, lambda one: f"{number(one.goodput_per_s)}/s"),
    right("ttft_p50", "TTFT p50", lambda one: seconds(spread(one.outcome.ttft_s)["p50"])),
    right("ttft_p99", "TTFT p99", lambda one: seconds(spread(one.outcome.ttft_s)["p99"])),
    right("tpot_p99", "TPOT p99", lambda one: seconds(spread(one.outcome.tpot_s)["p99"])),
    right("cached", None, lambda one: _cached_share(token_counts(one))),
    right("preemptions", None, lambda one: token_counts(one)["preemptions"]),
    right("usd_per_good", "$ per request within", usd_per_good),
)


STRATEGIES: SheetColumns[Record] = (
    left("strategy", None, lambda one: one["strategy"]),
    right("share", "solved", lambda one: f"{one['share']:.1%}"),
    right("calls", "calls each", lambda one: number(one["calls_per_question"])),
    right("p50", "time p50", lambda one: seconds(one["answer_s"]["p50"])),
    right("p95", "time p95", lambda one: seconds(one["answer_s"]["p95"])),
    right("usd", "$ per solved", lambda one: dollars(one["usd_per_solved"])),
    right("j", "J per solved", lambda one: with_prefix(one["j_per_solved"], "J")),
    right("gco2e", "CO2e per solved", lambda one: with_prefix(one["gco2e_per_solved"], "g")),
)


def side_by_side(simulations: Sequence[PlanSimulation]) -> ReportSheet:
    """The same questions by several strategies, or the same requests under several routings; nothing for one alone."""
    solved = [solving(one) for one in simulations]
    if len({one.get("strategy") for one in solved}) > 1:
        return ReportSheet.of("Strategies on the same questions and fleet", STRATEGIES, solved)
    return ReportSheet.of("Routing", ROUTINGS, simulations if len(simulations) > 1 else ())


def _cached_share(tokens: Mapping[str, int]) -> str:
    return f"{tokens['cached'] / max(tokens['prompt'], 1):.1%}"


def sheets(simulation: PlanSimulation) -> tuple[ReportSheet, ...]:
    """All tables of one simulation, in the order of reading."""
    makers = (questions, tasks_sheet, latencies, objectives, spending, ends, services, tiers)
    return (*(make(simulation) for make in makers), *sharing_sheets(simulation))
