"""The cheapest shares of ways at every aim, where what a way costs is known by class: no units, no solver.

minimise  sum_co cost_co x_co   within   sum_co w_c q_co x_co >= aim,   sum_o x_co = 1,   sum_o q_co x_co >= floor_c

With mixes, the classes' lower convex hulls of cost over score, their edges taken by cost per score (the fractional
multiple-choice knapsack; Sinha and Zoltners, Operations Research 27 (1979) 503). With one way for each class, the
classes' undominated ways put together class by class. With the same for all classes, they are one class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.planning.ground.nouns import Floats, Ints
from comptroller.planning.ground.way_freedom import WayFreedom

NOTHING = 1e-12
"""Scores that differ by less are the same: rounding of sums of hundreds of questions."""

RESOLUTION = 1e-5
"""Sums of whole ways that solve no more than this beyond a cheaper one are left out: a hundredth of what one question
of a thousand is, so that the number of sums stays small."""

WHOLE_CLASSES = 8
"""Most classes of which each may have one way: with more, sums and the tree of the program grow beyond seconds, and a
mix is whole in all of them but one or two anyway."""


@dataclass(frozen=True)
class WayTable:
    """Ways by class: cost (classes, ways), of the whole class's traffic; score (classes, ways); weight (classes,) of
    each class in the traffic; floor (classes,), least score of each."""

    cost: Floats
    score: Floats
    weight: Floats
    floor: Floats

    @property
    def as_one_class(self) -> WayTable:
        """All classes answered alike, as one class."""
        one = np.ones(1)
        return WayTable(self.cost.sum(axis=0)[None], (self.weight @ self.score)[None], one, np.zeros(1))


def shares_at(table: WayTable, ways: WayFreedom, aims: Floats) -> Floats:
    """(aims, classes, ways): the cheapest shares at every aim, ascending; those that solve most where none reaches."""
    if ways.same:
        allowed = (table.score >= table.floor[:, None] - NOTHING).all(axis=0)
        some = np.flatnonzero(allowed) if allowed.any() else np.arange(table.score.shape[1])
        alone = table.as_one_class
        alone = WayTable(alone.cost[:, some], alone.score[:, some], alone.weight, alone.floor)
        found = _whole_ways(alone, aims) if ways.whole else _mixes(alone, aims)
        shares = np.zeros((len(aims), *table.score.shape))
        shares[:, :, some] = found
        return shares
    return _whole_ways(table, aims) if ways.whole else _mixes(table, aims)


def _mixes(table: WayTable, aims: Floats) -> Floats:
    start = np.zeros(table.score.shape)
    edges = []
    for number in range(len(table.weight)):
        hull = lower_hull(table.cost[number], table.score[number])
        first, rest = _from_floor(table, number, hull)
        start[number] = first
        edges += [(*edge, number) for edge in rest]
    edges.sort(key=lambda edge: edge[0])
    shares = np.empty((len(aims), *start.shape))
    share, solved, place = start, float(table.weight @ (start * table.score).sum(axis=1)), 0
    used = 0.0
    for at, aim in enumerate(aims.tolist()):
        while solved < aim - NOTHING and place < len(edges):
            _, less, more, length, number = edges[place]
            gain = table.weight[number] * (table.score[number, more] - table.score[number, less])
            part = min(length - used, (aim - solved) / gain)
            share = share.copy()
            share[number, less] -= part
            share[number, more] += part
            solved, used = solved + part * gain, used + part
            if used >= length - NOTHING:
                place, used = place + 1, 0.0
        shares[at] = share
    return np.maximum(shares, 0.0)


def _from_floor(
    table: WayTable, number: int, hull: Sequence[int]
) -> tuple[Floats, Iterator[tuple[float, int, int, float]]]:
    """The shares of a class where its hull passes the floor, and the edges from there on: cost per share of all solved,
    ways left and taken, and the share that changes."""
    score, cost, floor = table.score[number], table.cost[number], table.floor[number]
    share = np.zeros(len(score))
    place = next((n for n, way in enumerate(hull) if score[way] >= floor - NOTHING), len(hull) - 1)
    share[hull[place]] = 1.0
    edges: list[tuple[int, int, float]] = []
    if place > 0 and score[hull[place]] > floor:
        below, way = hull[place - 1], hull[place]
        part = float((floor - score[below]) / (score[way] - score[below]))
        share[below], share[way] = 1.0 - part, part
        edges.append((below, way, 1.0 - part))
    edges += [(less, more, 1.0) for less, more in zip(hull[place:], hull[place + 1 :], strict=False)]
    weight = table.weight[number]
    return share, (
        ((cost[more] - cost[less]) / (weight * (score[more] - score[less])), less, more, length)
        for less, more, length in edges
    )


def lower_hull(cost: Floats, score: Floats) -> list[int]:
    """Ways that a mix at least cost is made of, from the cheapest to the one that solves most.

    >>> lower_hull(np.array([1.0, 2.0, 3.0, 9.0]), np.array([0.5, 0.52, 0.7, 0.7]))
    [0, 2]
    """
    hull: list[int] = []
    for way in undominated_ways(cost, score):
        while len(hull) > 1:
            before, last = hull[-2], hull[-1]
            rise, run = score[way] - score[before], cost[way] - cost[before]
            if (score[last] - score[before]) * run > rise * (cost[last] - cost[before]):
                break
            hull.pop()
        hull.append(way)
    return hull


def undominated_ways(cost: Floats, score: Floats) -> list[int]:
    """Ways by cost, each of which solves more than all that cost no more."""
    kept, most = [], -np.inf
    for way in np.lexsort((-score, cost)).tolist():
        if score[way] > most + NOTHING:
            kept.append(way)
            most = float(score[way])
    return kept


def _whole_ways(table: WayTable, aims: Floats) -> Floats:
    sums, picked = np.zeros((1, 2)), np.zeros((1, 0), np.int64)
    for number in range(len(table.weight)):
        cost, score = table.cost[number], table.score[number]
        ways = np.array(undominated_ways(cost, score))
        high = ways[score[ways] >= table.floor[number] - NOTHING]
        ways = high if len(high) else ways[-1:]
        step = np.column_stack([cost[ways], table.weight[number] * score[ways]])
        every = (sums[:, None] + step[None]).reshape(-1, 2)
        left = _few(every)
        picked = np.column_stack([np.repeat(picked, len(ways), axis=0), np.tile(ways, len(sums))])[left]
        sums = every[left]
    reach = np.searchsorted(sums[:, 1], aims - NOTHING)
    chosen = picked[np.minimum(reach, len(sums) - 1)]
    shares = np.zeros((len(aims), *table.score.shape))
    rows, classes = np.indices(chosen.shape)
    shares[rows, classes, chosen] = 1.0
    return shares


def _few(sums: Floats) -> Ints:
    """Places of sums by cost, each of which solves more than all that cost no more."""
    order = np.lexsort((-sums[:, 1], sums[:, 0]))
    before = np.concatenate([[-np.inf], np.maximum.accumulate(sums[order, 1])[:-1]])
    kept, most = [], -np.inf
    for place in np.flatnonzero(sums[order, 1] > before + NOTHING).tolist():
        if sums[order[place], 1] > most + RESOLUTION:
            kept.append(place)
            most = float(sums[order[place], 1])
    return order[kept]
