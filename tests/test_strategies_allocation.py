"""Allocation against enumeration and a linear program; trained parts against what made their data."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from comptroller.costs.inference_units import (
    ModelCostShape,
    TokenPrice,
    eflops,
    elasticity,
    per_solved,
    prefill_gamma,
    prefill_token_equivalents,
    sleep_break_even,
    sleep_time_cost,
)
from comptroller.errors import FactError, InfeasibleError, InputError, UnknownIdError, UnsupportedError
from comptroller.facts.config import model
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.allocation import allocate, coverage, separating_tokens, token_ceiling, token_floor
from comptroller.strategies.choosing import compute_optimal
from comptroller.strategies.protocol import Ask, Reply
from comptroller.strategies.results import ReplayResults
from comptroller.strategies.success_prediction import (
    SuccessPredictor,
    names,
    reply_signals,
    success_predictor,
    text_signals,
)
from comptroller.strategies.training import TrainingOutcomes, auc, cross_fitted, fit, quality, threshold_for, train


def tables(questions, options):
    whole = st.integers(0, 12).map(float)
    return st.tuples(
        arrays(float, (questions, options), elements=whole), arrays(float, (questions, options), elements=whole)
    )


def enumerate_best(value, cost, budget):
    rows = range(len(value))
    return max(
        (
            sum(value[row, pick[row]] for row in rows)
            for pick in product(range(value.shape[1]), repeat=len(value))
            if sum(cost[row, pick[row]] for row in rows) <= budget
        ),
        default=None,
    )


def relaxed(value, cost, budget):
    count, options = value.shape
    once = np.kron(np.eye(count), np.ones(options))
    found = linprog(-value.ravel(), A_ub=[cost.ravel()], b_ub=[budget], A_eq=once, b_eq=np.ones(count))
    return -found.fun


@given(tables(3, 3), st.integers(0, 40))
def test_an_allocation_is_within_one_step_of_the_best_and_its_bound_is_the_relaxation(table, budget):
    value, cost = table
    best = enumerate_best(value, cost, budget)
    if best is None:
        with pytest.raises(InfeasibleError, match="cheapest options"):
            allocate(value, cost, budget)
        return
    found = allocate(value, cost, budget)
    assert found.cost <= budget
    assert found.bound == pytest.approx(relaxed(value, cost, budget), abs=1e-6)
    assert found.value <= best + 1e-9 <= found.bound + 1e-6
    step = (value.max(axis=1) - value.min(axis=1)).max()
    assert found.value >= best - step - 1e-9


@given(tables(4, 4), st.integers(0, 30))
def test_the_shadow_price_is_what_the_next_unit_buys_of_the_bound(table, budget):
    value, cost = table
    if cost.min(axis=1).sum() > budget:
        return
    found = allocate(value, cost, budget)
    more = relaxed(value, cost, budget + 1e-4) - relaxed(value, cost, budget)
    assert more <= found.shadow_price * 1e-4 + 1e-7
    if cost.min(axis=1).sum() <= budget - 1e-4:
        less = relaxed(value, cost, budget) - relaxed(value, cost, budget - 1e-4)
        assert less >= found.shadow_price * 1e-4 - 1e-7


def test_what_can_be_afforded_whole_leaves_no_price():
    found = allocate(np.array([[0.0, 1.0]] * 3), np.array([[0.0, 2.0]] * 3), 100.0)
    assert found.choice.tolist() == [1, 1, 1]
    assert (found.shadow_price, found.value, found.cost) == (0.0, 3.0, 6.0)


@pytest.mark.parametrize("value", [[[np.nan, 1.0]], [1.0, 2.0]])
def test_tables_that_are_none_are_refused(value):
    with pytest.raises(InputError, match="questions x options"):
        allocate(np.array(value), np.ones((1, 2)), 5.0)


def test_known_difficulty_beats_uniform_and_is_what_equal_marginal_gain_says():
    rng = np.random.default_rng(0)
    p, ns = rng.beta(0.3, 3.0, 200), np.arange(0, 401)
    value = 1 - (1 - p[:, None]) ** ns
    found = allocate(value, np.broadcast_to(ns, value.shape).astype(float), 200 * 40)
    assert found.value > (1 - (1 - p) ** 40).sum()
    inner = (found.choice > 0) & (found.choice < 400)
    gain = p[inner] * (1 - p[inner]) ** (found.choice[inner] - 1)
    assert gain.min() >= found.shadow_price * (1 - 1e-6)
    assert (p[inner] * (1 - p[inner]) ** found.choice[inner]).max() <= found.shadow_price * (1 + 1e-6) + 1e-3


@given(st.floats(0.1, 20), st.floats(0.1, 20), st.integers(0, 30))
def test_coverage_is_the_mean_over_beliefs(alpha, beta, samples):
    rng = np.random.default_rng(0)
    draws = rng.beta(alpha, beta, 20_000)
    assert coverage(alpha, beta, [samples])[0] == pytest.approx(np.mean(1 - (1 - draws) ** samples), abs=0.02)


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=6))
def test_the_separating_length_misjudges_the_fewest(attempts):
    tokens = np.array([[float(count) for count, _ in attempts]])
    right = np.array([[good for _, good in attempts]])
    found = separating_tokens(tokens, right)[0]
    if not right.any():
        assert found == np.inf
        return
    if len(set(tokens[0])) == len(attempts):
        agreement = [((tokens[0] >= cut) == right[0]).sum() for cut in tokens[0]]
        assert ((tokens[0] >= found) == right[0]).sum() == max(agreement)
    if right.all():
        assert found == tokens.min()


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 60))
def test_no_choice_of_questions_passes_the_token_ceiling(needs, budget):
    needed = np.array(needs, float)
    ceiling = token_ceiling(needed, [budget / len(needs)])[0]
    for pick in product([0, 1], repeat=len(needs)):
        if np.dot(pick, needed) <= budget:
            assert sum(pick) / len(needs) <= ceiling + 1e-12
            if sum(pick):
                assert token_floor(needed, sum(pick) / len(needs)) <= np.dot(pick, needed) / len(needs) + 1e-9


def outcomes(rng, count=3000, trials=1):
    table = rng.normal(size=(count, 2))
    chance = 1 / (1 + np.exp(-(0.5 + 1.5 * table[:, 0])))
    p = rng.beta(chance * 5, (1 - chance) * 5) if trials > 1 else chance
    wins = rng.binomial(trials, p).astype(float)
    return TrainingOutcomes(("x", "noise"), table, wins, np.full(count, float(trials)), np.arange(count))


def test_a_fit_finds_what_made_the_outcomes():
    found = fit(outcomes(np.random.default_rng(0)))
    slope = np.array(found.weights) / np.array(found.scale)
    np.testing.assert_allclose(slope, [1.5, 0.0], atol=0.2)
    assert found.precision == float("inf")
    spread = fit(outcomes(np.random.default_rng(0), trials=50))
    assert spread.precision == pytest.approx(5.0, rel=0.2)
    alpha, beta = spread.beliefs(np.zeros((1, 2)))
    assert alpha + beta == pytest.approx(spread.precision)


def test_held_out_quality_beats_the_base_rate_only_where_there_is_something_to_learn():
    rng = np.random.default_rng(1)
    told = outcomes(rng)
    good = quality(cross_fitted(told, rng), told)
    assert good["log_loss"] < good["log_loss_of_base_rate"]
    assert good["auc"] > 0.75
    assert good["calibration_error"] < 0.05
    blind = TrainingOutcomes(told.signals, rng.normal(size=(3000, 2)), told.successes, told.trials, told.group)
    assert quality(cross_fitted(blind, rng), blind)["auc"] == pytest.approx(0.5, abs=0.05)


def test_groups_never_stand_on_both_sides_of_a_fold():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 50)
    table = np.repeat(rng.normal(size=(40, 1)), 50, axis=0)  # a fingerprint of the group and nothing else
    wins = np.repeat((rng.random(40) < 0.5).astype(float), 50)
    told = TrainingOutcomes(("print",), table, wins, np.ones(2000), group)
    assert auc(cross_fitted(told, rng), wins) < 0.75
    with pytest.raises(InputError, match="cannot be held out"):
        cross_fitted(told.take(group < 3), rng)


def test_outcomes_that_teach_nothing_are_refused():
    rows = [{"x": 1.0, "y": float("nan")}, {"x": 2.0, "y": 1.0}]
    assert TrainingOutcomes.of(rows, [0, 1], [0, 1]).signals == ("x",)
    with pytest.raises(InputError, match="all outcomes are the same"):
        TrainingOutcomes.of(rows, [1, 1], [0, 1])
    with pytest.raises(InputError, match="at least one signal"):
        TrainingOutcomes.of([], [], [])


def test_a_part_reads_back_as_it_was_written(tmp_path):
    made = train(outcomes(np.random.default_rng(0), 200), {"data": "drawn"}, np.random.default_rng(0))
    path = tmp_path / "part.json"
    made.save(path)
    assert success_predictor(str(path)) == made
    assert made.measured["rows"] == 200
    row = {"x": 0.3, "noise": 0.1}
    assert made.chance(row) == pytest.approx(made.chances(np.array([[0.3, 0.1]]))[0])
    with pytest.raises(UnsupportedError, match="signal 'noise'"):
        made.chance({"x": 0.3})


@pytest.mark.parametrize("text", ["", "[]", '{"signals": []}', '{"signals": ["a"], "centre": ["b"]}'])
def test_a_file_that_is_no_part_is_refused(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(FactError, match="not a trained part"):
        success_predictor(str(path))


def test_a_part_of_uneven_lengths_or_no_part_is_refused(tmp_path):
    uneven = SuccessPredictor(("a", "b"), (0.0,), (1.0,), (1.0,), 0.0)
    uneven.save(tmp_path / "uneven.json")
    with pytest.raises(FactError, match="differ in length"):
        success_predictor(str(tmp_path / "uneven.json"))
    with pytest.raises(UnknownIdError, match="trained part"):
        success_predictor("nothing_of_the_kind")


@pytest.mark.parametrize("name", names())
def test_every_part_that_ships_says_what_trained_it_and_beats_the_base_rate_held_out(name):
    part = success_predictor(name)
    assert {"data", "source", "command", "seed"} <= set(part.about)
    assert part.measured["log_loss"] < part.measured["log_loss_of_base_rate"]
    assert part.measured["brier"] < part.measured["brier_of_base_rate"]
    assert part.measured.get("auc", 1.0) > 0.6


def test_signals_tell_agreement_length_and_truncation():
    replies = [Reply(Ask(), "stop", answer=text) for text in "aab"] + [Reply(Ask(), "length")]
    found = reply_signals(replies)
    assert (found["agreement"], found["answered"], found["truncated"]) == (0.5, 0.75, 0.25)
    assert np.isnan(found["likelihood"])
    assert all(np.isfinite(value) for value in text_signals("").values())


def test_a_threshold_lets_the_share_through():
    rng = np.random.default_rng(0)
    chance = rng.random(1000)
    for share in (0.0, 0.25, 1.0):
        assert np.mean(chance >= threshold_for(chance, share)) == pytest.approx(share)
    with pytest.raises(InputError, match="share to accept"):
        threshold_for(chance, 1.5)


def test_eflops_are_the_formula_of_kinetics():
    llama = ModelCostShape.of(model("llama_3_1_8b"))
    layers, query_heads, kv_heads, dim = 32, 32, 8, 128
    inputs, outputs, trials = 100.0, 4000.0, 8.0
    compute = 2 * llama.params * outputs + 2 * (2 * inputs + outputs) * outputs * query_heads * dim * layers
    memory = 562.5 * 2 * (2 * inputs + trials * outputs) * outputs * kv_heads * dim * layers
    assert eflops(llama, inputs, outputs, trials) == pytest.approx(trials * compute + memory)


def test_prefill_equivalents_are_the_formula_of_the_paper_for_multi_head_attention():
    layers, hidden, intensity, params = 32, 4096, 300.0, 7e9
    shape = ModelCostShape(params, 4.0 * layers * hidden, 4.0 * layers * hidden)
    gamma = prefill_gamma(shape, intensity)
    assert gamma == pytest.approx(2 * layers * hidden * intensity / params)
    assert prefill_token_equivalents(100, 10, 105, gamma) == pytest.approx(100 + gamma * 105 * 10)


def test_units_at_their_edges():
    assert per_solved([1.0], [0.0]) == float("inf")
    assert np.isnan(per_solved([float("nan")], [1.0]))
    assert np.isnan(elasticity((0.5, 0.6), (100.0, 100.0)))
    assert sleep_break_even(100.0, 0.0) == float("inf")
    queries = sleep_break_even(5000.0, 250.0)
    assert sleep_time_cost(5000.0, 200.0, queries) == pytest.approx(10 * 450.0)
    with pytest.raises(InputError, match="no price for cached"):
        TokenPrice(1.0, 2.0).usd(10.0, 10.0, cached=5.0)


def outcome(name, score, tokens):
    zero = np.zeros(len(score))
    cost = Cost(tokens=TokenCounts(input=zero, output=tokens))
    return ReplayResults(name, np.arange(len(score)), score, cost, *[zero] * 7)


def test_the_choice_gives_the_dear_setting_only_to_questions_that_need_it():
    rng = np.random.default_rng(0)
    hard = rng.random(2000) < 0.4
    right = [rng.random(2000) < rate for rate in (np.where(hard, 0.1, 0.9), np.where(hard, 0.8, 0.9))]
    settings = [
        outcome("cheap", right[0].astype(float), np.full(2000, 100.0)),
        outcome("dear", right[1].astype(float), np.full(2000, 1000.0)),
    ]
    chance = np.clip(np.where(hard, 0.2, 0.8) + 0.1 * rng.normal(size=2000), 0, 1)
    found = compute_optimal(settings, chance, 100 + 0.4 * 900, np.random.default_rng(0))
    assert found.score.mean() == pytest.approx(0.86, abs=0.03)
    assert found.cost.mean() == pytest.approx(460, abs=20)
    assert found.single_score.mean() == pytest.approx(0.58, abs=0.04)
    assert found.setting[hard].mean() > 0.9
    assert found.shadow_price >= 0


def test_the_choice_on_noise_gains_nothing_held_out():
    rng = np.random.default_rng(1)
    settings = [outcome(f"s{n}", (rng.random(400) < 0.5).astype(float), np.full(400, 100.0)) for n in range(8)]
    found = compute_optimal(settings, rng.random(400), 100.0, np.random.default_rng(0))
    assert found.score.mean() == pytest.approx(0.5, abs=0.07)


def test_a_choice_of_what_does_not_compare_is_refused():
    rng = np.random.default_rng(0)
    one, chance = outcome("a", np.ones(50), np.ones(50)), rng.random(50)
    with pytest.raises(InputError, match="not replayed on the same questions"):
        compute_optimal([one, outcome("b", np.ones(9), np.ones(9))], chance, 1.0, rng)
    with pytest.raises(InputError, match="needs score and tokens"):
        compute_optimal([one, outcome("b", np.full(50, np.nan), np.ones(50))], chance, 1.0, rng)
    with pytest.raises(InfeasibleError, match="cheapest options"):
        compute_optimal([one], chance, 0.5, rng)
    with pytest.raises(InputError, match="needs 20 questions"):
        compute_optimal([outcome("a", np.ones(5), np.ones(5))], np.ones(5), 1.0, rng)
