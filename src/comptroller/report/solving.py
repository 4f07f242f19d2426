"""The tables of a plan with a quality target: what is solved, which strategy each class gets, what is bought."""

from __future__ import annotations

from comptroller.planning.ground.plan_document import Plan, QuestionClassDocument, RoleShareDocument
from comptroller.planning.ground.risk_document import SelectionOptimism
from comptroller.report.figures import dollars, interval, number
from comptroller.report.scatter import ScatterPoint
from comptroller.report.sheet import ReportSheet, SheetColumn, right

MEASUREMENTS = 5
"""Measurements in a table; the document has all that change anything."""


def solving_sheet(plan: Plan) -> ReportSheet:
    """What the plan solves, beside its target and beside one answer of each recorded model."""
    columns = (
        SheetColumn("quantity", "solved"),
        SheetColumn("value", "value"),
        SheetColumn("interval", "80 % interval"),
    )
    quality = plan.quality
    if quality is None:
        return ReportSheet("Solved", columns, ())
    share, price = quality.predicted, quality.usd_per_solved
    asked = f", {quality.confidence:.0%} asked for" if quality.confidence else ""
    taken = ", less the optimism" if quality.optimism else ""
    met = f"the targets hold in {quality.chance_met:.0%} of resamples of the questions{taken}{asked}"
    rows = [
        (f"target {quality.target:.1%}", f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}; {met}"),
        *((f"target {task} {least:.1%}", _of_task(plan, task), "") for task, least in quality.each.items()),
        ("per solved question", dollars(price.value), interval(price, "$")),
    ]
    if quality.held_out is not None:
        rows.append(("held out", f"{quality.held_out:.1%}", "chosen on one half of the questions, judged on the other"))
    if quality.optimism is not None:
        rows.append(("optimism", f"{quality.optimism.solved[''] * 100:.1f} points", _optimism(quality.optimism)))
    for model, (alone, usd) in sorted(quality.greedy.items(), key=lambda item: -item[1][0]):
        rows.append((f"one answer of {model}", f"{alone:.1%}", "" if usd is None else f"{dollars(usd)}/h bought"))
    return ReportSheet("Solved", columns, tuple(rows))


def _optimism(found: SelectionOptimism) -> str:
    """What the optimism is, and which resamples it could not be seen on."""
    missing = f"; {found.short} of them cannot reach the targets" if found.short else ""
    closed = f"; the limits leave no choice on {found.closed}" if found.closed else ""
    return f"of a choice judged on its own questions, by {found.resamples} resamples{missing}{closed}"


def uncertainty(plan: Plan) -> ReportSheet:
    """What the cost depends on that is not known, and all of it together."""
    columns = (
        SheetColumn("source", "uncertain"),
        SheetColumn("usd_per_h", "cost, 80 % interval"),
        right("share", "of variance"),
        SheetColumn("rests_on", "rests on"),
    )
    known = plan.quality.risk if plan.quality else None
    if known is None:
        return ReportSheet("Uncertainty", columns, ())
    rows = [
        (
            source.name,
            f"{dollars(source.usd_per_h[0])} to {dollars(source.usd_per_h[1])}/h",
            f"{source.share:.0%}",
            source.rests_on,
        )
        for source in known.sources
    ]
    low, high = plan.totals.usd_per_h.low or 0.0, plan.totals.usd_per_h.high or 0.0
    held = f"targets, and the budget if there is one, hold in {known.chance_held:.0%} of {known.draws:,} draws"
    rows.append(("together", f"{dollars(low)} to {dollars(high)}/h", "", held))
    return ReportSheet("Uncertainty", columns, tuple(rows))


def measurements(plan: Plan) -> ReportSheet:
    """What to measure next: first what is expected to save most."""
    columns = (
        SheetColumn("what", "measure"),
        right("saves_usd_per_h", "expected saving"),
        SheetColumn("usd_per_h", "cost interval, wide"),
        SheetColumn("solved", "solved interval, points"),
        SheetColumn("how", "how"),
    )
    known = plan.quality.risk if plan.quality else None
    rows = tuple(
        (
            each.what,
            "–" if each.saves_usd_per_h is None else f"{dollars(each.saves_usd_per_h)}/h",
            _width_change(*(dollars(width) for width in each.usd_per_h)),
            _width_change(*(f"{width * 100:.1f}" for width in each.solved)),
            each.how,
        )
        for each in (known.next[:MEASUREMENTS] if known else ())
    )
    return ReportSheet("Next measurement", columns, rows)


def verdict(plan: Plan) -> str:
    """Whether the choice stands in what is uncertain, in a sentence; empty without a quality target."""
    return plan.quality.risk.verdict if plan.quality and plan.quality.risk else ""


def first_step(plan: Plan) -> str:
    """How the first measurement is made; empty where there is none."""
    known = plan.quality.risk if plan.quality else None
    return f"How: {known.next[0].how}" if known and known.next else ""


def _width_change(before: str, after: str) -> str:
    """The width of an interval now and after; one of them where they print alike."""
    return f"{before} to {after}" if before != after else before


def _of_task(plan: Plan, task: str) -> str:
    mine = [each for each in plan.classes if each.name == task and each.solved]
    total = sum(each.share for each in mine)
    return f"{sum(each.share * each.solved.value for each in mine if each.solved) / total:.1%}" if mine else "–"


def classes(plan: Plan) -> ReportSheet:
    """The strategies of every class of questions, and who plays them."""
    columns = (
        SheetColumn("name", "questions"),
        right("share", "of all"),
        SheetColumn("strategy", "strategy"),
        SheetColumn("roles", "played by"),
        right("solved", "solved"),
        right("usd", "bought/question"),
    )
    rows = tuple(
        (
            each.name,
            f"{each.share:.1%}",
            each.strategy,
            _roles(each, plan),
            f"{each.solved.value:.1%}",
            dollars(each.usd_per_question or 0.0),
        )
        for each in plan.classes
        if each.solved
    )
    return ReportSheet("Strategies", columns, rows)


def _roles(each: QuestionClassDocument, plan: Plan) -> str:
    """Who plays, each once; a role only where several play."""
    models = {s.id: s.deployment.model for s in plan.services} | {o.id: f"{o.model} (API)" for o in plan.offers}

    def who(shares: tuple[RoleShareDocument, ...]) -> str:
        return " + ".join(dict.fromkeys(models[share.service] for share in shares))

    players = {role: who(shares) for role, shares in each.roles.items()}
    if len(set(players.values())) == 1:
        return next(iter(players.values()))
    return ", ".join(f"{role} {player}" for role, player in players.items())


def offers(plan: Plan) -> ReportSheet:
    """What is bought from APIs."""
    columns = (
        SheetColumn("model", "API"),
        right("usd_per_h", "$/h"),
        right("calls_per_s", "calls/s"),
        right("input", "tokens in/s"),
        right("output", "tokens out/s"),
        SheetColumn("price", "$ per million in, out"),
    )
    rows = tuple(
        (
            offer.model,
            dollars(offer.usd_per_h),
            number(offer.calls_per_s),
            number(offer.input_tokens_per_s),
            number(offer.output_tokens_per_s),
            " / ".join(map(number, offer.usd_per_million)) if offer.usd_per_million else "as recorded",
        )
        for offer in plan.offers
    )
    return ReportSheet("Bought", columns, rows)


def points(plan: Plan) -> tuple[ScatterPoint, ...]:
    """The frontier and, beside it, one answer of each model that can be bought; the plan itself with its interval."""
    quality = plan.quality
    if quality is None:
        return ()
    cost, share = plan.totals.usd_per_h.value, quality.predicted
    found = [
        ScatterPoint(
            p.usd_per_h, p.value, p.value, p.value, f"{p.value:.0%}", f"{dollars(p.usd_per_h)}/h by {p.fleet}", True
        )
        for p in plan.frontier
        if p.usd_per_h > 0
    ]
    found += [
        ScatterPoint(usd, alone, alone, alone, model, f"one answer solves {alone:.1%} at {dollars(usd)}/h", False)
        for model, (alone, usd) in quality.greedy.items()
        if usd
    ]
    low, high = share.low or share.value, share.high or share.value
    reading = f"the plan solves {share.value:.1%} at {dollars(cost)}/h"
    return (*found, ScatterPoint(cost, share.value, low, high, "chosen", reading, True))
