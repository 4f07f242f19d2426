"""Recorded samples of many questions as arrays: all that a strategy which draws some of them can get."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.recorded_roles import RECORDED
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.work.cell_codes import cell_numbers
from comptroller.work.evidence import SOLVER, Evidence

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LOST, CUT, BLANK, NAMED = range(4)
"""How a sample ended: failed or refused; truncated; whole without an answer; whole with one. Of several samples only
those of the highest state are candidates (`votes.candidates`, `votes.first`); a lost one never is an answer."""


@dataclass(frozen=True)
class SamplePool:
    """The samples of those questions that have equally many; arrays of shape (questions, samples).

    place: (questions,), position of each among the questions replayed.  row: in the evidence.  state: how it ended.
    label: number of its answer within the question, -1 where it has none.  score: 0 for a lost sample.  cost: a
    `Cost` of arrays.  seconds: from the request to the last token, NaN without a clock.
    """

    place: Ints
    row: Ints
    state: Ints
    label: Ints
    score: Floats
    cost: Cost
    seconds: Floats

    @property
    def samples(self) -> int:
        """Samples of each question."""
        return int(self.row.shape[1])

    @cached_property
    def counts(self) -> Ints:
        """(questions, answers): how often each answer was given."""
        return np.stack([(self.label == answer).sum(axis=1) for answer in range(self._answers)], axis=1)

    def mean_by_answer(self, values: Floats) -> Floats:
        """(questions, answers): mean over the samples that gave each answer of values, (questions, samples)."""
        total = [np.where(self.label == answer, values, 0.0).sum(axis=1) for answer in range(self._answers)]
        return np.asarray(np.stack(total, axis=1) / np.maximum(self.counts, 1))

    @property
    def _answers(self) -> int:
        return max(int(self.label.max(initial=-1)) + 1, 1)


class SampleTable:
    """Samples of the bound models on questions, as pools; one for all strategies of a comparison.

    deals: orders to average over where all choices cannot be counted.
    """

    def __init__(self, replay: EvidenceReplay, questions: Sequence[int], deals: int) -> None:
        self.replay, self.deals = replay, deals
        self.questions = np.asarray(questions, np.int64)
        self._pools: dict[tuple[str, str, bool], tuple[SamplePool, ...]] = {}

    def pools(self, role: str, effort: str = "", greedy: bool = False) -> tuple[SamplePool, ...]:
        """The samples of a role at an effort, or its greedy replies; none where no solver plays it, where it is not
        recorded at the effort, or where a question has no sample."""
        key = (role, effort, greedy)
        if key not in self._pools:
            self._pools[key] = tuple(self._built(*key))
        return self._pools[key]

    def _built(self, role: str, effort: str, greedy: bool) -> Iterator[SamplePool]:
        service = self.replay.roles.get(role)
        if not isinstance(service, RecordedService) or role in RECORDED:
            return
        try:
            arm = self.replay.arm(service, effort)
        except UnsupportedError:  # a gap, which is told where samples are dealt
            return
        evidence = self.replay.evidence
        rows = np.flatnonzero(self._of(arm) & (evidence.greedy_replies if greedy else ~evidence.greedy))
        question = evidence.rows.question[rows]
        rows = rows[np.argsort(question, kind="stable")]
        count = np.bincount(question, minlength=len(evidence.items))
        start = np.cumsum(count) - count
        have = count[self.questions]
        if not have.all():
            return
        for samples in np.unique(have).tolist():
            place = np.flatnonzero(have == samples)
            yield self._pool(service, place, rows[start[self.questions[place]][:, None] + np.arange(samples)])

    def _pool(self, service: RecordedService, place: Ints, row: Ints) -> SamplePool:
        rows, codes = self.replay.evidence.rows, self._answer_codes
        finish = rows.finish[row]
        whole = (finish == "stop") | (finish == "")
        named = whole & (codes[row] >= 0)
        state = np.select([named, whole, finish == "length"], [NAMED, BLANK, CUT], LOST)
        cost = self.replay.costs(service, row)
        return SamplePool(
            place=place,
            row=row,
            state=state,
            label=_labels(np.where(named, codes[row], -1)),
            score=np.where(state == LOST, 0.0, rows.score[row]),
            cost=cost,
            seconds=self.replay.last_seconds(service, row, cost.tokens),
        )

    def _of(self, arm: int) -> npt.NDArray[np.bool_]:
        rows = self.replay.evidence.rows
        return np.asarray((rows.arm == arm) & (rows.parent < 0) & (rows.role == SOLVER))

    @cached_property
    def _answer_codes(self) -> Ints:
        return answer_codes(self.replay.evidence)


def answer_codes(evidence: Evidence) -> Ints:
    """A number for each different answer, by row; -1 where there is none."""
    codes, answers = cell_numbers(evidence.rows.answer.tolist())
    return np.where(codes == answers.index(None), -1, codes) if None in answers else codes


def _labels(codes: Ints) -> Ints:
    """Codes of answers renumbered from 0 within each row of the array; -1 stays.

    >>> _labels(np.array([[7, -1, 3, 7]])).tolist()
    [[1, -1, 0, 1]]
    """
    order = np.argsort(codes, axis=1, kind="stable")
    ranked = np.take_along_axis(codes, order, axis=1)
    fresh = np.diff(ranked, axis=1, prepend=-1) > 0
    labels = np.empty_like(codes)
    np.put_along_axis(labels, order, np.cumsum(fresh, axis=1) - 1, axis=1)
    return np.where(codes < 0, -1, labels)


def combined_cost(costs: Sequence[Cost], combine: Callable[[Sequence[Floats]], Floats]) -> Cost:
    """One cost from several of arrays, column by column."""
    kinds = (combine([getattr(cost.tokens, kind.name) for cost in costs]) for kind in fields(TokenCounts))
    names = [item.name for item in fields(Cost) if item.name != "tokens"]
    return Cost(
        **{name: combine([getattr(cost, name) for cost in costs]) for name in names}, tokens=TokenCounts(*kinds)
    )
