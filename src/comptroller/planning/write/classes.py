"""Classes of questions with their strategies, and what is bought from APIs for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from comptroller.planning.ground.nouns import Fleet, Floats, Option
from comptroller.planning.ground.plan_document import OfferService, QuestionClassDocument, RoleShareDocument
from comptroller.planning.prove.services import ModelServices
from comptroller.planning.risk.draws import figure_of_draws
from comptroller.planning.risk.question_draws import RESAMPLES
from comptroller.planning.solve.description import LEAST_SHARE
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.quantities import short
from comptroller.strategies.recorded_price import recorded_price


def options_in_use(problem: PlanningProblem, best: Fleet) -> Iterator[tuple[Option, Floats]]:
    """The options in use, with the share of all traffic that each class sends there."""
    for number in np.flatnonzero(best.share[0].sum(axis=0) > LEAST_SHARE):
        yield problem.space.options[number], problem.space.weight * best.share[0][:, number]


def classes_of(
    problem: PlanningProblem, best: Fleet, own: Mapping[int, ModelServices]
) -> Iterator[QuestionClassDocument]:
    """Every class with each strategy that it is answered by."""
    search, space, rng = problem.search, problem.space, np.random.default_rng(problem.workload.seed)
    for number, task in enumerate(space.plays.tasks):
        of_task = np.flatnonzero(space.plays.task == number)
        for place in np.flatnonzero(best.share[0, number] > LEAST_SHARE):
            option = space.options[place]
            solved, usd = None, None
            if problem.goal.quality:
                scores = option.play.score[of_task]
                drawn = scores[rng.integers(0, len(scores), (RESAMPLES, len(scores)))].mean(axis=1)
                told = float(search.table.score[number, place])
                solved = figure_of_draws(told, drawn + (told - scores.mean()))
                bought = "api" in option.routes.values()
                usd = short(search.table.usd[number, place]) if bought else 0.0
            yield QuestionClassDocument(
                name=task or "all",
                share=short(space.weight[number] * best.share[0, number, place]),
                strategy=option.play.strategy,
                roles={
                    role: _role_shares(problem, model, option.routes[model], own)
                    for role, model in option.play.roles.items()
                },
                solved=solved,
                usd_per_question=usd,
            )


def _role_shares(
    problem: PlanningProblem, model: int, route: str, own: Mapping[int, ModelServices]
) -> tuple[RoleShareDocument, ...]:
    if route == "api":
        return (RoleShareDocument(service=_offer_id(str(problem.space.plays.models[model])), share=1.0),)
    services = own[model]
    total = float(services.calls_per_s.sum())
    return tuple(
        RoleShareDocument(service=service.id, share=short(calls / total))
        for service, calls in zip(services.services, services.calls_per_s.tolist(), strict=True)
    )


def api_offers(problem: PlanningProblem, best: Fleet) -> Iterator[OfferService]:
    """What is bought from each API; tokens are unknown where a call's are not recorded."""
    plays, rate = problem.space.plays, problem.space.rate_per_s
    bought: dict[int, Floats] = {}
    for option, gets in options_in_use(problem, best):
        calls = option.play.calls
        share = gets[plays.task] / np.bincount(plays.task)[plays.task]
        for model in (m for m, route in option.routes.items() if route == "api"):
            own = calls.model == model
            per_s = share[calls.question[own]] * rate
            columns = (
                np.ones(own.sum()),
                calls.input_tokens[own],
                calls.output_tokens[own],
                np.nan_to_num(calls.usd[own]),
            )
            amounts = np.array([per_s[per_s > 0] @ column[per_s > 0] for column in columns])
            bought[model] = bought.get(model, np.zeros(4)) + amounts
    for model, (calls_per_s, inputs, outputs, usd) in sorted(bought.items()):
        assert plays.evidence is not None
        price = recorded_price(plays.evidence, model)
        yield OfferService(
            id=_offer_id(str(plays.models[model])),
            model=str(plays.models[model]),
            usd_per_h=short(usd * 3600.0),
            calls_per_s=short(calls_per_s),
            input_tokens_per_s=short(inputs),
            output_tokens_per_s=short(outputs),
            usd_per_million=None if price is None else (short(price.input * 1e6), short(price.output * 1e6)),
            source=f"dollars as recorded in {plays.source}",
        )


def _offer_id(model: str) -> str:
    return f"api.{model.replace(' ', '.')}"


def tokens_per_question(problem: PlanningProblem, best: Fleet, name: str) -> float:
    """Mean tokens of a kind that a question takes over all its calls; unknown where a call's are not recorded."""
    plays, mean = problem.space.plays, problem.search.mean
    total = 0.0
    for option, gets in options_in_use(problem, best):
        calls = option.play.calls
        values = np.bincount(calls.question, getattr(calls, name), len(plays.task))
        counted = gets @ mean
        total += float(counted[counted > 0] @ values[counted > 0])
    return total
