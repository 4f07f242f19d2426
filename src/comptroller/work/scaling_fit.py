"""Fits L = E + A / N^alpha + B / D^beta to losses, with what the fit is worth: outliers, condition, resamples,
hold-out.

The objective is that of Hoffmann et al. (arXiv 2203.15556, section 3.3) as a sum, as Besiroglu et al. corrected it
(arXiv 2404.10102): the Huber loss of log L - log(exp(a - alpha log N) + exp(b - beta log D) + exp(e)). A mean instead
of the sum stops the optimiser early and gave the published exponents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from comptroller.errors import UnsupportedError
from comptroller.work.loss_points import LossPoints
from comptroller.work.scaling_law import ScalingLaw

Array = npt.NDArray[np.float64]

HUBER = 1e-3
"""Delta of the Huber loss on log L: errors of 0.1 % count squared, larger ones by their size. At twice this the five
points of high loss of Chinchilla's figure weigh twice as much."""

SCALE = 1e3
"""Factor on the objective, so that the tolerance of L-BFGS-B (1e-9 of it) lies below the sum of a good fit, 1e-3."""

STARTS = ((6.0, 7.5, 0.6, 0.35, 0.37), (10.0, 10.0, 0.5, 0.5, 0.5), (4.0, 4.0, -0.5, 0.25, 0.25))
"""Starts (log A, log B, log E, alpha, beta): the first alone finds the optimum of a grid of 4,500 on Chinchilla's
points; the others are there for other data."""

MOST_EXPONENT = 3.0
"""Greatest exponent that a fit may have, nine times Chinchilla's: beyond it a term is nothing at all runs but the
smallest. Where it is reached the runs do not say what parameters or tokens buy."""

LEAST_EXPONENT = 0.01
"""Least exponent: a hundred times the parameters or tokens then take 5 % off a term, which is another floor."""

MOST_LOG = 100.0
"""Greatest logarithm of A, B and E: with the greatest exponent a term is then one at 3e14 parameters or tokens."""

BOUNDS = ((-MOST_LOG, MOST_LOG),) * 3 + ((LEAST_EXPONENT, MOST_EXPONENT),) * 2

LEAST_POINTS = 12
"""Fewest runs for five parameters: two for each and two to spare. Twice as many would refuse most of what people
have."""

OUTLIER_SPREADS = 10.0
"""Residuals beyond so many robust standard deviations are outliers, named and left out of the second fit. On the points
of Chinchilla's figure these are runs of a few hundred million tokens; at twice this half of them stay."""

HELD_SHARE = 0.2
"""Share of the runs, those of most compute, that the hold-out predicts from the others; at twice this the law is judged
over ten times as much compute, from fewer runs."""


@dataclass(frozen=True, slots=True)
class ScalingFit:
    """A law with its objective. outliers: indices of the runs that were left out.  condition: of the Hessian at the
    optimum; above some 1e8 the parameters trade against each other and only predictions mean anything."""

    law: ScalingLaw
    objective: float
    outliers: tuple[int, ...]
    condition: float
    log_parameters: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class HeldOutCompute:
    """Losses of the runs of most compute by a law of the others. ratio: greatest compute predicted over the greatest
    that was fitted.  mean, worst: absolute errors as shares of the loss."""

    runs: int
    ratio: float
    mean: float
    worst: float


def objective(x: Array, points: LossPoints) -> tuple[float, Array]:
    """The scaled objective of log A, log B, log E, alpha, beta, and its gradient.

    f = 1000 x sum of huber(log L - lse(a - alpha log N, b - beta log D, e))
    """
    n, d = np.log(points.params), np.log(points.tokens)
    terms = np.stack([x[0] - x[3] * n, x[1] - x[4] * d, np.full(len(n), x[2])])
    top = terms.max(axis=0)
    weights = np.exp(terms - top)
    whole = weights.sum(axis=0)
    miss = np.log(points.loss) - top - np.log(whole)
    small = np.abs(miss) <= HUBER
    value = np.where(small, 0.5 * miss**2, HUBER * (np.abs(miss) - 0.5 * HUBER)).sum()
    slope = -np.clip(miss, -HUBER, HUBER) * weights / whole
    gradient = np.array([slope[0].sum(), slope[1].sum(), slope[2].sum(), -(slope[0] * n).sum(), -(slope[1] * d).sum()])
    return SCALE * float(value), SCALE * gradient


def fit_scaling(points: LossPoints, start: tuple[float, ...] | None = None, robust: bool = True) -> ScalingFit:
    """The law of some runs; with `robust` a second fit leaves out the outliers of the first.

    Raises:
        UnsupportedError: there are too few runs, or they do not tell parameters from tokens.
    """
    _require_spread(points)
    x, value = _optimum(points, start)
    outliers: tuple[int, ...] = ()
    if robust:
        misses = np.log(points.loss) - np.log(_law(x, points).loss(points.params, points.tokens))
        spread = 1.4826 * float(np.median(np.abs(misses - np.median(misses))))
        out = np.abs(misses) > OUTLIER_SPREADS * max(spread, HUBER)
        if out.any() and (~out).sum() >= LEAST_POINTS:
            outliers = tuple(int(i) for i in np.flatnonzero(out))
            points = points.take(~out)
            x, value = _optimum(points, tuple(x))
    return ScalingFit(_law(x, points), value / SCALE, outliers, _condition(x, points), tuple(float(one) for one in x))


def _require_spread(points: LossPoints, also: str = "") -> None:
    runs, sizes = len(points.loss), len(np.unique(np.round(points.params, 3)))
    if runs < LEAST_POINTS or sizes < 3:
        raise UnsupportedError(
            f"a law of the loss needs {LEAST_POINTS} runs of 3 sizes at least; there are {runs} of {sizes}{also}"
        )


def require_exponents(law: ScalingLaw) -> None:
    """Refuse a law whose exponents are those of `BOUNDS`.

    Raises:
        UnsupportedError: an exponent is as small or as great as a fit may have it; says which.
    """
    for name, what in (("alpha", "parameters"), ("beta", "tokens")):
        if not LEAST_EXPONENT * 1.001 < getattr(law, name) < MOST_EXPONENT * 0.999:
            raise UnsupportedError(
                f"chinchilla does not hold of {law.source}: {name} is {getattr(law, name):g}, so that they do not say "
                f"what {what} buy; measure more sizes and lengths, or name another law with --law"
            )


def _optimum(points: LossPoints, start: tuple[float, ...] | None) -> tuple[Array, float]:
    solved = [
        minimize(
            objective,
            np.array(one),
            (points,),
            "L-BFGS-B",
            True,
            bounds=BOUNDS,
            options={"maxiter": 5000, "ftol": 1e-13},
        )
        for one in ([start] if start is not None else STARTS)
    ]
    best = min(solved, key=lambda found: float(found.fun))
    return np.asarray(best.x), float(best.fun)


def _law(x: Array, points: LossPoints) -> ScalingLaw:
    a, b, floor = np.exp(x[:3])
    source = f"{len(points.loss)} runs of {points.family[0]}"
    return ScalingLaw(float(floor), float(a), float(b), float(x[3]), float(x[4]), source)


def _condition(x: Array, points: LossPoints) -> float:
    """Condition number of the Hessian, by differences of the gradient."""
    steps = 1e-5 * np.maximum(np.abs(x), 1.0)
    rows = [
        (objective(x + step * unit, points)[1] - objective(x - step * unit, points)[1]) / (2 * step)
        for step, unit in zip(steps, np.eye(len(x)), strict=True)
    ]
    hessian = np.array(rows)
    return float(np.linalg.cond((hessian + hessian.T) / 2))


def resampled_laws(points: LossPoints, fit: ScalingFit, draws: int, seed: int) -> list[ScalingLaw]:
    """Laws of resamples of the runs (those that the fit kept), each from the fit's optimum."""
    kept = np.setdiff1d(np.arange(len(points.loss)), np.array(fit.outliers, dtype=int))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        chosen = points.take(rng.choice(kept, len(kept)))
        x, _ = _optimum(chosen, fit.log_parameters)
        found.append(_law(x, chosen))
    return found


def hold_out_compute(points: LossPoints, share: float = HELD_SHARE) -> HeldOutCompute:
    """Predict the runs of most compute, budget by budget, from the others.

    Raises:
        UnsupportedError: as `fit_scaling`, of what is left.
    """
    flops = points.flops
    limit = float(np.quantile(flops, 1.0 - share))
    kept = flops <= limit * (1 + 1e-9)
    if kept.all():
        kept = flops < flops.max() * (1 - 1e-9)
    _require_spread(points.take(kept), f" without the {(~kept).sum()} of most compute, by which it is judged")
    fit = fit_scaling(points.take(kept))
    left = points.take(~kept)
    errors = np.abs(fit.law.loss(left.params, left.tokens) / left.loss - 1.0)
    ratio = float(flops.max() / flops[kept].max())
    return HeldOutCompute(len(errors), ratio, float(errors.mean()), float(errors.max()))
