"""How many solutions, and verdicts on each, more compute should buy, and from where verdicts are ahead of a vote.

S ~ C^a, V ~ C^b on the frontier of the grid of scores by (S, V), C = S (1 + lambda V) in solutions. Singhi et al.,
arXiv 2504.01005, tell a = 0.57 and b = 0.39 of a fit of their own, on 8B solutions of MATH. Solutions of a question are
dealt to S without replacement (in closed form, ties shared), verdicts of a solution to V at random. A solution without
an answer is rated below all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

import numpy as np

from comptroller.work.evidence import VERIFIER, Evidence, Floats
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import band, names
from comptroller.work.laws.best_of import best_of_k
from comptroller.work.verdict_grids import LEAST_POINTS, VerdictGrid, crossing, frontier

NAME = "solutions_and_verdicts"
DEALS = 8
"""Deals of verdicts that a cell of the grid is the mean of; of votes its square. On 50 questions of GPQA such means
vary by 0.3 points between seeds, where the questions' own error is 5.5. Twice as many take twice the time."""

LEAST_VERDICTS = 4
"""On a solution: fewer are one doubling, and an exponent of them says nothing."""

UNANSWERED = -1.0
"""Rating of a solution without an answer: below the mean of any verdicts, which are at least 0."""

MOST_DRAWS = 300
"""Resamples of questions: each walks the grid anew. At twice as many the ends of the exponents move by 0.01."""

Draw = Callable[[np.random.Generator], tuple[Floats, Floats]]
"""One draw of the means: (S, V) of the best by verdicts, (N,) of votes."""


def recorded_grid(evidence: Evidence, arm: int, rng: np.random.Generator) -> VerdictGrid | None:
    """The grid of an arm, its scores by question: (questions, S, V) and (questions, N); `None` where verdicts lack.

    Questions with fewer rated solutions than half of the median are left out, as are numbers that not all others have.
    """
    rows = evidence.rows
    told = _verdicts_of(evidence, arm)
    number = np.array([len(told.get(row, ())) for row in range(len(rows))])
    last = int(rows.sample[number > 0].max(initial=-1))
    without = np.array([answer is None for answer in rows.answer.tolist()], bool)
    if last < 0:
        return None
    use = evidence.samples & (rows.arm == arm) & (rows.sample <= last) & np.isfinite(rows.score)
    use &= (number > 0) | without
    groups = [np.flatnonzero(use & (rows.question == q)) for q in np.unique(rows.question[use])]
    sizes = np.array([len(group) for group in groups])
    groups = [group for group in groups if len(group) >= np.median(sizes) / 2]
    if not groups or number.max() < LEAST_VERDICTS:
        return None
    solutions = _doublings(min(map(len, groups)))
    verdicts = _doublings(int(np.median(number[number > 0])))
    best = np.array(
        [[_best(rows.score[g], [told.get(int(r)) for r in g], solutions, v, rng) for v in verdicts] for g in groups]
    )
    vote = np.array([[_vote(rows.answer[g], rows.score[g], int(n), rng) for n in solutions] for g in groups])
    return VerdictGrid(solutions, verdicts, best.swapaxes(1, 2), solutions, vote, _tokens(evidence, arm))


def _verdicts_of(evidence: Evidence, arm: int) -> dict[int, Floats]:
    """The verdicts on each row of an arm that has any."""
    rows = evidence.rows
    use = np.flatnonzero((rows.role == VERIFIER) & np.isfinite(rows.judgement) & (rows.parent >= 0))
    use = use[rows.arm[rows.parent[use]] == arm]
    order = use[np.argsort(rows.parent[use], kind="stable")]
    parents, start = np.unique(rows.parent[order], return_index=True)
    return dict(zip(parents.tolist(), np.split(rows.judgement[order], start)[1:], strict=True))


def _doublings(most: int) -> Floats:
    """1, 2, 4 ... up to a number.

    >>> _doublings(5).tolist()
    [1.0, 2.0, 4.0]
    """
    return np.asarray(2.0 ** np.arange(int(np.log2(max(most, 1))) + 1))


def _best(
    score: Floats, told: list[Floats | None], solutions: Floats, verdicts: float, rng: np.random.Generator
) -> Floats:
    """(S,): of the best by the mean of some of its verdicts, in the mean of deals; all where there are fewer."""
    found = np.zeros(len(solutions))
    for _ in range(DEALS):
        rating = [
            UNANSWERED if each is None else rng.choice(each, min(int(verdicts), len(each)), replace=False).mean()
            for each in told
        ]
        found += [best_of_k(rating, score, int(s)) for s in solutions]
    return found / DEALS


def _vote(answer: np.ndarray, score: Floats, count: int, rng: np.random.Generator) -> float:
    """Of the vote of so many of a question's solutions, ties shared, in the mean of deals; 0 without answers."""
    names, group = np.unique([f"={each}" if each is not None else "" for each in answer.tolist()], return_inverse=True)
    size = np.bincount(group)
    mean = np.bincount(group, weights=score) / size
    dealt = rng.multivariate_hypergeometric(size, count, size=DEALS * DEALS) * (names != "")
    first = (dealt == dealt.max(axis=1, keepdims=True)) & (dealt > 0)
    return float(((first * mean).sum(axis=1) / np.maximum(first.sum(axis=1), 1)).mean())


def _tokens(evidence: Evidence, arm: int) -> float:
    """Mean tokens of a verdict over those of a solution; 1 where they are not recorded."""
    rows = evidence.rows
    verdicts = (rows.role == VERIFIER) & (rows.parent >= 0)
    verdicts[verdicts] = rows.arm[rows.parent[verdicts]] == arm
    solved = evidence.samples & (rows.arm == arm)
    means = [
        np.nanmean(rows.output_tokens[use]) if np.isfinite(rows.output_tokens[use]).any() else np.nan
        for use in (verdicts, solved)
    ]
    return float(means[0] / means[1]) if np.isfinite(means).all() and means[1] > 0 else 1.0


def grid_findings(name: str, grid: VerdictGrid, query: LawQuery) -> list[LawFinding]:
    """Exponents and crossing of a grid whose cells are means, with intervals over resamples of its budgets."""
    points = frontier(grid, grid.best)
    rng = np.random.default_rng(query.seed)
    draws = [points.exponents(rng.integers(0, len(points.compute), len(points.compute))) for _ in range(query.draws)]
    behind, ahead = crossing(grid, grid.best, grid.vote)
    return _findings(name, grid, np.array(draws), (behind, ahead), query, "resampling budgets")


def _findings_of_arm(name: str, grid: VerdictGrid, query: LawQuery) -> list[LawFinding]:
    """The same of recorded verdicts, with intervals over resamples of questions."""
    rng, exponents, ahead = np.random.default_rng(query.seed), [], []
    for _ in range(min(query.draws, MOST_DRAWS)):
        rows = rng.integers(0, len(grid.best), len(grid.best))
        best, vote = grid.best[rows].mean(axis=0), grid.vote[rows].mean(axis=0)
        exponents.append(frontier(grid, best).exponents())
        ahead.append(crossing(grid, best, vote)[1])
    mean = replace(grid, best=grid.best.mean(axis=0), vote=grid.vote.mean(axis=0))
    tail = (1.0 - query.level) / 2.0
    low, high = np.quantile(ahead, [tail, 1.0 - tail], method="nearest").tolist()
    return _findings(name, mean, np.array(exponents), (low, high), query, f"resampling {len(grid.best)} questions")


def _findings(
    name: str, grid: VerdictGrid, draws: Floats, around: tuple[float, float], query: LawQuery, how: str
) -> list[LawFinding]:
    points = frontier(grid, grid.best)
    if len(points.compute) < LEAST_POINTS:
        return []
    capped = int((points.verdicts == grid.verdicts[-1]).sum())
    most = f"{capped} at the grid's end of {grid.verdicts[-1]:.0f} verdicts"
    note = f"{len(points.compute)} budgets on the frontier, {most}; {how}"
    cost = f"a verdict costs {grid.verdict_tokens:.3g} solutions"
    found = [
        LawFinding(NAME, name, f"exponent of {what} in compute", value, *band(draws[:, axis], query.level), note)
        for axis, (what, value) in enumerate(zip(("solutions", "verdicts"), points.exponents(), strict=True))
    ]
    ahead = crossing(grid, grid.best, grid.vote)[1]
    told = cost if ahead < inf else f"a vote is no worse at the end of the grid; {cost}"
    found.append(LawFinding(NAME, name, "verdicts ahead of a vote from, in solutions", ahead, *around, told))
    if len(points.compute) >= 2 * LEAST_POINTS:
        missed, kept = points.doublings_missed(grid)
        half = points.compute[len(points.compute) // 2]
        beside = f"fitted to budgets below {half:,.0f}; {kept:.2f} where the last number is kept"
        found.append(LawFinding(NAME, name, "held out: solutions missed by doublings", missed, note=beside))
    return found


def _verdict_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    if not isinstance(evidence, Evidence):
        return []
    findings: list[LawFinding] = []
    for number, arm in enumerate(names(evidence)):
        grid = recorded_grid(evidence, number, np.random.default_rng(query.seed))
        if grid is not None:
            findings += _findings_of_arm(arm, grid, query)
    return findings


LAW = EvidenceLaw(
    NAME,
    "how solutions and verdicts grow with compute, and where verdicts pass a vote",
    _verdict_findings,
    "answers with four or more verdicts on each (role verifier), or a JSON file of grids of scores",
)
