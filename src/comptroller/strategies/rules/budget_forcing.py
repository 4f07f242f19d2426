"""Budget forcing: a limit on thinking, after which the answer is forced; the effort may be not to think at all.

s1, Muennighoff et al., arXiv 2501.19393: at the limit the end of thinking is forced and the final answer asked for;
thinking that ends early can be made to go on with "Wait". The effort is given, or it is the shortest whose chance of
success comes within `slack` of the best, by trained parts over the question's text: longer thinking is often worth
nothing, and sometimes worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.errors import InputError
from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Answer, Ask, AssistantPrefill, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.success_prediction import success_predictor, text_signals
from comptroller.strategies.votes import candidates

FINAL = AssistantPrefill("\n\nFinal answer:")
WAIT = AssistantPrefill("\nWait")


@dataclass(frozen=True, slots=True)
class BudgetForcingStrategy:
    """limit: most tokens of thinking, 0 for none.  efforts: the shortest first, "" being the service's own.

    by: a trained part for each effort, where there are several to choose from.  slack: loss of chance that a shorter
    effort may bring.  waits: times that thinking is made to go on.  final_tokens: most tokens of a forced answer; 0
    leaves truncated answers as they are.
    """

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"limit": (256, 512, 1024, 2048, 4096)}
    limit: int = 1024
    efforts: tuple[str, ...] = ("",)
    by: tuple[str, ...] = ()
    slack: float = 0.02
    waits: int = 0
    final_tokens: int = 64

    def __post_init__(self) -> None:
        at_least(0, limit=self.limit, waits=self.waits, final_tokens=self.final_tokens)
        between(0, 1, slack=self.slack)
        if not self.efforts or len(self.by) != (len(self.efforts) if len(self.efforts) > 1 else 0):
            raise InputError("budget_forcing: give one effort, or several and as many trained parts in `by`")
        for name in self.by:
            success_predictor(name)

    def effort(self, question: StrategyQuestion) -> str:
        """The shortest effort whose chance comes within the slack of the best."""
        if not self.by:
            return self.efforts[0]
        known = text_signals(question.content)
        chances = [success_predictor(name).chance(known) for name in self.by]
        return next(
            effort for effort, chance in zip(self.efforts, chances, strict=True) if chance >= max(chances) - self.slack
        )

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Thinking up to the limit, then the forced answer if it did not end by itself."""
        effort, most = self.effort(question), self.limit or None
        (reply,) = yield All(Ask(content=question.content, max_tokens=most, effort=effort))
        kept = reply
        for _ in range(self.waits):
            if reply.finish != "stop":
                break
            (reply,) = yield All(Ask(after=reply, content=WAIT, max_tokens=most, effort=effort))
            kept = reply if candidates([reply]) else kept
        if kept.finish == "length" and self.final_tokens:
            (forced,) = yield All(Ask(after=kept, content=FINAL, max_tokens=self.final_tokens, effort=effort))
            kept = next(iter(candidates([forced, kept])), forced)
        return Answer.of(kept if candidates([kept]) else None)
