"""The tables of a simulation: latencies, objectives, what was spent on what, how requests ended, and where."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from comptroller.planning.plan import Plan, Service
from comptroller.planning.simulation import QUANTITIES, Attained, Simulation
from comptroller.quantities import round_significant
from comptroller.report.figures import dollars, number, scaled, seconds
from comptroller.report.planned import devices, layout, objective_name
from comptroller.report.sheet import Cell, Column, Sheet, right

NAMES = {"queue_s": "queue", "ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "end to end"}
PERCENTS = (50, 90, 95, 99)

Record = dict[str, Any]

INSET = "\u00a0\u00a0"
"""Before the name of a part that stands below its whole."""


def headline(simulation: Simulation) -> str:
    """What came of it in one line."""
    whole = len(simulation.trace)
    share = f"{simulation.attainment:.1%}" if simulation.limits_s else "all"
    return (
        f"{whole:,} requests at {number(simulation.trace.rate_per_s)} req/s: {share} within the objectives, "
        f"goodput {number(simulation.goodput_per_s)} req/s"
    )


def setting(simulation: Simulation) -> str:
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


def latencies(simulation: Simulation) -> Sheet:
    """Percentiles of the time in queue, to the first token, per token, and end to end."""
    columns = (
        Column("quantity", ""),
        right("mean", "mean"),
        *(right(f"p{p}", f"p{p}") for p in PERCENTS),
        right("most", "most"),
    )
    rows = []
    for name in QUANTITIES:
        values = _spread(simulation, name)
        rows.append((NAMES[name], *(seconds(value) for value in values.values())))
    return Sheet("Latency", columns, tuple(rows))


def _spread(simulation: Simulation, name: str) -> dict[str, float]:
    """Mean, percentiles and the most of a latency over the requests that have one."""
    values = getattr(simulation.outcome, name)
    values = values[np.isfinite(values)]
    if not values.size:
        return dict.fromkeys(("mean", *(f"p{p}" for p in PERCENTS), "most"), math.nan)
    found = np.percentile(values, PERCENTS)
    percents = {f"p{p}": float(value) for p, value in zip(PERCENTS, found, strict=True)}
    return {"mean": float(values.mean())} | percents | {"most": float(values.max())}


def objectives(simulation: Simulation) -> Sheet:
    """Every objective of the plan: what was promised, what came of it."""
    columns = (
        Column("objective", "objective"),
        right("most", "at most"),
        right("planned", "planned"),
        right("simulated", "simulated"),
        right("share", "requests within"),
        Column("status", ""),
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
    return Sheet("Objectives", columns, rows)


def _status(entry: Attained) -> str:
    if not math.isfinite(entry.seen_s):
        return "missed, without an end"
    return (
        f"{'met' if entry.holds else 'missed'}, {number(entry.seen_s / entry.objective.most_s, 2)}x the limit"
    )


def spending(simulation: Simulation) -> Sheet:
    """Dollars, joules and emissions of the fleet, per request, and per request done within the objectives."""
    columns = (
        Column("what", ""),
        right("total", "total"),
        right("share", "share"),
        right("per_request", "per request"),
        right("per_good", "per request within"),
    )
    record = _spent(simulation)
    requests, good = len(simulation.trace), int(simulation.within.sum())
    rows: list[tuple[Cell, ...]] = []
    for label, key, whole, show in _LINES:
        value, total = record[key], record[whole]
        share = f"{value / total:.1%}" if key != whole and total else ""
        per_good = show(value / good) if good else "–"
        rows.append((label, show(value), share, show(value / requests), per_good))
    return Sheet("Spent", columns, tuple(rows))


def _joules(value: float) -> str:
    return scaled(value, "J")


def _grams(value: float) -> str:
    return scaled(value, "g")


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


def _spent(simulation: Simulation) -> dict[str, float]:
    """Totals of dollars, joules by phase, idle and waste, and grams; parts add up to their whole."""
    outcome = simulation.outcome
    used = float(outcome.requests.usd.sum())
    return {
        "usd": outcome.meter_usd,
        "usd_requests": used,
        "usd_idle": outcome.meter_usd - used,
        "j": outcome.meter_j,
        "j_prefill": float(outcome.requests.j_prefill.sum()),
        "j_decode": float(outcome.requests.j_decode.sum()),
        "j_waste": float(outcome.waste_j.sum()),
        "j_idle": float(outcome.idle_j.sum()),
        "gco2e": outcome.meter_gco2e,
    }


ENDS = {
    "stop": "done",
    "refused": "refused: longer than the context",
    "cancelled": "cancelled",
    "unfinished": "unfinished",
}


def ends(simulation: Simulation) -> Sheet:
    """How requests ended, and what happened to tokens on the way."""
    counts = simulation.outcome.counts()
    tokens = _tokens(simulation)
    rows: list[tuple[Cell, ...]] = [("requests", len(simulation.trace))]
    rows += [(INSET + words, counts[name]) for name, words in ENDS.items() if counts[name] or name == "stop"]
    rows += [
        (INSET + "of them within all objectives", int(simulation.within.sum())),
        ("prompt tokens", tokens["prompt"]),
        (INSET + "from the prefix cache", tokens["cached"]),
        ("output tokens", tokens["output"]),
        ("preemptions", tokens["preemptions"]),
        (INSET + "tokens computed again", tokens["recomputed"]),
    ]
    return Sheet("Requests and tokens", (Column("what", ""), right("count", "count")), tuple(rows))


def _tokens(simulation: Simulation) -> dict[str, int]:
    outcome = simulation.outcome
    done = outcome.requests
    return {
        "prompt": int(simulation.trace.input_tokens.sum()),
        "cached": int(done.cached.sum()),
        "output": int(done.generated.sum()),
        "preemptions": int(done.preemptions.sum()),
        "recomputed": int(outcome.meters.recomputed_tokens.sum()),
    }


def services(simulation: Simulation) -> Sheet:
    """What each service did."""
    columns = (
        Column("service", "service"),
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
                names[record["service"]],
                record["replicas"],
                record["requests"],
                f"{record['busy']:.0%}",
                f"{record['within']:.1%}" if record["requests"] else "–",
                seconds(record["ttft_p95_s"]),
                seconds(record["tpot_p95_s"]),
                scaled(record["w"], "W"),
            )
        )
    return Sheet("Services", columns, tuple(rows))


def service_names(plan: Plan) -> dict[str, str]:
    """A short name for every service, by id: its devices and layout, the id where that is not enough."""
    short = {service.id: _short(service) for service in plan.services}
    counts = Counter(short.values())
    return {id_: name if counts[name] == 1 else id_ for id_, name in short.items()}


def _short(service: Service) -> str:
    pool = service.deployment.pools[0]
    return f"{devices(pool) // pool.replicas} {pool.accelerator} {layout(pool)}"


def service_records(simulation: Simulation) -> list[Record]:
    """Per service: replicas, requests, busy share, share within the objectives, tails, mean power."""
    outcome, found = simulation.outcome, []
    owner = [s.name for s, replica in outcome.fleet.replicas() for _ in range(replica.ranks)]
    sent = simulation.calls.text("service")
    for service in outcome.fleet.services:
        ranks = np.array([name == service.name for name in owner])
        mine = sent == service.name
        joules = float((outcome.meters.step_j + outcome.idle_j)[ranks].sum())
        found.append(
            {
                "service": service.name,
                "replicas": len(service.replicas),
                "requests": int(mine.sum()),
                "busy": float(outcome.meters.busy_s[ranks].mean() / outcome.horizon_s),
                "within": float(simulation.within[mine].mean()) if mine.any() else math.nan,
                "ttft_p95_s": _tail(outcome.ttft_s[mine]),
                "tpot_p95_s": _tail(outcome.tpot_s[mine]),
                "w": joules / outcome.horizon_s,
            }
        )
    return found


def _tail(values: Any) -> float:
    values = values[np.isfinite(values)]
    return float(np.percentile(values, 95)) if values.size else math.nan


def routings(simulations: Sequence[Simulation]) -> Sheet:
    """The same requests under several routings, side by side."""
    columns = (
        Column("routing", "routing"),
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
        ttft, tpot, tokens = _spread(one, "ttft_s"), _spread(one, "tpot_s"), _tokens(one)
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
    return Sheet("Routing", columns, tuple(rows) if len(rows) > 1 else ())


def sheets(simulation: Simulation) -> tuple[Sheet, ...]:
    """All tables of one simulation, in the order of reading."""
    return tuple(make(simulation) for make in (latencies, objectives, spending, ends, services))


def record(simulation: Simulation) -> Record:
    """A simulation as a document: raw figures in SI, six significant digits, unknown ones as None."""
    spent, good = _spent(simulation), int(simulation.within.sum())
    requests = len(simulation.trace)
    figures: Record = {
        "plan": simulation.plan.name,
        "trace": simulation.trace.source,
        "scale": simulation.conditions.scale,
        "routing": simulation.routing,
        "requests": requests,
        "dropped": simulation.trace.dropped,
        "rate_per_s": simulation.trace.rate_per_s,
        "horizon_s": simulation.outcome.horizon_s,
        "ends": simulation.outcome.counts(),
        "within": good,
        "attainment": simulation.attainment,
        "goodput_per_s": simulation.goodput_per_s,
        "latency": {name: _spread(simulation, name) for name in QUANTITIES},
        "objectives": [
            {
                "quantity": entry.objective.quantity,
                "quantile": entry.objective.quantile,
                "most_s": entry.objective.most_s,
                "planned_s": entry.objective.predicted_s.value,
                "simulated_s": entry.seen_s,
                "share": entry.share,
                "holds": entry.holds,
            }
            for entry in simulation.attained()
        ],
        "tokens": _tokens(simulation),
        "spent": spent,
        "per_request": {key: spent[key] / requests for key in ("usd", "j", "gco2e")},
        "per_request_within": {key: spent[key] / good if good else math.nan for key in ("usd", "j", "gco2e")},
        "services": service_records(simulation),
    }
    rounded: Record = _rounded(figures)
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float):
        return round_significant(value) if math.isfinite(value) else None
    return value
