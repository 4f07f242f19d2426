"""Robust maximum a posteriori fit of log times with strong priors and effects of cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

STEP = 1e-4
"""Step of the difference quotients, in a logarithm: 0.01 % of a parameter. Rounding enters a slope at 1e-12."""

LONGEST = 0.5
"""Longest move of a parameter in one round, in a logarithm: a factor of 1.65. It damps Gauss-Newton steps that start
far from the optimum, where the slopes hold for a short way only."""

SETTLED = 1e-3
"""The fit ends where no parameter moves by more than 0.1 %."""


@dataclass(frozen=True, slots=True)
class FitTarget:
    """What is fitted: measured logs of some runs, and how they hang together.

    cell: runs of one cell share an effect.  group: runs of one group count as one measurement.  share: of each run,
    below 1 where its source has many.  spread: of each cell's effect beyond `FitSettings.cell`.
    """

    log_s: Array
    cell: Index
    group: Index
    share: Array
    spread: Array

    def weights(self, most: float) -> Array:
        """Weight of each run: 1 over its group's size, and no cell above `most` measurements."""
        alone = 1.0 / np.bincount(self.group)[self.group]
        in_cell = np.bincount(self.cell, weights=alone)[self.cell]
        return np.asarray(self.share * alone * np.minimum(1.0, most / in_cell))


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


def _huber(residual: Array, scale: Array | float) -> Array:
    size = np.maximum(np.abs(residual), 1e-12)
    return np.asarray(np.minimum(1.0, scale / size))


def fit(
    predict: Callable[[Array], Array],
    target: FitTarget,
    prior: FitPrior,
    settings: FitSettings,
    initial: Array | None = None,
) -> FitPosterior:
    """Gauss-Newton on Huber weights (of residuals and of cell effects) with Gaussian priors.

    initial: logs to start from; the prior's centre, where none are given. A parameter that no run shows stays at its
    prior, and costs no round.

    minimise sum_i w_i rho((y_i - f_i(p) - b_cell) / error) + sum_c rho(b_c / cell) + sum_k ((p_k - m_k) / s_k)^2
    """
    logs, spread = (prior.centre if initial is None else initial).copy(), prior.spread.copy()
    free = np.flatnonzero(prior.free)
    moving = free[np.abs(_slopes(predict, logs, free)).max(axis=0, initial=0.0) > 0]
    untold = np.setdiff1d(free, moving)
    logs[untold] = prior.centre[untold]
    cells = np.zeros(int(target.cell.max()) + 1)
    weights, width = target.weights(settings.most), np.hypot(settings.cell, target.spread)
    if not len(moving):
        return FitPosterior(logs, spread, cells)
    for _ in range(settings.rounds):
        predicted = predict(logs)
        slopes = _slopes(predict, logs, moving)
        residual = target.log_s - predicted - cells[target.cell]
        precision = weights * _huber(residual, settings.error) / settings.error**2
        cell_precision = _huber(cells, width) / width**2
        move, effect, curvature = _solve(
            slopes, residual, precision, target.cell, cell_precision, (prior, logs, moving, cells)
        )
        logs[moving] += np.clip(move, -LONGEST, LONGEST)
        cells = cells + effect
        if np.abs(move).max(initial=0.0) < SETTLED:
            break
    spread[moving] = np.sqrt(np.diag(np.linalg.inv(curvature)))
    return FitPosterior(logs, spread, cells)


def _slopes(predict: Callable[[Array], Array], logs: Array, moving: Index) -> Array:
    """Difference quotients of the predictions by some of the parameters, (runs, parameters)."""
    predicted = predict(logs)
    slopes = np.empty((len(predicted), len(moving)))
    for column, k in enumerate(moving):
        shifted = logs.copy()
        shifted[k] += STEP
        slopes[:, column] = (predict(shifted) - predicted) / STEP
    return slopes


def _solve(
    slopes: Array,
    residual: Array,
    precision: Array,
    cell: Index,
    cell_precision: Array,
    state: tuple[FitPrior, Array, Index, Array],
) -> tuple[Array, Array, Array]:
    """One step: the cells' effects are eliminated, so only the parameters' equations are dense."""
    prior, logs, moving, cells = state
    inverse = 1.0 / prior.spread[moving] ** 2
    cell_curvature = np.bincount(cell, weights=precision, minlength=len(cell_precision)) + cell_precision
    loads = slopes * precision[:, None]
    mixed = np.column_stack([np.bincount(cell, weights=column, minlength=len(cell_precision)) for column in loads.T])
    right_cell = np.bincount(cell, weights=precision * residual, minlength=len(cell_precision)) - cell_precision * cells
    dense = (slopes * precision[:, None]).T @ slopes + np.diag(inverse)
    right = slopes.T @ (precision * residual) - inverse * (logs - prior.centre)[moving]
    curvature = dense - mixed.T @ (mixed / cell_curvature[:, None])
    move = np.linalg.solve(curvature, right - mixed.T @ (right_cell / cell_curvature))
    effect = (right_cell - mixed @ move) / cell_curvature
    return np.asarray(move), np.asarray(effect), np.asarray(curvature)
