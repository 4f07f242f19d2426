"""What a law of the loss says of each family of runs: parameters, hold-out, splits of compute, and where it is
refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.work.law_file import LossLawFile
from comptroller.work.loss_points import LossPoints
from comptroller.work.scaling_fit import (
    HELD_SHARE,
    LEAST_POINTS,
    HeldOutCompute,
    ScalingFit,
    fit_scaling,
    hold_out_compute,
    require_exponents,
    resampled_laws,
)
from comptroller.work.scaling_law import ScalingLaw

WIDE_SHARE = 0.5
"""Share of the runs that the widest hold-out predicts: it says over how many times as much compute the law was seen to
hold. At twice this nothing is left to fit."""

MOST_ERROR = 0.05
"""Greatest error of a held-out loss at which that reach counts: 5 % of a loss of 2 is a tenth of a nat, more than ten
times the compute buys. At twice this a law is trusted where it is blind."""

MOST_DRAWS = 200
"""Most resamples: 1,000 move the ends of intervals by a tenth of their width, in five times the time."""


@dataclass(frozen=True, slots=True)
class ScalingQuery:
    """Options. flops: compute that is split.  drop_highest: runs of highest loss left out, as Epoch leaves out five.
    beyond: also where the hold-out does not reach.  level, draws, seed: of intervals."""

    flops: tuple[float, ...] = ()
    drop_highest: int = 0
    beyond: bool = False
    level: float = 0.9
    draws: int = MOST_DRAWS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ParameterEstimate:
    """A parameter of the law: value, standard error over resamples, and interval."""

    name: str
    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ComputeSplit:
    """Parameters, tokens and loss that compute buys at the optimum, with intervals over resamples."""

    flops: float
    params: tuple[float, float, float]
    tokens: tuple[float, float, float]
    loss: tuple[float, float, float]


@dataclass(frozen=True)
class ScalingReport:
    """A law of one family. reach: greatest compute that its hold-out supports.  refused: compute beyond it."""

    family: str
    runs: int
    fit: ScalingFit
    parameters: tuple[ParameterEstimate, ...]
    exponent: ParameterEstimate
    held_out: HeldOutCompute
    widest: HeldOutCompute
    reach: float
    splits: tuple[ComputeSplit, ...] = ()
    refused: tuple[str, ...] = field(default=())

    @property
    def record(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return asdict(self)

    @property
    def law_file(self) -> LossLawFile:
        """The law as a file that workloads of training name."""
        law = self.fit.law
        return LossLawFile(
            self.family, self.runs, law.floor, law.a, law.alpha, law.b, law.beta, self.reach, self.held_out.mean
        )


def scaling_report(points: LossPoints, asked: ScalingQuery) -> list[ScalingReport]:
    """A report for every family.

    Raises:
        UnsupportedError: as `fit_scaling`; of a single family, compute beyond what its hold-out supports.
    """
    found = [_family_report(points.of(name), asked) for name in points.families]
    if len(found) == 1 and found[0].refused and not found[0].splits:
        raise UnsupportedError("; ".join(found[0].refused))
    return found


def lowest_losses(points: LossPoints, left_out: int) -> LossPoints:
    """The runs without so many of the highest losses."""
    return points.take(np.sort(np.argsort(points.loss)[:-left_out])) if left_out else points


def _family_report(points: LossPoints, asked: ScalingQuery) -> ScalingReport:
    points = lowest_losses(points, asked.drop_highest)
    fit = fit_scaling(points, robust=not asked.drop_highest)
    require_exponents(fit.law)
    laws = resampled_laws(points, fit, min(asked.draws, MOST_DRAWS), asked.seed)
    held_out = hold_out_compute(points)
    widest = hold_out_compute(points, max(HELD_SHARE, min(WIDE_SHARE, 1.0 - LEAST_POINTS / len(points.loss))))
    reach = float(points.flops.max()) * (widest.ratio if widest.worst <= MOST_ERROR else 1.0)
    wanted = asked.flops or (float(points.flops.max()),)
    splits = [_split(flops, fit.law, laws, asked.level) for flops in wanted if flops <= reach or asked.beyond]
    refused = [
        f"{points.family[0]}: {flops:.3g} FLOP is beyond {reach:.3g}, {widest.ratio:.3g} times the greatest measured; "
        f"the hold-out supports no more; measure larger runs, or ask with --beyond"
        for flops in wanted
        if flops > reach and not asked.beyond
    ]
    names = ("a", "b", "floor", "alpha", "beta")
    parameters = [_estimate(name, fit.law, laws, asked.level) for name in names]
    shares = [law.beta / (law.alpha + law.beta) for law in laws]
    exponent = _of_draws("exponent of parameters", fit.law.beta / (fit.law.alpha + fit.law.beta), shares, asked.level)
    return ScalingReport(
        points.family[0], len(points.loss), fit, tuple(parameters), exponent, held_out, widest, reach,
        tuple(splits), tuple(refused),
    )  # fmt: skip


def _estimate(name: str, law: ScalingLaw, laws: Sequence[ScalingLaw], level: float) -> ParameterEstimate:
    return _of_draws(name, float(getattr(law, name)), [float(getattr(one, name)) for one in laws], level)


def _of_draws(name: str, value: float, draws: Sequence[float], level: float) -> ParameterEstimate:
    low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2))
    return ParameterEstimate(name, value, float(np.std(draws)), float(low), float(high))


def _split(flops: float, law: ScalingLaw, laws: Sequence[ScalingLaw], level: float) -> ComputeSplit:
    def of(one: ScalingLaw) -> tuple[float, float, float]:
        params, tokens = one.optimum(flops)
        return float(params), float(tokens), float(one.loss(params, tokens))

    draws = np.array([of(one) for one in laws])
    low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2), axis=0)
    parts = [(value, float(low[i]), float(high[i])) for i, value in enumerate(of(law))]
    return ComputeSplit(flops, *parts)
