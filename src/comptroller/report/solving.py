"""The tables of a plan with a quality target: what is solved, which strategy each class gets, what is bought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from comptroller.planning.ground.plan_document import (
    OfferService,
    Plan,
    QualityDocument,
    QuestionClassDocument,
    RoleShareDocument,
)
from comptroller.planning.ground.risk_document import ChoiceSupport, NextMeasurement, RiskSource, SelectionOptimism
from comptroller.report.chart import ChartMark
from comptroller.report.figures import dollars, interval, number
from comptroller.report.sheet import UNKNOWN, ReportSheet, SheetColumns, left, right

MEASUREMENTS = 5
"""Measurements in a table, those that are expected to save most; the document has all that change anything."""


def solving_sheet(plan: Plan) -> ReportSheet:
    """What the plan solves, beside its target and beside one answer of each recorded model."""
    columns = (left("quantity", "solved"), left("value"), left("interval", "80 % interval"))
    return ReportSheet("Solved", columns, tuple(_solving_rows(plan, plan.quality)) if plan.quality else ())


def _solving_rows(plan: Plan, quality: QualityDocument) -> Iterator[tuple[str, str, str]]:
    share, price = quality.predicted, quality.usd_per_solved
    asked = f", {quality.confidence:.0%} asked for" if quality.confidence else ""
    met = f"the targets hold in a further set of as many questions with {quality.chance_met:.0%} confidence{asked}"
    yield f"target {quality.target:.1%}", f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}; {met}"
    for task, least in quality.each.items():
        yield f"target {task} {least:.1%}", _of_task(plan, task), ""
    yield "per solved question", dollars(price.value), interval(price, "$")
    if quality.held_out is not None:
        yield "held out", f"{quality.held_out:.1%}", _held_out(quality.support)
    for tried in quality.support.tried if quality.support else ():
        short_of = "the target is out of its reach" if tried.aim is None else f"aimed at {tried.aim:.1%}"
        yield tried.ways, f"{tried.solved:.1%}", f"{dollars(tried.usd_per_h)}/h of full units; {short_of}"
    if quality.optimism is not None:
        yield "optimism", f"{quality.optimism.solved[''] * 100:.1f} points", _optimism(quality.optimism)
    for model, (alone, usd) in sorted(quality.greedy.items(), key=lambda item: -item[1][0]):
        yield f"one answer of {model}", f"{alone:.1%}", "" if usd is None else f"{dollars(usd)}/h bought"


def _held_out(support: ChoiceSupport | None) -> str:
    """How the questions were left out, and which freedom of ways they support."""
    if support is None:
        return "chosen on one half of the questions, judged on the other"
    return f"of each {1 / support.folds:.0%} of the questions by choices made without it. {support.sentence}"


def _optimism(optimism: SelectionOptimism) -> str:
    """What the optimism is."""
    return f"of a choice judged on its own questions, by {optimism.resamples} choices without part of them"


RISKS: SheetColumns[RiskSource] = (
    left("source", "uncertain", lambda source: source.name),
    left("usd_per_h", "cost, 80 % interval", lambda source: _cost_text(*source.usd_per_h)),
    right("share", "of variance", lambda source: f"{source.share:.0%}"),
    left("rests_on", "rests on"),
)


def uncertainty(plan: Plan) -> ReportSheet:
    """What the cost depends on that is not known, and all of it together."""
    risk = plan.quality.risk if plan.quality else None
    sheet = ReportSheet.of("Uncertainty", RISKS, risk.sources if risk else ())
    if risk is None:
        return sheet
    cost = _cost_text(plan.totals.usd_per_h.low or 0.0, plan.totals.usd_per_h.high or 0.0)
    held = f"targets, and the budget if there is one, hold in {risk.chance_held:.0%} of {risk.draws:,} draws"
    return replace(sheet, rows=(*sheet.rows, ("together", cost, "", held)))


def _cost_text(low: float, high: float) -> str:
    return f"{dollars(low)} to {dollars(high)}/h"


NEXT: SheetColumns[NextMeasurement] = (
    left("what", "measure"),
    right("saves_usd_per_h", "expected saving", lambda one: _saving_text(one.saves_usd_per_h)),
    left("usd_per_h", "cost interval, wide", lambda one: _width_change(*map(dollars, one.usd_per_h))),
    left("solved", "solved interval, points", lambda one: _width_change(*(f"{wide * 100:.1f}" for wide in one.solved))),
    left("how"),
)


def measurements(plan: Plan) -> ReportSheet:
    """What to measure next: first what is expected to save most."""
    known = plan.quality.risk if plan.quality else None
    return ReportSheet.of("Next measurement", NEXT, known.next[:MEASUREMENTS] if known else ())


def _saving_text(usd_per_h: float | None) -> str:
    return UNKNOWN if usd_per_h is None else f"{dollars(usd_per_h)}/h"


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
    columns: SheetColumns[QuestionClassDocument] = (
        left("name", "questions"),
        right("share", "of all", lambda one: f"{one.share:.1%}"),
        left("strategy"),
        left("roles", "played by", lambda one: _roles(one, plan)),
        right("solved", None, lambda one: f"{one.solved.value:.1%}" if one.solved else UNKNOWN),
        right("usd", "bought/question", lambda one: dollars(one.usd_per_question or 0.0)),
    )
    return ReportSheet.of("Strategies", columns, (one for one in plan.classes if one.solved))


def _roles(question_class: QuestionClassDocument, plan: Plan) -> str:
    """Who plays, each once; a role only where several play."""
    models = {s.id: s.deployment.model for s in plan.services} | {o.id: f"{o.model} (API)" for o in plan.offers}

    def who(shares: tuple[RoleShareDocument, ...]) -> str:
        return " + ".join(dict.fromkeys(models[share.service] for share in shares))

    players = {role: who(shares) for role, shares in question_class.roles.items()}
    if len(set(players.values())) == 1:
        return next(iter(players.values()))
    return ", ".join(f"{role} {player}" for role, player in players.items())


def _price_text(offer: OfferService) -> str:
    return " / ".join(map(number, offer.usd_per_million)) if offer.usd_per_million else "as recorded"


OFFERS: SheetColumns[OfferService] = (
    left("model", "API"),
    right("usd_per_h", "$/h", lambda offer: dollars(offer.usd_per_h)),
    right("calls_per_s", "calls/s", lambda offer: number(offer.calls_per_s)),
    right("input", "tokens in/s", lambda offer: number(offer.input_tokens_per_s)),
    right("output", "tokens out/s", lambda offer: number(offer.output_tokens_per_s)),
    left("price", "$ per million in, out", _price_text),
)


def offers(plan: Plan) -> ReportSheet:
    """What is bought from APIs."""
    return ReportSheet.of("Bought", OFFERS, plan.offers)


def marks(plan: Plan) -> tuple[ChartMark, ...]:
    """The frontier and, beside it, one answer of each model that can be bought; the plan itself with its interval."""
    quality = plan.quality
    if quality is None:
        return ()
    cost, share = plan.totals.usd_per_h.value, quality.predicted
    shown = [
        ChartMark(
            p.usd_per_h, p.value, p.value, p.value, f"{p.value:.0%}", f"{dollars(p.usd_per_h)}/h by {p.fleet}", True
        )
        for p in plan.frontier
        if p.usd_per_h > 0
    ]
    shown += [
        ChartMark(usd, alone, alone, alone, model, f"one answer solves {alone:.1%} at {dollars(usd)}/h", False)
        for model, (alone, usd) in quality.greedy.items()
        if usd
    ]
    low, high = share.low or share.value, share.high or share.value
    reading = f"the plan solves {share.value:.1%} at {dollars(cost)}/h"
    return (*shown, ChartMark(cost, share.value, low, high, "chosen", reading, True))
