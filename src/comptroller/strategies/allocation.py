"""The best split of a budget over questions and strategies: every unit where it buys most.

max sum_q value[q, k_q] with sum_q cost[q, k_q] <= budget. The Lagrangian gives each question argmax_k value -
lambda cost; lambda, the shadow price, is what one more unit of budget buys (arXiv 2604.14853 for the accuracy of
actions under a mean budget). What a question's difficulty is must be predicted (`learned`), never known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

from comptroller.errors import InfeasibleError, InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ComputeAllocation:
    """Which option each question gets.

    value, cost: the sums.  shadow_price: value that the next unit of budget buys; 0 where money is left over.
    bound: value that no split can exceed, fractions of options allowed.
    """

    choice: Ints
    value: float
    cost: float
    shadow_price: float
    bound: float


def allocate(value: Floats, cost: Floats, budget: float) -> ComputeAllocation:
    """The options of questions under a budget on their summed cost: questions x options, in any order.

    cost: likewise, or of the options alone where it is the same for every question.

    The value is within one step between neighbouring options of the bound.

    Raises:
        InputError: shapes differ, or something is negative or not a number.
        InfeasibleError: even the cheapest options exceed the budget.

    >>> allocate(np.array([[0.0, 0.5, 0.6], [0.0, 0.3, 0.5]]), np.array([[0.0, 1.0, 2.0]] * 2), 2.0).choice.tolist()
    [1, 1]
    """
    value, cost = np.asarray(value, float), np.asarray(cost, float)
    fitting = value.ndim == 2 and cost.shape in (value.shape, value.shape[1:])
    if not fitting or not np.isfinite(value).all() or not (np.isfinite(cost) & (cost >= 0)).all():
        raise InputError("allocation: value and cost are questions x options, finite, costs not negative")
    cost = np.broadcast_to(cost, value.shape)
    least = cost.min(axis=1).sum()
    if least > budget:
        raise InfeasibleError(f"allocation: the cheapest options cost {least:g} together; the budget is {budget:g}")
    free = _best(value, cost, 0.0)
    if _at(cost, free).sum() <= budget:
        total = float(_at(value, free).sum())
        return ComputeAllocation(free, total, float(_at(cost, free).sum()), 0.0, total)
    low, high = 0.0, _dearest(value, cost)
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if _at(cost, _best(value, cost, middle)).sum() > budget:
            low = middle
        else:
            high = middle
    choice = _best(value, cost, high)
    bound = float(_at(value, choice).sum() + high * (budget - _at(cost, choice).sum()))
    choice = _fill(choice, _best(value, cost, low), value, cost, budget)
    return ComputeAllocation(choice, float(_at(value, choice).sum()), float(_at(cost, choice).sum()), high, bound)


def _at(table: Floats, choice: Ints) -> Floats:
    return np.take_along_axis(table, choice[:, None], axis=1)[:, 0]


def _best(value: Floats, cost: Floats, price: float) -> Ints:
    """The best option of each question at a price; the cheapest of those that tie."""
    worth = value - price * cost
    top = worth.max(axis=1, keepdims=True)
    found: Ints = np.where(worth >= top, cost, np.inf).argmin(axis=1)
    return found


def _dearest(value: Floats, cost: Floats) -> float:
    """A price at which every question takes a cheapest option."""
    extra = cost - cost.min(axis=1, keepdims=True)
    base = np.where(extra == 0, value, -np.inf).max(axis=1, keepdims=True)
    slope = np.where(extra > 0, (value - base) / np.where(extra > 0, extra, 1.0), 0.0)
    return float(slope.max()) * (1 + 1e-9) + 1e-300


def _fill(choice: Ints, dearer: Ints, value: Floats, cost: Floats, budget: float) -> Ints:
    """Gives what is left to questions that would take a dearer option at almost the same price, then to any."""
    choice = choice.copy()
    left = budget - _at(cost, choice).sum()
    for question in np.flatnonzero(choice != dearer):
        step = cost[question, dearer[question]] - cost[question, choice[question]]
        if step <= left:
            choice[question] = dearer[question]
            left -= step
    gain = value - _at(value, choice)[:, None]
    step = cost - _at(cost, choice)[:, None]
    rows, options = np.nonzero((gain > 0) & (step <= left))
    slope = gain[rows, options] / np.maximum(step[rows, options], 1e-300)
    raised: set[int] = set()
    for at in np.argsort(-slope, kind="stable"):
        row, option = int(rows[at]), int(options[at])
        if row not in raised and step[row, option] <= left:
            choice[row], left = option, left - step[row, option]
            raised.add(row)
    return choice


def coverage(alpha: npt.ArrayLike, beta: npt.ArrayLike, samples: npt.ArrayLike) -> Floats:
    """Probability that n samples hold a right one, where pass@1 is believed to be Beta(alpha, beta): ... x n.

    1 - E[(1 - p)^n] = 1 - B(alpha, beta + n) / B(alpha, beta)

    >>> coverage(1.0, 1.0, [1, 3]).tolist()
    [0.5, 0.75]
    """
    a, b = (np.asarray(item, float)[..., None] for item in (alpha, beta))
    return np.asarray(-np.expm1(betaln(a, b + np.asarray(samples, float)) - betaln(a, b)) + 0.0)


def separating_tokens(tokens: Floats, correct: npt.NDArray[np.bool_]) -> Floats:
    """Tokens each question needs: the threshold that best separates its right from its wrong answers.

    tokens, correct: questions x attempts of different lengths. All right: the shortest; all wrong: infinite
    (token complexity, arXiv 2503.01141).

    >>> separating_tokens(np.array([[10.0, 20.0, 30.0]]), np.array([[False, True, True]])).tolist()
    [20.0]
    """
    order = np.argsort(tokens, axis=1, kind="stable")
    tokens, correct = np.take_along_axis(tokens, order, 1), np.take_along_axis(correct, order, 1)
    wrong_below: Ints = np.cumsum(~correct, axis=1) - ~correct
    right_from = np.cumsum(correct[:, ::-1], axis=1)[:, ::-1]
    at = (wrong_below + right_from).argmax(axis=1)
    found = np.take_along_axis(tokens, at[:, None], 1)[:, 0]
    return np.where(correct.any(axis=1), found, np.inf)


def token_ceiling(needed_tokens: Floats, mean_tokens: npt.ArrayLike) -> Floats:
    """Accuracy that no allocation of a mean of tokens can exceed: the cheapest questions first, the rest none.

    A fractional knapsack over the tokens each question needs (arXiv 2503.01141).

    >>> token_ceiling(np.array([10.0, 30.0, np.inf]), [0.0, 5.0, 100.0]).round(3).tolist()
    [0.0, 0.389, 0.667]
    """
    needed = np.sort(needed_tokens[np.isfinite(needed_tokens)])
    spent = np.concatenate([[0.0], np.cumsum(needed)])
    have = np.asarray(mean_tokens, float) * len(needed_tokens)
    return np.asarray(np.interp(have, spent, np.arange(len(spent))) / len(needed_tokens))


def token_floor(needed_tokens: Floats, accuracy: float) -> float:
    """Mean tokens below which an accuracy is out of reach: the sum of the smallest needs over all questions.

    Infinite where too few questions can be solved at all.

    >>> token_floor(np.array([10.0, 30.0, np.inf]), 2 / 3)
    13.333333333333334
    """
    needed = np.sort(needed_tokens)
    count = int(np.ceil(accuracy * len(needed) - 1e-9))
    return float(needed[:count].sum() / len(needed))
