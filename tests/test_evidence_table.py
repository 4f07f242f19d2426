"""The evidence table: what is believed, what is refused, and what is found in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.errors import RecordError, UnsupportedError
from comptroller.work.evidence import Evidence, EvidenceCounts, RecordedAskKey, RecordedModel, RecordedQuestion, columns
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.evidence_rows import RawEvidence, counts_of_rows, evidence_of_rows
from comptroller.work.evidence_summary import summarise
from evidence_files import measured


def table(path, **cells):
    count = len(next(iter(cells.values())))
    base = {"question": ["q"] * count, "model": ["m"] * count}
    return evidence_of_rows(RawEvidence(range(2, count + 2), base | cells, "test"), path)


FAULTY = {
    "score above one": ({"score": [1.0, 1.5]}, "row 3: score is 1.5; it must lie between 0 and 1"),
    "score below zero": ({"score": [-0.1, 1]}, "row 2: score is -0.1"),
    "score not a number": ({"score": ["good", 1]}, "row 2: score is 'good'; it must be a number"),
    "score infinite": ({"score": [float("inf"), 1]}, "row 2: score is not finite"),
    "negative tokens": ({"output_tokens": [5, -1]}, r"row 3: output_tokens is negative \(-1\)"),
    "half a token": ({"input_tokens": [0.5, 1]}, "row 2: input_tokens is not a whole number"),
    "negative dollars": ({"usd": [-1, 1]}, "row 2: usd is negative"),
    "twice": ({"sample": [3, 3]}, "row 3: is there twice: same question, model"),
    "sample not a number": ({"sample": [0, None]}, "row 3: sample is None"),
    "no question": ({"question": ["q", ""]}, "row 3: question is missing"),
    "no model": ({"model": [None, "m"]}, "row 2: model is missing"),
    "no such parent": ({"id": ["a", "b"], "parent": [None, "c"]}, "row 3: parent 'c' is the id of no other"),
    "own parent": ({"id": ["a", "b"], "parent": ["a", None]}, "row 2: parent 'a' is the id of no other"),
    "id twice": ({"id": ["a", "a"]}, "row 3: id 'a' is that of row 2 too"),
    "strange role": ({"role": ["jury", ""]}, "row 2: role is 'jury'; known: solver, verifier, reviser"),
    "strange finish": ({"finish": ["done", ""]}, "row 2: finish is 'done'; known: stop, length"),
    "two texts": ({"text": ["one", "other"]}, "row 3: question 'q' has another text"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_bad_rows_are_named(name, tmp_path):
    cells, problem = FAULTY[name]
    with pytest.raises(RecordError, match=problem):
        table(tmp_path / "mine.csv", **cells)


def test_only_the_first_five_are_named_and_all_are_counted(tmp_path):
    with pytest.raises(RecordError, match=r"mine.csv: 9 bad rows: row 2: .*row 6: ") as caught:
        table(tmp_path / "mine.csv", score=[2.0] * 9)
    assert "row 7" not in str(caught.value)


@pytest.mark.parametrize(
    ("n", "correct", "problem"),
    [(0, 0, "n is 0"), (2.5, 1, "n is 2.5"), (3, 4, "correct is 4"), (3, -1, "correct is -1"), (None, 1, "n is nan")],
)
def test_impossible_counts_are_refused(n, correct, problem, tmp_path):
    cells = {"question": ["q"], "model": ["m"], "n": [n], "correct": [correct]}
    with pytest.raises(RecordError, match=problem):
        counts_of_rows(RawEvidence([1], cells, "test"), tmp_path / "counts.csv")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 1), st.booleans(), st.sampled_from([0.0, 1.0, None])),
        min_size=1,
        max_size=30,
    )
)
def test_every_row_is_found_at_its_place_and_counts_leave_nothing_out(cells):
    found = evidence_of_rows(
        RawEvidence(
            range(len(cells)),
            {
                "question": [f"q{q}" for q, *_ in cells],
                "model": [f"m{m}" for _, m, *_ in cells],
                "temperature": [0.0 if greedy else 1.0 for *_, greedy, _ in cells],
                "score": [score for *_, score in cells],
            },
            "test",
        ),
        Path("x"),
    )
    rows = found.rows
    seen = []
    for row in range(len(found)):
        place = RecordedAskKey(int(rows.question[row]), int(rows.arm[row]), greedy=bool(found.greedy[row]))
        at = found.at(place)
        assert row in at and rows.sample[at].tolist() == list(range(len(at)))
        seen.append(place)
    assert seen == sorted(seen, key=lambda place: (place.question, place.arm, not place.greedy))
    counts = found.counts()
    scored = [(q, m, score) for q, m, greedy, score in cells if score is not None and not greedy]
    assert counts.n.sum() == len(scored)
    assert counts.correct.sum() == sum(score for *_, score in scored)


def test_leaving_out_a_reply_leaves_out_what_rests_on_it(tmp_path):
    found = table(
        tmp_path / "x",
        question=["q"] * 5,
        model=["m"] * 5,
        id=["a", "b", "c", "d", "e"],
        parent=[None, "a", "b", None, "d"],
        role=["solver", "reviser", "reviser", "solver", "verifier"],
        score=[1, 0, 1, 0, None],
    )
    first = found.at(RecordedAskKey(0, 0))[0]
    keep = np.ones(5, bool)
    keep[first] = False
    rest = found.only(keep)
    assert len(rest) == 2
    (solver,) = rest.at(RecordedAskKey(0, 0))
    assert rest.at(RecordedAskKey(0, 0, "verifier", int(solver))).tolist() == [1]


def test_what_is_not_recorded_is_named():
    empty = Evidence((RecordedQuestion("a"),), (RecordedModel("m", "q8"),), columns(0), source="mine.csv")
    with pytest.raises(UnsupportedError, match=r"mine\.csv: nothing recorded for other; recorded: m q8"):
        empty.arm(RecordedModel("other"))
    with pytest.raises(UnsupportedError, match=r"mine\.csv: no question 'b'"):
        empty.item("b")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.data())
def test_samples_drawn_from_counts_keep_the_totals_when_all_are_drawn(n, data):
    correct = data.draw(st.integers(0, n))
    counts = EvidenceCounts(
        (RecordedQuestion("a"),), (RecordedModel("m"),), np.array([[n]]), np.array([[float(correct)]]), "c"
    )
    drawn = counts.evidence(n, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert drawn.rows.score.sum() == correct and len(drawn) == n
    again = drawn.counts()
    assert again.n.tolist() == [[n]] and again.correct.tolist() == [[correct]]


def test_more_samples_than_counted_are_refused():
    counts = EvidenceCounts((RecordedQuestion("a"),), (RecordedModel("m"),), np.array([[5]]), np.array([[2.0]]), "c")
    with pytest.raises(UnsupportedError, match="c: 5 samples of a question, 6 asked"):
        counts.evidence(6, np.random.default_rng(0))


def test_a_summary_shows_the_cap_the_gaps_and_the_failures_of_the_measured_set():
    found = summarise(read_evidence(measured("pricing_reversal.parquet")))
    by = {arm.arm.model: arm for arm in found.arms}
    assert (by["MiniMax-M2.5"].cap.tokens, by["MiniMax-M2.5"].cap.hits) == (2048, 2545)
    assert (by["kimi-k2.5"].cap.tokens, by["kimi-k2.5"].cap.hits) == (32768, 35)
    assert [name for name, arm in by.items() if arm.cap] == ["MiniMax-M2.5", "kimi-k2.5"]
    assert by["gpt-5.2-high"].failed == 112
    assert by["kimi-k2.5"].missing == len(read_evidence(measured("pricing_reversal.parquet")).items) - 379


def test_a_summary_of_counts_says_so():
    found = summarise(read_evidence(measured("monkeys_pythia_math_counts.csv")))
    assert found.counts_only and found.replies == 5_120_000
    assert {arm.samples for arm in found.arms} == {(10_000, 10_000)}


def test_a_summary_counts_what_is_missing(tmp_path):
    found = summarise(
        table(
            tmp_path / "x",
            question=["a", "b", "a"],
            model=["m", "m", "n"],
            score=[1, None, 0],
            usd=[0.5, None, 0.25],
            output_tokens=[10, None, 20],
        )
    )
    first, second = found.arms
    assert (first.unscored, first.unpriced, first.uncounted, first.missing) == (1, 1, 1, 0)
    assert (second.missing, second.gaps) == (1, ("b",))
    assert first.usd_per_solved == 0.5 and np.isnan(second.usd_per_solved)
