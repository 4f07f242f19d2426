"""Kinds of deployments that carry all sizes alone: what each costs and needs, and the mixes of two that may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from comptroller.planning.ground.nouns import Bools, Floats, Goal, Ints, Market

EQUAL = 1e-9
"""Relative difference in cost that counts as none: the gap of the optimum."""

LEAST_NEED = 0.95
"""Of the units that throughput alone needs in the steady state: fewer hold in no simulation. The steady state and the
simulator differ by a few per cent; at half of it twice as many kinds would be simulated to no end."""

BEYOND = 0.25
"""Units beyond the largest count of a kind that failed, which carry the demand at the least: what it takes lies
anywhere between that count and the next. With nothing beyond, three times as many mixes are simulated that fail by far;
at twice this, mixes that might hold are left out."""

PAIRED = 12
"""Kinds that are paired, of each device and layout the one whose units cost least for what they may carry: 66 pairs.
Twice as many pair kinds that are dearer than the best alone."""


@dataclass(frozen=True)
class KindTable:
    """Kinds of deployments of one model that carry all sizes alone. rows: their places.

    price: of a unit.  beside: what the fleet costs without its units.  load: units that the steady state needs.  least:
    fewer than throughput alone needs, which hold in no simulation.  kept: those that no other replaces.  most: units
    that the limits leave room for, inf for any number.
    """

    model: int
    rows: Ints
    price: Floats
    beside: Floats
    load: Floats
    least: Floats
    kept: Bools
    most: Floats

    def steady_count(self, row: int) -> int:
        """Whole units that the steady state needs."""
        return max(int(np.ceil(self.load[row] - EQUAL)), 1)

    def least_count(self, row: int) -> int:
        """Whole units that throughput alone needs."""
        return max(int(np.ceil(self.least[row] - EQUAL)), 1)

    def most_carried(self, failed: Mapping[int, int]) -> dict[int, float]:
        """By row the largest share of the demand that a unit may carry, of kinds that no other replaces.

        failed: the largest count of each that was seen to fail.
        """
        rows = self.rows[self.kept[self.rows]].tolist()
        return {row: 1.0 / max(failed.get(row, 0) + BEYOND, float(self.least[row])) for row in rows}

    def by_price(self, spare: int) -> Ints:
        """Rows in order of the steady state's price; those that another replaces after the others."""
        count = np.maximum(np.ceil(self.load[self.rows] - EQUAL), 1) + spare
        return self.rows[np.lexsort((count * self.price[self.rows], ~self.kept[self.rows]))]


def most_units(market: Market, goal: Goal) -> Floats:
    """(j,): how many units of a kind alone every limit leaves room for, in use and in reserve; inf for any number."""
    most = np.full(len(market.rows), np.inf)
    for name, limit in goal.limits:
        taken = market.takes[name]
        room = np.floor(limit / np.where(taken > 0, taken, 1.0) + EQUAL)
        most = np.minimum(most, np.where(taken > 0, room, np.inf))
    return most


def likely_mixes(kinds: KindTable, carries: Mapping[int, float], most: float, spare: int) -> Iterator[Ints]:
    """Units, (1, deployments), of mixes of two kinds that cost less than `most` and may carry all of the demand, those
    that may carry most first. carries: by row, the largest share of the demand that a unit may carry."""
    found = [mix for pair in combinations(carries, 2) for mix in _mixes_of_two(kinds, pair, carries, most, spare)]
    for _, mix in sorted(found, key=lambda one: (-one[0], one[1])):
        units = np.zeros((1, len(kinds.price)), np.int64)
        for row, count in mix:
            units[0, row] = count + spare
        yield units


def _mixes_of_two(
    kinds: KindTable, rows: tuple[int, int], carries: Mapping[int, float], most: float, spare: int
) -> Iterator[tuple[float, tuple[tuple[int, int], ...]]]:
    """What mixes of two kinds may carry, and their counts: for each count of the one the most of the other."""
    price = [float(kinds.price[row]) for row in rows]
    room = most * (1 - EQUAL) - spare * sum(price)
    for one in range(1, int(min(room / price[0], kinds.most[rows[0]] - spare)) + 1):
        other = int(min((room - one * price[0]) / price[1], kinds.most[rows[1]] - spare))
        carried = one * carries[rows[0]] + other * carries[rows[1]]
        if other >= 1 and carried > 1.0:
            yield carried, ((rows[0], one), (rows[1], other))
