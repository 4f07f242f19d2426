"""Trains the residual on what the physics leaves over, and its intervals, all from the training runs alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.residual import (
    GaussianProcessResidual,
    ResidualIdentity,
    ResidualOverlap,
    among_each_other,
    covariance,
)
from comptroller.facts.serving import Band, PredictionErrorBands, ResidualAnchor, ResidualKernel

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

MOST = 1.2
"""Larger residuals (a factor of 3.3) are other settings or broken runs; they count as this much."""

TAILS = (0.1, 0.9)
"""Quantiles of held-out log errors that bound a band: intervals of 80 %, as all of calibration states them."""

PLACES = 6
"""Numbers that place a run: `x0..x5` of the anchors, see `calibration_text.RESIDUAL_HEADER`."""

TPOT_KERNEL = ResidualKernel(
    key=0.03, run=0.25, kin=0.06, fine=0.04, run_fine=0.10, noise=0.04, reach=6.0,
    scales=(2.0, 1.5, 1.5, 1.2, 1.0, 1.0),
)  # fmt: skip
TTFT_KERNEL = ResidualKernel(
    key=0.10, run=0.40, kin=0.0, fine=0.10, run_fine=0.25, noise=0.10, reach=6.0,
    scales=(2.0, 1.5, 1.5, 1.2, 1.0, 1.0),
)  # fmt: skip
"""Spreads as the cells' effects and the runs within them show; chosen by 5-fold error over groups of runs."""


@dataclass(frozen=True, slots=True)
class ResidualPoints:
    """Residuals (log of measured over predicted) at identities and places; repeats merged."""

    identities: tuple[ResidualIdentity, ...]
    places: Array
    residual: Array

    @classmethod
    def merged(cls, identities: Sequence[ResidualIdentity], places: Array, residual: Array) -> ResidualPoints:
        """One point per identity and place, its residual the mean of the repeats; unknown ones (NaN) left out."""
        rows: dict[tuple[ResidualIdentity, tuple[float, ...]], list[float]] = defaultdict(list)
        for identity, place, value in zip(identities, places, residual, strict=True):
            if np.isfinite(value):
                rows[identity, tuple(float(x) for x in place)].append(float(np.clip(value, -MOST, MOST)))
        names = tuple(identity for identity, _ in rows)
        where = np.array([place for _, place in rows]).reshape(len(rows), places.shape[1])
        return cls(names, where, np.array([np.mean(values) for values in rows.values()]))

    def blocks(self) -> Mapping[tuple[str, str], Index]:
        """Points by engine and architecture."""
        by_key: dict[tuple[str, str], list[int]] = defaultdict(list)
        for i, identity in enumerate(self.identities):
            by_key[identity.engine, identity.architecture].append(i)
        return {key: np.array(rows) for key, rows in by_key.items()}

    def shared(self, index: Index) -> ResidualOverlap:
        """What some points share with each other."""
        who = [self.identities[i] for i in index]
        return among_each_other([w.formats for w in who], [w.accelerator for w in who], [w.run for w in who])


@dataclass(frozen=True, slots=True)
class TrainedResidual:
    """A residual over points, with the weight of each and the intervals."""

    kernel: ResidualKernel
    points: ResidualPoints
    weights: Array
    bands: PredictionErrorBands

    def residual(self) -> GaussianProcessResidual:
        """Ready to predict."""
        return GaussianProcessResidual.of(self.kernel, self.anchors(), list(self.weights))

    def anchors(self) -> list[ResidualAnchor]:
        """The points as anchors; the weight stands for both quantities."""
        rows = zip(self.points.identities, self.points.places, self.weights, strict=True)
        return [anchor(identity, place, float(weight), float(weight)) for identity, place, weight in rows]


def anchor(identity: ResidualIdentity, place: Array, tpot: float, ttft: float) -> ResidualAnchor:
    """An anchor of a point."""
    a, b, c, d, e, f = (float(x) for x in place)
    who = identity
    return ResidualAnchor(
        who.engine, who.architecture, who.formats, who.accelerator, who.run, (a, b, c, d, e, f), tpot, ttft
    )


def train(kernel: ResidualKernel, points: ResidualPoints) -> TrainedResidual:
    """Weights of the points and the bands of held-out errors.

    Held out in closed form: r_i - mean without i = w_i / [C^-1]_ii, with variance 1 / [C^-1]_ii, C the covariance
    with noise and w = C^-1 r (Rasmussen and Williams 2006, eq. 5.10 to 5.12); repeats of a configuration are merged
    before, so that none of its copies stays. "related" leaves out all points of an accelerator and formats at once;
    "new" is the residual itself.
    """
    weights = np.zeros(len(points.residual))
    seen: list[Array] = []
    related: list[Array] = []
    for index in points.blocks().values():
        shared = points.shared(index)
        prior_covariance = covariance(kernel, points.places[index], points.places[index], shared)
        inverse = np.linalg.inv(prior_covariance + kernel.noise**2 * np.eye(len(index)))
        block_weights = inverse @ points.residual[index]
        weights[index] = block_weights
        seen.append(block_weights / np.sqrt(np.diag(inverse)))
        related.append(_left_out(points.residual[index], shared, prior_covariance, kernel))
    seen_errors = np.concatenate(seen) if seen else np.zeros(0)
    related_errors = np.concatenate(related) if related else np.zeros(0)
    new = _band(points.residual)
    return TrainedResidual(
        kernel,
        points,
        weights,
        PredictionErrorBands(new, _band(related_errors) if len(related_errors) else new, _band(seen_errors)),
    )


def points_from_anchors(
    kernel: ResidualKernel, anchors: Sequence[ResidualAnchor], weights: Sequence[float]
) -> ResidualPoints:
    """The residuals behind anchors: r = C w, C the covariance with noise."""
    kept = [i for i, weight in enumerate(weights) if np.isfinite(weight)]
    identities = tuple(
        ResidualIdentity(a.engine, a.architecture, a.formats, a.accelerator, a.run) for a in (anchors[i] for i in kept)
    )
    where = np.array([anchors[i].place for i in kept]).reshape(len(kept), PLACES)
    known_weights = np.array([weights[i] for i in kept])
    points = ResidualPoints(identities, where, np.zeros(len(kept)))
    residual = np.zeros(len(kept))
    for index in points.blocks().values():
        prior_covariance = covariance(kernel, where[index], where[index], points.shared(index))
        residual[index] = prior_covariance @ known_weights[index] + kernel.noise**2 * known_weights[index]
    return ResidualPoints(identities, where, residual)


def _left_out(residual: Array, shared: ResidualOverlap, prior_covariance: Array, kernel: ResidualKernel) -> Array:
    """Errors where each accelerator and formats are predicted from the others of the block."""
    errors = []
    predicted = np.zeros(len(residual), dtype=bool)
    for i in range(len(residual)):
        if predicted[i]:
            continue
        held_out = shared.key[i] > 0
        predicted |= held_out
        if held_out.all():
            continue
        inner = prior_covariance[np.ix_(~held_out, ~held_out)] + kernel.noise**2 * np.eye(int((~held_out).sum()))
        errors.append(
            residual[held_out]
            - prior_covariance[np.ix_(held_out, ~held_out)] @ np.linalg.solve(inner, residual[~held_out])
        )
    return np.concatenate(errors) if errors else np.zeros(0)


def _band(values: Array) -> Band:
    if not len(values):
        return -1.0, 1.0
    low, high = np.quantile(values, TAILS)
    return float(low), float(high)
