"""Honest intervals: errors on models and accelerators that a refit inside the training runs has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.causes import is_foreign
from comptroller.costs.residual import ResidualIdentity
from comptroller.facts.serving import Band, PredictionErrorBands
from comptroller.measure.calibrate import (
    OVERLOAD_S,
    CalibrationFit,
    fit_bank,
    fit_effects,
    fit_parameters,
    fit_stated,
    left_over,
    start,
)
from comptroller.measure.features import FeatureBank

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

TAILS = (0.1, 0.9)
LEAST = 30
"""Fewer held-out errors than this give no band of their own; the residual's closed-form one stays."""


def with_intervals(runs: FeatureBank, fitted: CalibrationFit) -> CalibrationFit:
    """The fit with its bands rebuilt: `new` from leaving out each model, `related` from leaving out each accelerator.

    Split conformal prediction with whole models and accelerators as the exchangeable units (Vovk et al. 2005,
    ch. 4): each is predicted by a fit on the other training runs alone, from the same prior.
    """
    stated = runs.take(np.flatnonzero([o.spread == 0.0 for o in runs.observations]))
    new, related = _on_new_models(stated), _on_other_accelerators(stated)
    foreign = _on_other_sources(runs)
    return replace(
        fitted,
        tpot=replace(fitted.tpot, bands=_bands(fitted.tpot.bands, new[0], related[0], foreign)),
        ttft=replace(fitted.ttft, bands=_bands(fitted.ttft.bands, new[1], related[1], np.zeros(0))),
    )


def _bands(quick: PredictionErrorBands, new: Array, related: Array, foreign: Array) -> PredictionErrorBands:
    wide = _band(new) if len(new) >= LEAST else quick.new
    kin = _band(related) if len(related) >= LEAST else quick.related
    return PredictionErrorBands(wide, kin, quick.seen, _band(foreign) if len(foreign) >= LEAST else None)


def _on_other_sources(runs: FeatureBank) -> Array:
    """Log errors of TPOT on sources of published points left out, each source counted alike.

    Only replicas that have an effect of a vendor, an untimed family or engine, or an older generation: those that the
    band is for.
    """
    source = np.array([o.source for o in runs.observations])
    outside = np.array([o.spread > 0.0 and is_foreign(o.replica) for o in runs.observations])
    errors, after = [], fit_stated(runs, start(runs, None))
    names, counts = np.unique(source[outside], return_counts=True)
    for name in names[counts >= LEAST]:
        test = np.flatnonzero(outside & (source == name))
        belief = fit_effects(runs.take(np.flatnonzero(source != name)), after)
        part, _ = left_over(runs.take(test), belief)
        errors.append(np.quantile(part[np.isfinite(part)], np.linspace(0.05, 0.95, 10)))
    return np.concatenate([np.zeros(0), *errors])


def _band(errors: Array) -> Band:
    low, high = np.quantile(errors, TAILS)
    return float(low), float(high)


def _on_new_models(runs: FeatureBank) -> tuple[Array, Array]:
    """Log errors of TPOT and TTFT on models left out: there the residual is silent, only the parameters count."""
    parts = []
    for train, test in _folds(runs, lambda identity: identity.architecture):
        belief = fit_parameters(runs.take(train), start(runs, None))
        parts.append(left_over(runs.take(test), belief))
    return _join_errors(parts)


def _on_other_accelerators(runs: FeatureBank) -> tuple[Array, Array]:
    """Log errors on accelerators left out, where the engine's residual for the model speaks from another one."""
    parts = []
    for train, test in _folds(runs, lambda identity: identity.accelerator):
        part = runs.take(test)
        fitted = fit_bank(runs.take(train), start(runs, None))
        predicted = fitted.predict(part)
        known = predicted.novelty == "related"
        first = np.where(part.features.ttft_s <= OVERLOAD_S, part.features.ttft_s, np.nan)
        errors = np.log(part.features.tpot_s) - predicted.tpot[0], np.log(first) - predicted.ttft[0]
        parts.append((errors[0][known], errors[1][known]))
    return _join_errors(parts)


def _join_errors(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    both = [np.concatenate([np.zeros(0), *column]) for column in zip(*parts, strict=True)] or [np.zeros(0)] * 2
    return both[0][np.isfinite(both[0])], both[1][np.isfinite(both[1])]


def _folds(runs: FeatureBank, label: Callable[[ResidualIdentity], str]) -> Iterator[tuple[Index, Index]]:
    names = np.array([label(identity) for identity in runs.identities])
    groups = np.array([observation.group for observation in runs.observations])
    for name in np.unique(names):
        test = np.flatnonzero(names == name)
        train = np.flatnonzero((names != name) & ~np.isin(groups, groups[test]))
        if len(train):
            yield train, test
