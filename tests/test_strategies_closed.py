"""Figures of strategies from arrays are those of their generators: over every order of the samples, and over deals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from comptroller.strategies.deals import results_over_deals
from comptroller.strategies.expected_runs import form_of, formed_results
from comptroller.strategies.protocol import Answer, Ask, QuestionBudget, Reply
from comptroller.strategies.replay import EvidenceReplay, RecordedService, ServicePace
from comptroller.strategies.results import replay_strategy
from comptroller.strategies.rules.sample_and_vote import SampleAndVoteStrategy
from comptroller.strategies.sample_pools import SampleTable
from comptroller.strategies.spelling import parse, spell
from comptroller.strategies.study import ReplayConditions, study
from comptroller.strategies.vote_odds import vote_prefixes
from comptroller.strategies.votes import WEIGHTS, vote
from comptroller.work.evidence import VERIFIER, Evidence, RecordedAskKey, RecordedModel, RecordedQuestion, columns
from strategy_evidence import ARMS, PRICE, bound, drawn

PER_TOKEN = ServicePace(1.0, 0.0, 0.5)
COLUMNS = ("score", "tokens", "usd", "calls", "lost", "truncated", "unanswered", "expired")
ENDS = ("stop", "stop", "stop", "length", "failed", "")


def judged(samples, rewards=True):
    """One question with samples (answer, end, judgement), and a verdict of another model on each.

    Lengths and scores differ, those of one answer too.
    """
    count = len(samples)
    rows = columns(
        2 * count,
        question=np.zeros(2 * count, np.int64),
        arm=np.repeat([0, 1], count),
        sample=np.tile(np.arange(count), 2) * np.repeat([1, 0], count),
        role=np.repeat(["solver", VERIFIER], count),
        parent=np.concatenate([np.full(count, -1), np.arange(count)]),
        temperature=np.ones(2 * count),
        answer=np.array([answer for answer, _, _ in samples] + [None] * count, object),
        score=np.array([(3 * place % 4) / 4 for place in range(count)] + [np.nan] * count),
        judgement=np.array([rating for _, _, rating in samples] + [7 - rating for _, _, rating in samples]),
        finish=np.array([end for _, end, _ in samples] + ["stop"] * count),
        input_tokens=np.full(2 * count, 10.0),
        output_tokens=np.concatenate([2.0 ** np.arange(count), np.arange(count) + 3.0]),
    )
    logs = tuple(np.array([-0.1 * (n + 1), -0.2], np.float32) for n in range(2 * count))
    return Evidence((RecordedQuestion("q"),), ARMS, rows, logs, "judged")


def replay_of(evidence, pace=PER_TOKEN):
    solver, reward = (RecordedService(arm, pace=pace, price=PRICE) for arm in evidence.arms)
    return EvidenceReplay(evidence, {"solver": solver, "reward": reward})


def over_every_order(strategy, evidence, pace=PER_TOKEN):
    """Means of a strategy's columns over every order in which the samples may come."""
    replay, count = replay_of(evidence, pace), len(evidence) // 2
    found = []
    for order in permutations(range(count)):
        replay.dealt = {RecordedAskKey(0, 0): list(order)}
        found.append(replay_strategy(strategy, replay, [0]))
    return {name: np.mean([one.column(name) for one in found]) for name in (*COLUMNS, "elapsed_s", "strong_calls")}


def formed(strategy, evidence, pace=PER_TOKEN, deals=16):
    found = formed_results(SampleTable(replay_of(evidence, pace), [0], deals), [strategy])
    return found[spell(strategy)] if found else None


TEXTS = (
    *("once(greedy=false)", "sample_and_vote(n={})", "sample_and_vote(n=4,weight=score)"),
    *("best_of_n(n={})", "best_of_n(n={},by=reward)"),
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from(ENDS), st.integers(0, 3).map(float)),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 4),
    st.sampled_from(TEXTS),
)
@settings(max_examples=120, deadline=None)
def test_closed_forms_are_means_of_the_generator_over_every_order(samples, size, text):
    evidence, strategy = judged(samples), parse(text.format(size))
    told = formed(strategy, evidence)
    assume(any(answer for answer, _, _ in samples))
    blank_judged = "reward" in text and any(end in ("stop", "") and not answer for answer, end, _ in samples)
    if "weight" in text:
        assume(len(samples) == 4)  # fewer than are recorded are drawn in random orders
    if (size > len(samples) and "n={}" in text) or blank_judged:
        assert told is None
        return
    expected = over_every_order(strategy, evidence)
    for name in COLUMNS:
        assert told.column(name)[0] == pytest.approx(expected[name], abs=1e-9), name
    assert told.column("strong_calls")[0] == pytest.approx(expected["strong_calls"], nan_ok=True)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.integers(1, 4), st.sampled_from(TEXTS))
@settings(max_examples=40, deadline=None)
def test_the_time_of_samples_at_once_is_that_of_the_longest(answers, size, text):
    evidence, strategy = (
        judged([(answer, "stop", float(n)) for n, answer in enumerate(answers)]),
        parse(text.format(size)),
    )
    told = formed(strategy, evidence)
    if told is not None:
        expected = over_every_order(strategy, evidence)
        assert told.elapsed_s[0] == pytest.approx(expected["elapsed_s"])


@given(
    st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=5), st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_votes_of_prefixes_are_means_of_votes_over_every_order(samples, plain):
    label, weight, score = (np.array([[sample[place] for sample in samples]]) for place in range(3))
    weight = np.ones(label.shape) if plain else weight.astype(float)
    found = vote_prefixes(label, weight, score.astype(float), range(1, len(samples) + 1))[0]
    replies = [Reply(Ask(), "stop", answer=None if name < 0 else str(name), score=w) for (name, w, _) in samples]
    paid = {reply.ask: float(sample[2]) for reply, sample in zip(replies, samples, strict=True)}
    for size in range(1, len(samples) + 1):
        voted = [vote(order, WEIGHTS["plain" if plain else "score"]) for order in permutations(replies[:size])]
        scores = [paid[won.reply.ask] if won.answer is not None else 0.0 for won in voted]
        assert found[size - 1] == pytest.approx(np.mean(scores)), size


@pytest.mark.parametrize(
    "text",
    [
        "sample_and_vote(n=6)",
        "sample_and_vote(n=18)",
        "sample_and_vote(n=7,weight=score)",
        "sample_and_vote(n=7,weight=likelihood)",
        "best_of_n(n=5)",
        "best_of_n(n=5,by=likelihood)",
        "once(greedy=false)",
    ],
)
def test_arrays_and_deals_agree(text):
    evidence, strategy = drawn(4, questions=5, samples=24, verdicts=0), parse(text)
    rng = np.random.default_rng(0)  # weights that tie, and answers with several scores
    rating, score = rng.integers(0, 3, len(evidence)).astype(float), rng.integers(0, 5, len(evidence)) / 4
    evidence = replace(evidence, rows=replace(evidence.rows, judgement=rating, score=score))
    replay = bound(evidence, pace=PER_TOKEN)
    chosen = list(range(5))
    table = SampleTable(replay, chosen, 400)
    told = formed_results(table, [strategy])[spell(strategy)]
    again = results_over_deals(replay.dealt_by(1), 400, lambda one: [replay_strategy(strategy, one, chosen)])[0]
    for name in ("score", "usd", "tokens", "calls"):
        deviation = max(np.abs(again.column(name)).max(), 1e-12)
        np.testing.assert_allclose(told.column(name), again.column(name), atol=0.09 * deviation, err_msg=name)
    assert told.mean("score") == pytest.approx(again.mean("score"), abs=5 * again.deal_deviation / 20 + 0.005)
    assert told.deal_deviation == pytest.approx(again.deal_deviation, rel=0.2)


def test_a_closed_form_is_of_all_choices_or_of_deals_and_says_which():
    evidence = drawn(5, questions=5, samples=24, verdicts=0)
    texts = ["sample_and_vote(n=4)", "sample_and_vote(n=20)", "sample_and_vote(n=24)", "once", "best_of_n(n=3)"]
    asked = [parse(text) for text in texts]
    found = study(evidence, asked, ReplayConditions(arms=ARMS[:1], deals=7))
    assert {one.strategy: one.results.deals for one in found.settings} == {
        **dict.fromkeys(["sample_and_vote(n=4)", "best_of_n(n=3)"], 0),
        "sample_and_vote(n=20)": 7,
        **dict.fromkeys(["sample_and_vote(n=24)", "once"], 1),
    }
    assert sum("means over" in note for note in found.notes) == 2


def test_what_is_not_recorded_is_a_gap_beside_what_is():
    texts = ["sample_and_vote(n=2)", "sample_and_vote(n=2,effort=high)", "sample_and_vote(n=99)", "once(role=weak)"]
    found = study(drawn(5, questions=4), [parse(text) for text in texts], ReplayConditions(arms=ARMS[:1], deals=3))
    assert [one.strategy for one in found.settings] == ["once", "sample_and_vote(n=2)"]
    assert {name for name, _ in found.missing} == {spell(parse(text)) for text in texts[1:]}


def test_one_deal_and_a_budget_are_dealt_sample_by_sample():
    evidence, vote = drawn(5, questions=5), parse("sample_and_vote(n=4)")
    alone = study(evidence, [vote], ReplayConditions(arms=ARMS[:1], deals=1)).settings[-1]
    np.testing.assert_array_equal(alone.results.score, replay_strategy(vote, bound(evidence)).score)
    cut = study(evidence, [vote], ReplayConditions(arms=ARMS[:1], deals=3, budget=QuestionBudget(tokens=90)))
    assert cut.settings[-1].amount("expired") > 0


def test_samples_that_lack_what_is_weighed_are_a_gap_and_no_figure():
    evidence = judged([("a", "stop", 1.0), ("b", "stop", np.nan)])
    assert formed(parse("best_of_n(n=2)"), evidence) is None
    assert formed(parse("sample_and_vote(n=2,weight=score)"), evidence) is None
    assert formed(parse("best_of_n(n=2,by=reward)"), evidence) is not None, "a reward that is not a number counts least"
    assert RecordedModel("large") in evidence.arms


@dataclass(frozen=True, slots=True)
class FirstOfMany(SampleAndVoteStrategy):
    """A vote that ends with what came first."""

    def choose(self, replies):
        return Answer.of(replies[0])


def test_a_class_that_chooses_in_another_way_has_no_closed_form():
    assert form_of(SampleAndVoteStrategy(n=3)) is not None and form_of(FirstOfMany(n=3)) is None


@pytest.mark.parametrize("spelling", ["sample_and_vote(n=3)", "best_of_n(n=3,by=reward)"])
def test_a_reply_without_a_score_that_cannot_win_leaves_the_mean_known(spelling):
    evidence = judged([("a", "stop", 3.0)] * 7 + [("b", "length", 1.0)])
    score = evidence.rows.score.copy()
    score[7] = np.nan
    unscored = replace(evidence, rows=replace(evidence.rows, score=score))
    table = SampleTable(replay_of(unscored), [0], 1)
    (found,) = formed_results(table, [parse(spelling)]).values()
    assert found.score == pytest.approx([evidence.rows.score[:7].mean()])
