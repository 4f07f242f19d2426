"""What a vote scores over choices of its samples among the recorded ones: exactly, or in random orders of them.

Of tied answers the one given first wins, and every order of the samples is as likely. A vote of few samples among few
different answers is counted exactly; others are averaged over orders drawn for all questions at once, in which the
first n samples are a choice of n for every n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.strategies.expected_runs import form_of
from comptroller.strategies.replay import EvidenceReplay
from comptroller.strategies.sample_pools import SamplePool, SampleTable
from comptroller.strategies.sample_weights import weights_of
from comptroller.strategies.sampled_runs import ChoiceMeans, FirstChoice, SampledRun, score_without_named
from comptroller.work.vote_means import expected_vote, log_choose

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.floating[Any]]

MOST_VOTES, MOST_ANSWERS = 16, 16
"""Samples and different answers up to which votes are counted exactly: time grows with their third and second power; at
twice as many it takes longer than the deals that stand in for it."""
MOST_WORK = 1e9
"""Questions x n^3 x answers^2 up to which votes are counted exactly: about half a second. Twice as many questions take
twice as long, while means over deals vary less."""
AT_ONCE = 1 << 20
"""Dealt samples in one array, for which some 30 MB are needed; twice as many change nothing but memory."""


@dataclass(frozen=True, slots=True)
class VoteChoice:
    """The answer of the greatest summed weight. weight: its name, as in `votes.WEIGHTS`."""

    weight: str = "plain"

    def means(self, pool: SamplePool, sizes: Sequence[int], table: SampleTable) -> ChoiceMeans | None:
        """Exact for the sizes that are counted, else over the deals of the table; None where a weight is unknown or
        negative."""
        weight = weights_of(pool, self.weight, table.replay.evidence)
        if weight is None or (weight < 0).any():
            return None
        few = [size for size in sizes if self.weight == "plain" and _is_counted(pool, size)]
        many = [size for size in sizes[len(few) :] if size < pool.samples]
        every = list(sizes[len(few) + len(many) :])  # all samples: there is one choice of them
        parts = [_exact(pool, few)] if few else []
        parts += [_mean_over_deals(pool, weight, many, table, table.deals)] if many else []
        parts += [_mean_over_deals(pool, weight, every, table, 1)] if every else []
        score, square = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        whole = pool.score.astype(float)
        score = score + score_without_named(pool, whole, sizes)
        square = square + score_without_named(pool, whole**2, sizes)
        return ChoiceMeans(score, square, [0] * len(few) + [table.deals] * len(many) + [0] * len(every))


def _is_counted(pool: SamplePool, size: int) -> bool:
    answers = pool.counts.shape[1]
    work = len(pool.place) * float(size) ** 3 * answers**2
    return size <= MOST_VOTES and answers <= MOST_ANSWERS and work <= MOST_WORK


def exact_votes(replay: EvidenceReplay, strategy: object, questions: Sequence[int]) -> Floats | None:
    """(questions,): the mean score of a plain vote, or of one sample, over all choices of its samples.

    Samples without an answer do not vote. `None` where the strategy is neither, where a question has too few samples,
    or where there are more samples or answers than are counted.
    """
    form = form_of(strategy)
    if not isinstance(form, SampledRun) or form.greedy or form.choice not in (FirstChoice(), VoteChoice()):
        return None
    table = SampleTable(replay, questions, 0)
    pools = table.pools(form.role, form.effort)
    if not pools or not all(pool.samples >= form.count and _is_counted(pool, form.count) for pool in pools):
        return None
    (run,) = SampledRun.runs([form], table)
    return None if run is None else run.score


def _exact(pool: SamplePool, sizes: Sequence[int]) -> tuple[Floats, Floats]:
    """Means over all choices of n samples in which some have an answer: of those k vote, with hypergeometric chance."""
    voters = np.arange(1, max(sizes) + 1)
    total, named = pool.samples, pool.counts.sum(axis=1)
    score, square = np.zeros((2, len(named), len(sizes)))
    worth, squared = pool.mean_by_answer(pool.score), pool.mean_by_answer(pool.score**2)
    for count in np.unique(named).tolist():
        here, few = named == count, voters[voters <= count]
        if not count:
            continue
        ways = log_choose(count, few[:, None]) + log_choose(total - count, np.array(sizes) - few[:, None])
        chance = np.exp(ways - log_choose(total, np.array(sizes)))
        score[here] = expected_vote(pool.counts[here], worth[here], few) @ chance
        plain = np.array_equal(worth, squared, equal_nan=True)
        square[here] = score[here] if plain else expected_vote(pool.counts[here], squared[here], few) @ chance
    return score, square


def _mean_over_deals(
    pool: SamplePool, weight: Floats, sizes: Sequence[int], table: SampleTable, deals: int
) -> tuple[Floats, Floats]:
    """Means over random orders of the samples; those of a choice in which none has an answer are left at 0."""
    rng = np.random.default_rng([table.replay.seed or 0, pool.samples])
    score, square = np.zeros((2, len(pool.place), len(sizes)))
    plain = np.array_equal(pool.score, pool.score**2, equal_nan=True)
    weighs, paid = _short(weight), _short(pool.score)
    step = max(AT_ONCE // (deals * pool.samples), 1)
    for start in range(0, len(pool.place), step):
        some = slice(start, start + step)
        order = _random_orders(pool.label[some].shape, deals, max(sizes), rng)
        label = pool.label[some].ravel().take(order).T
        weigh, pays = (values[some].ravel().take(order).T for values in (weighs, paid))
        score[some] = vote_prefixes(label, weigh, pays, sizes).reshape(deals, -1, len(sizes)).mean(axis=0)
        again = score[some]
        if not plain:
            again = vote_prefixes(label, weigh, pays**2, sizes).reshape(deals, -1, len(sizes)).mean(axis=0)
        square[some] = again
    return score, square


def _random_orders(shape: tuple[int, int], deals: int, most: int, rng: np.random.Generator) -> Ints:
    """(most, deals x questions): places, in an array of that shape laid flat, of the samples of each question that are
    dealt first, in random orders."""
    order = np.tile(np.arange(shape[0] * shape[1]).reshape(shape), (deals, 1))
    return np.ascontiguousarray(rng.permuted(order, axis=1, out=order)[:, :most].T)


def _short(values: Floats) -> Reals:
    """The values in 32 bits where that keeps them and their sums whole, which halves what is moved."""
    whole = np.all((values == np.trunc(values)) & (np.abs(values) <= 1)) if values.size < 1 << 24 else False
    return values.astype(np.float32) if whole else values


def vote_prefixes(label: Ints, weight: Reals, score: Reals, sizes: Sequence[int]) -> Floats:
    """(runs, sizes): what the vote of the first n samples of each run scores on average over their orders.

    Of tied answers the one given first is taken, with the score of the sample that gave it first: any sample of a tied
    answer is first as often as any other, so that the mean is over all of them. 0 where none votes.

    label, weight, score: (runs, samples), answers as numbers, -1 for none; weights from 0 up.

    >>> vote_prefixes(np.array([[0, 1, 1]]), np.ones((1, 3)), np.array([[0.0, 1.0, 0.0]]), [1, 2, 3]).tolist()
    [[0.0, 0.5, 0.5]]
    """
    runs, answers = len(label), max(int(label.max(initial=-1)) + 1, 1)
    # below 0 nobody has given an answer yet; the last answer is that of samples without one, which never leads
    tally = np.tile(np.append(np.full(answers, -1.0), -np.inf).astype(weight.dtype), runs)
    paid, given = np.zeros(len(tally), score.dtype), np.zeros(len(tally), np.float32)
    cells = np.ascontiguousarray((np.where(label < 0, answers, label) + np.arange(runs)[:, None] * (answers + 1)).T)
    adds = np.ascontiguousarray(np.where(label < 0, weight.dtype.type(-np.inf), weight).T)
    top, total, leaders = np.full(runs, -1.0, weight.dtype), np.zeros(runs, score.dtype), np.zeros(runs, np.float32)
    grows, zero = bool((weight > 0).all()), score.dtype.type(0)
    found, wanted = np.zeros((runs, len(sizes))), {size: at for at, size in enumerate(sizes)}
    for place, (cell, add, pays) in enumerate(zip(cells, adds, np.ascontiguousarray(score.T), strict=True), 1):
        old = tally[cell]
        new = np.maximum(old, 0) + add
        tally[cell] = new
        sum_paid, count = paid[cell] + pays, given[cell] + np.float32(1)
        paid[cell], given[cell] = sum_paid, count
        ahead, tied = new > top, new == top
        joins = tied if grows else tied & (new > old)
        total = np.where(ahead, sum_paid, total + np.where(joins, sum_paid, zero))
        leaders = np.where(ahead, count, leaders + joins * count)
        if not grows:  # one of a tied answer that weighs nothing
            total = total + np.where(tied & ~joins, pays, zero)
            leaders = leaders + (tied & ~joins)
        top = np.maximum(top, new)
        if (at := wanted.get(place)) is not None:
            found[:, at] = np.divide(total, np.maximum(leaders, 1), dtype=float)
    return found
