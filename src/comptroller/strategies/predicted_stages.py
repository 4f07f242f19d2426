"""A stage of a cascade whose vote is trusted by a predicted chance of success, over all choices of its samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from comptroller.strategies.sample_pools import BLANK, CUT, LOST, NAMED, SamplePool, SampleTable, combined_cost
from comptroller.strategies.sample_weights import likelihoods
from comptroller.strategies.stage_runs import TrustMeans
from comptroller.strategies.success_prediction import success_predictor
from comptroller.strategies.vote_odds import vote_prefixes
from comptroller.work.best_means import expected_best

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MOST_DRAWN = 2e7
"""Samples in all choices of all questions up to which choices are counted: some three seconds; twice as many take twice
as long, as deals of so many questions do."""
AT_ONCE = 1 << 19
"""Samples of choices in one array, for which some 50 MB are needed; twice as many change nothing but memory."""


@dataclass(frozen=True, slots=True)
class PredictedStage:
    """The vote of several samples, trusted where its predicted chance of being right reaches a threshold.

    samples: of the vote.  by: the success predictor; none for the last stage, whose vote is taken.
    """

    samples: int
    threshold: float
    by: str = ""

    def means(self, pool: SamplePool, table: SampleTable) -> TrustMeans | None:
        """Exact; None where samples are too few, choices too many, or a signal of the predictor is not recorded."""
        count = comb(pool.samples, self.samples)
        if not 0 < count * self.samples * len(pool.place) <= MOST_DRAWN:
            return None
        chosen = np.array(list(combinations(range(pool.samples), self.samples)))
        found = np.zeros((6, len(pool.place)))
        read = self.by and "likelihood" in success_predictor(self.by).signals
        likelihood = likelihoods(pool, table.replay.evidence) if read else None
        for some in _parts(len(pool.place), chosen.size):
            part = self._choice_means(pool, likelihood, some, chosen)
            if part is None:
                return None
            found[:, some] = part
        trusted, kept, *scores = found
        mean = combined_cost([pool.cost], lambda one: np.mean(np.atleast_2d(one[0]), axis=1))
        return TrustMeans(
            trusted=trusted,
            kept=kept,
            trusted_score=np.array(scores[:2]),
            kept_score=np.array(scores[2:]),
            cost=mean * float(self.samples),
            calls=np.full(len(pool.place), float(self.samples)),
            seconds=expected_best(pool.seconds, [pool.seconds], [self.samples])[0][:, 0],
            lost=self.samples * np.isin(pool.state, (LOST, CUT)).mean(axis=1),
        )

    def _choice_means(
        self, pool: SamplePool, likelihood: Floats | None, some: slice, chosen: npt.NDArray[np.int64]
    ) -> Floats | None:
        """(6, questions): chances of an answer trusted and not, then score and square of each, times the chance."""
        state, label = (values[some][:, chosen] for values in (pool.state, pool.label))
        whole = np.asarray((state >= BLANK).any(axis=2))
        trusted = whole
        if self.by:
            made = np.broadcast_to(pool.cost.tokens.output + pool.cost.tokens.reasoning, pool.row.shape)
            told = None if likelihood is None else likelihood[some][:, chosen]
            chance = self._chance(whole, _signals(state, label, made[some][:, chosen], told))
            if chance is None:
                return None
            trusted = whole & (chance >= self.threshold)
        score, square = (_vote_scores(state, label, paid[some][:, chosen]) for paid in (pool.score, pool.score**2))
        kept = whole & ~trusted
        parts = [trusted, kept, *(np.where(kind, paid, 0.0) for kind in (trusted, kept) for paid in (score, square))]
        return np.array([part.mean(axis=1) for part in parts])

    def _chance(self, whole: Bools, signals: dict[str, Floats]) -> Floats | None:
        """(questions, choices): the predicted chance, 0 where no sample is whole; None where a signal is missing."""
        predictor, chance = success_predictor(self.by), np.zeros(whole.shape)
        if not set(predictor.signals) <= set(signals):
            return None
        table = np.stack([signals[name][whole] for name in predictor.signals], axis=1)
        if np.isnan(table).any():
            return None
        chance[whole] = predictor.chances(table)
        return chance


def _parts(questions: int, size: int) -> Iterator[slice]:
    step = max(AT_ONCE // size, 1)
    return (slice(start, start + step) for start in range(0, questions, step))


def _signals(
    state: npt.NDArray[np.int64], label: npt.NDArray[np.int64], made: Floats, likelihood: Floats | None
) -> dict[str, Floats]:
    """By name as in `reply_signals`, (questions, choices) each, from arrays of shape (questions, choices, samples)."""
    named = label >= 0
    alike = np.stack([((label == label[..., at : at + 1]) & named).sum(axis=2) for at in range(label.shape[2])])
    signals: dict[str, Floats] = {
        "log_tokens": np.log1p(made.mean(axis=2)),
        "truncated": (state == CUT).mean(axis=2),
        "agreement": alike.max(axis=0) * named.any(axis=2) / label.shape[2],
        "answered": named.mean(axis=2),
    }
    if likelihood is not None:
        known = ~np.isnan(likelihood)
        total = np.where(known, likelihood, 0.0).sum(axis=2)
        signals["likelihood"] = np.where(known.any(axis=2), total / np.maximum(known.sum(axis=2), 1), np.nan)
    return signals


def _vote_scores(state: npt.NDArray[np.int64], label: npt.NDArray[np.int64], paid: Floats) -> Floats:
    """(questions, choices): mean over the orders of each choice of what its vote pays; the first whole sample's where
    none has an answer."""
    shape, size = label.shape[:2], label.shape[2]
    flat = label.reshape(-1, size)
    voted = vote_prefixes(flat, np.ones(flat.shape), paid.reshape(-1, size), [size]).reshape(shape)
    blank = state == BLANK
    alone = np.where(blank, paid, 0.0).sum(axis=2) / np.maximum(blank.sum(axis=2), 1)
    return np.where((state == NAMED).any(axis=2), voted, alone)
