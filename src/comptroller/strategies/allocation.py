"""Optimal allocation of a budget over questions and strategies, by equal marginal value.

max sum_q value[q, k_q] with sum_q cost[q, k_q] <= budget. The Lagrangian gives each question argmax_k value -
lambda cost; lambda, the shadow price, is the value of one more unit of budget (arXiv 2604.14853 for the accuracy of
actions under a mean budget). Difficulty is an input: predicted by `success_prediction`, never recorded truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

from comptroller.errors import InfeasibleError, InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HALVINGS = 200
"""Most bisection steps for the shadow price. The loop ends earlier, once no double lies between the bounds.

It starts at the steepest slope, so it needs 53 steps plus log2(slope / price). Twice as many matter only for a price
below 2^-147 of that slope.
"""
ABOVE = 1e-9
"""Relative margin above the steepest slope, so that rounding cannot leave a dearer option tied at the upper bound."""
SMALLEST = 1e-300
"""Guards against a price or a cost step of zero; far below every real cost or price."""
COUNT_MARGIN = 1e-9
"""Subtracted before rounding up a count of questions, so that 2 / 3 of 3 questions is 2 and not 3.

It covers the rounding of accuracy x questions for up to about a million questions.
"""


@dataclass(frozen=True, slots=True)
class ComputeAllocation:
    """An option for each question.

    choice: index of the option per question.  value, cost: sums over questions.  shadow_price: value of the next unit
    of budget, 0 where the budget does not bind.  bound: upper bound on the value, that of the linear relaxation.
    """

    choice: Ints
    value: float
    cost: float
    shadow_price: float
    bound: float


def allocate(value: Floats, cost: Floats, budget: float) -> ComputeAllocation:
    """The options that maximise summed value under a budget on summed cost.

    value: questions x options, in any order.  cost: of the same shape, or one entry per option where it is the same for
    every question.  The value is within one step between neighbouring options of the bound.

    Raises:
        InputError: shapes differ, a value is not finite, or a cost is negative or not finite.
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
    free = _best_options(value, cost, 0.0)
    if _of_choice(cost, free).sum() <= budget:
        total = float(_of_choice(value, free).sum())
        return ComputeAllocation(free, total, float(_of_choice(cost, free).sum()), 0.0, total)
    low, high = 0.0, _price_for_cheapest(value, cost)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if _of_choice(cost, _best_options(value, cost, middle)).sum() > budget:
            low = middle
        else:
            high = middle
    choice = _best_options(value, cost, high)
    bound = float(_of_choice(value, choice).sum() + high * (budget - _of_choice(cost, choice).sum()))
    choice = _spend_remainder(choice, _best_options(value, cost, low), value, cost, budget)
    return ComputeAllocation(
        choice, float(_of_choice(value, choice).sum()), float(_of_choice(cost, choice).sum()), high, bound
    )


def _of_choice(table: Floats, choice: Ints) -> Floats:
    """The entry of each question's chosen option: questions."""
    return np.take_along_axis(table, choice[:, None], axis=1)[:, 0]


def _best_options(value: Floats, cost: Floats, price: float) -> Ints:
    """The option of greatest value - price x cost of each question; the cheapest in a tie."""
    worth = value - price * cost
    top = worth.max(axis=1, keepdims=True)
    options: Ints = np.where(worth >= top, cost, np.inf).argmin(axis=1)
    return options


def _price_for_cheapest(value: Floats, cost: Floats) -> float:
    """A price from which on every question takes its cheapest option."""
    extra = cost - cost.min(axis=1, keepdims=True)
    base = np.where(extra == 0, value, -np.inf).max(axis=1, keepdims=True)
    slope = np.where(extra > 0, (value - base) / np.where(extra > 0, extra, 1.0), 0.0)
    return float(slope.max()) * (1 + ABOVE) + SMALLEST


def _spend_remainder(choice: Ints, dearer: Ints, value: Floats, cost: Floats, budget: float) -> Ints:
    """Spends the rest of the budget: first on questions that switch at the shadow price, then by greatest slope."""
    choice = choice.copy()
    left = budget - _of_choice(cost, choice).sum()
    for question in np.flatnonzero(choice != dearer):
        step = cost[question, dearer[question]] - cost[question, choice[question]]
        if step <= left:
            choice[question] = dearer[question]
            left -= step
    gain = value - _of_choice(value, choice)[:, None]
    step = cost - _of_choice(cost, choice)[:, None]
    rows, options = np.nonzero((gain > 0) & (step <= left))
    slope = gain[rows, options] / np.maximum(step[rows, options], SMALLEST)
    raised: set[int] = set()
    for candidate in np.argsort(-slope, kind="stable"):
        row, option = int(rows[candidate]), int(options[candidate])
        if row not in raised and step[row, option] <= left:
            choice[row], left = option, left - step[row, option]
            raised.add(row)
    return choice


def coverage(alpha: npt.ArrayLike, beta: npt.ArrayLike, samples: npt.ArrayLike) -> Floats:
    """Probability that n samples contain a right one, with pass@1 distributed as Beta(alpha, beta).

    alpha, beta: of any shape; samples: n, one axis. Returns the shape of alpha with n as last axis.

    1 - E[(1 - p)^n] = 1 - B(alpha, beta + n) / B(alpha, beta)

    >>> coverage(1.0, 1.0, [1, 3]).tolist()
    [0.5, 0.75]
    """
    a, b = (np.asarray(item, float)[..., None] for item in (alpha, beta))
    return np.asarray(-np.expm1(betaln(a, b + np.asarray(samples, float)) - betaln(a, b)) + 0.0)


def separating_tokens(tokens: Floats, correct: npt.NDArray[np.bool_]) -> Floats:
    """Token complexity of each question (arXiv 2503.01141): the length that best separates right from wrong answers.

    tokens, correct: questions x attempts of different lengths. A question that is always right needs its shortest
    attempt, one that is never right infinitely many tokens.

    >>> separating_tokens(np.array([[10.0, 20.0, 30.0]]), np.array([[False, True, True]])).tolist()
    [20.0]
    """
    order = np.argsort(tokens, axis=1, kind="stable")
    tokens, correct = np.take_along_axis(tokens, order, 1), np.take_along_axis(correct, order, 1)
    wrong_below: Ints = np.cumsum(~correct, axis=1) - ~correct
    right_from = np.cumsum(correct[:, ::-1], axis=1)[:, ::-1]
    split = (wrong_below + right_from).argmax(axis=1)
    needed = np.take_along_axis(tokens, split[:, None], 1)[:, 0]
    return np.where(correct.any(axis=1), needed, np.inf)


def token_ceiling(needed_tokens: Floats, mean_tokens: npt.ArrayLike) -> Floats:
    """Upper bound on accuracy at a mean number of tokens per question: the cheapest questions first, none for others.

    needed_tokens: per question, infinite where it cannot be solved. A fractional knapsack over the tokens each question
    needs (arXiv 2503.01141).

    >>> token_ceiling(np.array([10.0, 30.0, np.inf]), [0.0, 5.0, 100.0]).round(3).tolist()
    [0.0, 0.389, 0.667]
    """
    needed = np.sort(needed_tokens[np.isfinite(needed_tokens)])
    spent = np.concatenate([[0.0], np.cumsum(needed)])
    available = np.asarray(mean_tokens, float) * len(needed_tokens)
    return np.asarray(np.interp(available, spent, np.arange(len(spent))) / len(needed_tokens))


def token_floor(needed_tokens: Floats, accuracy: float) -> float:
    """Lower bound on mean tokens per question at an accuracy: the sum of the smallest needs over all questions.

    Infinite where too few questions can be solved at all.

    >>> token_floor(np.array([10.0, 30.0, np.inf]), 2 / 3)
    13.333333333333334
    """
    needed = np.sort(needed_tokens)
    count = int(np.ceil(accuracy * len(needed) - COUNT_MARGIN))
    return float(needed[:count].sum() / len(needed))
