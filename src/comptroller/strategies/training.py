"""Trains the learned parts of strategies from recorded outcomes, and measures them on folds that did not train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import betaln, expit

from comptroller.errors import InputError
from comptroller.strategies.success_prediction import SuccessPredictor

Floats = npt.NDArray[np.float64]

RIDGE = 1.0
"""Penalty on standardised weights, in pseudo-observations."""
FOLDS = 5


@dataclass(frozen=True)
class TrainingOutcomes:
    """What to learn from: rows x signals, successes out of trials of each row, and the group it belongs to.

    Rows of a group (a question asked of several models) never stand on both sides of a fold.
    """

    signals: tuple[str, ...]
    table: Floats
    successes: Floats
    trials: Floats
    group: npt.NDArray[Any]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, float]], right: npt.ArrayLike, group: npt.ArrayLike) -> TrainingOutcomes:
        """Outcomes of one trial each, from signals as mappings; signals that are unknown anywhere are left out.

        Raises:
            InputError: there are no rows, no signal is known everywhere, or all outcomes are the same.
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
        """The rows of a mask."""
        return TrainingOutcomes(
            self.signals, self.table[chosen], self.successes[chosen], self.trials[chosen], self.group[chosen]
        )


def fit(outcomes: TrainingOutcomes) -> SuccessPredictor:
    """The chance of success that explains the outcomes best, weights held down by a ridge."""
    centre, scale = outcomes.table.mean(axis=0), outcomes.table.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x = (outcomes.table - centre) / scale
    wins, losses = outcomes.successes, outcomes.trials - outcomes.successes

    def loss(parameters: Floats) -> tuple[float, Floats]:
        level = parameters[0] + x @ parameters[1:]
        value = wins @ np.logaddexp(0, -level) + losses @ np.logaddexp(0, level)
        slope = outcomes.trials * expit(level) - wins
        gradient = np.concatenate([[slope.sum()], x.T @ slope + RIDGE * parameters[1:]])
        return float(value + RIDGE / 2 * parameters[1:] @ parameters[1:]), gradient

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    part = SuccessPredictor(
        outcomes.signals,
        tuple(float(v) for v in centre),
        tuple(float(v) for v in scale),
        tuple(float(v) for v in found[1:]),
        float(found[0]),
    )
    return replace(part, precision=_precision(part, outcomes))


def _precision(part: SuccessPredictor, outcomes: TrainingOutcomes) -> float:
    """The precision phi of the beta-binomial that explains the spread best; infinite for single trials."""
    if outcomes.trials.max() <= 1:
        return float("inf")
    mean = np.clip(part.chances(outcomes.table), 1e-9, 1 - 1e-9)
    wins, losses = outcomes.successes, outcomes.trials - outcomes.successes

    def loss(log_phi: float) -> float:
        a, b = mean * np.exp(log_phi), (1 - mean) * np.exp(log_phi)
        return -float(np.sum(betaln(a + wins, b + losses) - betaln(a, b)))

    return float(np.exp(minimize_scalar(loss, bounds=(-6.0, 10.0), method="bounded").x))


def cross_fitted(outcomes: TrainingOutcomes, rng: np.random.Generator, folds: int = FOLDS) -> Floats:
    """The chance of each row from a part that was trained without its group."""
    groups, position = np.unique(outcomes.group, return_inverse=True)
    if len(groups) < folds:
        raise InputError(f"training: {len(groups)} groups cannot be held out in {folds} folds")
    fold = rng.permutation(len(groups))[position] % folds
    found = np.empty(len(outcomes.successes))
    for held in range(folds):
        found[fold == held] = fit(outcomes.take(fold != held)).chances(outcomes.table[fold == held])
    return found


def auc(chance: Floats, right: Floats) -> float:
    """Probability that a success is ranked above a failure, ties counting half.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.875
    """
    values, at = np.unique(chance, return_inverse=True)
    won, lost = np.bincount(at, right, len(values)), np.bincount(at, 1 - right, len(values))
    below = np.cumsum(lost) - lost
    return float((won @ (below + lost / 2)) / (right.sum() * (1 - right).sum()))


def quality(chance: Floats, outcomes: TrainingOutcomes) -> dict[str, float]:
    """How good chances are: log loss and Brier score beside those of the base rate, AUC, calibration error.

    Calibration error: mean gap between chance and outcome over ten bins of equal size.
    """
    rate = outcomes.successes / outcomes.trials
    base = np.full(len(rate), rate.mean())
    bins = np.array_split(np.argsort(chance, kind="stable"), 10)
    gap = sum(abs(chance[b].mean() - rate[b].mean()) * len(b) for b in bins if len(b)) / len(rate)
    found = {
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
        found["auc"] = auc(chance, rate)
    return found


def _log_loss(chance: Floats, rate: Floats) -> float:
    safe = np.clip(chance, 1e-9, 1 - 1e-9)
    return float(-np.mean(rate * np.log(safe) + (1 - rate) * np.log1p(-safe)))


def train(outcomes: TrainingOutcomes, about: Mapping[str, Any], rng: np.random.Generator) -> SuccessPredictor:
    """A part trained on all outcomes, with the quality that cross-fitting measured."""
    measured = quality(cross_fitted(outcomes, rng), outcomes)
    return replace(fit(outcomes), about=dict(about), measured={k: round(v, 4) for k, v in measured.items()})


def threshold_for(chance: npt.ArrayLike, share: float) -> float:
    """The threshold that lets a share of rows through, those of highest chance: the (1 - share) quantile.

    >>> threshold_for([0.1, 0.2, 0.8, 0.9], 0.5)
    0.8
    """
    if not 0 <= share <= 1:
        raise InputError(f"training: the share to accept is {share}; it must lie between 0 and 1")
    ranked = np.sort(np.asarray(chance, float))[::-1]
    count = round(share * len(ranked))
    return float(ranked[count - 1]) if count else float(np.nextafter(ranked[0], 2.0))
