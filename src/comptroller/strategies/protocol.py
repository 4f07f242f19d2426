"""What the authors of strategies meet: asks, replies, waits, answers, and the one method of a strategy.

A strategy is a plain generator: it yields what it asks (`All` or `Next`), receives replies, and returns an
`Answer`. It speaks of questions, roles, tokens and samples, never of hardware, clocks or correctness. Who answers
and which clock runs is the business of a world; `drive` stands between the two.

A strategy that asks once and takes what comes:

>>> class First:
...     grid = {}
...     def solve(self, question, budget, rng):
...         (reply,) = yield All(Ask("solver", content=question.content))
...         return Answer.of(reply)
>>> isinstance(First(), Strategy)
True
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import inf, nan
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from comptroller.errors import InputError
from comptroller.quantities import Cost

Finish: TypeAlias = Literal["stop", "length", "refused", "cancelled", "failed", "budget"]
"""How a reply ended. `length`: truncated by max_tokens. `cancelled`: called off by the strategy, or because it
returned. `budget`: cut, or not begun, because the budget was spent. `failed`: the service gave up."""

NOTHING = Cost()
"""The cost of what was not done."""


class AssistantPrefill(str):
    """Content that is put into the model's own unfinished turn, instead of a new turn for it to answer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How tokens are drawn. Temperature 0 is greedy decoding."""

    temperature: float = 1.0
    top_p: float = 1.0


SAMPLED = SamplingParameters()
GREEDY = SamplingParameters(temperature=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """Something asked of a role: a generation, a check, a tool call, an embedding.

    role: who answers; bound to a service by the plan.  after: the reply this goes on from, its parent in the
    tree, whose prefix it shares.  content: what is added, as a new turn, or as the model's own words if it is
    a `AssistantPrefill`; empty content after a truncated reply goes on generating where it stopped.  effort: the
    reasoning effort, empty for the service's own.  stop: texts that end the generation.

    An ask is itself and equal to no other: eight samples are eight asks (`times`), and each is asked once.
    """

    role: str = "solver"
    after: Reply | None = None
    content: str = ""
    max_tokens: int | None = None
    sampling: SamplingParameters = SAMPLED
    effort: str = ""
    stop: tuple[str, ...] = ()

    def times(self, count: int) -> tuple[Ask, ...]:
        """As many asks that all ask the same, each of its own identity."""
        role, after, content, most = self.role, self.after, self.content, self.max_tokens
        how, effort, stop = self.sampling, self.effort, self.stop
        return tuple([Ask(role, after, content, most, how, effort, stop) for _ in range(count)])


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What came back. Whether it is right is known only to the scorer.

    content: the text.  answer: what is compared in votes, the content itself where nothing is extracted from it,
    None where there is none.  score: a verifier's or
    reward's judgement, NaN where there is none.  logprobs: log-probability of each token, in nats.  cost: what
    it consumed, its partial tokens if it was cut.  started_s, done_s: on the world's clock.
    """

    ask: Ask
    finish: Finish
    content: str = ""
    answer: str | None = None
    score: float = nan
    logprobs: tuple[float, ...] | None = None
    cost: Cost = NOTHING
    started_s: float = 0.0
    done_s: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether it came to its own end, so that content and answer are what the role meant to say."""
        return self.finish == "stop"

    @property
    def likelihood(self) -> float:
        """Mean log-probability of a token in nats; NaN where none are recorded."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else nan


class All:
    """Asks, and waits for everything outstanding; receives all replies not yet received.

    Replies come ordered by (done_s, order of asking). `cancel` calls off outstanding asks first: they are paid
    for as far as they went, and not received.
    """

    __slots__ = ("asks", "cancel")

    def __init__(self, *asks: Ask, cancel: Sequence[Ask] = ()) -> None:
        self.asks, self.cancel = asks, cancel


class Next(All):
    """Asks, and waits for the next reply among everything outstanding; receives it alone.

    `Next()` without new asks is legal; with nothing outstanding it receives no reply at all.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class QuestionBudget:
    """What a question may consume in tokens, dollars, joules, or seconds of the world's clock.

    Raises:
        InputError: a limit is negative or not a number.
    """

    tokens: float = inf
    usd: float = inf
    j: float = inf
    s: float = inf

    def __post_init__(self) -> None:
        for item in fields(self):
            if not getattr(self, item.name) >= 0:
                raise InputError(f"budget: {item.name} is {getattr(self, item.name)}; it must not be negative")

    @classmethod
    def parse(cls, text: str) -> QuestionBudget:
        """A budget as written: amounts with a unit, separated by commas.

        Raises:
            InputError: an amount or a unit is not understood; lists the units.

        >>> QuestionBudget.parse("2000 tokens, 0.01 usd")
        QuestionBudget(tokens=2000.0, usd=0.01, j=inf, s=inf)
        """
        limits: dict[str, float] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            found = re.fullmatch(r"([\d.]+(?:e[+-]?\d+)?)\s*(tokens|usd|j|s)", part, re.IGNORECASE)
            if not found or found[2].lower() in limits:
                raise InputError(
                    f"budget: cannot read {part!r}; write each once, as '2000 tokens, 0.01 usd, 5 j, 30 s'"
                )
            limits[found[2].lower()] = _number(found[1])
        return cls(**limits)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"budget: {text!r} is not a number") from None


UNLIMITED = QuestionBudget()


@dataclass(frozen=True, slots=True)
class StrategyQuestion:
    """What is asked. `prepared` is a reply made beforehand on the question's context, to go on from.

    task: the domain it belongs to, empty where nobody says.
    """

    id: str
    content: str = ""
    context: str = ""
    prepared: Reply | None = None
    task: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a strategy returns: the answer, the reply it rests on (None: it has none), and its own confidence."""

    content: str = ""
    answer: str | None = None
    reply: Reply | None = None
    confidence: float = nan

    @classmethod
    def of(cls, reply: Reply | None, confidence: float = nan) -> Answer:
        """The answer that is a reply's own; no answer at all of None."""
        return cls() if reply is None else cls(reply.content, reply.answer, reply, confidence)

    def sure(self, confidence: float) -> Answer:
        """The same answer with a confidence."""
        return replace(self, confidence=confidence)


Run: TypeAlias = Generator[All, tuple[Reply, ...], Answer]
"""A strategy at work on one question: yields `All` or `Next`, receives replies, returns an `Answer`."""


@runtime_checkable
class Strategy(Protocol):
    """How much compute one question gets."""

    grid: ClassVar[Mapping[str, Sequence[Any]]]
    """What the planner may vary: parameter -> values."""

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """A run on a question.

        Past the budget every ask returns at once as `budget`; the strategy must then return what it has.
        """
        ...
