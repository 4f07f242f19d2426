"""The tables of a simulation: latencies, objectives, what was spent on what, how requests ended, and where."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from comptroller.planning.ground.plan_document import Plan, ServiceDocument
from comptroller.planning.simulation import QUANTITIES, ObjectiveAttainment, PlanSimulation
from comptroller.report.figures import dollars, number, seconds, with_prefix
from comptroller.report.plan_tables import devices, layout, objective_name
from comptroller.report.sheet import Cell, ReportSheet, SheetColumn, right
from comptroller.report.simulation_figures import (
    PERCENTS,
    service_records,
    solving,
    spending_totals,
    spread,
    token_counts,
)

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
    found = solving(simulation)
    return (
        f"{found['questions']:,} questions {rate}: {found['share']:.1%} solved at "
        f"{dollars(found['usd_per_solved'])} each; {len(simulation.asked):,} calls, {held}"
    )


def questions(simulation: PlanSimulation) -> ReportSheet:
    """What came of the questions, if it was questions that arrived."""
    columns = (SheetColumn("what", ""), right("value", ""))
    found = solving(simulation)
    if not found:
        return ReportSheet("Questions", columns, ())
    rows: tuple[tuple[Cell, ...], ...] = (
        ("strategy", found["strategy"]),
        ("questions", found["questions"]),
        (INSET + "solved", f"{found['share']:.1%}"),
        (INSET + "calls each", number(found["calls_per_question"])),
        (INSET + "time to the answer, p50", seconds(found["answer_s"]["p50"])),
        (INSET + "time to the answer, p95", seconds(found["answer_s"]["p95"])),
        ("dollars per solved question", dollars(found["usd_per_solved"])),
        ("energy per solved question", _joules(found["j_per_solved"])),
        ("emissions per solved question, CO2e", _grams(found["gco2e_per_solved"])),
    )
    return ReportSheet("Questions", columns, rows)


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
    columns = (
        SheetColumn("quantity", ""),
        right("mean", "mean"),
        *(right(f"p{p}", f"p{p}") for p in PERCENTS),
        right("most", "most"),
    )
    rows = []
    for name in QUANTITIES:
        values = spread(getattr(simulation.outcome, name))
        rows.append((NAMES[name], *(seconds(value) for value in values.values())))
    return ReportSheet("Latency", columns, tuple(rows))


def objectives(simulation: PlanSimulation) -> ReportSheet:
    """Every objective of the plan: what was promised, what came of it."""
    columns = (
        SheetColumn("objective", "objective"),
        right("most", "at most"),
        right("planned", "planned"),
        right("simulated", "simulated"),
        right("share", "requests within"),
        SheetColumn("status", ""),
    )
    rows = tuple(
        (
            objective_name(entry.objective),
            seconds(entry.objective.most_s),
            seconds(entry.objective.predicted_s.value),
            seconds(entry.seen_s) if math.isfinite(entry.seen_s) else "not reached",
            f"{entry.share:.1%}",
            _status(entry),
        )
        for entry in simulation.attained()
    )
    return ReportSheet("Objectives", columns, rows)


def _status(entry: ObjectiveAttainment) -> str:
    if not math.isfinite(entry.seen_s):
        return "missed, without an end"
    return f"{'met' if entry.holds else 'missed'}, {number(entry.seen_s / entry.objective.most_s, 2)}x the limit"


def spending(simulation: PlanSimulation) -> ReportSheet:
    """Dollars, joules and emissions of the fleet, per request, and per request done within the objectives."""
    columns = (
        SheetColumn("what", ""),
        right("total", "total"),
        right("share", "share"),
        right("per_request", "per request"),
        right("per_good", "per request within"),
    )
    record = spending_totals(simulation)
    requests, good = len(simulation.asked), int(simulation.within.sum())
    rows: list[tuple[Cell, ...]] = []
    for label, key, whole, show in _LINES:
        value, total = record[key], record[whole]
        share = f"{value / total:.1%}" if key != whole and total else ""
        per_good = show(value / good) if good else "–"
        rows.append((label, show(value), share, show(value / requests), per_good))
    return ReportSheet("Spent", columns, tuple(rows))


def _joules(value: float) -> str:
    return with_prefix(value, "J")


def _grams(value: float) -> str:
    return with_prefix(value, "g")


_LINES = (
    ("rent of the fleet", "usd", "usd", dollars),
    (INSET + "while it worked", "usd_requests", "usd", dollars),
    (INSET + "while it waited", "usd_idle", "usd", dollars),
    ("energy at the meter", "j", "j", _joules),
    (INSET + "prefill", "j_prefill", "j", _joules),
    (INSET + "decode", "j_decode", "j", _joules),
    (INSET + "computed again", "j_waste", "j", _joules),
    (INSET + "idle", "j_idle", "j", _joules),
    ("emissions, CO2e", "gco2e", "gco2e", _grams),
)


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
        ("output tokens", tokens["output"]),
        ("preemptions", tokens["preemptions"]),
        (INSET + "tokens computed again", tokens["recomputed"]),
    ]
    return ReportSheet("Requests and tokens", (SheetColumn("what", ""), right("count", "count")), tuple(rows))


def services(simulation: PlanSimulation) -> ReportSheet:
    """What each service did."""
    columns = (
        SheetColumn("service", "service"),
        right("replicas", "replicas"),
        right("requests", "requests"),
        right("busy", "busy"),
        right("within", "within"),
        right("ttft_p95", "TTFT p95"),
        right("tpot_p95", "TPOT p95"),
        right("w", "power"),
    )
    names = service_names(simulation.plan)
    rows = []
    for record in service_records(simulation):
        rows.append(
            (
                names[record["service"]] + f" {record['pool']}" * (record["pool"] != "mixed"),
                record["replicas"],
                record["requests"],
                f"{record['busy']:.0%}",
                f"{record['within']:.1%}" if record["requests"] else "–",
                seconds(record["ttft_p95_s"]),
                seconds(record["tpot_p95_s"]),
                with_prefix(record["w"], "W"),
            )
        )
    return ReportSheet("Services", columns, tuple(rows))


def service_names(plan: Plan) -> dict[str, str]:
    """A short name for every service, by id: its devices and layout, the id where that is not enough."""
    short = {service.id: _short(service) for service in plan.services}
    counts = Counter(short.values())
    return {id_: name if counts[name] == 1 else id_ for id_, name in short.items()}


def _short(service: ServiceDocument) -> str:
    pool = service.deployment.pools[0]
    return f"{devices(pool) // pool.replicas} {pool.accelerator} {layout(pool)}"


def routings(simulations: Sequence[PlanSimulation]) -> ReportSheet:
    """The same requests under several routings, side by side."""
    columns = (
        SheetColumn("routing", "routing"),
        right("within", "within"),
        right("goodput", "goodput"),
        right("ttft_p50", "TTFT p50"),
        right("ttft_p99", "TTFT p99"),
        right("tpot_p99", "TPOT p99"),
        right("cached", "cached"),
        right("preemptions", "preemptions"),
        right("usd_per_good", "$ per request within"),
    )
    rows: list[tuple[Cell, ...]] = []
    for one in simulations:
        ttft, tpot, tokens = spread(one.outcome.ttft_s), spread(one.outcome.tpot_s), token_counts(one)
        good = int(one.within.sum())
        rows.append(
            (
                one.routing,
                f"{one.attainment:.1%}",
                f"{number(one.goodput_per_s)}/s",
                seconds(ttft["p50"]),
                seconds(ttft["p99"]),
                seconds(tpot["p99"]),
                f"{tokens['cached'] / max(tokens['prompt'], 1):.1%}",
                tokens["preemptions"],
                dollars(one.outcome.meter_usd / good) if good else "–",
            )
        )
    return ReportSheet("Routing", columns, tuple(rows) if len(rows) > 1 else ())


def sheets(simulation: PlanSimulation) -> tuple[ReportSheet, ...]:
    """All tables of one simulation, in the order of reading."""
    return tuple(make(simulation) for make in (questions, latencies, objectives, spending, ends, services))
