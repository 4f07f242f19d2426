"""The tables of a plan: services, latency, shadow prices, runners-up, what fell out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comptroller.launch import WHAT_IF
from comptroller.planning.ground.plan_document import (
    ApiPriceDocument,
    Plan,
    PrunedChoices,
    RehearsalRound,
    RunnerUp,
    ShadowPrice,
)
from comptroller.planning.ground.service_document import (
    DeploymentDocument,
    LatencyDocument,
    PoolDocument,
    ServiceDocument,
)
from comptroller.planning.reasons.against import FleetComparison
from comptroller.planning.reasons.explain import WhyNotExplanation
from comptroller.planning.reasons.shadow_prices import amount
from comptroller.report.figures import OBJECTIVES, dollars, interval, number, seconds, with_prefix
from comptroller.report.sheet import UNKNOWN, ReportSheet, SheetColumns, left, right


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


def _formats_of_service(service: ServiceDocument) -> str:
    """Its formats, marked where nothing is known to launch it so."""
    mark = "what-if: " if service.launch.startswith(WHAT_IF) else ""
    return f"{mark}{formats(service.deployment)}"


ServicePool = tuple[ServiceDocument, PoolDocument]
"""A row of the services: a service and one of its pools."""


def services(plan: Plan) -> ReportSheet:
    """One row per pool of every service."""

    def once(show: Callable[[ServiceDocument], str]) -> Callable[[ServicePool], str]:
        """What belongs to the whole service stands in the row of its first pool."""
        return lambda row: show(row[0]) if row[1] is row[0].deployment.pools[0] else ""

    columns: SheetColumns[ServicePool] = (
        left("accelerator", "accelerators", lambda row: replicas_text(row[1])),
        left("layout", None, lambda row: layout(row[1])),
        left("model", None, lambda row: row[0].deployment.model),
        left("phase", None, lambda row: row[1].phase),
        left("formats", None, lambda row: _formats_of_service(row[0])),
        left("engine", None, lambda row: row[0].deployment.engine.id),
        left("site", None, lambda row: row[0].deployment.site),
        left("term", None, lambda row: row[0].price.term.replace("_", "-")),
        right("usd_per_h", "$/h", once(lambda service: dollars(service.usd_per_h))),
        right("rate_per_s", "req/s", once(lambda service: number(service.rate_per_s))),
        right("utilisation", "used", once(lambda service: f"{service.utilisation:.0%}")),
        right("batch", None, once(lambda service: number(service.batch))),
        right("ttft", "TTFT", once(lambda service: seconds(service.ttft_s.value))),
        right("tpot", "TPOT", once(lambda service: seconds(service.tpot_s.value))),
        right("w", "power", once(lambda service: with_prefix(service.w.value, "W"))),
    )
    pools = [(service, pool) for service in plan.services for pool in service.deployment.pools]
    one_model = len({service.deployment.model for service in plan.services}) < 2
    one_phase = len(pools) == len(plan.services)
    hidden = [*(["model"] if one_model else []), *(["phase"] if one_phase else [])]
    return ReportSheet.of("Services", columns, pools).without(*hidden)


def replicas_text(pool: PoolDocument) -> str:
    """How many replicas of how many devices."""
    return f"{pool.replicas} x {pool.tp * pool.pp * pool.dp} {pool.accelerator}"


def totals(plan: Plan) -> ReportSheet:
    """What the whole plan costs, with intervals where residuals support them."""
    total = plan.totals
    per_output = f"({dollars(total.usd_per_million_output_tokens.value)} per million output tokens)"
    rows = (
        ("cost", f"{dollars(total.usd_per_h.value)}/h", interval(total.usd_per_h, "$")),
        ("per request", dollars(total.usd_per_request.value), interval(total.usd_per_request, "$")),
        (
            "per million tokens",
            f"{dollars(total.usd_per_million_tokens.value)} {per_output}",
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
    )
    columns = (left("quantity", "total"), left("value"), left("interval", "80 % interval"))
    return ReportSheet("Totals", columns, rows).without_empty("interval")


def prices(plan: Plan) -> ReportSheet:
    """A million tokens of the fleet, at mean and at full use, beside what APIs of the same models ask."""
    title = "Dollars per million tokens"
    columns = (left("what", "per million tokens"), right("usd", "$"), left("note", ""))
    if (asked := plan.prices) is None:
        return ReportSheet(title, columns, ())
    mean = f"{number(asked.mean_requests_per_s)} req/s, {asked.mean_use:.0%} of full use"
    rows = [
        ("this fleet, mean use", dollars(asked.usd_per_million_at_mean_use), mean),
        ("this fleet, full use", dollars(asked.usd_per_million_at_full_use), "as full as the objectives let it be"),
    ]
    for offer in _telling(asked.apis):
        listed = f"{dollars(offer.usd_per_million_input)} in, {dollars(offer.usd_per_million_output)} out"
        name = offer.service if len({api.model for api in asked.apis}) < 2 else f"{offer.model}: {offer.service}"
        rows.append((name, dollars(offer.usd_per_million_tokens), listed))
    return ReportSheet(title, columns, tuple(rows))


def _telling(apis: Sequence[ApiPriceDocument]) -> list[ApiPriceDocument]:
    """The cheapest, the median and the dearest API, of fewer all."""
    places = sorted({0, (len(apis) - 1) // 2, len(apis) - 1} & set(range(len(apis))))
    return [apis[place] for place in places]


def prices_sentence(plan: Plan) -> str:
    """What the prices are of, and what the fleet's leaves out; empty where there are none."""
    if (asked := plan.prices) is None:
        return ""
    listed = (
        f"{len(asked.apis)} APIs list the model, on {asked.priced_on} ({asked.apis[0].source}); the cheapest, the "
        "median and the dearest are shown"
        if asked.apis
        else "no API is known to list the model (comptroller[prices] holds the lists)"
    )
    return f"{listed}. The rent of the fleet leaves out {'; '.join(asked.left_out)}."


def objective_name(entry: LatencyDocument) -> str:
    """The quantity and its percentile: `TTFT p95`."""
    return f"{entry.quantity.removesuffix('_s').upper()} p{entry.quantile * 100:g}"


def verdict(entry: LatencyDocument) -> str:
    """Whether the prediction meets the objective, and how far it is to be trusted."""
    met = entry.predicted_s.value <= entry.most_s * (1 + 1e-6)
    return f"{'met' if met else 'missed'}, {entry.status}"


LATENCY: SheetColumns[LatencyDocument] = (
    left("objective", "latency", objective_name),
    right("asked", None, lambda entry: f"≤ {seconds(entry.most_s)}"),
    right("predicted", None, lambda entry: seconds(entry.predicted_s.value)),
    left("interval", "80 % interval", lambda entry: interval(entry.predicted_s, "s") or UNKNOWN),
    right("steady", "steady state", lambda entry: seconds(entry.steady_s)),
    left("verdict", "status", verdict),
)


def latency(plan: Plan) -> ReportSheet:
    """Every latency objective beside its prediction."""
    sheet = ReportSheet.of("Latency", LATENCY, plan.latency).without_empty("interval")
    return sheet if plan.verification else sheet.without("steady")


def verification_sentence(plan: Plan) -> str:
    """What the simulation found, in a sentence; empty if nothing was simulated."""
    proof = plan.verification
    if proof is None:
        return ""
    return (
        f"Simulated on {proof.draws} draws of {proof.requests_per_draw:,} requests, the percentiles of a further draw "
        f"hold with {proof.confidence:.0%} confidence: the steady-state answer was "
        f"{dollars(proof.steady_usd_per_h)}/h, queueing added {dollars(proof.added_usd_per_h)}/h."
    )


def rounds(plan: Plan) -> ReportSheet:
    """Every fleet that was simulated: what its size was reckoned for, the upper bounds seen, whether they hold."""

    def bound(place: int) -> Callable[[RehearsalRound], str]:
        return lambda one: seconds(one.upper_s[place])

    bounds = tuple(right(f"upper_{i}", objective_name(entry), bound(i)) for i, entry in enumerate(plan.latency))
    columns: SheetColumns[RehearsalRound] = (
        right("sized_for", "sized for", lambda one: f"{number(one.sized_for)} x demand"),
        right("usd_per_h", "$/h", lambda one: dollars(one.usd_per_h)),
        *bounds,
        left("verdict", "holds", lambda one: "met" if one.holds else "missed"),
        left("fleet", None, lambda one: short(one.fleet, plan)),
    )
    return ReportSheet.of("Simulated fleets", columns, plan.verification.rounds if plan.verification else ())


SHADOW_PRICES: SheetColumns[ShadowPrice] = (
    left("constraint"),
    right("value", "now", lambda price: f"{number(price.value)} {price.unit}"),
    left("sentence", "shadow price"),
)


def shadow_prices(plan: Plan) -> ReportSheet:
    """What moving every constraint would change."""
    return ReportSheet.of("Shadow prices", SHADOW_PRICES, plan.shadow_prices)


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
    """The best plan without each chosen value, the odds that it is truly cheaper, and why it lost."""
    columns: SheetColumns[RunnerUp] = (
        left("without", None, lambda rival: f"{rival.axis} {rival.without}"),
        right("excess", "more", lambda rival: _excess(rival.excess)),
        right("chance", "odds", lambda one: UNKNOWN if one.chance_cheaper is None else f"{one.chance_cheaper:.0%}"),
        left("choice", "the next best", lambda rival: short(rival.choice, plan)),
        left("reason", "why it lost"),
    )
    return ReportSheet.of("Runners-up", columns, plan.runners_up).without_empty("chance")


def _excess(share: float | None) -> str:
    return UNKNOWN if share is None else f"+{max(share, 0.0):.1%}"


EXPLANATIONS: SheetColumns[WhyNotExplanation] = (
    left("choice", "held to", lambda one: f"{one.axis} {one.value}"),
    right("cost", "per hour", lambda x: UNKNOWN if x.with_per_h is None else amount(x.with_per_h, x.objective)),
    right("excess", "more", lambda one: _excess(one.excess)),
    left("plan", "its best", lambda one: one.choice),
    left("loses_on", "loses on", lambda one: one.loses_on or "it is chosen"),
)


def explanations(found: Sequence[WhyNotExplanation]) -> ReportSheet:
    """What each choice would cost at its best, and what it loses on."""
    return ReportSheet.of("Why not?", EXPLANATIONS, found)


PRUNED: SheetColumns[PrunedChoices] = (
    left("reason", "fell out"),
    right("count", "choices"),
    left("example", "for example"),
)


def pruning_sheet(plan: Plan) -> ReportSheet:
    """Choices that fell out before the search, and that it dropped by exact bounds."""
    return ReportSheet.of("Fell out before the search", PRUNED, plan.pruned)


def comparison(beside: FleetComparison) -> ReportSheet:
    """Today's fleet beside the plan: price, what it carries, what the move costs, what changes."""
    saves, net = beside.saves_usd_per_h, beside.net_usd_per_h
    share = saves / beside.usd_per_h
    paid = f", paid back in {number(beside.moving_usd / saves)} h" if saves > 0 and beside.moving_usd else ""
    rows = [
        ("costs today", f"{dollars(beside.usd_per_h)}/h"),
        ("the plan " + ("saves" if saves >= 0 else "costs more"), f"{dollars(abs(saves))}/h ({abs(share):.0%})"),
        ("carries within the objectives", f"{beside.carries:.0%} of the demand (steady state, not simulated)"),
        (
            "moving costs",
            f"{dollars(beside.moving_usd)} once: new replicas beside old for {number(beside.overlap_h)} h{paid}",
        ),
        (
            "with the move " + ("saves" if net >= 0 else "costs more"),
            f"{dollars(abs(net))}/h over {number(beside.spread_h)} h",
        ),
        ("advice", _advice(beside)),
        *(("change", change) for change in beside.changes),
    ]
    return ReportSheet("Against today's fleet", (left("what", "today"), left("value")), tuple(rows))


def _advice(beside: FleetComparison) -> str:
    if beside.keep:
        return "keep what runs: it carries the demand, and the plan is no cheaper with the move"
    if beside.carries < 1 and beside.net_usd_per_h < 0:
        return "change: what runs does not carry the demand"
    return "change: the plan is cheaper, the move counted" if beside.carries >= 1 else "change: cheaper, and it carries"


def launches(plan: Plan) -> list[tuple[str, str]]:
    """For every service how often, and the command of one replica."""
    return [(" + ".join(map(replicas_text, service.deployment.pools)), service.launch) for service in plan.services]
