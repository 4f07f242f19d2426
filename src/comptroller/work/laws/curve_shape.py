"""The shape of coverage over samples: a power law with an asymptote beside a sigmoid in log k, and how far each holds.

Power with asymptote: 1 - c(k) = e + a k^-b, e what no number of samples solves, e + a at most 1: one sample solves no
share below zero. Sigmoid: c(k) = top / (1 + (k / half)^-slope). Both are fitted to the first part of the samples and
compared with the coverage at all of them; the horizon is the largest factor on the samples that were fitted to up to
which a shape misses by less than the margin, at every factor that could be measured; 1 where the first one is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from math import nan

import numpy as np
import numpy.typing as npt
import scipy  # its optimisers are imported when they are used

from comptroller.work.evidence import Floats, Ints
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import band, names, spread, whole_counts
from comptroller.work.laws.coverage import coverage, pass_at_k

LEAST = 8
"""Fewest samples of a question: three parameters need four numbers of samples, and twice as many to be held to."""

FACTORS = (2, 4, 8, 16, 32, 64)
"""Factors on the samples that were fitted to at which a shape is held to what was observed."""

MOST_DRAWS = 100
"""Most resamples of questions behind an interval of parameters: two searches of 3 ms each. Five draws lie beyond each
end of a 90 % interval."""

TOLERANCE = 1e-8
"""Of the search for parameters, scipy's own: one that ends as close to a bound is at the bound. Ten times as much or as
little changes no figure that is shown."""

CurveShape = Callable[[Floats, Floats], Floats]
"""Coverage at numbers of samples, of three parameters."""


def power_with_asymptote(parameters: Floats, ks: Floats) -> Floats:
    """1 - e - a k^-b. parameters: e, a, b.

    >>> power_with_asymptote(np.array([0.1, 0.8, 0.5]), np.array([1.0, 4.0])).round(3).tolist()
    [0.1, 0.5]
    """
    floor, scale, exponent = parameters
    return np.asarray(1.0 - floor - scale * ks**-exponent)


def sigmoid(parameters: Floats, ks: Floats) -> Floats:
    """top / (1 + (k / half)^-slope). parameters: top, half, slope.

    >>> sigmoid(np.array([0.8, 4.0, 1.0]), np.array([4.0, 12.0])).round(3).tolist()
    [0.4, 0.6]
    """
    top, half, slope = parameters
    return np.asarray(top / (1.0 + (ks / half) ** -slope))


def _power_of(searched: Floats) -> Floats:
    """e, a, b of e, the share of 1 - e that one sample leaves unsolved, and b: so that e + a is at most 1."""
    floor, unsolved, exponent = searched
    return np.array([floor, (1.0 - floor) * unsolved, exponent])


ShapeSearch = tuple[
    CurveShape,
    tuple[float, ...],
    tuple[tuple[float, ...], tuple[float, ...]],
    Callable[[Floats], Floats],
    tuple[str, ...],
]
SHAPES: Mapping[str, ShapeSearch] = {
    "power + asymptote": (
        power_with_asymptote,
        (0.1, 0.8, 0.4),
        ((0.0, 0.0, 1e-3), (1.0, 1.0, 4.0)),
        _power_of,
        ("e in 1 - e - a k^-b", "a in 1 - e - a k^-b", "b in 1 - e - a k^-b"),
    ),
    "sigmoid": (
        sigmoid,
        (0.9, 8.0, 0.7),
        ((1e-3, 1e-3, 1e-2), (1.0, 1e9, 8.0)),
        np.asarray,
        ("top of the sigmoid", "samples at half of it", "slope of the sigmoid"),
    ),
}
"""By name: the shape, where its search starts, bounds of what is searched, the parameters of that, and their names."""


def fitted_shape(name: str, ks: npt.ArrayLike, covered: npt.ArrayLike) -> Floats:
    """Parameters of a shape by least squares of coverages at k samples.

    >>> ks = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    >>> fitted_shape("sigmoid", ks, sigmoid(np.array([0.8, 4.0, 1.0]), ks)).round(3).tolist()
    [0.8, 4.0, 1.0]
    """
    shape, start, bounds, meant, _ = SHAPES[name]
    sizes, share = np.asarray(ks, float), np.asarray(covered, float)
    found = scipy.optimize.least_squares(
        lambda of: shape(meant(of), sizes) - share, start, bounds=bounds, x_scale="jac", xtol=TOLERANCE
    )
    low, high = map(np.array, bounds)
    return meant(np.where(found.x < low + TOLERANCE, low, np.where(found.x > high - TOLERANCE, high, found.x)))


def missed_at(name: str, covered: Mapping[int, float], factor: int) -> float:
    """Coverage at the largest k less what a shape says that was fitted up to a factor less; NaN for too few points."""
    most = max(covered)
    early = [k for k in covered if k * factor <= most]
    if len(early) < len(SHAPES[name][1]) + 1:
        return nan
    parameters = fitted_shape(name, early, [covered[k] for k in early])
    return covered[most] - float(SHAPES[name][0](parameters, np.array([float(most)]))[0])


def horizon_of(missed: Mapping[int, float], margin: float) -> int:
    """The largest factor up to which every miss that could be measured is below the margin; 1 where none is.

    >>> horizon_of({2: 0.01, 4: -0.01, 8: 0.03, 16: 0.01, 32: nan}, 0.02)
    4
    """
    return max(takewhile(lambda factor: abs(missed[factor]) < margin, sorted(missed)), default=1)


def _shape_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    counts = whole_counts(evidence)
    findings: list[LawFinding] = []
    for number, arm in enumerate(names(counts)):
        n, correct = counts.of(number)
        if len(n) and n.min() >= LEAST and 0 < correct.sum() < n.sum():
            for name in SHAPES:
                findings += _findings_of(arm, name, n, correct, query)
    return findings


def _findings_of(arm: str, name: str, n: Ints, correct: Floats, query: LawQuery) -> Iterator[LawFinding]:
    sizes = spread(int(n.min()))
    covered = pass_at_k(n[:, None], correct[:, None], sizes[None, :])
    rng = np.random.default_rng(query.seed)
    draws = [
        fitted_shape(name, sizes, covered[rng.integers(0, len(n), len(n))].mean(axis=0))
        for _ in range(min(query.draws, MOST_DRAWS))
    ]
    bands = [band(column, query.level) for column in np.array(draws).T]
    observed = dict(zip(sizes.tolist(), coverage(n, correct, sizes).tolist(), strict=True))
    fit = fitted_shape(name, sizes, covered.mean(axis=0))
    miss = float(np.abs(SHAPES[name][0](fit, sizes.astype(float)) - covered.mean(axis=0)).max())
    note = f"{name} up to {int(n.min())} samples, largest miss {miss:.3f}"
    for called, value, (low, high) in zip(SHAPES[name][4], fit.tolist(), bands, strict=True):
        yield LawFinding("curve_shape", arm, called, value, low, high, note)
    missed = {factor: missed_at(name, observed, factor) for factor in FACTORS}
    told = ", ".join(f"{factor} times {off:+.3f}" for factor, off in missed.items() if np.isfinite(off))
    horizon = f"horizon of the {name}: times the samples within {query.margin:g}"
    yield LawFinding(
        "curve_shape", arm, horizon, float(horizon_of(missed, query.margin)), note=told or "too few samples"
    )


LAW = EvidenceLaw(
    "curve_shape",
    "coverage as a power law with an asymptote and as a sigmoid, and how far each holds",
    _shape_findings,
    "8 or more scored samples of every question, some right and some wrong",
)
