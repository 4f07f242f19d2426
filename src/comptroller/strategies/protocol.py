"""The interface of strategies: asks, replies, waits, answers, and the one method `solve`.

A strategy is a plain generator: it yields its asks (`All` or `Next`), receives replies, and returns an `Answer`. It
sees questions, roles, tokens and samples, never hardware, clocks or correctness. A world supplies replies and the
clock; `drive` connects the two.

A strategy that asks once and returns the reply:

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
"""How a reply ended. `stop`: by itself. `length`: truncated by max_tokens. `refused`: the model declined.
`cancelled`: by the strategy, or because it returned. `failed`: by an error of the service. `budget`: cut, or not begun,
because the budget was spent."""

NOTHING = Cost()
"""A cost of zero, for asks that were never begun."""


class AssistantPrefill(str):
    """Content that continues the model's own unfinished turn instead of opening a new user turn."""

    __slots__ = ()


class CarriedTail(str):
    """Content that begins the conversation anew: the question, then the end of the model's own words, to go on from.

    `after` is the reply whose end it is; what came before that end is not read again.
    """

    __slots__ = ()


class FreshPrompt(str):
    """Content that begins the conversation anew, in place of the question. `after`: the reply that it was made from."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """Parameters of token sampling. Temperature 0 is greedy decoding; top_p is the mass of nucleus sampling."""

    temperature: float = 1.0
    top_p: float = 1.0


SAMPLED = SamplingParameters()
"""Temperature 1 and no nucleus: the model's own distribution, for which votes and pass@k are defined."""
GREEDY = SamplingParameters(temperature=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One request to a role: a generation, a check, a tool call, an embedding.

    role: bound to a service by the plan.  after: the reply that this ask continues, its parent in the tree, whose
    prefix it shares.  content: a new user turn, or a continuation of the model's turn if it is an `AssistantPrefill`;
    empty content after a truncated reply resumes the generation;
    a `CarriedTail` or a `FreshPrompt` begins anew.  max_tokens: limit on output, None for the service's.
    effort: the reasoning effort, empty for the service's default.  stop: texts that end the generation.

    Asks compare by identity: eight samples are eight asks (`times`), and each is made once.
    """

    role: str = "solver"
    after: Reply | None = None
    content: str = ""
    max_tokens: int | None = None
    sampling: SamplingParameters = SAMPLED
    effort: str = ""
    stop: tuple[str, ...] = ()

    def times(self, count: int) -> tuple[Ask, ...]:
        """Copies of this ask, `count` of them, each with its own identity."""
        role, after, content, max_tokens = self.role, self.after, self.content, self.max_tokens
        sampling, effort, stop = self.sampling, self.effort, self.stop
        return tuple([Ask(role, after, content, max_tokens, sampling, effort, stop) for _ in range(count)])


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """The reply to an ask. Whether it is right is known only to the scorer.

    content: the text.  answer: the value compared in votes, the content itself where nothing is extracted from it, None
    where there is none; a truncated reply has none (`drive` takes it off).  score: judgement of a verifier or reward
    model, NaN where there is none.  logprobs: log-probability of each token, in nats.  cost: that of the partial tokens
    if it was cut.  started_s, done_s: seconds of the world's clock.
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
        """Whether generation ended by itself, so that content and answer are complete."""
        return self.finish == "stop"

    @property
    def ended(self) -> bool:
        """Whether generation ended, by itself or truncated by its limit, so that its text can be gone on from."""
        return self.finish in ("stop", "length")

    @property
    def likelihood(self) -> float:
        """Mean log-probability per token in nats; NaN where none are recorded."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else nan


class All:
    """Makes asks and waits for everything outstanding; receives all replies not yet received.

    Replies stand in the order of asking, whichever is done first: what is tied falls to an answer by chance, and not to
    a short one. `cancel` names outstanding asks to cancel first: their partial tokens are booked, their replies are not
    received.
    """

    __slots__ = ("asks", "cancel")

    def __init__(self, *asks: Ask, cancel: Sequence[Ask] = ()) -> None:
        self.asks, self.cancel = asks, cancel


class Next(All):
    """Makes asks and waits for the first reply among everything outstanding, by (done_s, order of asking); receives
    that one only.

    `Next()` without new asks is legal; with nothing outstanding it receives an empty tuple.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class QuestionBudget:
    """Limits on the consumption of one question: tokens, dollars, joules, seconds of the world's clock.

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
        """Reads a budget from text: amounts with a unit, separated by commas.

        Raises:
            InputError: an amount or a unit is not understood; lists the units.

        >>> QuestionBudget.parse("2000 tokens, 0.01 usd")
        QuestionBudget(tokens=2000.0, usd=0.01, j=inf, s=inf)
        """
        limits: dict[str, float] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            amount = re.fullmatch(r"([\d.]+(?:e[+-]?\d+)?)\s*(tokens|usd|j|s)", part, re.IGNORECASE)
            if not amount or amount[2].lower() in limits:
                raise InputError(
                    f"budget: cannot read {part!r}; write each once, as '2000 tokens, 0.01 usd, 5 j, 30 s'"
                )
            limits[amount[2].lower()] = _number(amount[1])
        return cls(**limits)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"budget: {text!r} is not a number") from None


UNLIMITED = QuestionBudget()


@dataclass(frozen=True, slots=True)
class StrategyQuestion:
    """A question as a strategy sees it.

    content: the text.  context: text that several questions share.  prepared: a reply generated from the context before
    the question arrived, which asks may continue.  task: the domain it belongs to, empty where unknown.
    """

    id: str
    content: str = ""
    context: str = ""
    prepared: Reply | None = None
    task: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a strategy: content, answer to compare, its reply (None: no answer), and its confidence."""

    content: str = ""
    answer: str | None = None
    reply: Reply | None = None
    confidence: float = nan

    @classmethod
    def of(cls, reply: Reply | None, confidence: float = nan) -> Answer:
        """The answer in a reply; an empty answer for None."""
        return cls() if reply is None else cls(reply.content, reply.answer, reply, confidence)

    def sure(self, confidence: float) -> Answer:
        """The same answer with another confidence, a probability or a score."""
        return replace(self, confidence=confidence)


Run: TypeAlias = Generator[All, tuple[Reply, ...], Answer]
"""A strategy running on one question: yields `All` or `Next`, receives replies, returns an `Answer`."""


@runtime_checkable
class Strategy(Protocol):
    """A rule for how much compute one question gets."""

    grid: ClassVar[Mapping[str, Sequence[Any]]]
    """Parameter -> values that the planner may try."""

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Starts a run on a question.

        Past the budget every ask returns at once, finished as `budget`. The strategy must then return its best answer.
        """
        ...
