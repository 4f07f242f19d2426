"""Deals: which replies another deal may give, how many are replayed, and that arrays and deals keep one rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.strategies.deals import results_over_deals
from comptroller.strategies.expected_runs import formed_results
from comptroller.strategies.protocol import GREEDY, All, Answer, Ask
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService, ServicePace
from comptroller.strategies.results import replay_strategy
from comptroller.strategies.sample_pools import SampleTable
from comptroller.strategies.spelling import parse, spell
from comptroller.strategies.studied_samples import studied_samples
from comptroller.strategies.study import ReplayConditions, study
from comptroller.work.evidence import Evidence, RecordedModel, RecordedQuestion, columns

DEALS = 400
PER_TOKEN = ServicePace(1.0, 0.0, 0.5)


def evidence_of(questions):
    """Questions with replies (temperature, answer, score), each of another length; NaN for no recorded temperature."""
    rows = [(number, *reply) for number, replies in enumerate(questions) for reply in replies]
    question, temperature, answer, score = zip(*rows, strict=True)
    table = columns(
        len(rows),
        question=np.array(question),
        sample=np.arange(len(rows)),
        temperature=np.array(temperature, float),
        answer=np.array(answer, object),
        score=np.array(score, float),
        finish=np.full(len(rows), "stop"),
        input_tokens=np.full(len(rows), 10.0),
        output_tokens=np.random.default_rng(0).permutation(len(rows)) + 1.0,
    )
    items = tuple(RecordedQuestion(f"q{number}") for number in range(len(questions)))
    return Evidence(items, (RecordedModel("m"),), table, source="few")


def replay_of(evidence, checker=None, seed=None):
    solver = RecordedService(evidence.arms[0], pace=PER_TOKEN)
    return EvidenceReplay(evidence, {"solver": solver, "checker": checker or ModelledChecker()}, seed)


def dealt(strategy, replay, deals=DEALS):
    chosen = list(range(len(replay.evidence.items)))
    return results_over_deals(replay, deals, lambda again: [replay_strategy(strategy, again, chosen)])[0]


def formed(strategy, replay, deals=DEALS):
    found = formed_results(SampleTable(replay, range(len(replay.evidence.items)), deals), [strategy])
    return found.get(spell(strategy))


REPLY = st.tuples(st.sampled_from([0.0, np.nan, 0.7]), st.sampled_from("abc"), st.integers(0, 4).map(lambda n: n / 4))


@given(st.lists(st.lists(REPLY, min_size=1, max_size=4), min_size=1, max_size=3), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_greedy_answer_is_any_recorded_one_in_arrays_and_in_deals(questions, seed):
    replay, once = replay_of(evidence_of(questions), seed=seed), parse("once")
    expected = []
    for replies in questions:
        greedy = [score for temperature, _, score in replies if temperature == 0]
        silent = [score for temperature, _, score in replies if np.isnan(temperature)]
        expected.append(greedy or (silent if len(silent) == 1 else []))
    told = formed(once, replay)
    if not all(expected):
        assert told is None
        return
    np.testing.assert_allclose(told.score, [np.mean(scores) for scores in expected])
    np.testing.assert_allclose(dealt(once, replay).score, told.score, atol=0.12)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=2, max_size=6),
    st.integers(1, 6),
    st.sampled_from(["plain", "score"]),
)
@settings(max_examples=20, deadline=None)
def test_a_tie_falls_to_no_answer_for_being_short(samples, size, weight):
    """The means over deals are those of arrays, whatever the lengths of the replies that tie."""
    evidence = evidence_of([[(0.7, answer, place % 3 / 2) for place, (answer, _) in enumerate(samples)]])
    rating = np.array([float(rating) for _, rating in samples])
    replay = replay_of(replace(evidence, rows=replace(evidence.rows, judgement=rating)), seed=1)
    vote = parse(f"sample_and_vote(n={min(size, len(samples))},weight={weight})")
    np.testing.assert_allclose(formed(vote, replay).score, dealt(vote, replay).score, atol=0.15)


@pytest.mark.parametrize("seed", range(8))
def test_deals_that_are_alike_by_chance_do_not_end_the_deals(seed):
    """Two samples, one right: every other deal is like the first, so that a stop after two would give 0 or 1."""
    coin = replay_of(evidence_of([[(0.7, "a", 1.0), (0.7, "b", 0.0)]]), seed=seed)
    told = dealt(parse("once(greedy=false)"), coin, 64)
    assert told.deals == 64 and 0.2 < told.mean("score") < 0.8
    (drawn,) = formed_results(
        SampleTable(replay_of(many_votes(seed)), [0], 2), [parse("sample_and_vote(n=19)")]
    ).values()
    assert drawn.deals == 2, "two random orders may agree by chance"


def many_votes(seed):
    """Forty samples with more different answers than are counted exactly."""
    rng = np.random.default_rng(seed)
    return evidence_of([[(0.7, f"a{int(rng.integers(20))}", 0.0) for _ in range(40)]])


@dataclass(frozen=True, slots=True)
class Lottery:
    """Asks once for a greedy reply and keeps it by lot."""

    grid: ClassVar = {}

    def solve(self, question, budget, rng):
        (reply,) = yield All(Ask(content=question.content, sampling=GREEDY))
        return Answer.of(reply) if rng.random() < 0.5 else Answer()


@pytest.mark.parametrize(
    ("text", "checker", "deals"),
    [
        ("once", None, 1),
        ("stop_on_success(cap=1)", ModelledChecker(), 1),
        ("stop_on_success(cap=1)", ModelledChecker(1.0, 0.5), 1),
        ("stop_on_success(cap=1)", ModelledChecker(0.5, 0.0), 5),
    ],
)
def test_what_can_be_dealt_in_one_way_is_dealt_once(text, checker, deals):
    only = evidence_of([[(0.0, "a", 1.0), (0.7, "a", 1.0)]])
    assert dealt(parse(text), replay_of(only, checker), 5).deals == deals


def test_a_strategy_that_draws_lots_is_dealt_again():
    only = evidence_of([[(0.0, "a", 1.0)]])
    assert dealt(Lottery(), replay_of(only), 40).deals == 40


GOOD, NONE, LEFT = ("a", True), (None, False), ("a", False)


def judged_evidence(*questions, role="verifier", verdict=1.0):
    """Questions of samples (answer, whether a row of a role comes after it); right where there is an answer."""
    rows = [(number, -1, "solver", *sample) for number, samples in enumerate(questions) for sample in samples]
    rows += [(row[0], parent, role, "b", False) for parent, row in enumerate(rows) if row[-1]]
    question, parent, kind = (np.array([row[place] for row in rows]) for place in range(3))
    whose = np.array([row[3] for row in rows], object)
    sample = np.concatenate([*(np.arange(len(samples)) for samples in questions), np.zeros((parent >= 0).sum())])
    table = columns(
        len(rows),
        question=question,
        sample=sample.astype(np.int64),
        parent=parent,
        role=kind,
        answer=whose,
        temperature=np.ones(len(rows)),
        score=(whose == "a").astype(float),
        judgement=np.where(parent >= 0, verdict, np.nan),
        finish=np.full(len(rows), "stop"),
        input_tokens=np.full(len(rows), 10.0),
        output_tokens=np.ones(len(rows)),
    )
    items = tuple(RecordedQuestion(f"q{number}") for number in range(len(questions)))
    return Evidence(items, (RecordedModel("m"),), table, source="judged")


@pytest.mark.parametrize(
    ("questions", "studied"),
    [
        (([GOOD, GOOD, LEFT], [GOOD, NONE, NONE]), [True, True, False, True, True, False]),
        (([GOOD, LEFT, GOOD], [GOOD, NONE, GOOD]), [True, False, True, True, False, True]),
        (([(None, True), NONE], [NONE, (None, True)]), [True, False, False, True]),
    ],
    ids=["the first two of each", "picked answers", "replies without answers"],
)
def test_a_sample_without_an_answer_belongs_to_the_study_of_its_number(questions, studied):
    found = studied_samples(judged_evidence(*questions), "verifier", True)
    assert found[: len(studied)].tolist() == studied


@pytest.mark.parametrize(
    ("role", "text"),
    [("verifier", "generative_verification(s=1,v=1)"), ("reviser", "sequential_revision(rounds=1,pick=vote)")],
)
def test_who_reads_verdicts_is_dealt_samples_without_an_answer_as_often_as_they_came(role, text):
    evidence = judged_evidence([GOOD, NONE, GOOD, GOOD, LEFT], [GOOD, GOOD, NONE, NONE, LEFT], role=role)
    who = RecordedService(evidence.arms[0], pace=PER_TOKEN)
    told = dealt(parse(text), EvidenceReplay(evidence, {"solver": who, role: who}, seed=3))
    np.testing.assert_allclose(told.score, [0.75, 0.5], atol=0.1)
    assert told.deals == DEALS and not told.deals_left_out


def test_deals_that_ask_beyond_the_record_are_left_out_counted_and_told():
    """Of three samples two are judged; the third has an answer without a verdict, or none and needs no verdict."""
    found = study(
        judged_evidence([GOOD, GOOD, LEFT, NONE]),
        [parse("generative_verification(s=3,v=1)")],
        ReplayConditions(deals=40),
    )
    told = found.settings[-1].results
    assert told.deals + told.deals_left_out == 40 and 10 <= told.deals <= 30
    assert f"{told.deals_left_out} of 40 deals left out" in " ".join(found.notes)


def test_a_recorded_checker_is_asked_where_it_judged():
    """The second question has no verdicts, and of the first the second sample alone."""
    evidence = judged_evidence([LEFT, GOOD], [LEFT, LEFT])
    roles = dict.fromkeys(("weak", "strong", "verifier"), evidence.arms[0])
    asked = parse("verdict_cascade(roles=(weak,strong),checker=verifier)")
    told = study(evidence, [asked], ReplayConditions(roles=roles)).settings[-1].results
    assert told.question.tolist() == [0] and told.mean("calls") == 2.0
