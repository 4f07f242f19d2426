"""What a choice solves of questions that it was not made on, and how much freedom the evidence supports.

The questions are cut into `FOLDS` parts, evenly over classes, `REPEATS` times. Without each part a choice is made for
every freedom of ways and every aim (the share that it has to solve on the questions it is made on), from scores shrunk
with a weight learned there (`solve.shrinkage`), in the program's relaxation: calls at their worth on the cheapest units
(`solve.bound`). The part that was left out judges it. Of n questions with out-of-fold shares p_i,

    solved = sum_c w_c mean_c(p),   variance = sum_c w_c^2 var_c(p) / n_c

with one question solved and one not taken as seen besides in var_c, for all classes together, and for a class by
itself where it has a target (Agresti and Coull, The American Statistician 52 (1998) 119): what solves all of a few
questions is not certain to solve others. A class of which nothing is left without a part is taken for the mean of the
others there.

A share holds with confidence k in a further set of as many questions if  solved - z_k sqrt(2 variance + choice) >= it,
choice the jackknife variance of what the choices solve of all questions (Efron and Stein, Annals of Statistics 9 (1981)
586); so does each class's, where it has a target. Aims are tested from the highest down until one fails, so that the
one that is taken needs no correction for how many were tried (fixed sequence; Angelopoulos et al., Learn then Test,
arXiv 2110.01052).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from comptroller.planning.ground.nouns import Bools, Floats, Ints
from comptroller.planning.ground.way_freedom import WayFreedom
from comptroller.planning.solve.shrinkage import class_means, class_sums, own_weight, shrunk
from comptroller.planning.solve.way_frontiers import WHOLE_CLASSES, WayTable, shares_at, undominated_ways

FOLDS = 10
"""Parts of the questions: a choice without one is made on nine tenths of them, nearly as many as the plan's; twice as
many parts take twice the time and make it nineteen twentieths."""

REPEATS = 4
"""How often the questions are cut anew: the mean of four cuts varies half as much as one does."""

AIMS = 48
"""Aims between the target and the most that anything solves: steps of a third of a point where that is 15 points away,
finer than the evidence of a few thousand questions tells apart."""

AIMS_BY_CLASS = 12
"""The same where classes have targets, which rise with the aim: every aim is then a search of its own."""

AIMS_BELOW = 16
"""Aims between what the cheapest ways solve and the target: they only tell one whole way from the next, which seldom
are nearer than a sixteenth of that."""

SAME = 1e-9
"""Shares that differ by less are the same: rounding of means."""

WORTH = 0.02
"""Share of the cost by which more freedom has to be cheaper to be taken: less is lost in whole units."""

DOUBT = float(ndtri(0.95))
"""Standard errors of the difference to less freedom that are taken off more of it, as in the choice of a tree's size
(Breiman et al., Classification and Regression Trees, 1984, 3.4.3), where it is one. 1.645: the one-sided 95 % bound of
the paired difference, the level at which a gain is mostly said to be more than chance. Halves of SWE-bench
Verified were in view when one was found too little; so `benchmarks/joint.py` makes its plans with 1.28 (90 %) and 2.0
(97.7 %) besides (results/joint.md)."""


@dataclass(frozen=True)
class WayOutcomes:
    """What every way did on every question. score, cost: (questions, ways); cost per hour as if all traffic were like
    the question.  task: (questions,), its class.  weight: (classes,).  floor: (classes,), least share of each class.
    families: by name, which ways one way for all is besides chosen from alone."""

    score: Floats
    cost: Floats
    task: Ints
    weight: Floats
    floor: Floats
    families: Mapping[str, Bools] = field(default_factory=dict)

    def within(self, family: str) -> WayOutcomes:
        """Those of the ways of a family; all where none is named."""
        some = self.families[family] if family else np.ones(self.score.shape[1], bool)
        return WayOutcomes(self.score[:, some], self.cost[:, some], self.task, self.weight, self.floor)

    @cached_property
    def whole_scores(self) -> Floats:
        """(classes, ways): means over all questions."""
        return np.stack([self.score[rows].mean(axis=0) for rows in self.rows_by_class(np.ones(len(self.task), bool))])

    @property
    def weights(self) -> Floats:
        """(1 + classes, classes): what each class counts for in the share of all questions, and of each class."""
        return np.concatenate([self.weight[None], np.eye(len(self.weight))])

    def rows_by_class(self, some: Bools) -> list[Ints]:
        """Of some questions, those of each class."""
        return [np.flatnonzero(some & (self.task == number)) for number in range(len(self.weight))]

    def whole_table(self, own: float) -> WayTable:
        """The ways on all questions, their scores shrunk."""
        cost = np.stack([self.cost[rows].mean(axis=0) for rows in self.rows_by_class(np.ones(len(self.task), bool))])
        scores = shrunk(self.whole_scores, self.weight, own)
        return WayTable(cost * self.weight[:, None], scores, self.weight, self.floor)

    def table(self, sums: tuple[Floats, Floats], counts: Floats, own: float) -> WayTable:
        """The ways on some of the questions, their scores shrunk. sums: of scores and of costs, (classes, ways)."""
        score, cost = (class_means(total, counts, self.weight) for total in sums)
        return WayTable(cost * self.weight[:, None], shrunk(score, self.weight, own), self.weight, self.floor)


@dataclass(frozen=True)
class OutOfFoldCurve:
    """Of one freedom of ways, by aim: shares solved of questions left out, their standard deviation in a further set
    of as many, and the cost there.

    aims, cost: (aims,).  alone: how many of the first aims are judged by themselves.  solved, deviation: (aims, 1 +
    classes), of all questions and of each class.  each: (aims, questions), what was solved of every question.
    """

    ways: WayFreedom
    aims: Floats
    alone: int
    each: Floats
    solved: Floats
    deviation: Floats
    cost: Floats
    family: str = ""

    @property
    def label(self) -> str:
        """The freedom, and the family of ways, in words."""
        return f"{self.ways.label}, {self.family}" if self.family else self.ways.label

    def bound(self, confidence: float) -> Floats:
        """(aims, 1 + classes): the shares that hold with a confidence in a further set of as many questions."""
        return np.asarray(self.solved - float(ndtri(confidence)) * self.deviation)

    def lowest(self, confidence: float, least: Floats, less: Floats | float = 0.0) -> int | None:
        """The lowest aim whose bounds, and those of all higher aims, are at least what is asked; `None` where none's
        are. Aims of whole ways, few, are judged each by itself: so a plan that is asked for what one tells is that one.

        least: (1 + classes,).  less: (aims, 1 + classes), taken off the bounds.
        """
        # a class without a target may be solved by nobody: its bound lies below 0 then
        holds = np.asarray(((self.bound(confidence) - less >= least - SAME) | (least <= 0.0)).all(axis=1))
        by_itself = np.flatnonzero(holds[: self.alone])
        if len(by_itself):
            return int(by_itself[0])
        missed = np.flatnonzero(~holds)
        place = int(missed[-1]) + 1 if len(missed) else 0
        return place if place < len(self.aims) else None


def curves_of(
    found: WayOutcomes,
    least: float,
    own: float,
    rng: np.random.Generator,
    freedoms: Sequence[WayFreedom] = tuple(WayFreedom),
) -> list[OutOfFoldCurve]:
    """Of some freedoms those that differ with these classes, the least first.

    least: the target, and the lowest aim of mixes.  own: weight of what a class says for itself in the choice on all
    questions (`solve.shrinkage`).
    """
    cuts = [folds_of(found.task, rng) for _ in range(REPEATS)]
    most = float(found.weight @ found.whole_scores.max(axis=1))
    aims = np.linspace(least, max(most, least), AIMS_BY_CLASS if found.floor.any() else AIMS)
    curves = []
    for family in (*(found.families if WayFreedom.ONE_WAY in freedoms else ()), ""):
        some = found.within(family)
        without = cuts, [list(_tables_without(some, fold)) for fold in cuts]
        kinds = [WayFreedom.ONE_WAY] if family else freedoms_of(len(found.weight), freedoms)
        for ways in kinds:
            curve = _curve(some, without, ways, (*_aims_for(some, ways, aims, own), least))
            curves.append(replace(curve, family=family))
    return curves


def _aims_for(found: WayOutcomes, ways: WayFreedom, aims: Floats, own: float) -> tuple[Floats, int]:
    """The aims at which a freedom is judged, and how many of the first are judged each by itself.

    For one way for all: halfway from what the next cheaper way solves to what each undominated way does, of those that
    solve enough of all questions; an aim at the very score of a way tips over to the next where a part is left out. For
    one way for each class: those below the target besides that come to the same choice on all questions.
    """
    if not ways.whole:
        return aims, 0
    table, least = found.whole_table(own), float(aims[0])
    if ways.same and not found.floor.any():
        alone = table.as_one_class
        scores = alone.score[0, undominated_ways(alone.cost[0], alone.score[0])]
        halfway = (scores + np.concatenate([[0.0], scores[:-1]])) / 2.0
        some = halfway[scores >= least - SAME]
        return (some, len(some)) if len(some) else (aims, 0)
    cheapest = np.take_along_axis(table.score, table.cost.argmin(axis=1)[:, None], axis=1)[:, 0]
    below = np.linspace(min(float(found.weight @ cheapest), least), least, AIMS_BELOW, endpoint=False)
    shares = shares_with_floors(table, ways, np.append(below, least), least)
    alike = [bool(np.array_equal(share, shares[-1])) for share in shares[:-1]]
    return np.concatenate([below[alike], aims]), sum(alike) + 1


def freedoms_of(classes: int, freedoms: Sequence[WayFreedom]) -> list[WayFreedom]:
    """Of some freedoms those that differ with so many classes, the least first."""
    few = classes <= WHOLE_CLASSES
    differing = [ways for ways in freedoms if ways.same or classes > 1]
    return [ways for ways in differing if few or ways is not WayFreedom.WAY_EACH]


def folds_of(task: Ints, rng: np.random.Generator) -> Ints:
    """(questions,): the part of each, evenly over classes."""
    order = rng.permutation(len(task))
    ranked = order[np.argsort(task[order], kind="stable")]
    fold = np.empty(len(task), np.int64)
    fold[ranked] = np.arange(len(task)) % min(FOLDS, len(task))
    return fold


def _tables_without(found: WayOutcomes, fold: Ints) -> Iterator[WayTable]:
    """The ways as the questions outside of each part show them."""
    classes = len(found.weight)
    score, counts = class_sums(found.score, found.task, fold, classes)
    cost, _ = class_sums(found.cost, found.task, fold, classes)
    for number in range(len(counts)):
        out = fold != number
        own = own_weight(found.score[out], found.task[out], found.weight, fold[out])
        sums = score.sum(axis=0) - score[number], cost.sum(axis=0) - cost[number]
        yield found.table(sums, counts.sum(axis=0) - counts[number], own)


def shares_with_floors(table: WayTable, ways: WayFreedom, aims: Floats, least: float) -> Floats:
    """As `shares_at`; targets of classes rise with the aim, and are as they are at the least."""
    if not table.floor.any():
        return shares_at(table, ways, aims)
    raised = (table.floor + (aim - least) * (table.floor > 0) for aim in aims)
    pairs = zip(aims, raised, strict=True)
    return np.concatenate([shares_at(replace(table, floor=floor), ways, np.array([aim])) for aim, floor in pairs])


def _curve(
    found: WayOutcomes,
    without: tuple[Sequence[Ints], Sequence[Sequence[WayTable]]],
    ways: WayFreedom,
    asked: tuple[Floats, int, float],
) -> OutOfFoldCurve:
    """without: the parts of every cut, and the ways as the questions outside of each show them.  asked: the aims, how
    many of them are judged by themselves, and the target."""
    aims, alone, least = asked
    solved, cost = np.zeros((2, len(aims), len(found.task)))
    weights = found.weights
    choice = np.zeros((len(aims), len(weights)))
    for fold, tables in zip(*without, strict=True):
        shares = [shares_with_floors(table, ways, aims, least) for table in tables]
        for number, share in enumerate(shares):
            for of_class, rows in enumerate(found.rows_by_class(fold == number)):
                used = np.flatnonzero(share[:, of_class].any(axis=0))
                solved[:, rows] += share[:, of_class, used] @ found.score[np.ix_(rows, used)].T
                cost[:, rows] += share[:, of_class, used] @ found.cost[np.ix_(rows, used)].T
        theirs = np.array([np.einsum("tco,co->tc", share, found.whole_scores) @ weights.T for share in shares])
        choice += (len(theirs) - 1) * theirs.var(axis=0) / len(without[0])
    solved, cost = solved / len(without[0]), cost / len(without[0])
    rows_of = found.rows_by_class(np.ones(len(found.task), bool))
    by_class, usd = (np.stack([of[:, rows].mean(axis=1) for rows in rows_of], axis=1) for of in (solved, cost))
    counts = np.array([len(rows) for rows in rows_of])
    squares = np.stack([solved[:, rows].var(axis=1) for rows in rows_of], axis=1) * counts
    together, each_ = (variance_of_means(by_class, squares, counts, unseen) for unseen in (found.weight, 1.0))
    variance = np.concatenate([(together @ found.weight**2)[:, None], each_], axis=1)
    deviation = np.sqrt(2.0 * variance + choice)
    return OutOfFoldCurve(ways, aims, alone, solved, by_class @ weights.T, deviation, usd @ found.weight)


def variance_of_means(mean: Floats, squares: Floats, counts: Ints, unseen: Floats | float) -> Floats:
    """(..., classes): variances of the shares solved of each class, with questions solved and not taken as seen besides
    (Agresti and Coull): what solves all of a few questions is not certain to solve others.

    mean: (..., classes), shares solved.  squares: summed squares of what each question is off them.  counts:
    (classes,), questions.  unseen: how many of either kind are taken as seen: 1 for a class by itself, its weight,
    (classes,), for one of either kind in all classes together.

    Three of three questions:

    >>> float(variance_of_means(np.array([1.0]), np.array([0.0]), np.array([3]), 1.0)[0]).__round__(4)
    0.0833
    """
    off = unseen * (mean**2 + (1.0 - mean) ** 2)
    return np.asarray((squares + off) / (counts + 2.0 * unseen - 1.0) / counts)


def cheapest_of(
    found: WayOutcomes, curves: Sequence[OutOfFoldCurve], confidence: float, least: Floats, doubt: float = DOUBT
) -> tuple[OutOfFoldCurve, int] | None:
    """The curve and the aim that cost least among those that hold what is asked, the least freedom first: one way for
    all, of all ways or of a family.

    More freedom takes the place of less where it is cheaper by `WORTH` although `doubt` standard errors of what it
    solves more, question by question, are taken off, and is held to that: the best of several is mostly the luckiest.
    So a plan that is asked for what one way for all solves is that way, or one that costs less beyond chance.  least:
    (1 + classes,), share asked of all questions and of each class.
    """
    best: tuple[OutOfFoldCurve, int] | None = None
    for curve in sorted(curves, key=lambda one: one.ways):
        simple = best is None or curve.ways is WayFreedom.ONE_WAY
        less = 0.0 if best is None or simple else doubt * _errors_of_difference(found, curve, best[0].each[best[1]])
        place = curve.lowest(confidence, least, less)
        worth = 0.0 if simple else WORTH
        if place is not None and (best is None or curve.cost[place] < best[0].cost[best[1]] * (1 - worth)):
            best = curve, place
    return best


def _errors_of_difference(found: WayOutcomes, curve: OutOfFoldCurve, other: Floats) -> Floats:
    """(aims, 1 + classes): standard errors of what a curve solves more than another choice, on the same questions. A
    class of one question varies as all questions do."""
    rows_of = found.rows_by_class(np.ones(len(found.task), bool))
    apart = curve.each - other
    whole = apart.var(axis=1, ddof=1)
    each = [apart[:, rows].var(axis=1, ddof=1) / len(rows) if len(rows) > 1 else whole for rows in rows_of]
    variance = np.stack(each, axis=1)
    return np.asarray(np.sqrt(variance @ found.weights.T**2))
