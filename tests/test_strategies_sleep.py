"""Sleep-time compute in replay and simulation: notes once per context, shared by its queries, their break-even told."""

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from comptroller.errors import UnsupportedError
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.ticks import linear
from comptroller.serving.world import QuestionStream, SimulatedStrategy, solve
from comptroller.strategies.bindings import solving_roles
from comptroller.strategies.prepared_contexts import prepared_context
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.results import replay_strategy
from comptroller.strategies.spelling import parse
from comptroller.strategies.study import ReplayConditions, study
from comptroller.work.evidence import SLEEPER, SOLVER, RecordedModel
from comptroller.work.evidence_rows import RawEvidence, evidence_of_rows

MODEL = RecordedModel("small")
NOTES, BARE, FROM_NOTES = 300.0, 100.0, 40.0


def on_contexts(contexts=3, queries=4, samples=2, prompt=10.0, after_notes=10.0):
    """Contexts with notes of 300 tokens; a query takes 100 tokens without them and 40 with them."""
    rows = []

    def add(question, role, output, parent=None, own=None, **more):
        rows.append(
            {"id": own, "parent": parent, "question": question, "model": "small", "role": role, "finish": "stop"}
            | {
                "input_tokens": after_notes if parent else prompt,
                "output_tokens": output - 10.0,
                "usd": output * 1e-6,
                "latency_s": 1.0,
            }
            | {"text": None, "context": None, "answer": None, "content": "said", "score": None}
            | more
        )

    for place in range(contexts):
        add(f"c{place}", SLEEPER, NOTES, own=f"notes {place}", text=f"text {place}")
        for query in range(queries):
            about = {"question": f"c{place}q{query}", "context": f"c{place}", "text": "how many?"}
            for sample in range(samples):
                add(role=SOLVER, output=BARE, answer=str(sample), score=0.0, **about)
                add(role=SOLVER, output=FROM_NOTES, parent=f"notes {place}", answer="7", score=1.0, **about)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return evidence_of_rows(RawEvidence(range(2, len(rows) + 2), columns, "contexts"), Path("c"))


def played(evidence, **more):
    return EvidenceReplay(evidence, {role: RecordedService(MODEL) for role in solving_roles({"solver": MODEL})}, **more)


def test_notes_are_made_once_and_shared_by_the_queries_of_their_context():
    evidence = on_contexts()
    found = replay_strategy(parse("sleep_time"), played(evidence))
    assert found.score.tolist() == [1.0] * 12
    assert found.column("tokens").tolist() == pytest.approx([FROM_NOTES + NOTES / 4] * 12)
    assert found.column("calls").tolist() == [1.0] * 12
    part = replay_strategy(parse("sleep_time"), played(evidence), list(found.question[:2]))
    assert part.column("tokens").tolist() == pytest.approx([FROM_NOTES + NOTES / 2] * 2), "fewer queries share them"


def test_a_context_is_prepared_once_in_a_replay_and_anew_in_another_deal():
    replay = played(on_contexts())
    first = prepared_context(parse("sleep_time"), replay, 1)
    assert prepared_context(parse("sleep_time(n=2)"), replay, 2) is first
    assert prepared_context(parse("once"), replay, 1) is None
    assert not replay.dealt_by(3).prepared


def test_without_contexts_it_is_refused_with_who_supplies_them():
    with pytest.raises(UnsupportedError, match=r"needs a context and notes on it \(questions with a `context`"):
        replay_strategy(parse("sleep_time"), _bare())


def _bare():
    evidence = on_contexts()
    items = tuple(item._replace(context="") for item in evidence.items)
    return played(replace(evidence, items=items))


def test_the_break_even_is_told_and_is_that_of_the_tokens():
    told = study(on_contexts(), [parse("sleep_time")], ReplayConditions())
    found = [note for note in told.notes if "notes pay" in note]
    assert len(found) == 2, "in tokens and in dollars"
    assert all(f"from {NOTES / (BARE - FROM_NOTES):.2f} queries a context" in note for note in found)


def test_a_context_that_is_no_question_is_a_fault_of_its_row():
    evidence = on_contexts()
    assert {item.context for item in evidence.items} == {"", "c0", "c1", "c2"}
    assert not evidence.samples[evidence.rows.parent >= 0].any()


FLEET = SimulatedFleet.uniform(linear(max_batch=16), 1)


def simulated(arrival_s, lead_s=inf, evidence=None):
    replay = played(evidence or on_contexts())
    play = SimulatedStrategy(parse("sleep_time"), replay)
    question = np.array([1, 2, 3, 4])  # all of the first context
    return solve(FLEET, QuestionStream((play,), np.asarray(arrival_s, float), question, lead_s=lead_s))


def test_a_fleet_makes_the_notes_once_and_queries_that_come_later_go_on_from_them():
    found = simulated([1000.0, 1001.0, 2000.0, 3000.0])
    roles = [found.calls.names["role"][code] for code in found.calls["role"]]
    assert sorted(roles) == ["sleeper", *["solver"] * 4]
    assert found.score.tolist() == [1.0] * 4
    notes = roles.index("sleeper")
    assert found.calls["parent"][[at for at, role in enumerate(roles) if role == "solver"]].tolist() == [notes] * 4
    assert found.calls["output_tokens"].tolist().count(NOTES - 10) == 1
    assert (found.answer_s < 1000).all(), "answers take as long as from the notes, not from the start"


def test_a_query_that_comes_before_the_notes_are_ready_is_answered_from_the_context():
    found = simulated([0.0, 1000.0, 1001.0, 1002.0])
    assert found.score.tolist() == [0.0, 1.0, 1.0, 1.0]
    late = simulated([1000.0, 1000.001, 5000.0, 6000.0], lead_s=0.0)
    assert late.score.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_notes_in_the_cache_are_read_once():
    fleet = replace(FLEET, prefix_block_tokens=16)
    play = SimulatedStrategy(parse("sleep_time"), played(on_contexts(prompt=512.0, after_notes=812.0)))
    stream = QuestionStream((play,), np.array([1000.0, 2000.0]), np.array([1, 2]))
    found = solve(fleet, stream)
    assert found.outcome.requests.cached.tolist() == [0, 800, 800], "the notes and their prompt"
