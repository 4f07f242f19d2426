"""What an endpoint is asked in an audit, and what is kept of its answers: texts, log-probabilities, times.

Prompts are short and the same for everybody (numbered; a larger audit begins with the prompts of a smaller one). Greedy
answers are compared token by token, sampled ones as sets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np

from comptroller.errors import InputError
from comptroller.measure.serving_run import WORDS
from comptroller.measure.serving_target import ServingTarget

SHAPES = (
    "Write one sentence about a {0} and a {1}.",
    "Explain in a few words how a {0} differs from a {1}.",
    "Give three words that go with {0} and {1}.",
    "Which is older, a {0} or a {1}? Say why.",
)
"""Of prompts: open ones, whose first tokens are unsure; what is certain looks the same in every format."""

PROMPT_TOKENS = 24
"""Of such a prompt with a chat's template, for the dollars told beforehand: at most about 14 and 10."""


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """An answer. tokens, logprobs: of its tokens, empty where the endpoint tells none.  events: of the stream that had
    text.  ttft_s, going_s: seconds to the first of them, and from it to the last.  served: the model it says it is."""

    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    output_tokens: int
    events: int
    ttft_s: float
    going_s: float
    served: str = ""


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """What is asked: greedy answers to so many prompts, and so many samples of each; tokens of an answer at most."""

    prompts: int
    samples: int = 0
    max_tokens: int = 16
    seed: int = 0

    @property
    def calls(self) -> int:
        """Calls of one pass."""
        return self.prompts * (1 + self.samples)

    def usd(self, prices: tuple[float, float]) -> float:
        """Dollars of one pass at most, at dollars per million tokens of prompts and of answers.

        >>> ProbePlan(10, 1, 16).usd((1.0, 4.0))
        0.00176
        """
        return self.calls * (PROMPT_TOKENS * prices[0] + self.max_tokens * prices[1]) / 1e6


@dataclass(frozen=True, slots=True)
class ProbePass:
    """The answers of one pass: greedy ones, (prompts,), and samples, (prompts, samples)."""

    greedy: tuple[ProbeReply, ...]
    samples: tuple[tuple[ProbeReply, ...], ...] = ()


def prompt(number: int) -> str:
    """The prompt of a number.

    >>> prompt(0)
    'Write one sentence about a time and a year.'
    """
    pair, shape = divmod(number, len(SHAPES))
    first, step = pair % len(WORDS), 1 + pair // len(WORDS) % (len(WORDS) - 1)
    return SHAPES[shape].format(WORDS[first], WORDS[(first + step) % len(WORDS)])


def ask(target: ServingTarget, text: str, plan: ProbePlan, seed: int | None = None) -> ProbeReply:
    """One answer, streamed; greedy, or sampled at temperature 1 where a seed is given.

    Raises:
        InputError: the request is refused, or has no text.
    """
    body: dict[str, Any] = {
        "model": target.model, "messages": [{"role": "user", "content": text}], "max_tokens": plan.max_tokens,
        "temperature": 0, "stream": True, "stream_options": {"include_usage": True}, "logprobs": True,
    }  # fmt: skip
    if seed is not None:
        body |= {"temperature": 1, "seed": seed}
        del body["logprobs"]
    begun, moments, parts = time.perf_counter(), list[float](), list[str]()
    tokens, logprobs, served, made = list[str](), list[float](), "", 0
    with target.open("chat/completions", body) as reply:
        for event in target.events(reply):
            served = str(event.get("model") or served)
            made = int((event.get("usage") or {}).get("completion_tokens") or made)
            for choice in event.get("choices") or ():
                said = (choice.get("delta") or {}).get("content")
                if said:
                    moments.append(time.perf_counter())
                    parts.append(said)
                for entry in (choice.get("logprobs") or {}).get("content") or ():
                    tokens.append(str(entry.get("token")))
                    logprobs.append(float(entry.get("logprob", nan)))
    if not moments:
        raise InputError(f"{target.url}: an answer of {target.model} to {text!r} has no text")
    return ProbeReply(
        "".join(parts), tuple(tokens), tuple(logprobs), made or len(tokens) or len(moments), len(moments),
        moments[0] - begun, moments[-1] - moments[0], served,
    )  # fmt: skip


def ask_all(
    target: ServingTarget, plan: ProbePlan, number: int, tell: Callable[[int, int], None], clients: int = 1
) -> ProbePass:
    """One pass over the prompts, so many requests at once; passes of different numbers draw different samples."""
    jobs: list[tuple[int, int | None]] = [(place, None) for place in range(plan.prompts)]
    rng = np.random.default_rng([plan.seed, number])
    jobs += [(place, int(rng.integers(2**31))) for place in range(plan.prompts) for _ in range(plan.samples)]
    found: list[ProbeReply] = []
    with ThreadPoolExecutor(clients) as threads:
        for reply in threads.map(lambda job: ask(target, prompt(job[0]), plan, job[1]), jobs):
            found.append(reply)
            tell(len(found), len(jobs))
    drawn = found[plan.prompts :]
    sets = tuple(tuple(drawn[at : at + plan.samples]) for at in range(0, len(drawn), max(plan.samples, 1)))
    return ProbePass(tuple(found[: plan.prompts]), sets)


def logprob_distance(one: ProbeReply, other: ProbeReply) -> float:
    """Mean difference of log-probabilities in nats, over the tokens that two greedy answers begin with alike and the
    next; NaN where one tells none."""
    if not one.logprobs or not other.logprobs:
        return nan
    alike = 0
    for mine, yours in zip(one.tokens, other.tokens, strict=False):
        if mine != yours:
            break
        alike += 1
    most = min(len(one.logprobs), len(other.logprobs), alike + 1)
    return float(np.mean(np.abs(np.subtract(one.logprobs[:most], other.logprobs[:most]))))


def text_distance(one: str, other: str) -> float:
    """Share of characters from the first on that differs: 1 less the common beginning over the longer text.

    >>> text_distance("a red house", "a red door")
    0.4545454545454546
    """
    alike = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    common = min(len(one), len(other)) if alike is None else alike
    return 1.0 - common / max(len(one), len(other), 1)


def set_distance(one: Sequence[ProbeReply], other: Sequence[ProbeReply]) -> float:
    """Energy distance between two sets of sampled texts: 2 E d(a, b) - E d(a, a') - E d(b, b'), d by `text_distance`.

    >>> replies = [ProbeReply(text, (), (), 1, 1, 0.0, 0.0) for text in ("aa", "ab")]
    >>> set_distance(replies, replies)
    -0.5
    """

    def mean(left: Sequence[ProbeReply], right: Sequence[ProbeReply], apart: bool) -> float:
        pairs = [
            text_distance(a.text, b.text)
            for i, a in enumerate(left)
            for j, b in enumerate(right)
            if not (apart and i == j)
        ]
        return float(np.mean(pairs)) if pairs else 0.0

    return 2 * mean(one, other, False) - mean(one, one, True) - mean(other, other, True)
