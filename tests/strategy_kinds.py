"""Strategies of kinds that the protocol must fit without a change: written here only to be driven."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, exp
from typing import ClassVar

from comptroller.strategies.protocol import All, Answer, Ask, AssistantPrefill, Next
from comptroller.strategies.rules.sleep_time import ContextNotesStrategy
from comptroller.strategies.votes import candidates, vote


@dataclass(frozen=True)
class TreeSearch:
    """REBASE: at each depth the width is dealt to leaves by the softmax of their scores."""

    grid: ClassVar[Mapping] = {"width": (2, 4)}
    width: int = 4
    depth: int = 3
    temperature: float = 0.2

    def solve(self, question, budget, rng):
        leaves = yield All(*Ask(content=question.content, stop=("\n\n",)).times(self.width))
        last = ()
        for _ in range(self.depth - 1):
            leaves = tuple(candidates(leaves))
            if not leaves:
                break
            last = leaves
            judged = yield All(*(Ask("reward", after=leaf) for leaf in leaves))
            scores = {reply.ask.after: reply.score for reply in judged if reply.score == reply.score}
            leaves = yield All(*self.branches(scores))
        return vote(tuple(candidates(leaves)) or last)

    def branches(self, scores):
        weights = {leaf: exp(score / self.temperature) for leaf, score in scores.items()}
        room, rest, asks = self.width, sum(weights.values()), []
        for leaf in sorted(weights, key=weights.__getitem__, reverse=True):
            count = min(room, ceil(room * weights[leaf] / rest)) if rest > 0 else 0
            asks += Ask(after=leaf, stop=("\n\n",)).times(count)
            room, rest = room - count, rest - weights[leaf]
        return asks


@dataclass(frozen=True)
class StepwiseEscalation:
    """A draft writes each step; a step that scores low is written again by the target, from the same prefix."""

    grid: ClassVar[Mapping] = {"threshold": (0.5, 0.7)}
    threshold: float = 0.7
    steps: int = 3

    def solve(self, question, budget, rng):
        step, kept = None, None
        for _ in range(self.steps):
            before, content = step, "" if step else question.content
            (step,) = yield All(Ask("draft", after=before, content=content, stop=("\n\n",)))
            if not candidates([step]):
                break
            kept = step
            (judged,) = yield All(Ask("reward", after=step))
            if not judged.score >= self.threshold:
                (step,) = yield All(Ask("target", after=before, content=content, stop=("\n\n",)))
                if not candidates([step]):
                    break
                kept = step
        return Answer.of(kept)


@dataclass(frozen=True)
class ToolWaits:
    """An agent that calls a tool between its turns, and hedges: two tools at once, the slower is cancelled."""

    grid: ClassVar[Mapping] = {"turns": (2, 3)}
    turns: int = 3

    def solve(self, question, budget, rng):
        (turn,) = yield All(Ask(content=question.content))
        for _ in range(self.turns - 1):
            if not candidates([turn]):
                break
            tools = Ask("tool", after=turn, content="search").times(2)
            due = yield Next(*tools)
            slower = [tool for tool in tools if tool is not due[0].ask]
            (following,) = yield All(Ask(after=due[0], content=due[0].content), cancel=slower)
            if not candidates([following]):
                break
            turn = following
        return Answer.of(turn if candidates([turn]) else None)


@dataclass(frozen=True)
class OfflinePrecompute:
    """Notes made beforehand where there are any, else now; then the model's own words are put before its own."""

    grid: ClassVar[Mapping] = {}

    def solve(self, question, budget, rng):
        notes = question.prepared or (yield from ContextNotesStrategy().solve(question, budget, rng)).reply
        (draft,) = yield All(Ask(after=notes, content=question.content, max_tokens=16))
        if draft.finish != "length":
            return Answer.of(draft if candidates([draft]) else None)
        (end,) = yield All(Ask(after=draft, content=AssistantPrefill("\nThe answer is")))
        return Answer.of(next(iter(candidates([end, draft])), None))


KINDS = [TreeSearch(), StepwiseEscalation(), ToolWaits(), OfflinePrecompute()]
