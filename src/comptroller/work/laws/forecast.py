"""Forecasts of coverage from few samples: an exponentiated power law, and a Beta distribution of difficulty.

Power law, Brown et al., Large Language Monkeys, arXiv 2407.21787: coverage(k) = exp(-a k^-b), fitted as
log(-log c) = log a - b log k. Why it is one, and the Beta: Schaeffer et al., How Do Large Language Monkeys Get Their
Power (Laws)?, arXiv 2502.17578. The error is measured on the evidence itself: samples are thinned by the factor that
is asked for, and what the law forecasts from the rest is held against what was observed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln
from scipy.stats import norm

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import Floats, Ints
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import names, spread, thinned_counts, whole_counts
from comptroller.work.laws.coverage import coverage

LEAST = 4
"""Samples of a question below which nothing is forecast from."""

THINNINGS = 40

PLAIN = LawQuery()


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """coverage(k) = exp(-a k^-b)."""

    a: float
    b: float

    def at(self, k: npt.ArrayLike) -> Floats:
        """Coverage at k samples.

        >>> PowerLaw(5.0, 0.3).at([1, 1000]).round(4).tolist()
        [0.0067, 0.5329]
        """
        return np.asarray(np.exp(-self.a * np.asarray(k, float) ** -self.b))


@dataclass(frozen=True, slots=True)
class DifficultyDistribution:
    """The chance p that a sample is correct is Beta(alpha, beta) over questions."""

    alpha: float
    beta: float

    def at(self, k: npt.ArrayLike) -> Floats:
        """Coverage at k samples of a new question: 1 - B(alpha, beta + k) / B(alpha, beta).

        >>> DifficultyDistribution(1.0, 1.0).at([1, 9]).round(6).tolist()
        [0.5, 0.9]
        """
        k = np.asarray(k, float)
        return np.asarray(-np.expm1(betaln(self.alpha, self.beta + k) - betaln(self.alpha, self.beta)))

    def given(self, n: Ints, correct: Ints, k: float) -> float:
        """Coverage at k new samples of the very questions of which n samples with so many correct are known."""
        alpha, beta = self.alpha + correct, self.beta + n - correct
        return float(np.mean(-np.expm1(betaln(alpha, beta + k) - betaln(alpha, beta))))


def power_law(ks: npt.ArrayLike, covered: npt.ArrayLike) -> PowerLaw:
    """The power law through coverages between 0 and 1, by least squares in log(-log c) over log k.

    Raises:
        UnsupportedError: fewer than two coverages lie strictly between 0 and 1.
    """
    sizes, share = np.asarray(ks, float), np.asarray(covered, float)
    inside = (share > 0) & (share < 1)
    if inside.sum() < 2:
        raise UnsupportedError("no power law: coverage must lie strictly between 0 and 1 at two numbers of samples")
    slope, offset = np.polyfit(np.log(sizes[inside]), np.log(-np.log(share[inside])), 1)
    return PowerLaw(float(np.exp(offset)), float(-slope))


def power_law_of(n: Ints, correct: Ints) -> PowerLaw:
    """The power law of the unbiased coverages from 1 sample to the fewest of any question."""
    sizes = spread(int(n.min()))
    return power_law(sizes, coverage(n, correct, sizes))


def difficulty(n: Ints, correct: Ints) -> DifficultyDistribution:
    """The Beta distribution of the chance of success that makes the counts most likely (beta-binomial).

    Raises:
        UnsupportedError: no sample, or every sample, is correct.
    """
    if correct.sum() in (0, n.sum()):
        raise UnsupportedError("no distribution of difficulty: all samples are wrong, or all are correct")

    def surprise(log: npt.NDArray[np.float64]) -> float:
        alpha, beta = np.exp(np.clip(log, -12, 12))
        return float(-np.sum(betaln(alpha + correct, beta + n - correct) - betaln(alpha, beta)))

    fits = [minimize(surprise, start, method="Nelder-Mead") for start in ((-1.0, 1.0), (-1.0, 4.0), (0.5, 0.5))]
    alpha, beta = np.exp(np.clip(min(fits, key=lambda fit: fit.fun).x, -12, 12))
    return DifficultyDistribution(float(alpha), float(beta))


@dataclass(frozen=True, slots=True)
class CoverageForecast:
    """Coverage at k samples of the questions at hand.

    value, low, high: by the power law.  beta: by the distribution of difficulty.  error: root mean square error of
    log(-log c) when the samples are thinned by `ratio` and the observed coverage is forecast; NaN if too few.
    """

    k: int
    value: float
    low: float
    high: float
    beta: float
    ratio: float
    error: float


def forecast(n: Ints, correct: Ints, k: int, rng: np.random.Generator, asking: LawQuery = PLAIN) -> CoverageForecast:
    """Forecast of coverage at k, with the interval that the error measured by thinning gives.

    Raises:
        UnsupportedError: the samples do not suffice to measure the error at this ratio and `beyond` is not asked, or
            nothing can be fitted.
    """
    most = int(n.min())
    ratio = k / most
    kept = max(LEAST, round(most / max(ratio, 1.0)))
    if most < LEAST or (most / LEAST < ratio and not asking.beyond):
        furthest = most * most // LEAST if most >= LEAST else 0
        raise UnsupportedError(
            f"coverage at {k} samples is not supported by {most} samples of a question: the error can be "
            f"measured up to {furthest}; draw {int(np.ceil(np.sqrt(k * LEAST)))} samples, or ask to go beyond"
        )
    law = power_law_of(n, correct)
    value = float(law.at(k))
    error = _thinning_error(n, correct, kept, rng)
    wide = float(norm.ppf((1 + asking.level) / 2)) * error
    centre = np.log(law.a) - law.b * np.log(k)
    low, high = (float(np.exp(-np.exp(centre + side))) for side in (wide, -wide))
    beta = difficulty(n, correct).given(n, correct, k)
    return CoverageForecast(k, value, low, high, beta, ratio, error)


def _thinning_error(n: Ints, correct: Ints, kept: int, rng: np.random.Generator) -> float:
    most = int(n.min())
    observed = float(coverage(n, correct, [most])[0])
    if not 0 < observed < 1:
        return float("nan")
    errors = []
    for _ in range(THINNINGS):
        fewer = thinned_counts(n, correct, kept, rng)
        try:
            law = power_law_of(np.full(len(n), kept), fewer)
        except UnsupportedError:
            continue  # too few correct ones were left to fit a law
        errors.append(np.log(law.a) - law.b * np.log(most) - np.log(-np.log(observed)))
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else float("nan")


def _find(known: Known, asking: LawQuery) -> list[LawFinding]:
    counts = whole_counts(known)
    found: list[LawFinding] = []
    for number, arm in enumerate(names(counts)):
        n, correct = counts.of(number)
        if not len(n) or n.min() < LEAST or not 0 < correct.sum() < n.sum():
            continue
        right = correct.astype(np.int64)
        law, spread_of = power_law_of(n, right), difficulty(n, right)
        sizes = spread(int(n.min()))
        miss = float(np.abs(law.at(sizes) - coverage(n, right, sizes)).max())
        fitted = f"up to {int(n.min())} samples, largest miss {miss:.3f}"
        found += [
            LawFinding("forecast", arm, "a in exp(-a k^-b)", law.a, note=fitted),
            LawFinding("forecast", arm, "b in exp(-a k^-b)", law.b, note=fitted),
            LawFinding("forecast", arm, "alpha of Beta", spread_of.alpha, note="of pass@1 over questions"),
            LawFinding("forecast", arm, "beta of Beta", spread_of.beta, note="of pass@1 over questions"),
        ]
        for k in asking.at or (int(n.min()) * 4,):
            found += _forecasts(arm, n, right, k, asking)
    return found


def _forecasts(arm: str, n: Ints, correct: Ints, k: int, asking: LawQuery) -> list[LawFinding]:
    made = forecast(n, correct, k, np.random.default_rng(asking.seed), asking)
    known = "not measured" if np.isnan(made.error) else f"{made.error:.2f} in log(-log c)"
    note = f"{made.ratio:.3g} times the samples; held-out error {known}"
    return [
        LawFinding("forecast", arm, f"coverage at {k}, power law", made.value, made.low, made.high, note),
        LawFinding("forecast", arm, f"coverage at {k}, Beta", made.beta, note="same questions, new samples"),
    ]


LAW = EvidenceLaw("forecast", "coverage with more samples than there are, with its error measured by thinning", _find)
