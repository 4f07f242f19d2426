"""Honest intervals: errors on models and accelerators that a refit inside the training runs has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from comptroller.costs.causes import TIMED, model_kind, strangeness
from comptroller.costs.residual import ResidualIdentity
from comptroller.facts.serving import Band, PredictionErrorBands
from comptroller.measure.calibrate import (
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
FEWEST_SOURCES = 3
"""Fewer sources than this make no band of their own: of two, whose shift has one degree of freedom, the band of
engines that nobody timed would be a factor of six either way, where all strange sources together say 1.7."""

FEWEST = 5
"""Fewer rows than this make no unit of their own: their median says little."""

FEWEST_SPREAD = 6
"""Units from which on their spread is told by the median absolute deviation: of fewer it is one or two differences."""

NORMAL_MAD = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""


def units_of(errors: Array, units: npt.NDArray[np.str_]) -> int:
    """How many units `shifted_band` counts."""
    counts = np.unique(units[np.isfinite(errors)], return_counts=True)[1]
    return int((counts >= FEWEST).sum())


def shifted_band(errors: Array, units: npt.NDArray[np.str_]) -> Band | None:
    """The 80 % band of log errors on a unit (a model, an accelerator, a source) that was never seen; None below two.

    band = m + q -/+ hypot(q, t s sqrt(1 + 1/G)),  each side by its own q

    A new unit is off by a shift of its own: m: median of the G units' medians, s: their standard deviation, from
    `FEWEST_SPREAD` units on by their median absolute deviation, t: the 90th percentile of Student's t with G - 1
    degrees of freedom; q: mean 10th and 90th percentiles within a unit about its median. Each unit counts alike, so the
    width falls with units and not with rows, and one unit whose settings are not what they seem does not widen the band
    of all. Source: the prediction interval of a random-effects model (Higgins et al. 2009, section 4).

    >>> units = np.repeat(["a", "b", "c"], 9)
    >>> [round(edge, 3) for edge in shifted_band(np.repeat([-0.1, 0.0, 0.1], 9), units)]
    [-0.218, 0.218]
    """
    known = np.isfinite(errors)
    names, counts = np.unique(units[known], return_counts=True)
    parts = [errors[known & (units == name)] for name in names[counts >= FEWEST]]
    if len(parts) < 2:
        return None
    middles = np.array([np.median(part) for part in parts])
    centre, spread = float(np.median(middles)), float(middles.std(ddof=1))
    if len(parts) >= FEWEST_SPREAD:
        spread = NORMAL_MAD * float(np.median(np.abs(middles - centre)))
    shift = float(student.ppf(TAILS[1], len(parts) - 1)) * spread * np.sqrt(1 + 1 / len(parts))
    low, high = np.mean([np.quantile(part, TAILS) - np.median(part) for part in parts], axis=0)
    return centre - float(np.hypot(low, shift)), centre + float(np.hypot(high, shift))


def with_intervals(runs: FeatureBank, fitted: CalibrationFit) -> CalibrationFit:
    """The fit with its bands rebuilt: `new` from leaving out each model, `related` from leaving out each accelerator,
    those of other vendors, engines and generations from leaving out each source, all with the shift between units.

    Whole models, accelerators and sources are the exchangeable units (conformal prediction with groups, Vovk et al.
    2005, ch. 4): each is predicted by a fit on the other training runs alone, from the same prior.
    """
    stated = runs.take(np.flatnonzero([o.spread == 0.0 for o in runs.observations]))
    new, related = _on_new_models(stated), _on_other_accelerators(stated)
    strange = _on_other_sources(runs)
    return replace(
        fitted,
        tpot=replace(fitted.tpot, bands=_bands(fitted.tpot.bands, new[0], related[0], strange[0])),
        ttft=replace(fitted.ttft, bands=_bands(fitted.ttft.bands, new[1], related[1], strange[1])),
    )


@dataclass(frozen=True)
class HeldOutErrors:
    """Log errors of runs that a fit did not see, the unit that was left out with each, and its kind of models."""

    errors: Array
    units: npt.NDArray[np.str_]
    kinds: npt.NDArray[np.str_]

    def band(self) -> Band | None:
        """Of an unseen unit."""
        return shifted_band(self.errors, self.units)

    def by_kind(self) -> Mapping[str, Band]:
        """Of dense models and of mixtures of experts apart, of which `FEWEST_SPREAD` units were measured."""
        found = {}
        for name in np.unique(self.kinds):
            errors, units = self.errors[self.kinds == name], self.units[self.kinds == name]
            band = shifted_band(errors, units) if units_of(errors, units) >= FEWEST_SPREAD else None
            if band:
                found[str(name)] = band
        return found

    @classmethod
    def joined(cls, parts: Sequence[HeldOutErrors]) -> HeldOutErrors:
        """Of several folds."""
        if not parts:
            return cls(np.zeros(0), np.zeros(0, dtype=str), np.zeros(0, dtype=str))
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("errors", "units", "kinds")))


def _bands(
    quick: PredictionErrorBands, new: HeldOutErrors, related: HeldOutErrors, strange: Mapping[str, HeldOutErrors]
) -> PredictionErrorBands:
    many = (found for found in strange.items() if len(np.unique(found[1].units)) >= FEWEST_SOURCES)
    apart = {group: found.band() for group, found in many}
    every = HeldOutErrors.joined(list(strange.values())).band()
    kinds = {
        f"{group} {kind}": band
        for group, found in {"new": new, "related": related, **strange}.items()
        for kind, band in found.by_kind().items()
    }
    usual = PredictionErrorBands(new.band() or quick.new, related.band() or quick.related, quick.seen, by_kind=kinds)
    vendor, engine, generation = (apart.get(name) for name in ("vendor", "engine", "generation"))
    return replace(usual, foreign=every, vendor=vendor, engine=engine, generation=generation)


def _on_other_sources(runs: FeatureBank) -> tuple[dict[str, HeldOutErrors], dict[str, HeldOutErrors]]:
    """Log errors of TPOT and TTFT on sources of published points left out, by the group of the replica."""
    source = np.array([o.source for o in runs.observations])
    group = np.array([strangeness(o.replica) if o.spread > 0.0 else TIMED for o in runs.observations])
    models = np.array([model_kind(o.replica) for o in runs.observations])
    found: list[dict[str, list[HeldOutErrors]]] = [{}, {}]
    after = fit_stated(runs, start(runs, None))
    names, counts = np.unique(source[group != TIMED], return_counts=True)
    for name in names[counts >= FEWEST]:
        test = np.flatnonzero((group != TIMED) & (source == name))
        belief = fit_effects(runs.take(np.flatnonzero(source != name)), after)
        for into, errors in zip(found, left_over(runs.take(test), belief), strict=True):
            for kind in np.unique(group[test]):
                mine = group[test] == kind
                held = HeldOutErrors(errors[mine], source[test][mine], models[test][mine])
                into.setdefault(str(kind), []).append(held)
    tpot, ttft = ({kind: HeldOutErrors.joined(parts) for kind, parts in into.items()} for into in found)
    return tpot, ttft


def _on_new_models(runs: FeatureBank) -> tuple[HeldOutErrors, HeldOutErrors]:
    """Log errors of TPOT and TTFT on models left out: there the residual is silent, only the parameters count."""
    parts = []
    for name, train, test in _folds(runs, lambda identity: identity.architecture):
        belief = fit_parameters(runs.take(train), start(runs, None))
        parts.append((name, runs.take(test), left_over(runs.take(test), belief)))
    return _by_unit(parts)


def _on_other_accelerators(runs: FeatureBank) -> tuple[HeldOutErrors, HeldOutErrors]:
    """Log errors on accelerators left out, of models that the engine served on another one; each model on each is a
    unit."""
    parts = []
    for name, train, test in _folds(runs, lambda identity: identity.accelerator):
        part = runs.take(test)
        fitted = fit_bank(runs.take(train), start(runs, None))
        known = fitted.predict(part).novelty == "related"
        models = np.array([identity.architecture for identity in part.identities])
        errors = left_over(part, fitted.belief)
        parts += [
            (
                f"{name} {model}",
                part.take(np.flatnonzero(known & (models == model))),
                tuple(one[known & (models == model)] for one in errors),
            )
            for model in np.unique(models[known])
        ]
    return _by_unit(parts)


def _by_unit(parts: Sequence[tuple[str, FeatureBank, tuple[Array, ...]]]) -> tuple[HeldOutErrors, HeldOutErrors]:
    def held(name: str, runs: FeatureBank, errors: Array) -> HeldOutErrors:
        kinds = np.array([model_kind(o.replica) for o in runs.observations], dtype=str)
        return HeldOutErrors(errors, np.full(len(errors), name), kinds)

    tpot, ttft = (HeldOutErrors.joined([held(name, runs, x[n]) for name, runs, x in parts]) for n in (0, 1))
    return tpot, ttft


def _folds(runs: FeatureBank, label: Callable[[ResidualIdentity], str]) -> Iterator[tuple[str, Index, Index]]:
    names = np.array([label(identity) for identity in runs.identities])
    groups = np.array([observation.group for observation in runs.observations])
    for name in np.unique(names):
        test = np.flatnonzero(names == name)
        train = np.flatnonzero((names != name) & ~np.isin(groups, groups[test]))
        if len(train):
            yield str(name), train, test
