"""Work that may wait, moved to hours at which a signal is low: grams or dollars a kilowatt-hour, on a recorded grid.

Every hour it is decided anew what to do now, by what the hours to come are forecast to cost; what may wait is known by
its deadline. The windows of outstanding work are nested (all of it may be done now), so that filling the cheapest hours
for one deadline after the other is the optimum of the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.errors import InputError
from comptroller.work.forecast_scores import HELD_OUT
from comptroller.work.forecasts import fit_forecast
from comptroller.work.load_frame import Floats, ForecastFrame
from comptroller.work.load_series import LoadSeries

KNOWN, AT_RELEASE = "known", "at release"
"""Names of the outlook that knows the hours up to the deadline, and of work that does not wait."""

LEVEL, DRAWS = 0.9, 2000
"""Of intervals, and how often the weeks are drawn anew."""

WEEK_H, DAY_H = 168, 24
FEWEST_WEEKS = 4
"""Weeks that say how weeks differ; with fewer, days are drawn anew."""


@dataclass(frozen=True, slots=True)
class ShiftableWork:
    """Work that may wait. deadline_h: hours to finish in, that of the release included.  capacity: most that is done in
    an hour, over what is released in a mean hour.  released: relative amounts by hour of the day, empty for even ones.
    """

    deadline_h: int = 24
    capacity: float = 3.0
    released: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        faults = [] if self.deadline_h >= 1 else [f"a deadline of {self.deadline_h} h; from 1"]
        if len(self.released) not in {0, 24} or (self.released and min(self.released) < 0):
            faults.append(f"{len(self.released)} amounts by hour; 24, from 0")
        elif not self.capacity >= float(self.by_hour.max()):
            faults.append(
                f"a capacity of {self.capacity:g}; at least the most that is released, {self.by_hour.max():g}"
            )
        if faults:
            raise InputError(f"work that may wait: {'; '.join(faults)}")

    @property
    def by_hour(self) -> Floats:
        """What is released in each hour of the day, 1 in the mean."""
        shape = np.array(self.released or (1.0,) * 24)
        return np.asarray(shape / shape.mean()) if shape.any() else np.zeros(24)


@dataclass(frozen=True, eq=False)
class ShiftedWork:
    """What work came to under an outlook. mean: of the signal, by work.  saved: over work that does not wait, with low
    and high of the interval of weeks drawn anew.  wait_h: mean wait."""

    series: str
    outlook: str
    mean: float
    saved: tuple[float, float, float]
    wait_h: float


def cheapest_hours(due: Floats, cost: Floats, room: float) -> Floats:
    """How much of work to do in each of the next hours, at least cost: `due[k]` has to be done by hour k, all of it may
    be done at once, and an hour takes so much. Of hours alike the earliest.

    Raises:
        InputError: it cannot be done in time.

    >>> cheapest_hours(np.array([0.0, 1.0, 2.0]), np.array([3.0, 2.0, 1.0]), 2.0).tolist()
    [0.0, 1.0, 2.0]
    """
    done = np.zeros(due.size)
    for last in np.flatnonzero(due > 0):
        left = float(due[last])
        for hour in np.argsort(cost[: last + 1], kind="stable"):
            take = min(left, room - done[hour])
            done[hour] += take
            left -= take
        if left > 1e-9:
            raise InputError(f"{left:g} of the work due within {last + 1} h does not fit, at most {room:g} in an hour")
    return done


def shifted_hours(
    signal: Floats, first: int, work: ShiftableWork, outlook: Callable[[int], Floats]
) -> tuple[Floats, Floats, float]:
    """Work released and done in each hour from `first` on, and the mean wait in hours.

    outlook: what the signal will be in the `deadline_h - 1` hours after one. The last deadline's hours release nothing.
    """
    hours = signal.size - first
    released, done = np.zeros(hours), np.zeros(hours)
    released[: hours - work.deadline_h + 1] = work.by_hour[(first + np.arange(hours - work.deadline_h + 1)) % 24]
    due, waited = np.zeros(work.deadline_h), 0.0
    for now in range(hours):
        due[-1] += released[now]
        cost = np.concatenate([[signal[first + now]], outlook(first + now)])[: work.deadline_h]
        left = done[now] = min(float(cheapest_hours(due, cost, work.capacity)[0]), float(due.sum()))
        for place in range(due.size):
            taken = min(left, float(due[place]))
            due[place] -= taken
            left -= taken
        waited += float(due.sum())
        due = np.append(due[1:], 0.0)
    return released, done, waited / max(float(released.sum()), 1e-300)


def shifted_work(
    series: LoadSeries, work: ShiftableWork, names: Sequence[str], season_h: int = 24
) -> list[ShiftedWork]:
    """Work on the held-out part of an hourly signal under forecasts that learnt from what was before, and under what
    knows the hours up to the deadline.

    Raises:
        InputError: the signal is not hourly, below 0, or too short for the deadline.
        UnknownIdError: there is no such forecast.
    """
    values = series.values
    if abs(series.step_s - 3600.0) > 1.0:
        raise InputError(f"{series.name}: steps of {series.step_s:g} s; work is moved by the hour")
    first = int(values.size * (1 - HELD_OUT))
    if values.size - first < 2 * work.deadline_h or values.min() < 0:
        raise InputError(
            f"{series.name}: {values.size - first} held-out hours from {values.min():g}; needed: {2 * work.deadline_h} "
            "from 0"
        )
    frame = ForecastFrame(max(work.deadline_h - 1, 1), season_h, (0.5,))
    found = []
    for name in (*names, KNOWN):
        released, done, wait_h = shifted_hours(values, first, work, _outlook(name, values, first, frame))
        spent, whole = done * values[first:], released * values[first:]
        found.append(ShiftedWork(series.name, name, float(spent.sum() / done.sum()), _saving(spent, whole), wait_h))
    at_release = float(whole.sum() / released.sum())
    return [ShiftedWork(series.name, AT_RELEASE, at_release, (0.0, 0.0, 0.0), 0.0), *found]


def _outlook(name: str, values: Floats, first: int, frame: ForecastFrame) -> Callable[[int], Floats]:
    """What the hours after one are taken to be; beyond the record nothing is known, and nothing is done."""
    if name == KNOWN:
        padded = np.append(values, np.full(frame.horizon, np.inf))
        return lambda now: padded[now + 1 : now + 1 + frame.horizon]
    forecast = fit_forecast(name, values[:first], frame)
    return lambda now: np.asarray(forecast(values[: now + 1])[:, 0])


def _saving(spent: Floats, whole: Floats) -> tuple[float, float, float]:
    """Share saved, with the interval of weeks, or days, drawn anew; the last, shorter one counts as one."""
    edges = np.arange(0, spent.size, WEEK_H if spent.size >= FEWEST_WEEKS * WEEK_H else DAY_H)
    mine, theirs = np.add.reduceat(spent, edges), np.add.reduceat(whole, edges)
    rows = np.random.default_rng(0).integers(0, edges.size, (DRAWS, edges.size))
    drawn = 1 - mine[rows].sum(axis=1) / np.maximum(theirs[rows].sum(axis=1), 1e-300)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(1 - mine.sum() / theirs.sum()), float(low), float(high)
