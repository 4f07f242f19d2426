"""Small markets of three hours, and the programs of days of requests on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from comptroller.planning.ground.nouns import DeferrableLoad, Demand, Fleet, Floats, Goal, Market
from comptroller.planning.solve.case import OptionTable, ProgramCase
from comptroller.planning.solve.cheapest import cheapest_day

H = 3

USD = Goal("usd")


def market(
    load: Any = (1.0, 1.0),
    price: Any = (10.0, 10.0),
    all_day: Any = (False, False),
    works: Any = (),
    takes: dict[str, Any] | None = None,
) -> Market:
    """Two columns, one kind of load; energy of 1 J a unit and hour, and 2 J for each unit's worth of load.

    works: the loads of `batch`, `batch 1`, and so on.  takes: of limits, by name.
    """
    rows = np.vstack([[load], *([work] for work in works)]).astype(float)
    columns = rows.shape[1]
    return Market(
        rows=np.arange(columns),
        load=rows[None],
        usd=np.tile(np.array(price, float), (H, 1)),
        grid=np.tile(np.array([[1.0], [2.0], [4.0]]), (1, columns)),
        idle_j=np.ones(columns),
        added_j=2 * rows,
        added_usd=np.zeros(rows.shape),
        takes={name: np.array(weights, float) for name, weights in (takes or {}).items()},
        all_day=np.array(all_day, bool),
        standing=np.ones(columns),
        lost=np.zeros(columns),
        works=tuple(f"batch {n}" if n else "batch" for n in range(len(works))),
    )


def day_of(load: Any, works: Sequence[DeferrableLoad] = (), factor: Floats | None = None) -> Demand:
    """A demand of requests: one per second where the load is 1."""
    return Demand(1.0, load=np.array(load, float), works=tuple(works), factor=factor)


def case_of(of: Market, demand: Demand, goal: Goal = USD) -> ProgramCase:
    """The program of plain requests on a market: one class, one option, one call of each size a request."""
    once = OptionTable(np.ones((1, 1)), np.zeros((1, 1)), {0: np.ones((1, 1, of.buckets))})
    return ProgramCase(demand, once, {0: of}, goal)


def cheapest(of: Market, demand: Demand, goal: Goal = USD, known: Fleet | None = None) -> Fleet:
    """The cheapest day of plain requests on a market."""
    return cheapest_day(case_of(of, demand, goal), known)


def shares(day: Fleet) -> Floats:
    """(h, j): what each column carries of the load that stands, at the rate of 1 a second that days are sized for.

    Of a day whose hours are sized with factors, the calls it is sized for.
    """
    return np.asarray(day.calls_per_s[0][:, 0])


def hour_market(
    load: Any, price: Any, also: Sequence[Any] = (), energy: Any = None, takes: dict[str, Any] | None = None
) -> Market:
    """One hour of columns j at a price; load: (sizes, j), units that a request per second of each size occupies.

    also: further matrices of loads.  energy: (sizes, j), dollars that a request per second of a size adds.
    """
    first = np.array(load, float)
    added = np.zeros(first.shape) if energy is None else np.array(energy, float)
    columns = first.shape[1]
    return Market(
        rows=np.arange(columns),
        load=np.stack([first, *(np.array(other, float) for other in also)]),
        usd=np.array([price], float),
        grid=np.ones((1, columns)),
        idle_j=np.zeros(columns),
        added_j=np.zeros(first.shape),
        added_usd=added,
        takes={name: np.array(weights, float) for name, weights in (takes or {}).items()},
        all_day=np.zeros(columns, bool),
        standing=np.ones(columns),
        lost=np.zeros(columns),
    )


def hour_of(of: Market, rates: Any, goal: Goal = USD) -> ProgramCase:
    """The program of an hour of plain requests of several sizes, at so many a second of each."""
    rate = np.array(rates, float)
    once = OptionTable(np.ones((1, 1)), np.zeros((1, 1)), {0: (rate / rate.sum())[None, None]})
    return ProgramCase(Demand(float(rate.sum())), once, {0: of}, goal)
