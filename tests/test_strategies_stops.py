"""Figures of strategies that stop early, from closed forms: the means of their generators over every deal there is."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.quantities import Cost
from comptroller.strategies.deals import results_over_deals
from comptroller.strategies.expected_runs import formed_results
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService, ServicePace
from comptroller.strategies.results import gather, replay_strategy, runs
from comptroller.strategies.sample_pools import SampleTable
from comptroller.strategies.spelling import parse, spell
from comptroller.work.evidence import Evidence, RecordedAskKey, RecordedQuestion, columns
from strategy_evidence import ARMS, PRICE, bound, drawn

PACE = ServicePace(1.0, 0.0, 0.5)
COLUMNS = ("score", "tokens", "usd", "calls", "elapsed_s", "lost", "truncated", "unanswered", "strong_calls")
SAMPLE = st.tuples(
    st.sampled_from(["a", "a", "b", "c", None]),
    st.sampled_from(["stop", "stop", "stop", "length", "failed"]),
    st.integers(0, 4).map(lambda quarters: quarters / 4),
)
"""Answer, end, score."""


def two_models(first, second):
    """One question with samples (answer, end, score) of two models, each of another length."""
    samples, count = [*first, *second], len(first) + len(second)
    answer, finish, score = zip(*samples, strict=True)
    rows = columns(
        count,
        question=np.zeros(count, np.int64),
        arm=np.repeat([0, 1], [len(first), len(second)]),
        sample=np.concatenate([np.arange(len(first)), np.arange(len(second))]),
        temperature=np.ones(count),
        answer=np.array(answer, object),
        score=np.array(score, float),
        finish=np.array(finish),
        input_tokens=np.full(count, 10.0),
        output_tokens=2.0 ** (np.arange(count) % 7) * 30 + np.arange(count),
    )
    logs = tuple(np.array([-0.05 * (place + 1), -0.2], np.float32) for place in range(count))
    return Evidence((RecordedQuestion("q"),), ARMS, rows, logs, "two")


class Verdicts:
    """Draws of a checker that are fixed beforehand: -1 accepts at any rate, 2 refuses."""

    def __init__(self, accepted):
        self.left = list(accepted)

    def random(self):
        return -1.0 if self.left.pop(0) else 2.0


class FixedReplay(EvidenceReplay):
    """A replay of given orders of the samples and given verdicts."""

    def world(self, question, known=None):
        made = super().world(question, known)
        made._rng = self.verdicts
        return made


def replay_of(evidence, checker, kind=EvidenceReplay):
    small, large = (RecordedService(arm, pace=PACE, price=PRICE) for arm in ARMS)
    return kind(evidence, {"solver": small, "weak": small, "strong": large, "checker": checker})


def over_everything(strategy, evidence, checker, checks):
    """Means of a strategy's columns over every order of each model's samples and every verdict of the checker."""
    replay, arm = replay_of(evidence, checker, FixedReplay), evidence.rows.arm
    orders = product(*(permutations(np.flatnonzero(arm == number).tolist()) for number in range(2)))
    total = dict.fromkeys(COLUMNS, 0.0)
    weights = 0.0
    for (small, large), verdicts in product(list(orders), list(product([True, False], repeat=checks))):
        replay.dealt = {RecordedAskKey(0, 0): list(small), RecordedAskKey(0, 1): list(large)}
        replay.verdicts = Verdicts(verdicts)
        ((score, run),) = runs(strategy, replay, [0])
        if any(replay.verdicts.left):  # what is not drawn counts once
            continue
        chance = 1.0
        for reply in run.replies:
            if reply.ask.role == "checker":
                right = evidence.rows.score[evidence.rows.output_tokens == reply.ask.after.cost.tokens.output][0] >= 0.5
                rate = checker.tpr if right else checker.fpr
                chance *= rate if reply.score else 1 - rate
        found = gather(spell(strategy), [0], [(score, run)], replay)
        weights += chance
        for name in COLUMNS:
            total[name] += chance * found.column(name)[0] if chance else 0.0
    return {name: value / weights for name, value in total.items()}


def formed(strategy, replay, deals=16):
    questions = range(len(replay.evidence.items))
    return formed_results(SampleTable(replay, questions, deals), [strategy]).get(spell(strategy))


def agrees(strategy, evidence, checker, checks):
    told = formed(strategy, replay_of(evidence, checker))
    expected = over_everything(strategy, evidence, checker, checks)
    assert told is not None
    for name in COLUMNS:
        assert told.column(name)[0] == pytest.approx(expected[name], abs=1e-9), name


CHECKERS = st.builds(
    ModelledChecker,
    st.sampled_from([1.0, 0.9, 0.5, 0.0]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.just(Cost(usd=0.5, j=0.0)),
    st.just(0.25),
)


@given(
    st.lists(SAMPLE, min_size=1, max_size=3), st.lists(SAMPLE, min_size=1, max_size=3), CHECKERS, st.sampled_from("ab")
)
@settings(max_examples=60, deadline=None)
def test_a_cascade_on_a_verdict_is_the_mean_over_every_deal(first, second, checker, order):
    roles = "(weak,strong)" if order == "a" else "(strong,weak)"
    agrees(parse(f"verdict_cascade(roles={roles})"), two_models(first, second), checker, 1)


@given(
    st.lists(SAMPLE, min_size=1, max_size=4),
    st.lists(SAMPLE, min_size=1, max_size=3),
    st.integers(1, 3),
    st.sampled_from(["reply_length", "agreement_of_4", "likelihood"]),
    st.floats(0.0, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_a_cascade_on_agreement_is_the_mean_over_every_deal(first, second, samples, by, threshold):
    samples = min(samples, len(first), len(second))
    by = by if by != "likelihood" else "reply_length"
    cascade = parse(f"cascade(samples={samples},threshold={threshold},by={by})")
    agrees(cascade, two_models(first, second), ModelledChecker(), 0)


@given(st.lists(SAMPLE, min_size=1, max_size=4), CHECKERS, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_stopping_on_success_is_the_mean_over_every_deal(samples, checker, cap):
    cap = min(cap, len(samples))
    agrees(parse(f"stop_on_success(cap={cap})"), two_models(samples, samples[:1]), checker, cap)


@pytest.mark.parametrize("text", ["stop_on_success(cap=9)", "verdict_cascade", "cascade(samples=2,threshold=0.8)"])
def test_closed_forms_of_stops_are_the_means_over_deals(text):
    evidence, checker, strategy = drawn(4, questions=6, verdicts=0), ModelledChecker(0.8, 0.15), parse(text)
    replay = bound(evidence, checker, pace=PACE)
    told = formed(strategy, replay)
    assert told.deals == 0
    again = results_over_deals(replay.dealt_by(1), 300, lambda one: [replay_strategy(strategy, one, list(range(6)))])[0]
    for name in ("score", "tokens", "calls", "elapsed_s", "usd"):
        scale = max(np.abs(again.column(name)).max(), 1e-12)
        np.testing.assert_allclose(told.column(name), again.column(name), atol=0.09 * scale, err_msg=name)
    assert told.deal_deviation == pytest.approx(again.deal_deviation, rel=0.2)


@pytest.mark.parametrize(
    "text",
    [
        "stop_on_success(cap=4,width=2)",
        "stop_on_success(cap=4,accept=2.0)",
        "stop_on_success(cap=99)",
        "verdict_cascade(roles=(weak,solver))",
        "verdict_cascade(roles=(weak,nobody))",
        "cascade(samples=17)",
    ],
)
def test_what_has_no_closed_form_is_dealt(text):
    assert formed(parse(text), bound(drawn(4, questions=2, verdicts=0))) is None
