"""Shapes of coverage, saturation, sources, compute to a target, the gap of verification: known worlds and records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.laws import LawQuery, law
from comptroller.work.laws.call_shares import call_shares, run_reads
from comptroller.work.laws.curve_shape import SHAPES, fitted_shape, horizon_of, missed_at
from comptroller.work.laws.forecast import parameter_bands, power_law_of
from comptroller.work.laws.price_order import rank_agreement
from comptroller.work.laws.sequential import SaturationLaw, rounds_solved, saturation_law
from comptroller.work.laws.source_shares import _drawn_shares, shapley_shares
from comptroller.work.laws.target_compute import average_efficiency, budget_curve, cost_at_target
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


@given(st.lists(st.tuples(st.floats(0.01, 10.0), st.booleans()), min_size=2, max_size=12))
@settings(max_examples=25, deadline=None)
def test_a_budget_cuts_runs_and_every_run_takes_no_more_than_it(runs: list[tuple[float, bool]]) -> None:
    cost, score = np.array([one for one, _ in runs]), np.array([float(right) for _, right in runs])
    spent, solved = budget_curve(cost, score)
    for place, budget in enumerate(np.sort(cost), 1):
        assert spent[place] == pytest.approx(np.minimum(cost, budget).mean())
        if place == len(cost) or np.sort(cost)[place] > budget:
            assert solved[place] == pytest.approx((score * (cost <= budget)).mean())
    assert (spent[0], solved[0], solved[-1]) == (0.0, 0.0, pytest.approx(score.mean()))


def test_single_runs_have_a_cost_to_a_target_and_an_efficiency() -> None:
    evidence = read_evidence(measured("agent_calls.parquet", "agents"))
    found = {(one.subject, one.quantity): one for one in law("target_compute").find(evidence, FEW)}
    gemini = found["gemini-3-pro-preview", "AE, share solved per dollar"]
    assert isinstance(evidence, Evidence)
    usd = evidence.rows.usd[np.isfinite(evidence.rows.usd) & np.isfinite(evidence.rows.score)]
    assert gemini.low < gemini.value < gemini.high and 1.0 < gemini.value < 1.0 / np.median(usd) * 2
    costs = [one.value for (who, what), one in found.items() if who.startswith("gemini") and what.startswith("C@")]
    assert costs == sorted(costs) and len(costs) == 3


def tokens_of(chosen: Sequence[int], left: Sequence[float], output: Sequence[float]) -> float:
    """Tokens of a run of some calls alone: each reads a first prompt of ten, and what those before it left."""
    return sum(10.0 + output[call] + sum(left[before] for before in chosen if before < call) for call in chosen)


@given(st.lists(st.tuples(st.floats(0.0, 9.0), st.floats(0.0, 9.0)), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
def test_shares_of_calls_are_means_over_all_orders_in_which_they_are_added(calls: list[tuple[float, float]]) -> None:
    left, output = [one for one, _ in calls], [one for _, one in calls]
    prompt = 10.0 + np.concatenate([[0.0], np.cumsum(left)[:-1]])
    means = np.zeros(len(calls))
    orders = list(permutations(range(len(calls))))
    for order in orders:
        for place, call in enumerate(order):
            with_it, without = sorted(order[: place + 1]), sorted(order[:place])
            means[call] += tokens_of(with_it, left, output) - tokens_of(without, left, output)
    shares = call_shares(prompt, np.array(output))
    assert shares == pytest.approx(means / len(orders)) and shares.sum() == pytest.approx(prompt.sum() + sum(output))


def test_a_prompt_that_was_cut_keeps_its_parts_in_proportion() -> None:
    reads = run_reads(np.array([10.0, 20.0, 12.0, 15.0]))
    assert reads.sum(axis=1) == pytest.approx([10.0, 20.0, 12.0, 15.0])
    assert reads[2].tolist() == pytest.approx([6.0, 6.0, 0.0, 0.0, 0.0]) and reads[3, 3] == pytest.approx(3.0)


def test_early_calls_of_recorded_runs_cost_more_than_they_send() -> None:
    evidence = read_evidence(measured("agent_calls.parquet", "agents"))
    found = [one for one in law("call_shares").find(evidence, FEW) if one.subject == "gemini-3-pro-preview"]
    shares = [one.value for one in found[:5]]
    assert sum(shares) == pytest.approx(1.0) and shares[0] > 1.2 * shares[-1]
    assert found[0].note.startswith("7.6% by the calls that send them")
    assert not law("call_shares").find(read_evidence("own"), FEW), "no calls of agents"


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
