"""Worlds and helpers that the tests of strategies share: replies drawn from a seed, without any truth."""

from __future__ import annotations

import numpy as np

from comptroller.strategies.drive import FinishedRun, StrategyDriver, play
from comptroller.strategies.protocol import UNLIMITED, Ask, QuestionBudget, Strategy, StrategyQuestion
from comptroller_lab.drawn_replies import DrawnWorld

QUESTION = StrategyQuestion("q", "What is it?", context="A long text.")


def run(strategy: Strategy, world: DrawnWorld, budget: QuestionBudget = UNLIMITED) -> FinishedRun:
    return play(StrategyDriver(strategy, QUESTION, budget, np.random.default_rng(7)), world)


def signature(ask: Ask | None) -> tuple[object, ...]:
    """What an ask says, all the way up to its root."""
    if ask is None:
        return ()
    parent = ask.after.ask if ask.after else None
    said = (ask.role, ask.content, ask.max_tokens, ask.sampling, ask.effort, ask.stop)
    return (*said, signature(parent))


def trace(played: FinishedRun) -> list[tuple[object, ...]]:
    """What was asked and what came, in order."""
    return [(signature(reply.ask), reply.finish, reply.done_s, reply.cost) for reply in played.replies]
