"""The tables of a plan: services, latency, shadow prices, runners-up, what fell out."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.planning.ground.plan_document import (
    DeploymentDocument,
    LatencyDocument,
    Plan,
    PoolDocument,
    ServiceDocument,
)
from comptroller.planning.reasons.against import FleetComparison
from comptroller.planning.reasons.explain import WhyNotExplanation
from comptroller.planning.reasons.shadow_prices import amount
from comptroller.report.figures import OBJECTIVES, dollars, interval, number, seconds, with_prefix
from comptroller.report.sheet import ReportSheet, SheetColumn, right


def headline(plan: Plan) -> str:
    """The answer in one line."""
    total = plan.totals
    counts: dict[str, int] = {}
    for service in plan.services:
        for pool in service.deployment.pools:
            counts[pool.accelerator] = counts.get(pool.accelerator, 0) + devices(pool)
    fleet = " + ".join([*(f"{count} {name}" for name, count in counts.items()), *(o.model for o in plan.offers)])
    if plan.quality is not None:
        return (
            f"{fleet} solve {plan.quality.predicted.value:.1%} of {number(total.requests_per_s)} questions/s "
            f"at {dollars(total.usd_per_h.value)}/h"
        )
    return f"{fleet} for {number(total.requests_per_s)} req/s at {dollars(total.usd_per_h.value)}/h"


def goal(plan: Plan) -> str:
    """What was minimised, over how many choices."""
    least = OBJECTIVES[plan.objective]
    if plan.quality is not None:
        return (
            f"least {least} among {plan.considered:,} strategies played by recorded models and "
            f"{plan.candidates:,} ways to serve them"
        )
    return f"least {least} among {plan.candidates:,} deployments; {plan.considered:,} left after exact pruning"


def devices(pool: PoolDocument) -> int:
    """Accelerators of a pool."""
    return pool.replicas * pool.tp * pool.pp * pool.dp


def layout(pool: PoolDocument) -> str:
    """The parallel layout in short: only the degrees above one, `tp1` if there are none."""
    degrees = {"tp": pool.tp, "pp": pool.pp, "dp": pool.dp, "ep": pool.ep}
    return " ".join(f"{name}{degree}" for name, degree in degrees.items() if degree > 1) or "tp1"


def formats(deployment: DeploymentDocument) -> str:
    """The formats of weights, experts, activations and cache; one name where all are the same."""
    recipe = deployment.recipe
    weights = "+".join(dict.fromkeys((recipe.weights, recipe.experts)))
    rest = [f"{part} {name}" for part, name in (("act", recipe.activations), ("kv", recipe.kv)) if name != weights]
    return ", ".join((weights, *rest))


def services(plan: Plan) -> ReportSheet:
    """One row per pool of every service."""
    several = len({service.deployment.model for service in plan.services}) > 1
    phases = any(len(service.deployment.pools) > 1 for service in plan.services)
    columns = [
        SheetColumn("accelerator", "accelerators"),
        SheetColumn("layout", "layout"),
        *([SheetColumn("model", "model")] if several else []),
        *([SheetColumn("phase", "phase")] if phases else []),
        SheetColumn("formats", "formats"),
        SheetColumn("engine", "engine"),
        SheetColumn("site", "site"),
        SheetColumn("term", "term"),
        right("usd_per_h", "$/h"),
        right("rate_per_s", "req/s"),
        right("utilisation", "used"),
        right("batch", "batch"),
        right("ttft", "TTFT"),
        right("tpot", "TPOT"),
        right("w", "power"),
    ]
    rows = []
    for service in plan.services:
        for number_, pool in enumerate(service.deployment.pools):
            cells = _service_cells(service, pool, first=number_ == 0)
            kept = {column.key for column in columns}
            rows.append(tuple(value for key, value in cells.items() if key in kept))
    return ReportSheet("Services", tuple(columns), tuple(rows))


def _service_cells(service: ServiceDocument, pool: PoolDocument, first: bool) -> dict[str, str]:
    deployment = service.deployment
    cells = {
        "accelerator": f"{pool.replicas} x {pool.tp * pool.pp * pool.dp} {pool.accelerator}",
        "layout": layout(pool),
        "model": deployment.model,
        "phase": pool.phase,
        "formats": formats(deployment),
        "engine": deployment.engine.id,
        "site": deployment.site,
        "term": service.price.term.replace("_", "-"),
        "usd_per_h": dollars(service.usd_per_h),
        "rate_per_s": number(service.rate_per_s),
        "utilisation": f"{service.utilisation:.0%}",
        "batch": number(service.batch),
        "ttft": seconds(service.ttft_s.value),
        "tpot": seconds(service.tpot_s.value),
        "w": with_prefix(service.w.value, "W"),
    }
    shared = ("usd_per_h", "rate_per_s", "utilisation", "batch", "ttft", "tpot", "w")
    return cells if first else {**cells, **dict.fromkeys(shared, "")}


def totals(plan: Plan) -> ReportSheet:
    """What the whole plan costs, with intervals where residuals support them."""
    total = plan.totals
    rows = [
        ("cost", f"{dollars(total.usd_per_h.value)}/h", interval(total.usd_per_h, "$")),
        ("per request", dollars(total.usd_per_request.value), interval(total.usd_per_request, "$")),
        (
            "per million tokens",
            f"{dollars(total.usd_per_million_tokens.value)} "
            f"({dollars(total.usd_per_million_output_tokens.value)} per million output tokens)",
            interval(total.usd_per_million_tokens, "$"),
        ),
        ("power", with_prefix(total.w.value, "W"), interval(total.w, "W")),
        ("energy per request", with_prefix(total.j_per_request.value, "J"), interval(total.j_per_request, "J")),
        (
            "emissions",
            f"{with_prefix(total.gco2e_per_h.value, 'gCO2e')}/h, "
            f"{with_prefix(total.gco2e_per_request.value, 'gCO2e')} per request",
            interval(total.gco2e_per_h, "gCO2e"),
        ),
    ]
    columns = (
        SheetColumn("quantity", "total"),
        SheetColumn("value", "value"),
        SheetColumn("interval", "80 % interval"),
    )
    sheet = ReportSheet("Totals", columns, tuple(rows))
    return sheet if any(row[2] for row in rows) else sheet.without("interval")


def latency(plan: Plan) -> ReportSheet:
    """Every latency objective beside its prediction."""
    columns = (
        SheetColumn("objective", "latency"),
        right("asked", "asked"),
        right("predicted", "predicted"),
        SheetColumn("interval", "80 % interval"),
        right("steady", "steady state"),
        SheetColumn("verdict", "status"),
    )
    rows = tuple(
        (
            objective_name(entry),
            f"≤ {seconds(entry.most_s)}",
            seconds(entry.predicted_s.value),
            interval(entry.predicted_s, "s") or "–",
            seconds(entry.steady_s),
            verdict(entry),
        )
        for entry in plan.latency
    )
    sheet = ReportSheet("Latency", columns, rows)
    idle = [] if any(row[3] != "–" for row in rows) else ["interval"]
    return sheet.without(*idle, *([] if plan.verification else ["steady"]))


def objective_name(entry: LatencyDocument) -> str:
    """The quantity and its percentile: `TTFT p95`."""
    return f"{entry.quantity.removesuffix('_s').upper()} p{entry.quantile * 100:g}"


def verdict(entry: LatencyDocument) -> str:
    """Whether the prediction meets the objective, and how far it is to be trusted."""
    met = entry.predicted_s.value <= entry.most_s * (1 + 1e-6)
    return f"{'met' if met else 'missed'}, {entry.status}"


def verification_sentence(plan: Plan) -> str:
    """What the simulation found, in a sentence; empty if nothing was simulated."""
    found = plan.verification
    if found is None:
        return ""
    return (
        f"Simulated on {found.draws} draws of {found.requests_per_draw:,} requests, the percentiles of a further draw "
        f"hold with {found.confidence:.0%} confidence: the steady-state answer was "
        f"{dollars(found.steady_usd_per_h)}/h, queueing added {dollars(found.added_usd_per_h)}/h."
    )


def rounds(plan: Plan) -> ReportSheet:
    """Every fleet that was simulated: what its size was reckoned for, the upper bounds seen, whether they hold."""
    columns = (
        right("sized_for", "sized for"),
        right("usd_per_h", "$/h"),
        *(right(f"upper_{n}", objective_name(entry)) for n, entry in enumerate(plan.latency)),
        SheetColumn("verdict", "holds"),
        SheetColumn("fleet", "fleet"),
    )
    rows = tuple(
        (
            f"{number(one.sized_for)} x demand",
            dollars(one.usd_per_h),
            *(seconds(bound) for bound in one.upper_s),
            "met" if one.holds else "missed",
            short(one.fleet, plan),
        )
        for one in (plan.verification.rounds if plan.verification else ())
    )
    return ReportSheet("Simulated fleets", columns, rows)


def shadow_prices(plan: Plan) -> ReportSheet:
    """What moving every constraint would change."""
    columns = (SheetColumn("constraint", "constraint"), right("value", "now"), SheetColumn("sentence", "shadow price"))
    rows = tuple((p.constraint, f"{number(p.value)} {p.unit}", p.sentence) for p in plan.shadow_prices)
    return ReportSheet("Shadow prices", columns, rows)


def short(fleet: str, plan: Plan) -> str:
    """A fleet's line without the model, site and term that the whole plan shares."""
    models = {service.deployment.model for service in plan.services}
    places = {f" @ {service.deployment.site} {service.price.term}" for service in plan.services}
    shared = ([f"{model} " for model in models] if len(models) == 1 else []) + (
        list(places) if len(places) == 1 else []
    )
    for words in shared:
        fleet = fleet.replace(words, "")
    return fleet


def runners_up(plan: Plan) -> ReportSheet:
    """The best plan without each chosen value, and why it lost."""
    columns = (
        SheetColumn("without", "without"),
        right("excess", "more"),
        SheetColumn("choice", "the next best"),
        SheetColumn("reason", "why it lost"),
    )
    rows = tuple(
        (
            f"{rival.axis} {rival.without}",
            "–" if rival.excess is None else f"+{max(rival.excess, 0.0):.1%}",
            short(rival.choice, plan),
            rival.reason,
        )
        for rival in plan.runners_up
    )
    return ReportSheet("Runners-up", columns, rows)


def explanations(told: Sequence[WhyNotExplanation]) -> ReportSheet:
    """What each choice would cost at its best, and what it loses on."""
    columns = (
        SheetColumn("choice", "held to"),
        right("cost", "per hour"),
        right("excess", "more"),
        SheetColumn("plan", "its best"),
        SheetColumn("loses_on", "loses on"),
    )
    rows = tuple(
        (
            f"{each.axis} {each.value}",
            "–" if each.with_per_h is None else amount(each.with_per_h, each.objective),
            "–" if each.excess is None else f"+{max(each.excess, 0.0):.1%}",
            each.choice,
            each.loses_on or "it is chosen",
        )
        for each in told
    )
    return ReportSheet("Why not?", columns, rows)


def pruning_sheet(plan: Plan) -> ReportSheet:
    """Choices that fell out before the search, and that it dropped by exact bounds."""
    columns = (SheetColumn("reason", "fell out"), right("count", "choices"), SheetColumn("example", "for example"))
    rows = tuple((entry.reason, entry.count, entry.example) for entry in plan.pruned)
    return ReportSheet("Fell out before the search", columns, rows)


def comparison(beside: FleetComparison) -> ReportSheet:
    """Today's fleet beside the plan: price, what it carries, what changes."""
    saves = beside.saves_usd_per_h
    share = saves / beside.usd_per_h
    rows = [
        ("costs today", f"{dollars(beside.usd_per_h)}/h"),
        ("the plan " + ("saves" if saves >= 0 else "costs more"), f"{dollars(abs(saves))}/h ({abs(share):.0%})"),
        ("carries within the objectives", f"{beside.carries:.0%} of the demand"),
        *(("change", change) for change in beside.changes),
    ]
    return ReportSheet(
        "Against today's fleet", (SheetColumn("what", "today"), SheetColumn("value", "value")), tuple(rows)
    )


def launches(plan: Plan) -> list[tuple[str, str]]:
    """For every service how often, and the command of one replica."""
    return [
        (" + ".join(f"{p.replicas} x {p.tp * p.pp * p.dp} {p.accelerator}" for p in s.deployment.pools), s.launch)
        for s in plan.services
    ]
