"""A genetic algorithm over assignments: tournaments, uniform crossover, random moves, and the best survives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comptroller.cluster.balance_case import BalanceCase, BalanceSearch, Ints
from comptroller.cluster.balancing import CHANGES

POPULATION = 40
"""Assignments of a generation; with twice as many there are half the generations for the same budget."""
MOVES = 3
"""Random moves of a child, in the mean. At twice as many, children lose what parents had."""


def assignment(case: BalanceCase, rng: np.random.Generator) -> Ints:
    """From what is, with random moves."""
    return evolution(case, rng, [])


def evolution(case: BalanceCase, rng: np.random.Generator, seeds: Sequence[Ints]) -> Ints:
    """The best assignment after the generations that the budget holds, begun from what is and from seeds."""
    people = [*seeds, case.at][:POPULATION]
    people = [*people, *(_child(case, case.at, case.at, rng) for _ in range(POPULATION - len(people)))]
    values = [case.value(at) for at in people]
    for _ in range(CHANGES // POPULATION):
        best = min(range(POPULATION), key=values.__getitem__)
        children = [people[best]]
        while len(children) < POPULATION:
            father, mother = (people[_winner(values, rng)] for _ in range(2))
            children.append(_child(case, father, mother, rng))
        people, values = children, [case.value(at) for at in children]
    search = BalanceSearch(case, people[min(range(POPULATION), key=values.__getitem__)])
    search.back()
    return search.at


def _winner(values: Sequence[tuple[float, float]], rng: np.random.Generator) -> int:
    """The better of two at random."""
    one, other = rng.integers(len(values), size=2)
    return int(one if values[one] <= values[other] else other)


def _child(case: BalanceCase, father: Ints, mother: Ints, rng: np.random.Generator) -> Ints:
    child = np.where(rng.random(len(father)) < 0.5, father, mother)
    moves = rng.random(len(child)) < MOVES / len(child)
    return np.where(moves, rng.integers(len(case.capacity), size=len(child)), child)
