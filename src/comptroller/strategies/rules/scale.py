"""SCALE in four stages: decompose, judge each part with what is known so far, think hard only where it is hard, go on.

SCALE, arXiv 2512.00466: (1) outlines are sampled and one is voted for; (2) the difficulty of each sub-problem in [0, 1]
is judged with the context accumulated so far; (3) the slow mode is used where it exceeds a threshold; (4) sub-problems
are solved in order, each with the solutions before it. Here the vote is on the number of sub-problems, the first
outline of the commonest number is taken, and the slow mode is a longer limit on tokens.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.votes import candidates

PLAN = "Split this question into a few numbered sub-problems, one a line, and solve none of them:\n\n{question}"
RATE = "{question}\n\nSolved so far:\n{context}\n\nHow hard is this part: {part}? Answer with a number from 0 to 1."
_ITEM = re.compile(r"^\s*(?:\d+[.):]|[-*])\s+(.+)$", re.MULTILINE)


def sub_problems(outline: str) -> list[str]:
    """The numbered lines of an outline; the outline itself where there are none.

    >>> sub_problems("1. Count the lamps.\\n2) Add both.")
    ['Count the lamps.', 'Add both.']
    """
    return _ITEM.findall(outline) or [outline.strip()]


def voted_outline(outlines: Sequence[Reply], most: int) -> list[str]:
    """Sub-problems of the first outline of the commonest number of them, at most `most`."""
    parts = [sub_problems(reply.content)[:most] for reply in outlines if reply.content.strip()]
    if not parts:
        return []
    common = Counter(map(len, parts)).most_common(1)[0][0]
    return next(part for part in parts if len(part) == common)


@dataclass(frozen=True, slots=True)
class ScaleStrategy:
    """outlines: sampled.  threshold: difficulty above which a part is thought through.  parts: most sub-problems.

    fast_tokens, slow_tokens: limits of a part; 0 for none.
    """

    # the source's rubric calls up to 0.5 routine
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"threshold": (0.3, 0.5, 0.7), "outlines": (1, 3)}
    uses: ClassVar[tuple[str, ...]] = ("planner", "judge", "continuation")
    outlines: int = 3
    threshold: float = 0.5
    parts: int = 6
    fast_tokens: int = 128
    slow_tokens: int = 0

    def __post_init__(self) -> None:
        at_least(1, outlines=self.outlines, parts=self.parts)
        at_least(0, fast_tokens=self.fast_tokens, slow_tokens=self.slow_tokens)
        between(0, 1, threshold=self.threshold)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Plans, then judges and solves part by part; the last part's answer is the answer."""
        text = question.content
        plans = yield All(*Ask("planner", content=PLAN.format(question=text)).times(self.outlines))
        parts = voted_outline(candidates(plans), self.parts) or [text]
        before: Reply | None = None
        known: list[str] = []
        for place, part in enumerate(parts):
            rate = RATE.format(question=text, context="\n".join(known) or "nothing", part=part)
            (judged,) = yield All(Ask("judge", content=rate))
            limit = self.fast_tokens if judged.score <= self.threshold else self.slow_tokens
            asked = f"{text}\n\nFirst: {part}" if before is None else f"Now: {part}"
            (reply,) = yield All(Ask(after=before, content=asked, max_tokens=limit or None))
            if not reply.ended:
                break
            before = reply
            known.append(f"{place + 1}. {reply.content}")
        return Answer.of(before)
