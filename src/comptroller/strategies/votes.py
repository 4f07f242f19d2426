"""Choosing among replies: counts, weighted votes, best by a score. Ties go to the reply asked first."""

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
"""Name of a weight -> weight of a reply: 1; its score; the geometric mean of its token probabilities."""


def candidates(replies: Iterable[Reply]) -> list[Reply]:
    """The whole replies that have an answer; all whole ones where none has. A truncated one never is an answer."""
    whole = [reply for reply in replies if reply.whole]
    return [reply for reply in whole if reply.answer is not None] or whole


def first(replies: Iterable[Reply]) -> Answer:
    """The answer of the first candidate; where there is none the text of the first truncated reply, which has no answer
    to compare, else an empty answer."""
    given = list(replies)
    return Answer.of(next(iter(candidates(given)), next((reply for reply in given if reply.ended), None)))


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
    """Adds the weight of a reply to a tally in place, if it has an answer and is whole."""
    if reply.answer is not None and reply.whole:
        counts[reply.answer] = counts.get(reply.answer, 0.0) + weigh(reply)


def vote(replies: Sequence[Reply], weigh: Callable[[Reply], float] = _plain) -> Answer:
    """The answer of the greatest summed weight, from its first reply; confidence: its share of all weight."""
    counts = tally(replies, weigh)
    if not counts:
        return first(replies)
    winner = max(counts, key=counts.__getitem__)
    total = sum(counts.values())
    leader = next(reply for reply in replies if reply.whole and reply.answer == winner)
    return Answer.of(leader, counts[winner] / total if total > 0 else 0.0)


def best(replies: Sequence[Reply], score: Callable[[Reply], float]) -> Answer:
    """The candidate of the greatest score; the confidence is its score. Where there is none, as `first`."""
    choices = candidates(replies)
    if not choices:
        return first(replies)
    scores = [score(reply) for reply in choices]
    winner = max(range(len(scores)), key=scores.__getitem__)
    return Answer.of(choices[winner], scores[winner])


PICKS: Mapping[str, Callable[[Sequence[Reply], Callable[[Reply], float]], Answer]] = {"best": best, "vote": vote}
"""How solutions are chosen by their scores."""
