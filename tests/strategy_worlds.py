"""Worlds and helpers that the tests of strategies share: replies drawn from a seed, without any truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import nan

import numpy as np

from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.drive import FinishedRun, StrategyDriver, play
from comptroller.strategies.protocol import UNLIMITED, Ask, QuestionBudget, Reply, Strategy, StrategyQuestion

QUESTION = StrategyQuestion("q", "What is it?", context="A long text.")
JUDGES = ("checker", "verifier", "reward", "difficulty")


@dataclass
class DrawnWorld:
    """The k-th ask of a run gets the k-th draw of the seed, whatever the ask says."""

    seed: int = 0
    failing: float = 0.0
    truncated: float = 0.0
    silent: bool = False
    usd: float = 0.001
    asked: int = 0

    def reply(self, ask: Ask, at_s: float) -> Reply:
        rng = np.random.default_rng([self.seed, self.asked])
        self.asked += 1
        output = int(rng.integers(1, 20))
        cost = Cost(tokens=TokenCounts(input=5.0, output=float(output)), usd=self.usd * output, j=2.0 * output)
        luck, answer, score = rng.random(), str(rng.choice(list("abc"))), float(rng.random())
        finish = "failed" if luck < self.failing else "length" if luck < self.failing + self.truncated else "stop"
        quiet = self.silent or finish != "stop"
        return Reply(
            ask,
            finish,
            content="" if quiet else f"the answer is {answer}",
            answer=None if quiet or ask.role in JUDGES else answer,
            score=nan if finish == "failed" else score,
            logprobs=tuple(-rng.random(output)),
            cost=cost,
            started_s=at_s,
            done_s=at_s + output,
        )

    def cut(self, reply: Reply, at_s: float) -> Reply:
        done = float(int(min(max(at_s - reply.started_s, 0.0), reply.cost.tokens.output)))
        cost = Cost(tokens=TokenCounts(input=5.0, output=done), usd=self.usd * done, j=2.0 * done)
        return replace(
            reply, finish="cancelled", content="", answer=None, score=nan, logprobs=None, cost=cost, done_s=at_s
        )


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
