"""A genetic algorithm that begins from what greedy, annealing and tabu search found (Sliwko, arXiv 2511.11721)."""

from __future__ import annotations

import numpy as np

from comptroller.cluster.balance_case import BalanceCase, Ints
from comptroller.cluster.balancing import annealing, genetic, greedy, tabu


def assignment(case: BalanceCase, rng: np.random.Generator) -> Ints:
    """The seeds' budgets are on top of its own."""
    return genetic.evolution(case, rng, [seed.assignment(case, rng) for seed in (greedy, annealing, tabu)])
