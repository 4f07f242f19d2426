"""Drift of a service by the books: whether cost, length, times and quality moved between two periods.

Calls of one day are alike in much that nobody chose (what was asked, how full the service was), so that whole days are
permuted between the periods, never calls: p is the share of all ways to deal the days at which the means lie at
least as far apart as they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.books.ledger import CallLedger
from comptroller.books.query import LedgerScope, rows
from comptroller.books.traffic import GENERATES, request_scores
from comptroller.errors import InputError

Floats = npt.NDArray[np.float64]

FEWEST_DAYS = 4
"""Days of either period: of fewer, no way to deal them is rarer than 5 % (C(8, 4) = 70, two-sided 2.9 %; C(6, 3) = 20,
10 %)."""

MOST_DEALS = 20_000
"""Ways to deal the days that are all looked at; 8 and 8 days have 12,870. Where there are more, so many random ones."""

MEASURES = ("usd", "output_tokens", "ttft_s", "e2e_s", "cut", "score")
"""What is compared, of a call: dollars, tokens, seconds to the first token and in all, whether its length was cut, and
the score of its request."""


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """A measure of a service in two periods: means over days, how many, and the chance of as much by days alone."""

    service: str
    measure: str
    before: float
    after: float
    days: tuple[int, int]
    p_value: float
    moved: bool


def drift(ledger: CallLedger, before: LedgerScope, after: LedgerScope, false_alarm: float = 0.05) -> list[DriftFinding]:
    """Every measure of every service that has days enough in both periods; false alarms are shared among all (Holm).

    Raises:
        InputError: no service has `FEWEST_DAYS` days in both periods.
    """
    scores = request_scores(ledger)
    periods = [_daily_means(rows(ledger, scope), scores) for scope in (before, after)]
    found: list[DriftFinding] = []
    for service in sorted(set(periods[0]) & set(periods[1])):
        for measure in MEASURES:
            one, other = (_values_of(period[service], measure) for period in periods)
            if min(len(one), len(other)) >= FEWEST_DAYS:
                p_value = days_p_value(one, other)
                days = (len(one), len(other))
                found.append(
                    DriftFinding(service, measure, float(one.mean()), float(other.mean()), days, p_value, False)
                )
    if not found:
        most = max((len(each) for period in periods for each in period.values()), default=0)
        raise InputError(
            f"drift: no service has {FEWEST_DAYS} days with calls in both periods (most in one: {most}); with fewer, "
            "no difference is rarer than chance"
        )
    return _with_verdicts(found, false_alarm)


def _with_verdicts(found: Sequence[DriftFinding], false_alarm: float) -> list[DriftFinding]:
    """The findings, those that moved marked: Holm's step-down over all of them."""
    order = sorted(range(len(found)), key=lambda place: found[place].p_value)
    moved = set[int]()
    for rank, place in enumerate(order):
        if found[place].p_value > false_alarm / (len(found) - rank):
            break
        moved.add(place)
    return [
        DriftFinding(one.service, one.measure, one.before, one.after, one.days, one.p_value, place in moved)
        for place, one in enumerate(found)
    ]


def days_p_value(one: Floats, other: Floats) -> float:
    """Two-sided p-value of the difference of means under all ways to deal the days to two periods.

    >>> days_p_value(np.array([1.0, 2.0, 3.0, 4.0]), np.array([5.0, 6.0, 7.0, 8.0]))
    0.02857142857142857
    """
    days, count = np.concatenate([one, other]), len(one)
    seen = abs(one.mean() - other.mean())
    whole = comb(len(days), count)
    if whole <= MOST_DEALS:
        deals = np.array(list(combinations(range(len(days)), count)))
    else:
        rng = np.random.default_rng(0)
        deals = np.array([np.sort(rng.permutation(len(days))[:count]) for _ in range(MOST_DEALS)])
    first = days[deals].sum(axis=1)
    gaps = np.abs(first / count - (days.sum() - first) / len(other))
    return float((gaps >= seen - 1e-12 * max(seen, 1.0)).mean())


def _daily_means(found: Any, scores: Mapping[int, float]) -> dict[str, dict[int, dict[str, float]]]:
    """Means of the measures of each service and day, of calls that a service answered."""
    values: dict[str, dict[int, dict[str, list[float]]]] = {}
    for row in found:
        if row["kind"] in GENERATES and row["output_tokens"]:
            day = values.setdefault(row["service"], {}).setdefault(row["day"], {name: [] for name in MEASURES})
            for name, value in _measures(row, scores).items():
                if value is not None and np.isfinite(value):
                    day[name].append(float(value))
    return {
        service: {
            day: {name: float(np.mean(kept)) for name, kept in each.items() if kept} for day, each in days.items()
        }
        for service, days in values.items()
    }


def _measures(row: Mapping[str, Any], scores: Mapping[int, float]) -> dict[str, float | None]:
    def since_start(name: str) -> float | None:
        moments = row[name], row["started_s"]
        return None if None in moments else moments[0] - moments[1]

    return {
        "usd": None if row["pusd"] is None else row["pusd"] / 1e12,
        "output_tokens": row["output_tokens"],
        "ttft_s": since_start("first_s"),
        "e2e_s": since_start("last_s"),
        "cut": float(row["finish"] == "length"),
        "score": scores.get(row["request"]),
    }


def _values_of(days: Mapping[int, Mapping[str, float]], measure: str) -> Floats:
    return np.array([means[measure] for _, means in sorted(days.items()) if measure in means])
