"""Planners that move one lever, on the ground that the joint planner stands on, and what their choices cost.

A planner chooses shares of the questions over ways to answer them, and the hardware that may be rented for it; what
a choice costs on any weighting of the questions (a half, a resample) is the same mixed-integer program for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
from comptroller.planning.offer.call_buckets import Kinds
from comptroller.planning.solve.fleet_search import Goal
from comptroller.planning.solve.joint_program import JointProgramData, RentableDeployments

from comptroller.errors import InfeasibleError
from comptroller.planning.solve.cheapest import optimum
from comptroller.planning.solve.search import JointSearch, Keep, keep_everything
from comptroller.strategies.replay import recorded_price

Floats = npt.NDArray[np.float64]

FIXED = "h100_sxm"
"""The accelerator of a planner that does not choose one."""

FIXED_STRATEGIES = ("once", "once(greedy=False)", "stop_on_success(cap=64)")
"""Strategies of a planner that does not choose one, the first that reaches the target: one answer, else up to 64."""


@dataclass(frozen=True)
class Chosen:
    """share: (classes, ways).  keep: what may be rented."""

    share: Floats
    keep: Keep = keep_everything


Planner = Callable[[JointSearch, Goal], Chosen]


def priced(joint: JointSearch, goal: Goal, chosen: Chosen) -> tuple[float, float]:
    """Dollars per hour and share solved of a choice, its fleets sized anew for the questions that count.

    Raises:
        InfeasibleError: nothing that may be rented carries it.
    """
    share, rents, calls = chosen.share, dict[int, RentableDeployments](), dict[int, Floats]()
    for arm in joint.ground.searches:
        asked = np.einsum("co,cob->cb", share, joint.calls[arm])[:, None, :]
        if not asked.any():
            continue
        rent = joint.rent(arm, goal, chosen.keep)
        if rent is None:
            raise InfeasibleError("nothing that may be rented meets the objectives")
        rents[arm], calls[arm] = rent, asked
    matter = JointProgramData(
        rate_per_s=joint.ground.rate_per_s,
        weight=joint.ground.weight,
        score=(share * joint.score).sum(axis=1, keepdims=True),
        usd=np.nan_to_num(share * joint.usd).sum(axis=1, keepdims=True),
        rents=rents,
        calls=calls,
        quality=(),
    )
    best = optimum(matter, replace(goal, quality=()))
    if best is None:
        raise InfeasibleError("nothing that may be rented carries it")
    return best.objective, float(joint.ground.weight @ matter.score[:, 0])


def jointly(joint: JointSearch, goal: Goal) -> Chosen:
    """Every lever at once."""
    return Chosen(joint.solve(goal).share)


def one_answer(joint: JointSearch, goal: Goal) -> Chosen:
    """A fixed strategy by one model, the cheapest that reaches the target, on its best devices or its offer."""
    for strategy in FIXED_STRATEGIES:
        if found := reaching(joint, goal, strategy):
            return cheapest(joint, goal, [whole(joint, number) for number in found])
    raise InfeasibleError("no model reaches the target alone with a fixed strategy")


def one_answer_each(joint: JointSearch, goal: Goal) -> Chosen:
    """The same, models and devices mixed as the joint planner does it: only the strategy stands still."""
    for strategy in FIXED_STRATEGIES:
        same = {id(way.kinds) for way in joint.ground.ways if way.option.strategy == strategy}
        try:
            return Chosen(joint.solve(goal, partial(_among, same)).share)
        except InfeasibleError:
            continue
    raise InfeasibleError("no fixed strategy reaches the target")


def _among(ways: set[int], kinds: Kinds) -> bool:
    """Whether a choice is one of the ways, or hardware."""
    return "strategy" not in kinds or id(kinds) in ways


def fewest_tokens(joint: JointSearch, goal: Goal) -> Chosen:
    """Of all strategies and models that reach the target alone the one of fewest tokens, on H100 where it fits."""
    found = some(reaching(joint, goal))
    option = joint.ground.ways[min(found, key=lambda number: (tokens(joint, number), number))].option
    same = [n for n, way in enumerate(joint.ground.ways) if way.option is option]
    own = [n for n in same if "api" not in joint.ground.ways[n].routes.values()]
    fixed = [whole(joint, number, only("accelerator", FIXED)) for number in own]
    bought = [whole(joint, number) for number in same if number not in own]
    try:
        return cheapest(joint, goal, fixed)
    except InfeasibleError:
        return cheapest(joint, goal, bought)


def cheapest_listed(joint: JointSearch, goal: Goal) -> Chosen:
    """What is cheapest by list among what reaches the target alone.

    Offers: one answer of the model of least dollars per token.  Without offers: the smallest model with the strategy
    of fewest tokens, on the accelerator whose replica is cheapest by the hour.
    """
    ways = joint.ground.ways
    offers = [n for n in reaching(joint, goal, "once") if set(ways[n].routes.values()) == {"api"}]
    if offers:
        return whole(joint, min(offers, key=lambda number: (listed(joint, number), number)))
    found = some(reaching(joint, goal))
    best = min(found, key=lambda number: (size(joint, number), tokens(joint, number), number))
    for name in by_the_hour(joint, ways[best].option.arms[0]):
        try:
            return cheapest(joint, goal, [whole(joint, best, only("accelerator", name))])
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


def whole(joint: JointSearch, number: int, keep: Keep = keep_everything) -> Chosen:
    """Everything by one way."""
    share = np.zeros(joint.score.shape)
    share[:, number] = 1.0
    return Chosen(share, keep)


def cheapest(joint: JointSearch, goal: Goal, choices: list[Chosen]) -> Chosen:
    """The choice of least dollars.

    Raises:
        InfeasibleError: none can be had.
    """
    costs = []
    for choice in choices:
        try:
            costs.append(priced(joint, goal, choice)[0])
        except InfeasibleError:
            costs.append(np.inf)
    if not costs or not np.isfinite(min(costs)):
        raise InfeasibleError("no single model reaches the target")
    return choices[int(np.argmin(costs))]


def reaching(joint: JointSearch, goal: Goal, strategy: str = "") -> list[int]:
    """Ways that reach every target alone, of one strategy if one is named."""
    tasks, weight = joint.ground.choices.tasks, joint.ground.weight
    met = np.ones(joint.score.shape[1], bool)
    for task, least in goal.quality:
        met &= (joint.score[tasks.index(task)] if task else weight @ joint.score) >= least - 1e-9
    return [int(n) for n in np.flatnonzero(met) if strategy in ("", joint.ground.ways[n].option.strategy)]


def some(found: list[int]) -> list[int]:
    """What was found.

    Raises:
        InfeasibleError: nothing was.
    """
    if not found:
        raise InfeasibleError("no model reaches the target alone")
    return found


def only(axis: str, value: str) -> Keep:
    """Keep nothing but a value, on what has the axis."""

    def keep(kinds: Kinds) -> bool:
        return value in kinds.get(axis, (value,))

    return keep


def tokens(joint: JointSearch, number: int) -> float:
    """Mean tokens of a question, prompts and replies, the questions as they count."""
    asked = joint.ground.ways[number].option.asked
    count = len(joint.ground.choices.task)
    each = np.bincount(asked.question, asked.input_tokens + asked.output_tokens, count)
    return float(joint.ground.weight @ joint.mean @ each)


def listed(joint: JointSearch, number: int) -> float:
    """List price of a way's dearest model: dollars of a token in and one out."""
    option = joint.ground.ways[number].option
    prices = [recorded_price(joint.ground.choices.evidence, arm) for arm in option.arms]
    return max(np.inf if price is None else price.input + price.output for price in prices)


def size(joint: JointSearch, number: int) -> float:
    """Weights of a way's largest model."""
    arms = joint.ground.ways[number].option.arms
    return max(joint.ground.searches[arm].table.candidates[0].replica.model.total_params for arm in arms)


def by_the_hour(joint: JointSearch, arm: int) -> Iterator[str]:
    """Accelerators that an arm may be served on, that of the cheapest replica by the hour first."""
    search = joint.ground.searches[arm]
    price: dict[str, float] = {}
    for row, candidate in enumerate(search.table.candidates):
        name = candidate.replica.device.id
        price[name] = min(price.get(name, np.inf), float(search.unit.usd_per_h[row]))
    yield from sorted(price, key=lambda name: (price[name], name))
