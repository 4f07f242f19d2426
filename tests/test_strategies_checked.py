"""Cascades on a modelled check from arrays: as their generator gives over every order of the samples and verdict."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.planning.offer.question_judges import played_scores
from comptroller.strategies.checked_runs import CheckedRun
from comptroller.strategies.expected_runs import form_of, formed_results
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService, ServicePace
from comptroller.strategies.results import replay_strategy
from comptroller.strategies.sample_pools import SampleTable
from comptroller.strategies.spelling import parse, spell
from comptroller.work.evidence import Evidence, RecordedAskKey, RecordedModel, RecordedQuestion, columns

CASCADE = parse("verdict_cascade")
ARMS = (RecordedModel("cheap"), RecordedModel("dear"))
PACE = ServicePace(1.0, 0.0, 0.5)
COLUMNS = ("score", "usd", "calls", "lost", "truncated", "unanswered", "elapsed_s")
ENDS = ("stop", "stop", "length", "failed", "")


def recorded(samples):
    """One question; samples: of each model, (score, end)."""
    flat = [(arm, number, *one) for arm, several in enumerate(samples) for number, one in enumerate(several)]
    count = len(flat)
    rows = columns(
        count,
        question=np.zeros(count, np.int64),
        arm=np.array([arm for arm, *_ in flat]),
        sample=np.array([number for _, number, *_ in flat]),
        temperature=np.ones(count),
        answer=np.array([f"{score}" for *_, score, _ in flat], object),
        score=np.array([score for *_, score, _ in flat], float),
        finish=np.array([end for *_, end in flat]),
        input_tokens=np.full(count, 10.0),
        output_tokens=2.0 ** np.arange(count),
        usd=0.1 * 3.0 ** np.arange(count),
    )
    return Evidence((RecordedQuestion("q"),), ARMS, rows, None, "recorded")


def replay_of(evidence, tpr, fpr, strong=1):
    weak, dear = (RecordedService(evidence.arms[arm], pace=PACE) for arm in (0, strong))
    return EvidenceReplay(evidence, {"weak": weak, "strong": dear, "checker": ModelledChecker(tpr, fpr, seconds=2.0)})


def formed(evidence, tpr, fpr, strong=1):
    return formed_results(SampleTable(replay_of(evidence, tpr, fpr, strong), [0], 16), [CASCADE]).get(spell(CASCADE))


def enumerated(evidence, tpr, fpr):
    """Means of the generator over every choice of a sample of each model; rates of 0 and 1."""
    replay, found = replay_of(evidence, tpr, fpr), []
    rows = [np.flatnonzero(evidence.rows.arm == arm).tolist() for arm in (0, 1)]
    for first, second in product(*rows):
        replay.dealt = {RecordedAskKey(0, 0): [first], RecordedAskKey(0, 1): [second]}
        found.append(replay_strategy(CASCADE, replay, [0]))
    return {name: float(np.mean([one.column(name) for one in found])) for name in COLUMNS}


SAMPLES = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from(ENDS)), min_size=1, max_size=3)


@given(SAMPLES, SAMPLES, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_arrays_give_what_the_generator_does_over_every_choice_and_verdict(weak, strong, tpr, fpr):
    evidence = recorded([weak, strong])
    corners = {rates: enumerated(evidence, *rates) for rates in product((0.0, 1.0), repeat=2)}
    told = formed(evidence, tpr, fpr)
    # with one check every mean is linear in either rate
    share = {(t, f): (tpr if t else 1 - tpr) * (fpr if f else 1 - fpr) for t, f in corners}
    for name in COLUMNS:
        expected = sum(share[rates] * means[name] for rates, means in corners.items())
        assert told.column(name)[0] == pytest.approx(expected, abs=1e-9), name


def test_no_form_where_one_model_plays_both_or_a_sample_is_not_scored():
    evidence = recorded([[(1.0, "stop"), (0.0, "stop")], [(1.0, "stop")]])
    assert isinstance(form_of(CASCADE), CheckedRun)
    assert formed(evidence, 1.0, 0.0) is not None
    assert formed(evidence, 1.0, 0.0, strong=0) is None
    assert formed(recorded([[(np.nan, "stop")], [(1.0, "stop")]]), 1.0, 0.0) is None


def test_a_plan_takes_the_mean_over_samples_and_verdicts():
    evidence = recorded([[(1.0, "stop"), (0.0, "stop")], [(1.0, "stop"), (0.0, "stop")]])
    replay = replay_of(evidence, 0.9, 0.1)
    # right at once 0.5 x 0.9; refused 0.5 x 0.1 + 0.5 x 0.9, then right in half of the cases
    assert played_scores(replay, CASCADE, [0], [1.0]).tolist() == pytest.approx([0.45 + 0.5 * 0.5])
