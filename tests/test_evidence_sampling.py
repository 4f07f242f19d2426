"""Sampling a model into evidence: what is asked, what is kept, and going on after an interruption."""

from __future__ import annotations

import re

import pytest

from comptroller.work.evidence import RecordedAskKey
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.evidence_rows import KNOWN, RawEvidence, evidence_of_rows
from comptroller_lab.sample import EvidenceSampler, SampledModel, SampledReply, VerifiableQuestion, read_lines
from evidence_files import lines

WHO = SampledModel("echo", "Q8_0", 0.8)


class Echo:
    """Answers sums: right if the seed is even, one too many if odd; nothing beyond `max_tokens` words."""

    def __init__(self):
        self.asked = []

    def complete(self, prompt, wanted):
        self.asked.append((prompt, wanted))
        return [self._one(prompt, wanted, wanted.seed + number) for number in range(wanted.count)]

    def _one(self, prompt, wanted, seed):
        if prompt.endswith("correct?"):
            return SampledReply(" yes" if seed % 3 else " maybe", "stop", (-0.5,), 9, 0.1, 0.1)
        total = sum(int(digit) for digit in re.search(r"(\d)\+(\d)", prompt).groups())
        text = f" {total + seed % 2}"
        finish = "length" if seed % 7 == 0 else "stop"
        return SampledReply(text, finish, (-0.25, -1.0), 9, 0.1, 0.2)


def exercise(number):
    text = f"{number}+{number}"
    return VerifiableQuestion(
        id=f"sum-{number}",
        task="sums",
        text=text,
        effort="direct",
        max_tokens=8,
        solve=f"{text} =",
        judge=lambda answer: f"{text} = {answer}, correct?",
        revise=lambda answers: f"{text} was {', '.join(answers)}; now",
        answer_of=lambda said: said.strip() or None,
        score=lambda answer: float(int(answer) == 2 * number),
    )


def work(sampler):
    for number in (1, 2, 3):
        sampler.samples(exercise(number), 8)
        sampler.verdicts(exercise(number), 2)
        sampler.revisions(exercise(number), 3, 2)


def read(path):
    rows = list(read_lines(path))
    names = [name for name in KNOWN if any(name in row for row in rows)]
    columns = {name: [row.get(name) for row in rows] for name in names}
    return evidence_of_rows(RawEvidence(range(1, len(rows) + 1), columns, "test"), path)


@pytest.fixture
def done(tmp_path):
    path = tmp_path / "rows.jsonl"
    work(EvidenceSampler(Echo(), WHO, path, seed=1))
    return path


def test_samples_are_scored_and_truncated_ones_have_no_answer(done):
    found = read(done)
    rows = found.rows
    for question in range(3):
        assert len(found.at(RecordedAskKey(question, 0))) == 8
        (greedy,) = found.at(RecordedAskKey(question, 0, greedy=True))
        assert rows.temperature[greedy] == 0
    cut = rows.finish == "length"
    assert cut.any() and (rows.score[cut] == 0).all()
    assert all(rows.answer[row] is None for row in range(len(found)) if cut[row])
    right = [row for row in range(len(found)) if rows.score[row] == 1]
    assert all(rows.content[row].strip() == rows.answer[row] for row in right)
    assert (rows.output_tokens == [len(logs) for logs in found.logprobs]).all()


def test_every_answer_is_judged_twice_and_an_unclear_verdict_is_none(done):
    found = read(done)
    rows = found.rows
    for row in range(len(found)):
        if rows.role[row] == "solver":
            verdicts = found.at(RecordedAskKey(int(rows.question[row]), 0, "verifier", row))
            assert len(verdicts) == (2 if rows.answer[row] is not None else 0)
    said = rows.role == "verifier"
    unclear = [row for row in range(len(found)) if said[row] and "maybe" in rows.content[row]]
    assert unclear and all(rows.judgement[row] != rows.judgement[row] for row in unclear)


def test_a_revision_rests_on_the_answers_before_it(done):
    echo = Echo()
    work(EvidenceSampler(echo, WHO, done.with_name("again.jsonl"), seed=1))
    rounds = [prompt for prompt, _ in echo.asked if "; now" in prompt]
    assert any(prompt.count(",") == 0 for prompt in rounds) and any(prompt.count(",") == 1 for prompt in rounds)
    found = read(done)
    rows = found.rows
    second = [row for row in range(len(found)) if rows.role[row] == rows.role[rows.parent[row]] == "reviser"]
    assert second
    for row in second:
        assert rows.role[rows.parent[rows.parent[row]]] == "solver"


def test_the_same_seed_asks_the_same_and_formats_draw_their_own(done):
    first, again, other = Echo(), Echo(), Echo()
    work(EvidenceSampler(first, WHO, done.with_name("one.jsonl"), seed=1))
    work(EvidenceSampler(again, WHO, done.with_name("two.jsonl"), seed=1))
    work(EvidenceSampler(other, SampledModel("echo", "Q4_0", 0.8), done.with_name("three.jsonl"), seed=1))
    assert first.asked == again.asked
    assert [wanted.seed for _, wanted in first.asked] != [wanted.seed for _, wanted in other.asked]


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.99])
def test_work_that_was_cut_off_goes_on_and_ends_the_same(done, kept):
    whole = done.read_bytes()
    part = done.with_name("part.jsonl")
    part.write_bytes(whole[: int(len(whole) * kept)])
    echo = Echo()
    work(EvidenceSampler(echo, WHO, part, seed=1))
    assert part.read_bytes() == whole
    idle = Echo()
    work(EvidenceSampler(idle, WHO, part, seed=1))
    assert idle.asked == []


def test_rows_written_are_evidence_for_anybody(done, tmp_path):
    flat = read_evidence(lines(tmp_path / "flat.jsonl", list(read_lines(done))))
    found = read(done)
    assert flat.items == found.items and flat.rows.parent.tolist() == found.rows.parent.tolist()
    assert flat.rows.content.tolist() == found.rows.content.tolist()
