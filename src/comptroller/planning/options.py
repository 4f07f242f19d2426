"""What can be done with a question: strategies played by recorded models, what they solve and what they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from comptroller.strategies.drive import Played
from comptroller.work.evidence import Evidence

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """Every call of an option, one entry each: position of the question, index of the arm, tokens, dollars if bought.

    Tokens include those of calls that were cut; dollars are NaN where the record has none.
    """

    question: Ints
    arm: Ints
    input_tokens: Floats
    output_tokens: Floats
    usd: Floats

    @classmethod
    def of(cls, runs: Sequence[Played], roles: Mapping[str, int]) -> Asked:
        """The calls of runs, one for each question, whose roles are played by arms; without those never begun."""
        found = [
            (
                place,
                roles[reply.ask.role],
                float(reply.cost.tokens.input + reply.cost.tokens.cached + reply.cost.tokens.cache_write),
                float(reply.cost.tokens.output + reply.cost.tokens.reasoning),
                float(reply.cost.usd),
            )
            for place, run in enumerate(runs)
            for reply in run.replies
            if reply.ask.role in roles and reply.finish != "budget"
        ]
        question, arm, *amounts = np.array(found, float).reshape(-1, 5).T
        return cls(question.astype(np.int64), arm.astype(np.int64), *amounts)

    def at(self, place: int) -> Asked:
        """The calls of one question as those of the question at another position."""
        return replace(self, question=np.full_like(self.question, place))

    def only(self, which: npt.NDArray[np.bool_] | Ints) -> Asked:
        """Some of the calls."""
        return Asked(*(getattr(self, item.name)[which] for item in fields(self)))

    @classmethod
    def together(cls, parts: Sequence[Asked]) -> Asked:
        """The calls of all parts, question by question."""
        whole = cls(*(np.concatenate([getattr(p, item.name) for p in parts]) for item in fields(cls)))
        return whole.only(np.argsort(whole.question, kind="stable"))


@dataclass(frozen=True)
class Option:
    """A strategy and who plays its roles (indices of arms). score: of each question.  asked: its calls.

    bound: all roles that may ask; roles: those that did.
    """

    strategy: str
    bound: Mapping[str, int]
    roles: Mapping[str, int]
    score: Floats
    asked: Asked

    @property
    def arms(self) -> tuple[int, ...]:
        """The arms that play, each once."""
        return tuple(dict.fromkeys(self.roles.values()))

    @property
    def name(self) -> str:
        """Its strategy without the parameters."""
        return self.strategy.partition("(")[0]


@dataclass(frozen=True)
class Choices:
    """All options on the same questions. question: indices into the evidence.  task: of each, an index of `tasks`."""

    evidence: Evidence
    question: Ints
    task: Ints
    tasks: tuple[str, ...]
    options: tuple[Option, ...]
