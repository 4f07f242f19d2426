"""Shapes of coverage, saturation, sources, compute to a target, the gap of verification: known worlds and records."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.work.evidence_readers import read_evidence
from comptroller.work.laws import LawQuery, law
from comptroller.work.laws.curve_shape import SHAPES, fitted_shape, horizon_of, missed_at
from comptroller.work.laws.forecast import parameter_bands, power_law_of
from comptroller.work.laws.price_order import rank_agreement
from comptroller.work.laws.sequential import SaturationLaw, rounds_solved, saturation_law
from comptroller.work.laws.source_shares import _drawn_shares, shapley_shares
from comptroller.work.laws.target_compute import average_efficiency, cost_at_target
from comptroller.work.vote_means import expected_vote
from evidence_files import measured

FEW = LawQuery(draws=40)


def test_the_interval_of_the_coverage_law_holds_the_law_of_the_world() -> None:
    rng, held = np.random.default_rng(0), 0
    true = power_law_of(np.full(4000, 64), rng.binomial(64, rng.beta(0.3, 2.0, 4000)))
    for seed in range(20):
        draw = np.random.default_rng(seed)
        a, b = parameter_bands(np.full(100, 64), draw.binomial(64, draw.beta(0.3, 2.0, 100)), LawQuery(draws=60))
        held += (a[0] <= true.a <= a[1]) + (b[0] <= true.b <= b[1])
    assert held >= 30


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_shape_is_found_again_and_holds_beyond_what_it_was_fitted_to(name: str) -> None:
    shape, start, *_ = SHAPES[name]
    ks = np.unique(np.geomspace(1, 256, 20).astype(int))
    covered = shape(np.array(start), ks.astype(float))
    assert fitted_shape(name, ks, covered) == pytest.approx(np.array(start), rel=1e-2)
    assert abs(missed_at(name, dict(zip(ks.tolist(), covered.tolist(), strict=True)), 4)) < 1e-3


@given(st.floats(0.05, 0.95), st.floats(20.0, 3000.0), st.floats(0.4, 2.0))
@settings(max_examples=20, deadline=None)
def test_no_fitted_shape_covers_less_than_nothing_or_more_than_everything(
    top: float, half: float, slope: float
) -> None:
    ks = np.unique(np.geomspace(1, 10_000, 20).astype(int)).astype(float)
    covered = SHAPES["sigmoid"][0](np.array([top, half, slope]), ks)
    for name, (shape, *_) in SHAPES.items():
        fitted = shape(fitted_shape(name, ks, covered), ks)
        assert fitted.min() >= -1e-9 and fitted.max() <= 1.0 + 1e-9


@given(st.lists(st.floats(-0.1, 0.1), min_size=1, max_size=6), st.floats(0.001, 0.1))
def test_a_horizon_has_no_missed_factor_before_it(missed: list[float], margin: float) -> None:
    told = {2 ** (1 + number): off for number, off in enumerate(missed)}
    horizon = horizon_of(told, margin)
    assert all(abs(off) < margin for factor, off in told.items() if factor <= horizon)
    assert 2 * horizon not in told or abs(told[2 * horizon]) >= margin


@pytest.mark.parametrize("name", ["curve_shape", "sequential"])
def test_parameters_of_a_curve_have_an_interval_and_a_miss(name: str) -> None:
    findings = [one for one in law(name).find(read_evidence("own"), FEW) if "miss" in one.note]
    assert findings and all(one.low <= one.value <= one.high for one in findings)


@given(st.floats(0.05, 1.0), st.floats(0.02, 0.9))
@settings(max_examples=25, deadline=None)
def test_saturation_is_where_the_next_sample_gains_less(most: float, p: float) -> None:
    told = SaturationLaw(most, p)
    last = int(told.saturates(0.01))
    gain = np.diff(np.concatenate([[0.0], told.at(np.arange(1, last + 3))]))
    assert gain[last] < 0.01 + 1e-12 and (last == 0 or gain[last - 1] >= 0.01 - 1e-12)
    found = saturation_law([1, 2, 4, 8, 16], told.at([1, 2, 4, 8, 16]))
    assert found.at([3]) == pytest.approx(told.at([3]), abs=1e-3)


def test_rounds_of_revision_never_lose_what_was_right() -> None:
    own = read_evidence("own")
    solved = rounds_solved(own, 0)
    assert solved.shape[1] == 3 and (np.diff(solved, axis=1) >= 0).all() and 0 < solved.mean() < 1


@given(st.integers(2, 5), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_shapley_shares_are_means_over_all_orders_and_sum_to_what_all_solve(sources: int, seed: int) -> None:
    solved = np.random.default_rng(seed).random((3, sources))
    shares, orders = shapley_shares(solved, np.random.default_rng(0)), list(permutations(range(sources)))
    expected = np.zeros(solved.shape)
    for order in orders:
        unsolved = np.ones(3)
        for source in order:
            expected[:, source] += unsolved * solved[:, source] / len(orders)
            unsolved = unsolved * (1 - solved[:, source])
    assert shares == pytest.approx(expected)
    assert shares.sum(axis=1) == pytest.approx(1 - (1 - solved).prod(axis=1))
    assert _drawn_shares(solved, np.random.default_rng(0)) == pytest.approx(shares, abs=0.15)


@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=8), st.floats(0.1, 10.0))
@settings(max_examples=25, deadline=None)
def test_compute_to_a_target_scales_with_price_and_grows_with_the_target(gains: list[float], price: float) -> None:
    score = np.cumsum(gains) / (sum(gains) + 1.0)
    cost = np.arange(1.0, len(score) + 1)
    low, high = (cost_at_target(cost, score, share * float(score[-1])) for share in (0.5, 1.0))
    assert low <= high <= cost[-1]
    assert cost_at_target(price * cost, score, 0.5 * float(score[-1])) == pytest.approx(price * low)
    assert average_efficiency(price * cost, score) == pytest.approx(average_efficiency(cost, score) / price)


SLOW = pytest.param("verification_gap", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["curve_shape", "sequential", "source_shares", "target_compute", SLOW])
def test_own_evidence_has_findings_with_ordered_intervals(name: str) -> None:
    findings = law(name).find(read_evidence("own"), FEW)
    assert findings and all(not one.low > one.high for one in findings)


def test_list_price_and_cost_agree_as_the_notes_say() -> None:
    evidence = read_evidence(measured("pricing_reversal.parquet"))
    with_all, without = (rank_agreement(evidence, thinking=thinking) for thinking in (True, False))
    assert np.mean(list(with_all.values())) == pytest.approx(0.596, abs=0.001)
    assert np.mean(list(without.values())) == pytest.approx(0.860, abs=0.001)


def test_a_vote_is_the_mean_over_all_choices_of_its_samples() -> None:
    counts, score = np.array([[3, 2, 1]]), np.array([[1.0, 0.0, 0.0]])
    answers = np.repeat([0, 1, 2], counts[0])
    rng, found = np.random.default_rng(0), []
    for _ in range(4000):
        votes = np.bincount(rng.choice(answers, 4, replace=False), minlength=3)
        found.append(float(score[0][votes == votes.max()].mean()))
    assert float(expected_vote(counts, score, 4)[0, 0]) == pytest.approx(np.mean(found), abs=0.02)
