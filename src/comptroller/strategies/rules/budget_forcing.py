"""Budget forcing: a limit on thinking tokens, after which the answer is forced; the effort may be no thinking at all.

s1, Muennighoff et al., arXiv 2501.19393: at the limit the end of thinking and the final answer are forced; thinking
that ends early can be extended with "Wait". The effort is fixed, or it is the shortest whose predicted chance of
success lies within `slack` of the best; each effort has a predictor over the question's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.errors import InputError
from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Ask, AssistantPrefill, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.success_prediction import success_predictor, text_signals
from comptroller.strategies.votes import candidates, first

FINAL = AssistantPrefill("\n\nFinal answer:")
WAIT = AssistantPrefill("\nWait")
"""Text that forces an answer, and text that extends thinking, both as in s1."""


@dataclass(frozen=True, slots=True)
class BudgetForcingStrategy:
    """Limits thinking and forces the answer.

    limit: most tokens of thinking, 0 for no limit.  efforts: the shortest first, "" for the service's default.  by: a
    predictor for each effort, if there are several.  slack: loss of predicted chance accepted for a shorter effort.
    waits: extensions of thinking.  final_tokens: most tokens of a forced answer; 0 keeps truncated replies.
    """

    # limits double: s1 reports accuracy over the logarithm of thinking tokens
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"limit": (256, 512, 1024, 2048, 4096)}
    # the middle of the grid
    limit: int = 1024
    efforts: tuple[str, ...] = ("",)
    by: tuple[str, ...] = ()
    # below the calibration error of the shipped effort predictors, 0.037 and 0.068, so it only settles near-ties;
    # at 0.04 the shorter effort is taken more often
    slack: float = 0.02
    waits: int = 0
    # room for a number or a choice with its unit; a longer answer is truncated again
    final_tokens: int = 64

    def __post_init__(self) -> None:
        at_least(0, limit=self.limit, waits=self.waits, final_tokens=self.final_tokens)
        between(0, 1, slack=self.slack)
        if not self.efforts or len(self.by) != (len(self.efforts) if len(self.efforts) > 1 else 0):
            raise InputError("budget_forcing: give one effort, or several and as many trained parts in `by`")
        for name in self.by:
            success_predictor(name)

    def effort(self, question: StrategyQuestion) -> str:
        """The shortest effort whose predicted chance lies within the slack of the best."""
        if not self.by:
            return self.efforts[0]
        signals = text_signals(question.content)
        chances = [success_predictor(name).chance(signals) for name in self.by]
        return next(
            effort for effort, chance in zip(self.efforts, chances, strict=True) if chance >= max(chances) - self.slack
        )

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks for thinking up to the limit, then for a forced answer if it did not end by itself."""
        effort, max_tokens = self.effort(question), self.limit or None
        (reply,) = yield All(Ask(content=question.content, max_tokens=max_tokens, effort=effort))
        answering = reply
        for _ in range(self.waits):
            if reply.finish != "stop":
                break
            (reply,) = yield All(Ask(after=reply, content=WAIT, max_tokens=max_tokens, effort=effort))
            answering = reply if candidates([reply]) else answering
        if answering.finish == "length" and self.final_tokens:
            (forced,) = yield All(Ask(after=answering, content=FINAL, max_tokens=self.final_tokens, effort=effort))
            return first([forced, answering])
        return first([answering])
