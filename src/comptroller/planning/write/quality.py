"""What a joint plan solves and costs, with everything uncertain drawn together: the parts of the Plan document."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from comptroller.planning.ground.nouns import Fleet, Floats
from comptroller.planning.ground.plan_document import PlanTotals, QualityDocument
from comptroller.planning.ground.risk_document import RiskDocument, RiskSource, SelectionOptimism
from comptroller.planning.ground.service_document import PredictedFigure
from comptroller.planning.offer.space import quality_targets
from comptroller.planning.reasons.runners_up import NeighbouringFleets, greedy, next_dollar
from comptroller.planning.risk.confidence import chance_met, draws_meeting_targets, optimism_of
from comptroller.planning.risk.draws import ALONE, RiskSimulation, ends, figure_of_draws
from comptroller.planning.risk.question_draws import RESAMPLES, per_question, resample_fleet
from comptroller.planning.risk.worth import NOTHING, losses_of, measurements, price_of
from comptroller.planning.solve.description import LEAST_SHARE, describe_fleet, usd_per_h
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.quantities import short


def quality_document(problem: PlanningProblem, best: Fleet, drawn: RiskSimulation) -> QualityDocument:
    """What a fleet solves beside its targets, with what is uncertain, and what one answer would solve; nothing of other
    fleets."""
    quality = problem.quality
    assert quality is not None
    search, optimism = problem.search, optimism_of(problem)
    plays = search.space.plays
    evidence, flatters = resample_fleet(search, best, problem.workload.seed), optimism.solved[""]
    told = float(search.space.weight @ (search.mean @ per_question(search, best)[:, 0]))
    return QualityDocument(
        target=quality.solve.least,
        each=dict(quality_targets(quality)[1:]),
        confidence=quality.confidence,
        predicted=figure_of_draws(told - flatters, evidence.solved - flatters),
        chance_met=short(chance_met(problem, evidence, optimism.solved)),
        held_out=None if problem.support is None else problem.support.solved,
        optimism=optimism,
        support=problem.support,
        next_dollar="",
        usd_per_solved=_usd_per_solved(problem, best, drawn, told - flatters),
        questions=len(plays.task),
        evidence=plays.source,
        greedy=greedy(search),
    )


def with_rivals(
    quality: QualityDocument, problem: PlanningProblem, around: NeighbouringFleets, drawn: RiskSimulation
) -> QualityDocument:
    """The same beside other fleets, which were drawn together with it."""
    assert quality.optimism is not None
    update = {
        "next_dollar": next_dollar(problem.search, around.best, around.dearer),
        "usd_per_solved": _usd_per_solved(problem, around.best, drawn, quality.predicted.value),
        "risk": risk(problem, around, drawn, quality.optimism),
    }
    return quality.model_copy(update=update)


def _usd_per_solved(problem: PlanningProblem, best: Fleet, drawn: RiskSimulation, solved: float) -> PredictedFigure:
    """solved: share predicted of other questions."""
    mine, asked_per_h = drawn.outcomes[0], problem.search.space.rate_per_s * 3600.0
    others = np.maximum(mine.solved[0] - optimism_of(problem).solved[""], LEAST_SHARE)
    per_solved = mine.usd_per_h / mine.demand / asked_per_h / others
    return figure_of_draws(usd_per_h(problem.search, best) / asked_per_h / max(solved, LEAST_SHARE), per_solved)


def risk(
    problem: PlanningProblem, around: NeighbouringFleets, drawn: RiskSimulation, optimism: SelectionOptimism
) -> RiskDocument:
    """Sources of uncertainty, the chance that everything holds, and the next measurement."""
    price = price_of(drawn, around, optimism.solved)
    lost = losses_of(drawn, price)
    least = int(lost.mean(axis=1).argmin())
    regret = float(lost[0].mean() - lost[least].mean())
    objective = problem.goal.objective
    measured = measurements(drawn, price, objective == "usd", problem.workload.seed)
    better = drawn.chances.contenders.plans[least].fleet
    document = RiskDocument(
        draws=RESAMPLES,
        chance_held=short(_chance_held(problem, drawn, optimism)),
        sources=tuple(_sources(drawn, usd_per_h(problem.search, around.best))),
        rivals=len(lost) - 1,
        stands=short(float((lost[0] <= lost.min(axis=0) * (1 + 1e-9)).mean())),
        regret_usd_per_h=short(regret),
        usd_per_point=short(price.usd_per_h / 100.0),
        priced_by=price.because,
        better=describe_fleet(problem.search, better) if regret > NOTHING * lost[0].mean() else "",
        verdict="",
        next=measured,
    )
    return document.model_copy(update={"verdict": _verdict(document, objective)})


def _verdict(known: RiskDocument, objective: str) -> str:
    """Whether the choice stands, and what to measure first."""
    first = known.next[0] if known.next else None
    narrows = f"; {first.what} narrows the interval of cost most" if first else ""
    if objective != "usd":
        return f"Plans that do not minimise dollars are not weighed against each other in dollars{narrows}"
    beside = f"In {known.stands:.0%} of draws none of {known.rivals} rivals loses less"
    if known.better:
        beside += f"; in the mean this one does, by ${known.regret_usd_per_h:,.2f}/h: {known.better}"
    if first and first.saves_usd_per_h:
        return f"Measure first: {first.what}. {beside}"
    if known.stands == 1.0:
        return f"The choice stands against {known.rivals} rivals in all draws{narrows}"
    return f"No single measurement changes the choice{narrows}. {beside}"


def _chance_held(problem: PlanningProblem, drawn: RiskSimulation, optimism: SelectionOptimism) -> float:
    """Share of draws in which the targets, less the optimism, and the budget hold."""
    outcome = drawn.outcomes[0]
    held = draws_meeting_targets(problem, outcome.solved, optimism.solved)
    for name, most in problem.goal.limits:
        if name == "budget":
            held &= outcome.usd_per_h <= most * (1 + 1e-9)
    return float(held.mean())


def _sources(drawn: RiskSimulation, point: float) -> Iterator[RiskSource]:
    """Every source with the cost when it alone varies."""
    alone = {name: drawn.alone(name) for name in ALONE}
    variance = {name: float(np.var(values - values[0])) for name, values in alone.items()}
    total = sum(variance.values())
    rests_on = drawn.chances.rests_on()
    for name, values in alone.items():
        low, high = ends(values, point)
        yield RiskSource(
            name=name,
            usd_per_h=(short(low), short(high)),
            share=short(variance[name] / total) if total else 0.0,
            rests_on=rests_on[name],
        )


def with_draws(totals: PlanTotals, drawn: RiskSimulation) -> PlanTotals:
    """The totals with the intervals of the draws: of cost per hour, and of cost per question and token."""
    outcome = drawn.outcomes[0]
    point = totals.usd_per_h.value

    def around(figure_: PredictedFigure, values: Floats) -> PredictedFigure:
        low, high = ends(values / point, 1.0)
        return PredictedFigure(value=figure_.value, low=short(figure_.value * low), high=short(figure_.value * high))

    each = outcome.usd_per_h / outcome.demand
    names = ("usd_per_request", "usd_per_million_tokens", "usd_per_million_output_tokens")
    update = {name: around(getattr(totals, name), each) for name in names}
    return totals.model_copy(update={"usd_per_h": around(totals.usd_per_h, outcome.usd_per_h), **update})
