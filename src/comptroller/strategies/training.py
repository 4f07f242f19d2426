"""Training of success predictors on recorded outcomes, and their quality on held-out folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # its optimisers are imported when they are used
from scipy.special import betaln, expit

from comptroller.errors import InputError
from comptroller.strategies.success_prediction import SuccessPredictor

Floats = npt.NDArray[np.float64]

RIDGE = 1.0
"""L2 penalty on standardised weights, in units of one observation's log loss.

It decides only on small data: at twice the value, held-out log loss is 0.5792 instead of 0.5791 on 14,042 questions of
MMLU, and 0.626 instead of 0.632 on 201 of them (measured).
"""
FOLDS = 5
"""Folds of cross-fitting: each predictor trains on 80 % of the groups.

With ten folds the log loss on MMLU is the same to four digits (measured), and twice as many fits are needed.
"""
MARGIN = 1e-9
"""Distance of chances from 0 and 1, where log loss and the Beta distribution are infinite or undefined.

A certain but wrong prediction costs 20.7 nats; at twice the margin 20.0.
"""
LOG_PRECISIONS = (-6.0, 10.0)
"""Bounds of log phi: from almost all-or-nothing success rates (phi 0.0025) to the binomial (phi 22,026).

Wider bounds change phi only where the data have no spread between rows (upper end) or no row of mixed outcomes (lower).
"""
CALIBRATION_BINS = 10
"""Bins of the calibration error, the usual number of the literature. More bins are noisier, which raises the error."""


@dataclass(frozen=True)
class TrainingOutcomes:
    """Training data. table: rows x signals.  successes, trials: of each row.  group: label of each row.

    Rows of a group (one question, several models) are always in the same fold.
    """

    signals: tuple[str, ...]
    table: Floats
    successes: Floats
    trials: Floats
    group: npt.NDArray[Any]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, float]], right: npt.ArrayLike, group: npt.ArrayLike) -> TrainingOutcomes:
        """Outcomes with one trial per row. Signals that are NaN in any row are left out.

        Raises:
            InputError: there are no rows, no signal is known in all rows, or all outcomes are the same.
        """
        right = np.asarray(right, float)
        names = tuple(n for n in rows[0] if not any(np.isnan(row[n]) for row in rows)) if rows else ()
        if not names or len(right) != len(rows):
            raise InputError("training: needs rows with at least one signal known in all, and an outcome for each")
        if right.min() == right.max():
            raise InputError("training: all outcomes are the same, so there is nothing to learn")
        table = np.array([[row[name] for name in names] for row in rows])
        return cls(names, table, right, np.ones(len(rows)), np.asarray(group))

    def take(self, chosen: npt.NDArray[Any]) -> TrainingOutcomes:
        """The outcomes of the rows in a mask."""
        return TrainingOutcomes(
            self.signals, self.table[chosen], self.successes[chosen], self.trials[chosen], self.group[chosen]
        )


def fit(outcomes: TrainingOutcomes) -> SuccessPredictor:
    """The success predictor of maximal likelihood under an L2 penalty on its weights (not on the intercept)."""
    centre, scale = outcomes.table.mean(axis=0), outcomes.table.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x = (outcomes.table - centre) / scale
    wins, losses = outcomes.successes, outcomes.trials - outcomes.successes

    def loss(trial: Floats) -> tuple[float, Floats]:
        level = trial[0] + x @ trial[1:]
        value = wins @ np.logaddexp(0, -level) + losses @ np.logaddexp(0, level)
        slope = outcomes.trials * expit(level) - wins
        gradient = np.concatenate([[slope.sum()], x.T @ slope + RIDGE * trial[1:]])
        return float(value + RIDGE / 2 * trial[1:] @ trial[1:]), gradient

    parameters = scipy.optimize.minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    part = SuccessPredictor(
        outcomes.signals,
        tuple(float(v) for v in centre),
        tuple(float(v) for v in scale),
        tuple(float(v) for v in parameters[1:]),
        float(parameters[0]),
    )
    return replace(part, precision=_precision(part, outcomes))


def _precision(part: SuccessPredictor, outcomes: TrainingOutcomes) -> float:
    """The precision phi of the beta-binomial of maximal likelihood; infinite where every row is one trial."""
    if outcomes.trials.max() <= 1:
        return float("inf")
    mean = np.clip(part.chances(outcomes.table), MARGIN, 1 - MARGIN)
    wins, losses = outcomes.successes, outcomes.trials - outcomes.successes

    def loss(log_phi: float) -> float:
        a, b = mean * np.exp(log_phi), (1 - mean) * np.exp(log_phi)
        return -float(np.sum(betaln(a + wins, b + losses) - betaln(a, b)))

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=LOG_PRECISIONS, method="bounded").x))


def cross_fitted(outcomes: TrainingOutcomes, rng: np.random.Generator, folds: int = FOLDS) -> Floats:
    """The chance of success of each row, from a predictor trained without the row's group.

    Raises:
        InputError: there are fewer groups than folds.
    """
    groups, position = np.unique(outcomes.group, return_inverse=True)
    if len(groups) < folds:
        raise InputError(f"training: {len(groups)} groups cannot be held out in {folds} folds")
    fold = rng.permutation(len(groups))[position] % folds
    chances = np.empty(len(outcomes.successes))
    for held_out in range(folds):
        tested = fold == held_out
        chances[tested] = fit(outcomes.take(~tested)).chances(outcomes.table[tested])
    return chances


def auc(chance: Floats, right: Floats) -> float:
    """Area under the ROC curve: probability that a success ranks above a failure, ties counting half.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.875
    """
    values, rank = np.unique(chance, return_inverse=True)
    won, lost = np.bincount(rank, right, len(values)), np.bincount(rank, 1 - right, len(values))
    below = np.cumsum(lost) - lost
    return float((won @ (below + lost / 2)) / (right.sum() * (1 - right).sum()))


def quality(chance: Floats, outcomes: TrainingOutcomes) -> dict[str, float]:
    """Quality of predicted chances: log loss and Brier score beside those of the base rate, AUC, calibration error.

    Log loss is in nats. Calibration error: mean gap between chance and success rate over ten bins of equal size. AUC
    only where every row is one trial.
    """
    rate = outcomes.successes / outcomes.trials
    base = np.full(len(rate), rate.mean())
    bins = np.array_split(np.argsort(chance, kind="stable"), CALIBRATION_BINS)
    gap = sum(abs(chance[b].mean() - rate[b].mean()) * len(b) for b in bins if len(b)) / len(rate)
    figures = {
        "rows": float(len(rate)),
        "groups": float(len(np.unique(outcomes.group))),
        "base_rate": float(rate.mean()),
        "log_loss": _log_loss(chance, rate),
        "log_loss_of_base_rate": _log_loss(base, rate),
        "brier": float(np.mean((chance - rate) ** 2)),
        "brier_of_base_rate": float(np.mean((base - rate) ** 2)),
        "calibration_error": float(gap),
    }
    if outcomes.trials.max() <= 1:
        figures["auc"] = auc(chance, rate)
    return figures


def _log_loss(chance: Floats, rate: Floats) -> float:
    safe = np.clip(chance, MARGIN, 1 - MARGIN)
    return float(-np.mean(rate * np.log(safe) + (1 - rate) * np.log1p(-safe)))


def train(outcomes: TrainingOutcomes, about: Mapping[str, Any], rng: np.random.Generator) -> SuccessPredictor:
    """A predictor trained on all outcomes, with its cross-fitted quality."""
    return with_quality(outcomes, cross_fitted(outcomes, rng), about)


def with_quality(outcomes: TrainingOutcomes, held_out: Floats, about: Mapping[str, Any]) -> SuccessPredictor:
    """A predictor trained on all outcomes, with the quality of its held-out chances, rounded to four decimals."""
    measured = quality(held_out, outcomes)
    return replace(fit(outcomes), about=dict(about), measured={k: round(v, 4) for k, v in measured.items()})


def threshold_for(chance: npt.ArrayLike, share: float) -> float:
    """The threshold that a share of the rows reaches, those of highest chance: the (1 - share) quantile.

    Raises:
        InputError: the share lies outside [0, 1].

    >>> threshold_for([0.1, 0.2, 0.8, 0.9], 0.5)
    0.8
    """
    if not 0 <= share <= 1:
        raise InputError(f"training: the share to accept is {share}; it must lie between 0 and 1")
    ranked = np.sort(np.asarray(chance, float))[::-1]
    count = round(share * len(ranked))
    return float(ranked[count - 1]) if count else float(np.nextafter(ranked[0], 2.0))
