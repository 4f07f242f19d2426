"""Planners that move one lever, on the choice space of the joint planner, and what their choices cost.

A planner chooses shares of the questions over options to answer them, and the hardware that may be rented for it; what
a choice costs on any weighting of the questions (a half, a resample) is the same mixed-integer program for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import AxisValues, Demand, Goal, Market
from comptroller.planning.solve.case import OptionTable, ProgramCase
from comptroller.planning.solve.cheapest import optimum
from comptroller.planning.solve.search import KeepChoice, PlanSearch, keep_everything
from comptroller.strategies.replay import recorded_price

Floats = npt.NDArray[np.float64]

FIXED = "h100_sxm"
"""The accelerator of a planner that does not choose one."""

FIXED_STRATEGIES = ("once", "once(greedy=False)", "stop_on_success(cap=64)")
"""Strategies of a planner that does not choose one, the first that reaches the target: one answer, else up to 64."""


@dataclass(frozen=True)
class Chosen:
    """share: (classes, options).  keep: what may be rented."""

    share: Floats
    keep: KeepChoice = keep_everything


Planner = Callable[[PlanSearch, Goal], Chosen]


def priced(search: PlanSearch, goal: Goal, chosen: Chosen) -> tuple[float, float]:
    """Dollars per hour and share solved of a choice, its fleets sized anew for the questions that count.

    Raises:
        InfeasibleError: nothing that may be rented carries it.
    """
    space, table, share = search.space, search.table, chosen.share
    markets, calls = dict[int, Market](), dict[int, Floats]()
    for model in space.offers:
        used = search.used(model)
        asked = np.einsum("co,cob->cb", share, table.calls[model][:, :, used])[:, None, :]
        if not asked.any():
            continue
        allowed = np.array([chosen.keep(axes) for axes in space.axes[model]], bool)
        market = space.market(model, goal, allowed, used)
        if market is None:
            raise InfeasibleError("nothing that may be rented meets the objectives")
        markets[model], calls[model] = market, asked
    score = (share * table.score).sum(axis=1, keepdims=True)
    usd = np.nan_to_num(share * table.usd).sum(axis=1, keepdims=True)
    demand = Demand(space.rate_per_s * goal.demand, space.plays.tasks, space.weight)
    alone = replace(goal, demand=1.0, quality=())
    best = optimum(ProgramCase(demand, OptionTable(score, usd, calls), markets, alone))
    if best is None:
        raise InfeasibleError("nothing that may be rented carries it")
    return best.objective, float(space.weight @ score[:, 0])


def jointly(search: PlanSearch, goal: Goal) -> Chosen:
    """Every lever at once."""
    return Chosen(search.solve(goal).share[0])


def one_answer(search: PlanSearch, goal: Goal) -> Chosen:
    """A fixed strategy by one model, the cheapest that reaches the target, on its best devices or its offer."""
    for strategy in FIXED_STRATEGIES:
        if found := reaching(search, goal, strategy):
            return cheapest(search, goal, [whole(search, number) for number in found])
    raise InfeasibleError("no model reaches the target alone with a fixed strategy")


def one_answer_each(search: PlanSearch, goal: Goal) -> Chosen:
    """The same, models and devices mixed as the joint planner does it: only the strategy stands still."""
    for strategy in FIXED_STRATEGIES:
        same = {id(option.axes) for option in search.space.options if option.play.strategy == strategy}
        try:
            return Chosen(search.solve(goal, partial(_among, same)).share[0])
        except InfeasibleError:
            continue
    raise InfeasibleError("no fixed strategy reaches the target")


def _among(options: set[int], axes: AxisValues) -> bool:
    """Whether a choice is one of the options, or hardware."""
    return "strategy" not in axes or id(axes) in options


def fewest_tokens(search: PlanSearch, goal: Goal) -> Chosen:
    """Of all strategies and models that reach the target alone the one of fewest tokens, on H100 where it fits."""
    found = some(reaching(search, goal))
    options = search.space.options
    play = options[min(found, key=lambda number: (tokens(search, number), number))].play
    same = [n for n, option in enumerate(options) if option.play is play]
    own = [n for n in same if "api" not in options[n].routes.values()]
    fixed = [whole(search, number, only("accelerator", FIXED)) for number in own]
    bought = [whole(search, number) for number in same if number not in own]
    try:
        return cheapest(search, goal, fixed)
    except InfeasibleError:
        return cheapest(search, goal, bought)


def cheapest_listed(search: PlanSearch, goal: Goal) -> Chosen:
    """What is cheapest by list among what reaches the target alone.

    Offers: one answer of the model of least dollars per token.  Without offers: the smallest model with the strategy
    of fewest tokens, on the accelerator whose replica is cheapest by the hour.
    """
    options = search.space.options
    offers = [n for n in reaching(search, goal, "once") if set(options[n].routes.values()) == {"api"}]
    if offers:
        return whole(search, min(offers, key=lambda number: (listed(search, number), number)))
    found = some(reaching(search, goal))
    best = min(found, key=lambda number: (size(search, number), tokens(search, number), number))
    for name in by_the_hour(search, options[best].play.models[0]):
        try:
            return cheapest(search, goal, [whole(search, best, only("accelerator", name))])
        except InfeasibleError:
            continue
    raise InfeasibleError("no accelerator carries it")


PLANNERS: Mapping[str, Planner] = {
    "joint": jointly,
    "fixed strategy, one model, best devices": one_answer,
    "fixed strategy, models and devices mixed": one_answer_each,
    "fewest tokens, H100": fewest_tokens,
    "cheapest by list": cheapest_listed,
}


def whole(search: PlanSearch, number: int, keep: KeepChoice = keep_everything) -> Chosen:
    """Everything by one option."""
    share = np.zeros(search.table.score.shape)
    share[:, number] = 1.0
    return Chosen(share, keep)


def cheapest(search: PlanSearch, goal: Goal, choices: list[Chosen]) -> Chosen:
    """The choice of least dollars.

    Raises:
        InfeasibleError: none can be had.
    """
    costs = []
    for choice in choices:
        try:
            costs.append(priced(search, goal, choice)[0])
        except InfeasibleError:
            costs.append(np.inf)
    if not costs or not np.isfinite(min(costs)):
        raise InfeasibleError("no single model reaches the target")
    return choices[int(np.argmin(costs))]


def reaching(search: PlanSearch, goal: Goal, strategy: str = "") -> list[int]:
    """Options that reach every target alone, of one strategy if one is named."""
    tasks, weight, score = search.space.plays.tasks, search.space.weight, search.table.score
    met = np.ones(score.shape[1], bool)
    for task, least in goal.quality:
        met &= (score[tasks.index(task)] if task else weight @ score) >= least - 1e-9
    return [int(n) for n in np.flatnonzero(met) if strategy in ("", search.space.options[n].play.strategy)]


def some(found: list[int]) -> list[int]:
    """What was found.

    Raises:
        InfeasibleError: nothing was.
    """
    if not found:
        raise InfeasibleError("no model reaches the target alone")
    return found


def only(axis: str, value: str) -> KeepChoice:
    """KeepChoice nothing but a value, on what has the axis."""

    def keep(axes: AxisValues) -> bool:
        return value in axes.get(axis, (value,))

    return keep


def tokens(search: PlanSearch, number: int) -> float:
    """Mean tokens of a question, prompts and replies, the questions as they count."""
    calls = search.space.options[number].play.calls
    each = np.bincount(calls.question, calls.input_tokens + calls.output_tokens, search.space.questions)
    return float(search.space.weight @ search.mean @ each)


def listed(search: PlanSearch, number: int) -> float:
    """List price of an option's dearest model: dollars of a token in and one out."""
    evidence = search.space.plays.evidence
    assert evidence is not None
    prices = [recorded_price(evidence, model) for model in search.space.options[number].play.models]
    return max(np.inf if price is None else price.input + price.output for price in prices)


def size(search: PlanSearch, number: int) -> float:
    """Weights of an option's largest model."""
    models, offers = search.space.options[number].play.models, search.space.offers
    return max(offers[model].deployments[0].replica.model.total_params for model in models)


def by_the_hour(search: PlanSearch, model: int) -> Iterator[str]:
    """Accelerators that a model may be served on, that of the cheapest replica by the hour first."""
    offers = search.space.offers[model]
    price: dict[str, float] = {}
    for row, deployment in enumerate(offers.deployments):
        name = deployment.replica.device.id
        price[name] = min(price.get(name, np.inf), float(offers.unit.usd_per_h[row]))
    yield from sorted(price, key=lambda name: (price[name], name))
