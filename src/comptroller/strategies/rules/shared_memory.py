"""Shared memory: teams answer in rounds, and before each round everybody reads what all teams have written down.

Exchange among agents as in Du et al., Improving Factuality and Reasoning through Multiagent Debate, arXiv 2305.14325,
with one memory that all teams write to: after a round it holds every team's commonest answer with its words. Members of
a team also see each other's answers of the round before. The answer is a vote of the last round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least
from comptroller.strategies.protocol import All, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.votes import candidates, vote

PROMPT = "Other teams have written:\n{memory}\n\nYour team-mates:\n{team}\n\nWith this in mind, give your final answer."
MOST = 400
"""Characters of an answer that the memory keeps. At twice it prompts of four teams grow by 400 tokens a round."""


def memory_of(teams: Sequence[Sequence[Reply]], but: int) -> str:
    """What the memory holds for a team: the commonest answer of every other one.

    >>> said = [[Reply(Ask(), "stop", "It is 7.", "7")], [Reply(Ask(), "stop", "It is 8.", "8")]]
    >>> memory_of(said, 0)
    'team 2: It is 8.'
    """
    said = ((number, vote(team).content) for number, team in enumerate(teams) if number != but)
    return "\n".join(f"team {number + 1}: {text[:MOST]}" for number, text in said if text) or "nothing"


@dataclass(frozen=True, slots=True)
class SharedMemoryStrategy:
    """teams, members: of each.  rounds: after the first answers."""

    # two teams of two and of four
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"teams": (2, 4), "members": (1, 2), "rounds": (1, 2)}
    uses: ClassVar[tuple[str, ...]] = ("teammate",)
    teams: int = 2
    members: int = 2
    rounds: int = 1

    def __post_init__(self) -> None:
        at_least(1, teams=self.teams, members=self.members)
        at_least(0, rounds=self.rounds)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """All members at once, then round by round with the memory; a member without an answer leaves."""
        asks = Ask(content=question.content).times(self.teams * self.members)
        team = {ask: place % self.teams for place, ask in enumerate(asks)}
        last: list[Reply] = []
        for turn in range(self.rounds + 1):
            replies = candidates((yield All(*asks)))
            if not replies:
                break
            last = replies
            said = [[reply for reply in replies if team[reply.ask] == number] for number in range(self.teams)]
            if turn == self.rounds:
                break
            asks, members = (), team
            team = {}
            for reply in replies:
                number = members[reply.ask]
                ask = Ask("teammate", after=reply, content=self._prompt(said, number, reply))
                asks, team[ask] = (*asks, ask), number
        return vote(last)

    @staticmethod
    def _prompt(said: Sequence[Sequence[Reply]], number: int, own: Reply) -> str:
        mates = "\n".join(reply.content[:MOST] for reply in said[number] if reply is not own) or "nothing"
        return PROMPT.format(memory=memory_of(said, number), team=mates)
