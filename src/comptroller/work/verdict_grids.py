"""Scores by numbers of solutions and of verdicts on each: the best of S by the mean of V verdicts, beside a vote of S.

Singhi et al., When To Solve, When To Verify, arXiv 2504.01005: a question with S solutions and V verdicts on each costs
S (1 + lambda V), lambda the tokens of a verdict over those of a solution. On the frontier of such grids solutions and
verdicts grow as powers of that cost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import FactError
from comptroller.work.evidence import Floats, Ints

BEST, VOTE, TOKENS = "best_of_k", "majority_voting", "verdict_tokens"
TRAINED, LONGER = "trained_verifier", 2.0
"""A pair whose name ends so has verdicts of twice a solution's tokens, others of as many (arXiv 2504.01005, section 4:
GenRM-FT and GenRM-Base), unless the pair states `verdict_tokens`."""

LEAST_POINTS = 4
"""Frontier points that two exponents are fitted to, and as many again for half of them to be held out from."""


@dataclass(frozen=True)
class VerdictGrid:
    """What was scored at each number of solutions and verdicts.

    solutions, verdicts: rising, of shapes (S,) and (V,).  best: (..., S, V), of the best solution by mean verdict.
    voters: rising, (N,).  vote: (..., N), of a vote of so many.  verdict_tokens: of a verdict over those of a solution.
    """

    solutions: Floats
    verdicts: Floats
    best: Floats
    voters: Floats
    vote: Floats
    verdict_tokens: float

    @property
    def compute(self) -> Floats:
        """(S, V): S (1 + lambda V), in solutions.

        >>> one = np.ones(1)
        >>> VerdictGrid(8 * one, 32 * one, np.ones((1, 1)), one, one, 1.0).compute.tolist()
        [[264.0]]
        """
        return np.asarray(self.solutions[:, None] * (1.0 + self.verdict_tokens * self.verdicts))


@dataclass(frozen=True)
class VerdictFrontier:
    """Where more compute scored more. compute, solutions, verdicts: (points,), rising in compute."""

    compute: Floats
    solutions: Floats
    verdicts: Floats

    def exponents(self, rows: Ints | slice = slice(None)) -> tuple[float, float]:
        """Of solutions and of verdicts in compute, by least squares of logarithms over some of the points; NaN where
        these do not differ."""
        compute = np.log(self.compute[rows])
        if np.ptp(compute) == 0.0:
            return float("nan"), float("nan")
        of_solutions, of_verdicts = (np.polyfit(compute, np.log(of[rows]), 1) for of in (self.solutions, self.verdicts))
        return float(of_solutions[0]), float(of_verdicts[0])

    def doublings_missed(self, grid: VerdictGrid) -> tuple[float, float]:
        """By how many doublings, in the mean, a fit to the lower half of the budgets misses the solutions of the upper;
        and what keeping the last number of the lower half does.

        Where the fit wants more verdicts than the grid has, what is left of the budget buys solutions.
        """
        half = len(self.compute) // 2
        slope, at_one = np.polyfit(np.log2(self.compute[:half]), np.log2(self.solutions[:half]), 1)
        seen, beyond = np.log2(self.solutions[half - 1]), np.log2(self.solutions[half:])
        budget = self.compute[half:]
        left = np.log2(budget / (1.0 + grid.verdict_tokens * grid.verdicts[-1]))
        told = np.clip(at_one + slope * np.log2(budget), left, np.log2(grid.solutions[-1]))
        return float(np.abs(told - beyond).mean()), float(np.abs(seen - beyond).mean())


def frontier(grid: VerdictGrid, best: Floats) -> VerdictFrontier:
    """The cells that score more than all that cost no more. best: (S, V), a mean or one draw of it."""
    cost, score = grid.compute.ravel(), best.ravel()
    order = np.lexsort((-score, cost))
    rising = np.concatenate([[True], score[order][1:] > np.maximum.accumulate(score[order])[:-1]])
    row, column = np.unravel_index(order[rising], best.shape)
    return VerdictFrontier(cost[order[rising]], grid.solutions[row], grid.verdicts[column])


def crossing(grid: VerdictGrid, best: Floats, vote: Floats) -> tuple[float, float]:
    """The largest compute at which a vote is no worse than verdicts, and the next from which on verdicts are ahead.

    Both take the best that so much compute buys. The second is infinite where verdicts are not ahead at the end of
    the grid, the first 0 where they always are.
    """
    budgets = np.unique(np.concatenate([grid.compute.ravel(), grid.voters]))
    budgets = budgets[budgets >= grid.compute.min()]
    verdicts = np.array([best[grid.compute <= budget].max() for budget in budgets])
    votes = np.array([vote[grid.voters <= budget].max() for budget in budgets])
    behind = np.flatnonzero(verdicts <= votes)
    if not len(behind):
        return 0.0, float(budgets[0])
    last = int(behind[-1])
    return float(budgets[last]), float(budgets[last + 1]) if last + 1 < len(budgets) else inf


def states_grids(path: Path) -> bool:
    """Whether a file holds grids: JSON of pairs that have both tables."""
    if path.suffix != ".json" or not path.is_file():
        return False
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(told, dict) and any(
        isinstance(pair, dict) and {BEST, VOTE} <= set(pair) for pair in told.values()
    )


def read_grids(path: Path) -> dict[str, VerdictGrid]:
    """The grids of a JSON file by name: `{NAME: {"best_of_k": {"(S, V)": score}, "majority_voting": {"S": score}}}`, as
    published beside arXiv 2504.01005.

    Raises:
        FactError: a table is no full grid of numbers; says which.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FactError(path.name, "file", f"not readable as JSON: {error}", "grids by name") from error
    return {name: _grid(path, name, pair) for name, pair in told.items()}


def _grid(path: Path, name: str, pair: Mapping[str, Any]) -> VerdictGrid:
    cells = {tuple(int(x) for x in re.findall(r"\d+", key)): value for key, value in _table(path, name, pair, BEST)}
    vote = {int(key): value for key, value in _table(path, name, pair, VOTE) if key.isdigit()}
    solutions, verdicts = (sorted({key[axis] for key in cells if len(key) == 2}) for axis in (0, 1))
    if not vote or not cells or len(cells) != len(solutions) * len(verdicts):
        raise FactError(path.name, f"{name}.{BEST}", "not a score for every (S, V) of a grid", '"(8, 4)": 0.48')
    best = np.array([[cells[s, v] for v in verdicts] for s in solutions])
    tokens = float(pair.get(TOKENS, LONGER if name.endswith(TRAINED) else 1.0))
    voters = sorted(vote)
    votes = np.array([vote[n] for n in voters])
    return VerdictGrid(
        np.array(solutions, float), np.array(verdicts, float), best, np.array(voters, float), votes, tokens
    )


def _table(path: Path, name: str, pair: Any, which: str) -> list[tuple[str, float]]:
    told = pair.get(which) if isinstance(pair, dict) else None
    if not isinstance(told, dict) or not all(isinstance(x, int | float) and isfinite(x) for x in told.values()):
        raise FactError(path.name, f"{name}.{which}", "not a table of numbers", '{"(8, 4)": 0.48}, or {"8": 0.47}')
    return [(key, float(value)) for key, value in told.items()]
