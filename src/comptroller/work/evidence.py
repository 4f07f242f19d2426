"""Evidence: recorded replies of models to questions, by question, model, format, effort and sample.

A row is one reply: a sample of a solver, or a verdict on an earlier reply or a revision of one, its parent. Columns are
arrays with NaN (or -1) where a record lacks a value; nothing is imputed. Where only counts are recorded (n samples, of
which c are correct), they are `EvidenceCounts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError, UnsupportedError
from comptroller.quantities import Cost, TokenCounts
from comptroller.work.trajectories import AgentTrajectories

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FINISHES = ("stop", "length", "refused", "failed", "")
"""How a reply ended; "" where it is not recorded."""

SOLVER, VERIFIER, REVISER, STEP, SLEEPER = "solver", "verifier", "reviser", "step", "sleeper"
"""Roles of a reply. A step is a part of a solution: the first has no parent, a later one goes on from its parent; one
with an answer ends a solution. Its score is whether the solution may still become right. A sleeper's reply is notes on
a context, recorded of the question that is the context itself; a solver's reply with notes for its parent was given
from them, and one with another reply for its parent goes on from it."""
ASIDE = ("planner", "judge", "probe", "teammate", "memory")
"""Roles of replies beside the question itself: an outline of it, how hard it is, a short answer asked early, a second
word on what others said, what a context holds about it."""


class RecordedModel(NamedTuple):
    """An arm of the evidence: a model in a number format at a reasoning effort; "" where a part is not recorded."""

    model: str
    format: str = ""
    effort: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


class RecordedQuestion(NamedTuple):
    """A question: its id, its text and its task (domain); "" where a part is not recorded.

    context: id of the question whose text it is about, as several are.
    """

    id: str
    text: str = ""
    task: str = ""
    context: str = ""


class RecordedAskKey(NamedTuple):
    """Key of the replies to one request: indices of question and arm, role, parent row (-1: none), whether greedy."""

    question: int
    arm: int
    role: str = SOLVER
    parent: int = -1
    greedy: bool = False


@dataclass(frozen=True, slots=True)
class EvidenceColumns:
    """Columns of shape (replies,); NaN, -1 or "" where a value is not recorded.

    question, arm: indices.  sample: number among the replies to the same request.  role: of the one who replied.
    parent: row that the reply judges or revises.  score: in [0, 1], 1 is correct.  answer: the text that votes compare,
    or its hash.  judgement: score of a verifier or reward model, recorded with a sample or given by a verdict.
    input_tokens: without cached ones.  output_tokens: without those of reasoning.  temperature: 0 is greedy.
    ttft_s, latency_s: from the request.
    """

    question: Ints
    arm: Ints
    sample: Ints
    role: npt.NDArray[np.str_]
    parent: Ints
    score: Floats
    answer: npt.NDArray[np.object_]
    content: npt.NDArray[np.object_]
    finish: npt.NDArray[np.str_]
    temperature: Floats
    judgement: Floats
    input_tokens: Floats
    cached_tokens: Floats
    output_tokens: Floats
    reasoning_tokens: Floats
    usd: Floats
    ttft_s: Floats
    latency_s: Floats

    def __len__(self) -> int:
        return len(self.question)

    def take(self, rows: npt.NDArray[Any]) -> EvidenceColumns:
        """The rows at the indices, or where the mask is true; parents are not renumbered."""
        return EvidenceColumns(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})


TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
"""Columns of token counts."""

NUMBERS = ("score", "temperature", "judgement", *TOKENS, "usd", "ttft_s", "latency_s")


def columns(count: int, **given: Any) -> EvidenceColumns:
    """Columns of `count` rows from those given; the others are not recorded.

    >>> columns(2, question=np.array([0, 1]), score=np.array([1.0, 0.0])).usd
    array([nan, nan])
    """
    blank: dict[str, Any] = {name: np.full(count, np.nan) for name in NUMBERS}
    blank |= {name: np.zeros(count, np.int64) for name in ("question", "arm", "sample")}
    blank |= {"parent": np.full(count, -1), "role": np.full(count, SOLVER), "finish": np.full(count, "", "U7")}
    blank |= {name: np.full(count, None, dtype=object) for name in ("answer", "content")}
    return EvidenceColumns(**{**blank, **given})


@dataclass(frozen=True)
class Evidence:
    """Recorded replies. Rows are ordered by question, arm, role, parent, greedy before sampled, sample.

    items: questions, by index.  arms: by index.  logprobs: per row the log-probability of each output token in nats,
    None where not recorded.  source: name of the file.  exchangeable: whether steps that go on from one may come in
    any order, as samples do; a search proposes them in an order of its own.  calls: of replies that are runs of
    agents, where a row is a call.
    """

    items: tuple[RecordedQuestion, ...]
    arms: tuple[RecordedModel, ...]
    rows: EvidenceColumns
    logprobs: tuple[npt.NDArray[np.float32] | None, ...] | None = None
    source: str = ""
    exchangeable: bool = False
    calls: AgentTrajectories | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def greedy(self) -> npt.NDArray[np.bool_]:
        """True for rows with a recorded temperature of 0, of shape (replies,)."""
        return np.asarray(self.rows.temperature == 0.0)

    @cached_property
    def greedy_replies(self) -> npt.NDArray[np.bool_]:
        """True for solvers' rows that a greedy ask may get, of shape (replies,): those at temperature 0.

        Where a request has none, its only reply of unrecorded temperature stands for what the service gives to one ask.
        """
        rows = self.rows
        greedy = np.asarray(self.greedy & (rows.role == SOLVER))
        silent = np.flatnonzero(np.isnan(rows.temperature) & (rows.role == SOLVER))
        request = (rows.question * len(self.arms) + rows.arm) * (len(rows) + 1) + rows.parent + 1
        _, place, count = np.unique(request[silent], return_inverse=True, return_counts=True)
        greedy[silent] = (count[place] == 1) & ~np.isin(request[silent], request[greedy])
        return greedy

    @cached_property
    def _rows_by_question(self) -> list[Ints]:
        order = np.lexsort((self.rows.sample, self.rows.question))
        count = np.bincount(self.rows.question, minlength=len(self.items))
        return np.split(order, np.cumsum(count)[:-1]) if len(count) else []

    @cached_property
    def _rows_by_key(self) -> dict[int, Mapping[RecordedAskKey, Ints]]:
        return {}

    def _keys_of(self, question: int) -> Mapping[RecordedAskKey, Ints]:
        """Rows of the replies to each request about one question."""
        rows, mine = self.rows, self._rows_by_question[question]
        columns = (rows.arm[mine], rows.role[mine], rows.parent[mine], self.greedy[mine])
        by_key: dict[RecordedAskKey, list[int]] = {}
        for row, *key in zip(mine.tolist(), *(column.tolist() for column in columns), strict=True):
            by_key.setdefault(RecordedAskKey(question, *key), []).append(row)
        return {key: np.array(indices) for key, indices in by_key.items()}

    def at(self, place: RecordedAskKey) -> Ints:
        """Indices of the recorded replies to one request, in order of their sample numbers; empty if there are none."""
        known = self._rows_by_key.get(place.question)
        if known is None:
            known = self._rows_by_key[place.question] = self._keys_of(place.question)
        return known.get(place, np.empty(0, np.int64))

    def item(self, question: str) -> int:
        """Index of a question.

        Raises:
            UnsupportedError: the evidence does not have it.
        """
        if question not in self._items:
            raise UnsupportedError(f"{self.source or 'evidence'}: no question {question!r}")
        return self._items[question]

    @cached_property
    def _items(self) -> Mapping[str, int]:
        return {item.id: number for number, item in enumerate(self.items)}

    def arm(self, arm: RecordedModel) -> int:
        """Index of an arm.

        Raises:
            UnsupportedError: the evidence does not have it; lists those it has.
        """
        if arm not in self.arms:
            raise UnsupportedError(
                f"{self.source or 'evidence'}: nothing recorded for {arm}; recorded: "
                + ", ".join(str(known) for known in self.arms)
            )
        return self.arms.index(arm)

    def named(self, name: str) -> tuple[RecordedModel, ...]:
        """The arms that a name matches: as printed; else by model; else by words; else by a part of the name."""
        words = set(name.split())
        fits: tuple[Callable[[RecordedModel], bool], ...] = (
            lambda arm: str(arm) == name,
            lambda arm: arm.model == name,
            lambda arm: bool(words) and words <= set(str(arm).split()),
            lambda arm: bool(words) and name in str(arm),
        )
        matches = (tuple(arm for arm in self.arms if fit(arm)) for fit in fits)
        return next((arms for arms in matches if arms), ())

    def find(self, name: str) -> RecordedModel:
        """The only arm that a name matches.

        Raises:
            InputError: it matches none or several; lists them.
        """
        matching = self.named(name)
        if len(matching) == 1:
            return matching[0]
        problem = "several are recorded" if matching else "none is recorded; recorded"
        raise InputError(f"model {name!r}: {problem}: {', '.join(map(str, matching or self.arms))}")

    def cost(self, row: int) -> Cost:
        """The cost of the reply in a row; NaN where a part was not recorded."""
        rows = self.rows
        tokens = TokenCounts(
            input=float(rows.input_tokens[row]),
            cached=float(rows.cached_tokens[row]),
            output=float(rows.output_tokens[row]),
            reasoning=float(rows.reasoning_tokens[row]),
        )
        nan = float("nan")
        return Cost(device_s=nan, tokens=tokens, flops=nan, bytes=nan, j=nan, usd=float(rows.usd[row]), gco2e=nan)

    def only(self, keep: npt.NDArray[np.bool_]) -> Evidence:
        """The rows where the mask is true, without those whose parent is left out; items and arms are unchanged."""
        keep = keep.copy()
        for _ in range(len(self.rows)):
            orphan = keep & (self.rows.parent >= 0) & ~keep[self.rows.parent]
            if not orphan.any():
                break
            keep &= ~orphan
        new_row = np.cumsum(keep) - 1
        rows = self.rows.take(keep)
        parent = np.where(rows.parent >= 0, new_row[rows.parent], -1)
        logprobs = self.logprobs and tuple(self.logprobs[row] for row in np.flatnonzero(keep))
        return replace(self, rows=replace(rows, parent=parent), logprobs=logprobs)

    @property
    def samples(self) -> npt.NDArray[np.bool_]:
        """True for replies of solvers to the bare question that are not known to be greedy, of shape (replies,)."""
        return np.asarray((self.rows.role == SOLVER) & (self.rows.parent < 0) & ~self.greedy)

    def counts(self) -> EvidenceCounts:
        """Number of samples and of correct ones, per question and arm.

        Greedy replies, verdicts, revisions and rows without a score are left out. A row counts as correct by its score,
        so that the number of correct samples can be fractional.
        """
        rows = self.rows
        use = self.samples & ~np.isnan(rows.score)
        shape = (len(self.items), len(self.arms))
        n, correct = np.zeros(shape, np.int64), np.zeros(shape)
        np.add.at(n, (rows.question[use], rows.arm[use]), 1)
        np.add.at(correct, (rows.question[use], rows.arm[use]), rows.score[use])
        return EvidenceCounts(self.items, self.arms, n, correct, self.source)


@dataclass(frozen=True)
class EvidenceCounts:
    """Evidence without the replies: of `n` samples `correct` were correct; both of shape (questions, arms)."""

    items: tuple[RecordedQuestion, ...]
    arms: tuple[RecordedModel, ...]
    n: Ints
    correct: Floats
    source: str = ""

    def of(self, arm: int) -> tuple[Ints, Floats]:
        """n and correct of one arm, on the questions with samples."""
        answered = self.n[:, arm] > 0
        return self.n[answered, arm], self.correct[answered, arm]

    def evidence(self, samples: int, rng: np.random.Generator) -> Evidence:
        """Scored replies without answers or tokens: `samples` of the n, drawn without replacement.

        Their distribution is exact where samples are exchangeable, as independent samples of one model are.

        Raises:
            UnsupportedError: a question has fewer samples, or correct is not a whole number.
        """
        cells = np.argwhere(self.n > 0)
        n = self.n[cells[:, 0], cells[:, 1]]
        correct = self.correct[cells[:, 0], cells[:, 1]]
        if len(n) and n.min() < samples:
            raise UnsupportedError(f"{self.source or 'counts'}: {n.min()} samples of a question, {samples} asked")
        if (correct != np.floor(correct)).any():
            raise UnsupportedError(f"{self.source or 'counts'}: scores are not all 0 or 1")
        scores = np.concatenate([_random_scores(int(a), int(c), samples, rng) for a, c in zip(n, correct, strict=True)])
        rows = columns(
            len(cells) * samples,
            question=np.repeat(cells[:, 0], samples),
            arm=np.repeat(cells[:, 1], samples),
            sample=np.tile(np.arange(samples), len(cells)),
            score=scores,
        )
        return Evidence(self.items, self.arms, rows, source=self.source)


def _random_scores(n: int, correct: int, samples: int, rng: np.random.Generator) -> Floats:
    hits = int(rng.hypergeometric(correct, n - correct, samples))
    return np.asarray(rng.permutation((np.arange(samples) < hits).astype(np.float64)))
