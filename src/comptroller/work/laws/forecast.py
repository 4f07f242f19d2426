"""Forecasts of coverage from few samples: an exponentiated power law, and a Beta distribution of difficulty.

Power law, Brown et al., Large Language Monkeys, arXiv 2407.21787: coverage(k) = exp(-a k^-b), fitted as log(-log c) =
log a - b log k. Its derivation, and the Beta: Schaeffer et al., How Do Large Language Monkeys Get Their Power (Laws)?,
arXiv 2502.17578. The error is measured on the evidence itself: the samples are thinned by the factor of the forecast,
and the law fitted to the remaining ones is compared with the observed coverage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # its optimisers are imported when they are used
from scipy.special import betaln, ndtri

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import Floats, Ints
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import band, names, spread, thinned_counts, whole_counts
from comptroller.work.laws.coverage import coverage, pass_at_k

LEAST = 4
"""Fewest samples of a question that a law is fitted to: k = 1, 2, 3, 4 give four points for two parameters. In a
simulated Beta(0.4, 2) world of 256 questions the forecast of four times the samples missed log(-log c) by 0.11 from 8
samples and by 0.07 from 16. At twice this, measuring the error takes twice the samples: n samples reach n^2 / LEAST."""

THINNINGS = 40
"""Random thinnings behind a measured error, whose own standard deviation between seeds is then 9 % (128 questions, 64
samples thinned to 16) in 0.2 s. Twice as many give 5 % in 0.4 s."""

LOG_LIMIT = 12.0
"""Greatest |log| of the parameters of the Beta distribution, 6e-6 to 1.6e5. Beyond, all questions are as good as
certain, or equally hard, and the likelihood is flat. Twice this would only let the search run further along it."""

STARTS = ((-1.0, 1.0), (-1.0, 4.0), (0.5, 0.5))
"""Starts of the search, as (log alpha, log beta): hard, very hard and mixed sets of questions. The best of the three
fits is taken; twice as many starts take twice the time."""

HORIZON = 4
"""Factor on the recorded samples to which coverage is forecast where the query names none. Its error needs at least
HORIZON x LEAST = 16 samples to be measured; twice this needs 32."""

PLAIN = LawQuery()
"""Options without any choice of the user."""


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """The exponentiated power law coverage(k) = exp(-a k^-b)."""

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
    """Beta(alpha, beta) distribution, over questions, of the probability that a sample is correct."""

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
        """Coverage at k new samples of questions with `correct` of n: the mean over the questions' posteriors."""
        alpha, beta = self.alpha + correct, self.beta + n - correct
        return float(np.mean(-np.expm1(betaln(alpha, beta + k) - betaln(alpha, beta))))


def power_law(ks: npt.ArrayLike, covered: npt.ArrayLike) -> PowerLaw:
    """The power law fitted to coverages at k samples, by least squares of log(-log c) on log k; 0 and 1 are left out.

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
    """The power law fitted to pass@k for k from 1 to the fewest samples of any question."""
    sizes = spread(int(n.min()))
    return power_law(sizes, coverage(n, correct, sizes))


def parameter_bands(n: Ints, correct: Ints, query: LawQuery = PLAIN) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intervals of a and b of the power law, by resampling questions; draws without a law are left out.

    >>> low_a, high_a = parameter_bands(np.full(60, 16), np.arange(60) % 6, LawQuery(draws=50))[0]
    >>> low_a < power_law_of(np.full(60, 16), np.arange(60) % 6).a < high_a
    True
    """
    sizes = spread(int(n.min()))
    covered = pass_at_k(n[:, None], correct[:, None], sizes[None, :])
    rng, found = np.random.default_rng(query.seed), []
    for _ in range(query.draws):
        share = covered[rng.integers(0, len(n), len(n))].mean(axis=0)
        if ((share > 0) & (share < 1)).sum() >= 2:
            law = power_law(sizes, share)
            found.append((law.a, law.b))
    table = np.array(found).reshape(-1, 2)
    return band(table[:, 0], query.level), band(table[:, 1], query.level)


def difficulty(n: Ints, correct: Ints) -> DifficultyDistribution:
    """The Beta distribution of difficulty with the greatest beta-binomial likelihood of the counts.

    Raises:
        UnsupportedError: no sample, or every sample, is correct.
    """
    if correct.sum() in (0, n.sum()):
        raise UnsupportedError("no distribution of difficulty: all samples are wrong, or all are correct")

    def minus_log_likelihood(log: npt.NDArray[np.float64]) -> float:
        alpha, beta = np.exp(np.clip(log, -LOG_LIMIT, LOG_LIMIT))
        return float(-np.sum(betaln(alpha + correct, beta + n - correct) - betaln(alpha, beta)))

    fits = [scipy.optimize.minimize(minus_log_likelihood, start, method="Nelder-Mead") for start in STARTS]
    alpha, beta = np.exp(np.clip(min(fits, key=lambda fit: fit.fun).x, -LOG_LIMIT, LOG_LIMIT))
    return DifficultyDistribution(float(alpha), float(beta))


@dataclass(frozen=True, slots=True)
class CoverageForecast:
    """Coverage at k samples of the recorded questions.

    value, low, high: by the power law.  beta: by the distribution of difficulty.  ratio: k over the recorded samples.
    error: root mean square error of log(-log c) if the samples are thinned by `ratio` and the observed coverage is
    forecast; NaN where no law can be fitted to the thinned ones.
    """

    k: int
    value: float
    low: float
    high: float
    beta: float
    ratio: float
    error: float


def forecast(n: Ints, correct: Ints, k: int, rng: np.random.Generator, query: LawQuery = PLAIN) -> CoverageForecast:
    """Forecast of coverage at k samples; the interval is that of a normal error of the size measured by thinning.

    n, correct: of shape (questions,).

    Raises:
        UnsupportedError: there are too few samples to measure the error at this ratio and `query.beyond` is not set, or
            no law can be fitted.
    """
    most = int(n.min())
    ratio = k / most
    kept = max(LEAST, round(most / max(ratio, 1.0)))
    if most < LEAST or (most / LEAST < ratio and not query.beyond):
        furthest = most * most // LEAST if most >= LEAST else 0
        raise UnsupportedError(
            f"coverage at {k} samples is not supported by {most} samples of a question: the error can be "
            f"measured up to {furthest}; draw {int(np.ceil(np.sqrt(k * LEAST)))} samples, or ask to go beyond"
        )
    law = power_law_of(n, correct)
    value = float(law.at(k))
    error = _thinning_error(n, correct, kept, rng)
    wide = float(ndtri((1 + query.level) / 2)) * error
    centre = np.log(law.a) - law.b * np.log(k)
    low, high = (float(np.exp(-np.exp(centre + side))) for side in (wide, -wide))
    beta = difficulty(n, correct).given(n, correct, k)
    return CoverageForecast(k, value, low, high, beta, ratio, error)


def _thinning_error(n: Ints, correct: Ints, kept: int, rng: np.random.Generator) -> float:
    """Root mean square error of log(-log c) at all samples, forecast from `kept` of them."""
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


def _forecast_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    counts = whole_counts(evidence)
    findings: list[LawFinding] = []
    for number, arm in enumerate(names(counts)):
        n, correct = counts.of(number)
        if not len(n) or n.min() < LEAST or not 0 < correct.sum() < n.sum():
            continue
        correct_of_arm = correct.astype(np.int64)
        law, beta = power_law_of(n, correct_of_arm), difficulty(n, correct_of_arm)
        sizes = spread(int(n.min()))
        miss = float(np.abs(law.at(sizes) - coverage(n, correct_of_arm, sizes)).max())
        fitted = f"up to {int(n.min())} samples, largest miss {miss:.3f}"
        a, b = parameter_bands(n, correct_of_arm, query)
        findings += [
            LawFinding("forecast", arm, "a in exp(-a k^-b)", law.a, *a, fitted),
            LawFinding("forecast", arm, "b in exp(-a k^-b)", law.b, *b, fitted),
            LawFinding("forecast", arm, "alpha of Beta", beta.alpha, note="of pass@1 over questions"),
            LawFinding("forecast", arm, "beta of Beta", beta.beta, note="of pass@1 over questions"),
        ]
        for k in query.at or (int(n.min()) * HORIZON,):
            findings += _findings_at(arm, n, correct_of_arm, k, query)
    return findings


def _findings_at(arm: str, n: Ints, correct: Ints, k: int, query: LawQuery) -> list[LawFinding]:
    prediction = forecast(n, correct, k, np.random.default_rng(query.seed), query)
    low, high = prediction.low, prediction.high
    error = "not measured" if np.isnan(prediction.error) else f"{prediction.error:.2f} in log(-log c)"
    note = f"{prediction.ratio:.3g} times the samples; held-out error {error}"
    return [
        LawFinding("forecast", arm, f"coverage at {k}, power law", prediction.value, low, high, note),
        LawFinding("forecast", arm, f"coverage at {k}, Beta", prediction.beta, note="same questions, new samples"),
    ]


LAW = EvidenceLaw(
    "forecast",
    "coverage with more samples than there are, with its error measured by thinning",
    _forecast_findings,
    "4 or more scored samples of every question, some right and some wrong",
)
