"""Coverage, best of k, forecasts and saturation: against enumeration, and against published numbers."""

from __future__ import annotations

from itertools import combinations
from math import isinf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.errors import InputError, UnsupportedError
from comptroller.work.evidence import EvidenceCounts, RecordedModel, RecordedQuestion
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.laws import LawQuery, law, laws
from comptroller.work.laws._resampling import thinned_counts
from comptroller.work.laws.best_of import best_of_k
from comptroller.work.laws.coverage import coverage, pass_at_k
from comptroller.work.laws.forecast import DifficultyDistribution, difficulty, forecast, power_law, power_law_of
from comptroller.work.laws.saturation import observed_saturation
from evidence_files import measured

PUBLISHED = {"Pythia 70M": (8.03, 0.194), "Pythia 410M": (5.52, 0.286), "Pythia 1B": (5.45, 0.315)}
"""a and b of exp(-a k^-b) on these counts, and for Pythia 6.9B 4.26 and 0.348; from the notes beside the data."""


def pythia():
    counts = read_evidence(measured("monkeys_pythia_math_counts.csv"))
    return {arm.model: counts.of(number) for number, arm in enumerate(counts.arms)}


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_mean_over_all_choices(n, data):
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    samples = [1] * correct + [0] * (n - correct)
    hits = [max(chosen) for chosen in combinations(samples, k)]
    assert pass_at_k(n, correct, k) == pytest.approx(np.mean(hits), abs=1e-12)


@given(st.integers(1, 10_000), st.data())
def test_pass_at_k_rises_with_k_and_ends_at_the_truth(n, data):
    correct = data.draw(st.integers(0, n))
    ks = sorted(data.draw(st.lists(st.integers(1, n), min_size=2, max_size=5)))
    values = pass_at_k(n, correct, ks)
    assert (np.diff(values) >= -1e-9).all() and ((values >= -1e-12) & (values <= 1 + 1e-12)).all()
    assert pass_at_k(n, correct, 1) == pytest.approx(correct / n, abs=1e-9)
    assert pass_at_k(n, correct, n) == pytest.approx(float(correct > 0), abs=1e-9)


def test_more_samples_than_there_are_have_no_unbiased_estimate():
    with pytest.raises(UnsupportedError, match="pass@11 needs that many samples; a question has 10"):
        pass_at_k(10, 3, 11)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=7), st.data())
def test_best_of_k_is_the_mean_over_all_choices_with_ties_shared(samples, data):
    k = data.draw(st.integers(1, len(samples)))
    hits = []
    for chosen in combinations(samples, k):
        top = max(rating for rating, _ in chosen)
        hits.append(np.mean([right for rating, right in chosen if rating == top]))
    rating, right = zip(*samples, strict=True)
    assert best_of_k(rating, right, k) == pytest.approx(np.mean(hits), abs=1e-12)


@pytest.mark.parametrize("model", PUBLISHED)
def test_power_laws_of_the_published_counts(model):
    n, correct = pythia()[model]
    law_of = power_law_of(n, correct)
    a, b = PUBLISHED[model]
    assert law_of.a == pytest.approx(a, rel=0.03) and law_of.b == pytest.approx(b, rel=0.03)
    ks = np.unique(np.geomspace(1, 10_000, 40).astype(int))
    assert np.abs(law_of.at(ks) - coverage(n, correct, ks)).max() < 0.03


@settings(max_examples=40)
@given(st.floats(0.5, 9), st.floats(0.05, 0.6))
def test_a_power_law_is_found_in_its_own_coverages(a, b):
    ks = np.array([1, 3, 10, 100, 1000])
    covered = np.exp(-a * ks.astype(float) ** -b)
    found = power_law(ks, covered)
    assert found.a == pytest.approx(a, rel=1e-6) and found.b == pytest.approx(b, rel=1e-6)


def test_the_distribution_of_difficulty_is_found_in_its_own_draws():
    rng = np.random.default_rng(0)
    chances = rng.beta(0.4, 3.0, 4000)
    n = np.full(4000, 60)
    found = difficulty(n, rng.binomial(n, chances))
    assert found.alpha == pytest.approx(0.4, rel=0.1) and found.beta == pytest.approx(3.0, rel=0.15)
    assert found.at(100) == pytest.approx(np.mean(1 - (1 - chances) ** 100), abs=0.02)


@given(st.integers(0, 6), st.integers(1, 6))
def test_new_samples_of_known_questions_by_enumeration_of_the_beta_binomial(correct, k):
    n = 6
    chance = DifficultyDistribution(1.0, 1.0).given(np.array([n]), np.array([correct]), k)
    missed = 1.0
    for drawn in range(k):  # Polya's urn: a uniform prior has n - correct + 1 + drawn wrong among n + 2 + drawn
        missed *= (n - correct + 1 + drawn) / (n + 2 + drawn)
    assert chance == pytest.approx(1 - missed, abs=1e-12)


@pytest.mark.parametrize("model", ["Pythia 70M", "Pythia 410M", "Pythia 1B", "Pythia 6.9B"])
def test_coverage_at_ten_thousand_is_forecast_from_two_hundred(model):
    n, correct = pythia()[model]
    true = float(coverage(n, correct, [10_000])[0])
    rng = np.random.default_rng(1)
    values, inside = [], 0
    for _ in range(5):
        few = thinned_counts(n, correct.astype(int), 200, rng)
        made = forecast(np.full(len(few), 200), few, 10_000, rng)
        values.append(made.value)
        inside += made.low <= true <= made.high
    assert abs(np.mean(values) - true) < 0.06
    assert inside >= 4


def test_a_forecast_past_the_measured_range_is_refused_unless_asked():
    n, correct = np.full(50, 20), np.random.default_rng(0).binomial(20, 0.1, 50)
    assert forecast(n, correct, 100, np.random.default_rng(0)).ratio == 5
    message = r"coverage at 101 samples is not supported by 20 samples.*up to 100; draw 21 samples"
    with pytest.raises(UnsupportedError, match=message):
        forecast(n, correct, 101, np.random.default_rng(0))
    made = forecast(n, correct, 101, np.random.default_rng(0), LawQuery(beyond=True))
    assert made.ratio == pytest.approx(5.05) and 0 < made.value < 1


def test_the_error_of_a_forecast_is_larger_the_further_it_reaches():
    n, correct = pythia()["Pythia 1B"]
    few = thinned_counts(n, correct.astype(int), 400, np.random.default_rng(2))
    total = np.full(len(few), 400)
    near, far = (forecast(total, few, k, np.random.default_rng(3)) for k in (800, 20_000))
    assert near.high - near.low < far.high - far.low


@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.floats(0.005, 0.3))
def test_observed_saturation_is_where_the_unbiased_curve_gains_too_little(correct, gain):
    n, right = np.full(len(correct), 12), np.array(correct, float)
    curve = np.concatenate([[0.0], coverage(n, right, np.arange(1, 13))])
    gains = np.diff(curve)
    found = observed_saturation(n, right, gain)
    small = np.flatnonzero(gains < gain)
    assert (isinf(found) and gains[-1] >= gain) or found == (small[0] if len(small) else found)


@pytest.mark.parametrize("one", laws(), ids=lambda one: one.name)
def test_every_law_has_its_say_on_counts_or_stays_silent(one):
    rng = np.random.default_rng(0)
    n = np.full((40, 2), 16)
    chances = rng.beta(0.5, 1.5, (40, 1)) * [1.0, 0.5]
    counts = EvidenceCounts(
        tuple(RecordedQuestion(str(q)) for q in range(40)),
        (RecordedModel("a"), RecordedModel("b")),
        n,
        rng.binomial(n, chances).astype(float),
        "c",
    )
    first, again = (one.find(counts, LawQuery(draws=50)) for _ in range(2))
    assert repr(first) == repr(again)
    for found in first:
        assert found.law == one.name
        assert not found.low > found.value and not found.high < found.value


def test_impossible_questions_to_laws_are_refused():
    for wrong in ({"at": (0,)}, {"level": 1.0}, {"margin": 0.0}, {"draws": 3}):
        with pytest.raises(InputError):
            LawQuery(**wrong)
    with pytest.raises(InputError, match="unknown law 'coverge'; nearest: coverage"):
        law("coverge")
