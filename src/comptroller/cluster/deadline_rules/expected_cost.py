"""Least expected cost: spot that comes and goes at the rates seen so far, what is left of the slack as the state.

Spot stands for a mean of U and is away for a mean of D, both exponential: of what was seen, and of one spell of
`PRIOR_S` each. Backwards from the deadline, in equal steps, the cost to come is least over staying idle, spot and on
demand; a start costs its changeover of slack. The slack is the time to the deadline less the work left: work on
anything leaves it as it is, standing idle uses it up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.cluster.deadline_view import DeadlineView, JobRental

Floats = npt.NDArray[np.float64]

EVERY_S = 600.0
PRIOR_S = 4 * 3600.0
"""A spell of spot, and one without, that count as seen before anything is: of the order of what clouds' zones have. At
half and at twice of it costs on three recorded zones differ by 2 points at most."""
STEPS = 280
"""Of time until the deadline: a quarter of an hour of the longest deadlines that were published."""
SLACKS = 49
"""Slacks for which costs are known, evenly from none to the greatest; between them on a line."""
GRID = 1.25
"""Rates are rounded to powers of this, so that tables are made a few times and not at every decision."""
LATE = 20.0
"""Cost of an hour after the deadline, over one on demand: more than what any rule could save by one."""


class SpotRates(NamedTuple):
    """What a table of costs is for. stands_s, away_s: means of spells.  price: of spot over on demand."""

    stands_s: float
    away_s: float
    changeover_s: float
    price: float
    most_slack_s: float
    step_s: float

    @property
    def slacks(self) -> Floats:
        """Slacks for which costs are known, in steps."""
        return np.linspace(0.0, max(self.most_slack_s / self.step_s, 1.0), SLACKS)


def rental(view: DeadlineView) -> JobRental:
    """Spot until it is taken back; the safety net; else what is expected to cost least."""
    if view.held == JobRental.SPOT:
        return JobRental.SPOT
    if view.must_hurry:
        return JobRental.ON_DEMAND
    rates = _rates(view)
    costs = _costs_to_come(rates)
    left = min(max(int((view.deadline_s - view.now_s) / rates.step_s) - 1, 0), STEPS)
    slacks = rates.slacks

    def later(less: float) -> Floats:
        at = view.slack_s / rates.step_s - less
        return np.array([np.interp(at, slacks, row) for row in costs[left]]) - LATE * min(at, 0.0)

    tried = _costs(later, rates, view.held, view.spot)
    return min(tried, key=lambda wish: (float(tried[wish]), wish != view.held))


def _rates(view: DeadlineView) -> SpotRates:
    def rounded(seconds: float) -> float:
        return float(GRID ** round(math.log(max(seconds, 1.0), GRID)))

    seen = view.seen
    stands_s = (seen.stood_s + PRIOR_S) / (seen.losses + 1)
    away_s = (seen.away_s + PRIOR_S) / (seen.returns + 1)
    slack_s = view.deadline_s - view.work_s
    return SpotRates(
        rounded(stands_s), rounded(away_s), view.changeover_s, view.price_ratio, slack_s, view.deadline_s / STEPS
    )  # fmt: skip


IDLE, ON_DEMAND, SPOT = (0, 1), (2, 3), 4
"""Rows of costs to come: idle without and with spot, on demand likewise, on spot."""


@lru_cache(maxsize=512)
def _costs_to_come(rates: SpotRates) -> Floats:
    """By steps of time left, row and slack, in the price of a step on demand; shape (STEPS + 1, 5, SLACKS)."""
    slacks = rates.slacks
    moves = {less: _shift_weights(slacks, less) for less in _slack_used(rates)}
    found = np.zeros((STEPS + 1, 5, SLACKS))
    for left in range(1, STEPS + 1):

        def later(less: float, after: Floats = found[left - 1]) -> Floats:
            weights, late = moves[less]
            return np.asarray(after @ weights + late)

        for row, held, spot in (
            (0, JobRental.IDLE, False), (1, JobRental.IDLE, True), (2, JobRental.ON_DEMAND, False),
            (3, JobRental.ON_DEMAND, True), (4, JobRental.SPOT, True),
        ):  # fmt: skip
            tried = _costs(later, rates, held, spot)
            found[left, row] = tried[held] if held == JobRental.SPOT else np.minimum.reduce(list(tried.values()))
        found[left][:, slacks >= left] = 0.0  # all work is done
    return found


def _slack_used(rates: SpotRates) -> tuple[float, ...]:
    """What a step may use of the slack, in steps: nothing, a start, half of a step, both, a whole one."""
    start = rates.changeover_s / rates.step_s
    return 0.0, start, 0.5, start + 0.5, 1.0


def _shift_weights(slacks: Floats, less: float) -> tuple[Floats, Floats]:
    """Weights that read costs at so much less slack, between the known ones on a line, and what coming late adds."""
    at = slacks - less
    place = np.clip(at / (slacks[1] - slacks[0]), 0.0, slacks.size - 1.0)
    low = np.minimum(place.astype(np.int64), slacks.size - 2)
    weights, columns = np.zeros((slacks.size, slacks.size)), np.arange(slacks.size)
    weights[low, columns], weights[low + 1, columns] = 1 - (place - low), place - low
    return weights, -LATE * np.minimum(at, 0.0)


def _costs(later: Callable[[float], Floats], rates: SpotRates, held: JobRental, spot: bool) -> dict[JobRental, Floats]:
    """Expected costs of each rental for a step and of what comes after it. later: costs to come by row, at so much less
    slack."""
    nothing, start, half, both, whole = _slack_used(rates)
    lost, back = (1 - math.exp(-rates.step_s / mean_s) for mean_s in (rates.stands_s, rates.away_s))
    there = 1 - lost if spot else back

    def mixed(rows: tuple[int, int], less: float) -> Floats:
        costs = later(less)
        return np.asarray((1 - there) * costs[rows[0]] + there * costs[rows[1]])

    paid = nothing if held == JobRental.ON_DEMAND else start
    tried = {JobRental.IDLE: mixed(IDLE, whole), JobRental.ON_DEMAND: 1 + mixed(ON_DEMAND, paid)}
    if spot:
        kept, gone = (nothing, half) if held == JobRental.SPOT else (start, both)
        # taken back in the middle of the step, in the mean
        ended = 0.5 * rates.price + later(gone)[IDLE[0]]
        tried[JobRental.SPOT] = (1 - lost) * (rates.price + later(kept)[SPOT]) + lost * ended
    return tried
