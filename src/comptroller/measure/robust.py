"""Robust maximum a posteriori fit of log times with strong priors and effects of cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

STEP = 1e-4
LONGEST = 0.5


@dataclass(frozen=True, slots=True)
class FitTarget:
    """What is fitted: measured logs of some runs, and how they hang together.

    cell: runs of one cell share an effect.  group: runs of one group count as one measurement.
    """

    log_s: Array
    cell: Index
    group: Index

    def weights(self, most: float) -> Array:
        """Weight of each run: 1 over its group's size, and no cell above `most` measurements."""
        alone = 1.0 / np.bincount(self.group)[self.group]
        in_cell = np.bincount(self.cell, weights=alone)[self.cell]
        return np.asarray(alone * np.minimum(1.0, most / in_cell))


@dataclass(frozen=True, slots=True)
class FitSettings:
    """error: of a run within its cell.  cell: spread of cells' effects.  most: measurements a cell counts for."""

    error: float
    cell: float
    most: float
    rounds: int = 12


@dataclass(frozen=True, slots=True)
class FitPrior:
    """Centre and standard deviation of every parameter (logs); `free` says which may move."""

    centre: Array
    spread: Array
    free: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FitPosterior:
    """Logs of the parameters, their standard deviations, and the effect of each cell."""

    logs: Array
    spread: Array
    cells: Array


def _huber(residual: Array, scale: float) -> Array:
    size = np.maximum(np.abs(residual), 1e-12)
    return np.asarray(np.minimum(1.0, scale / size))


def fit(predict: Callable[[Array], Array], target: FitTarget, prior: FitPrior, settings: FitSettings) -> FitPosterior:
    """Gauss-Newton on Huber weights (of residuals and of cell effects) with Gaussian priors.

    minimise sum_i w_i rho((y_i - f_i(p) - b_cell) / error) + sum_c rho(b_c / cell) + sum_k ((p_k - m_k) / s_k)^2
    """
    logs, spread = prior.centre.copy(), prior.spread.copy()
    moving = np.flatnonzero(prior.free)
    cells = np.zeros(int(target.cell.max()) + 1)
    weights = target.weights(settings.most)
    count = len(moving)
    for _ in range(settings.rounds):
        now = predict(logs)
        slopes = np.empty((len(now), count))
        for column, k in enumerate(moving):
            shifted = logs.copy()
            shifted[k] += STEP
            slopes[:, column] = (predict(shifted) - now) / STEP
        residual = target.log_s - now - cells[target.cell]
        each = weights * _huber(residual, settings.error) / settings.error**2
        damp = _huber(cells, settings.cell) / settings.cell**2
        move, effect, curvature = _solve(slopes, residual, each, target.cell, damp, (prior, logs, moving, cells))
        logs[moving] += np.clip(move, -LONGEST, LONGEST)
        cells = cells + effect
        if np.abs(move).max(initial=0.0) < 1e-3:
            break
    spread[moving] = np.sqrt(np.diag(np.linalg.inv(curvature)))
    return FitPosterior(logs, spread, cells)


def _solve(
    slopes: Array, residual: Array, each: Array, cell: Index, damp: Array, state: tuple[FitPrior, Array, Index, Array]
) -> tuple[Array, Array, Array]:
    """One step: the cells' effects are eliminated, so only the parameters' equations are dense."""
    prior, logs, moving, cells = state
    inverse = 1.0 / prior.spread[moving] ** 2
    own = np.bincount(cell, weights=each, minlength=len(damp)) + damp
    mixed = np.zeros((len(damp), slopes.shape[1]))
    np.add.at(mixed, cell, slopes * each[:, None])
    right_cell = np.bincount(cell, weights=each * residual, minlength=len(damp)) - damp * cells
    dense = (slopes * each[:, None]).T @ slopes + np.diag(inverse)
    right = slopes.T @ (each * residual) - inverse * (logs - prior.centre)[moving]
    curvature = dense - mixed.T @ (mixed / own[:, None])
    move = np.linalg.solve(curvature, right - mixed.T @ (right_cell / own))
    effect = (right_cell - mixed @ move) / own
    return np.asarray(move), np.asarray(effect), np.asarray(curvature)
