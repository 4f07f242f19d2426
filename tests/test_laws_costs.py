"""Frontier, equivalence, response to length, caps and price order: by definition, by simulation, as published."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import Evidence, RecordedModel, RecordedQuestion, columns
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.laws import LawQuery, laws
from comptroller.work.laws.caps import caps, csr, flag_truncated, suspected_cap
from comptroller.work.laws.equivalence import tost
from comptroller.work.laws.flat import effort_gain, slope_within
from comptroller.work.laws.frontier import frontier, undominated_mask
from comptroller.work.laws.price_order import list_prices, reversals
from evidence_files import measured

FAST = LawQuery(draws=200)
numbers = st.integers(0, 6)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=9))
def test_the_frontier_is_what_nothing_beats(points):
    cost, quality = zip(*points, strict=True)
    for one, kept in enumerate(undominated_mask(cost, quality)):
        beaten = any(c <= cost[one] and q >= quality[one] and (c, q) != (cost[one], quality[one]) for c, q in points)
        assert kept == (not beaten)


@settings(max_examples=30)
@given(st.integers(0, 99))
def test_whoever_is_dominated_is_so_by_one_named_that_is_cheaper_or_better(seed):
    rng = np.random.default_rng(seed)
    cost, quality = rng.random((30, 4)), rng.random((30, 4)) + rng.random(4)
    found = {point.name: point for point in frontier(list("abcd"), cost, quality, LawQuery(draws=20))}
    for point in found.values():
        if point.by is not None:
            better = found[point.by]
            assert better.cost <= point.cost and better.quality >= point.quality
        assert 0 <= point.stays <= 1
        assert point.cost_band[0] <= point.cost <= point.cost_band[1]


def test_a_frontier_needs_common_questions():
    gaps = np.array([[1.0, np.nan], [np.nan, 1.0]])
    with pytest.raises(UnsupportedError, match="no question has cost and score of every option"):
        frontier(["a", "b"], gaps, np.ones((2, 2)), FAST)


def test_equivalence_keeps_its_level_and_finds_what_is_there():
    rng = np.random.default_rng(0)
    at_margin = [tost(rng.random(200) < 0.6, rng.random(200) < 0.5, 0.1).verdict for _ in range(600)]
    assert sum(verdict == "equivalent" for verdict in at_margin) / 600 < 0.08
    equal = [tost(rng.random(900) < 0.6, rng.random(900) < 0.6, 0.1).verdict for _ in range(100)]
    assert equal.count("equivalent") > 95
    assert tost(rng.random(500) < 0.3, rng.random(500) < 0.6, 0.05).verdict == "worse"
    assert tost(rng.random(500) < 0.6, rng.random(500) < 0.3, 0.05).verdict == "better"


def test_equivalence_of_identical_answers_is_certain_and_one_pair_is_not_enough():
    test = tost([1, 0, 1], [1, 0, 1], 0.02)
    assert (test.p_equivalent, test.verdict, test.difference) == (0.0, "equivalent", 0.0)
    with pytest.raises(UnsupportedError, match="1 paired question"):
        tost([1], [1], 0.02)


def test_the_slope_within_questions_is_blind_to_how_hard_questions_are():
    rng = np.random.default_rng(0)
    question = np.repeat(np.arange(200), 8)
    hard = rng.random(200)[question]
    tokens = np.exp2(5 + 4 * hard + rng.normal(0, 1, len(question)))
    score = (rng.random(len(question)) < 0.9 - 0.8 * hard).astype(float)  # length says nothing within a question
    pooled = np.polyfit(np.log2(tokens), score, 1)[0]
    response = slope_within(question, tokens, score, FAST)
    assert pooled < -0.05 and response.low < 0 < response.high
    assert response.verdict(0.05) == "flat: thinking longer buys nothing here"


def test_a_slope_is_found_and_an_effort_that_harms_is_called_so():
    rng = np.random.default_rng(1)
    question = np.repeat(np.arange(300), 8)
    logs = rng.normal(6, 1, len(question))
    score = (rng.random(len(question)) < np.clip(0.5 + 0.1 * (logs - 6), 0, 1)).astype(float)
    response = slope_within(question, np.exp2(logs), score, FAST)
    assert response.low < 0.1 < response.high and response.verdict(0.02) == "longer is better"
    gain = effort_gain((rng.random(400) < 0.6).astype(float), (rng.random(400) < 0.4).astype(float), FAST)
    assert gain.verdict(0.02) == "longer is worse"
    with pytest.raises(UnsupportedError, match="different lengths"):
        slope_within(np.array([0, 0]), np.array([5.0, 5.0]), np.array([0.0, 1.0]), FAST)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(0, 50))
def test_lengths_are_counted(lengths, k):
    assert csr(lengths, k) == pytest.approx(sum(x >= k for x in lengths) / len(lengths))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(60, 400))
def test_a_cap_is_seen_where_there_is_one_and_not_where_there_is_none(seed, cap):
    rng = np.random.default_rng(seed)
    lengths = np.ceil(rng.lognormal(5, 1, 400))
    assert suspected_cap(lengths) is None
    cut = np.minimum(lengths, cap)
    found = suspected_cap(cut)
    assert found is not None and (found.tokens, found.hits) == (cap, int((lengths >= cap).sum()))


def test_published_caps_are_found_and_flagged_only_when_asked():
    read = read_evidence(measured("pricing_reversal.parquet"))
    found = {read.arms[arm].model: (cap.tokens, cap.hits) for arm, cap in caps(read).items()}
    assert found == {"MiniMax-M2.5": (2048, 2545), "kimi-k2.5": (32768, 35)}
    assert (read.rows.finish == "length").sum() == 0
    flagged = flag_truncated(read)
    assert (flagged.rows.finish == "length").sum() == 2545 + 35
    tasks = np.array([item.task for item in read.items])[flagged.rows.question]
    minimax = flagged.rows.arm == [arm.model for arm in read.arms].index("MiniMax-M2.5")
    cut = {task: int((minimax & (tasks == task) & (flagged.rows.finish == "length")).sum()) for task in set(tasks)}
    assert cut == {"aime": 56, "gpqa": 150, "livemathbench": 79, "arc-agi": 399, "simpleqa": 1861}


def test_price_reversals_are_those_published_with_the_data():
    read = read_evidence(measured("pricing_reversal.parquet"))
    found, pairs = reversals(read)
    assert (len(found), pairs) == (20, 99)
    rest, _ = reversals(read, thinking=False)
    assert len(rest) == 7
    minimax = [number for number, arm in enumerate(read.arms) if arm.model == "MiniMax-M2.5"]
    kept, fewer = reversals(read, without=minimax)
    assert (len(kept), fewer) == (20, 73)
    assert found[0].listed_cheaper == "gemini-3-flash-preview" and found[0].task == "gpqa"
    assert found[0].times == pytest.approx(15.0, abs=0.05)


def test_list_prices_are_read_off_recorded_dollars():
    rng = np.random.default_rng(0)
    prompt, made = rng.integers(10, 99, 20).astype(float), rng.integers(10, 99, 20).astype(float)
    rows = columns(20, input_tokens=prompt, output_tokens=made, usd=2e-6 * prompt + 8e-6 * made)
    made_up = Evidence((RecordedQuestion("q"),), (RecordedModel("m"),), rows)
    price = list_prices(made_up)[0]
    assert (price.input_usd, price.output_usd) == (pytest.approx(2e-6), pytest.approx(8e-6))
    rows = columns(20, input_tokens=prompt, output_tokens=made, usd=rng.random(20))
    assert list_prices(Evidence((RecordedQuestion("q"),), (RecordedModel("m"),), rows)) == {}


@pytest.mark.parametrize("one", laws(), ids=lambda one: one.name)
def test_every_law_has_its_say_on_the_priced_set_or_stays_silent(one):
    read = read_evidence(measured("pricing_reversal.parquet"))
    for found in one.find(read, LawQuery(draws=30)):
        assert found.law == one.name and found.subject and found.quantity
        assert not found.low > found.value + 1e-12 and not found.high < found.value - 1e-12
