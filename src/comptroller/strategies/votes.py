"""Choosing among replies: counts, weighted votes, best by a score. Ties go to what was reached first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, isnan

from comptroller.errors import UnsupportedError
from comptroller.strategies.protocol import Answer, Reply


def _plain(reply: Reply) -> float:
    return 1.0


def _score(reply: Reply) -> float:
    if isnan(reply.score):
        raise UnsupportedError(f"a reply of {reply.ask.role} carries no score to weigh it by")
    return reply.score


def _likelihood(reply: Reply) -> float:
    if reply.logprobs is None:
        raise UnsupportedError(f"a reply of {reply.ask.role} carries no log-probabilities to weigh it by")
    return exp(reply.likelihood)


WEIGHTS: Mapping[str, Callable[[Reply], float]] = {"plain": _plain, "score": _score, "likelihood": _likelihood}
"""What a reply counts for: one; its score; the geometric mean of its tokens' probabilities."""


def candidates(replies: Iterable[Reply]) -> list[Reply]:
    """The replies to choose from: those that give an answer; where none does, those that came at all."""
    came = [reply for reply in replies if reply.finish in ("stop", "length")]
    return [reply for reply in came if reply.answer is not None] or came


def first(replies: Iterable[Reply]) -> Answer:
    """The first of the candidates."""
    return Answer.of(next(iter(candidates(replies)), None))


def tally(replies: Sequence[Reply], weigh: Callable[[Reply], float] = _plain) -> dict[str, float]:
    """Weight of each answer, in the order in which they were first given.

    >>> from comptroller.strategies.protocol import Ask
    >>> tally([Reply(Ask(), "stop", answer=text) for text in "abba"])
    {'a': 2.0, 'b': 2.0}
    """
    counts: dict[str, float] = {}
    for reply in replies:
        count(counts, reply, weigh)
    return counts


def count(counts: dict[str, float], reply: Reply, weigh: Callable[[Reply], float] = _plain) -> None:
    """Adds a reply to a tally, if it votes."""
    if reply.answer is not None and reply.finish in ("stop", "length"):
        counts[reply.answer] = counts.get(reply.answer, 0.0) + weigh(reply)


def vote(replies: Sequence[Reply], weigh: Callable[[Reply], float] = _plain) -> Answer:
    """The answer of the greatest weight, resting on its first reply; its share of the weight is the confidence."""
    counts = tally(replies, weigh)
    if not counts:
        return first(replies)
    winner = max(counts, key=counts.__getitem__)
    whole = sum(counts.values())
    leader = next(reply for reply in replies if reply.answer == winner)
    return Answer.of(leader, counts[winner] / whole if whole > 0 else 0.0)


def best(replies: Sequence[Reply], score: Callable[[Reply], float]) -> Answer:
    """The reply of the greatest score; the confidence is its score."""
    given = candidates(replies)
    if not given:
        return Answer()
    scores = [score(reply) for reply in given]
    at = max(range(len(scores)), key=scores.__getitem__)
    return Answer.of(given[at], scores[at])
