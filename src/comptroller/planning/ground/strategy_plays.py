"""Strategies played by recorded models: what they solve of each question, and the calls that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from comptroller.strategies.drive import FinishedRun
from comptroller.strategies.prefixes import CallTokenCounts, QuestionPrefixIndex
from comptroller.strategies.protocol import Ask
from comptroller.work.evidence import Evidence, RecordedModel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class OptionCalls:
    """Every call of an option, one entry each: position of the question, index of the model, tokens, dollars if bought.

    Tokens include those of calls that were cut; dollars are NaN where the record has none. common_tokens: of the
    prompt, in common with an earlier call of the model on the question (`strategies.prefixes`).
    """

    question: Ints
    model: Ints
    input_tokens: Floats
    output_tokens: Floats
    usd: Floats
    common_tokens: Floats

    @classmethod
    def of(cls, runs: Sequence[FinishedRun], roles: Mapping[str, int]) -> OptionCalls:
        """The calls of runs, one for each question, whose roles are played by models; without those never begun."""
        found = [row for place, run in enumerate(runs) for row in _rows(place, run, roles)]
        question, model, *amounts = np.array(found, float).reshape(-1, 6).T
        return cls(question.astype(np.int64), model.astype(np.int64), *amounts)

    def at(self, place: int) -> OptionCalls:
        """The calls of one question as those of the question at another position."""
        return replace(self, question=np.full_like(self.question, place))

    def only(self, which: npt.NDArray[np.bool_] | Ints) -> OptionCalls:
        """Some of the calls."""
        return OptionCalls(*(getattr(self, item.name)[which] for item in fields(self)))

    @classmethod
    def together(cls, parts: Sequence[OptionCalls]) -> OptionCalls:
        """The calls of all parts, question by question."""
        whole = cls(*(np.concatenate([getattr(p, item.name) for p in parts]) for item in fields(cls)))
        return whole.only(np.argsort(whole.question, kind="stable"))


def _rows(place: int, run: FinishedRun, roles: Mapping[str, int]) -> Iterator[tuple[float, ...]]:
    """The calls of a run: the columns of `OptionCalls`."""
    played = [reply for reply in run.replies if reply.ask.role in roles and reply.finish != "budget"]
    common, prefixes = dict[Ask, float](), QuestionPrefixIndex()
    if len(played) > 1:
        for reply in sorted(played, key=attrgetter("started_s")):
            common[reply.ask] = prefixes.add(reply.ask, roles[reply.ask.role], CallTokenCounts.of(reply))[1]
    for reply in played:
        tokens = reply.cost.tokens
        yield (
            place,
            roles[reply.ask.role],
            float(tokens.input + tokens.cached + tokens.cache_write),
            float(tokens.output + tokens.reasoning),
            float(reply.cost.usd),
            common.get(reply.ask, 0.0),
        )


@dataclass(frozen=True)
class StrategyPlay:
    """A strategy and who plays its roles (indices of recorded models). score: of each question.  calls: that it makes.

    bound: all roles that may ask; roles: those that did.
    """

    strategy: str
    bound: Mapping[str, int]
    roles: Mapping[str, int]
    score: Floats
    calls: OptionCalls

    @property
    def models(self) -> tuple[int, ...]:
        """The models that play, each once."""
        return tuple(dict.fromkeys(self.roles.values()))

    @property
    def name(self) -> str:
        """Its strategy without the parameters."""
        return self.strategy.partition("(")[0]


@dataclass(frozen=True)
class PlaySet:
    """All plays on the same questions. question: indices into the evidence.  task: of each, an index of `tasks`.

    evidence: where they are recorded; `None` for plain requests, which have none.
    """

    evidence: Evidence | None
    question: Ints
    task: Ints
    tasks: tuple[str, ...]
    plays: tuple[StrategyPlay, ...]

    @property
    def source(self) -> str:
        """Where they are recorded."""
        return "" if self.evidence is None else self.evidence.source

    @property
    def models(self) -> tuple[RecordedModel, ...]:
        """The recorded models, by number; none for plain requests."""
        return () if self.evidence is None else self.evidence.arms
