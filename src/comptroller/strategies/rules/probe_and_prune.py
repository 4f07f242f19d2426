"""Probe and prune: paths grow in parallel, are probed at every checkpoint, and those that fall behind are dropped.

Zheng et al., Parallel-Probe, arXiv 2602.03845: intermediate answers of all paths are elicited again and again; where
they agree generation stops, where a path deviates it is pruned. By `probe` a short answer is asked of each path and the
share `agree` of equal ones ends it; by `likelihood` nothing is asked, and the surest paths are kept by the mean
log-probability of their tokens so far, as in self-certainty selection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Any, ClassVar

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.strategies.checks import at_least, between, require_known
from comptroller.strategies.protocol import All, Ask, AssistantPrefill, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.votes import candidates, tally, vote

FINAL = AssistantPrefill("\n\nFinal answer:")
LINE = ("\n",)
"""Ends a probe, so that what fits into its tokens is whole: a truncated reply has no answer."""
BY = ("likelihood", "probe")
"""What paths are compared by."""


def mean_likelihood(path: Sequence[Reply]) -> float:
    """Mean log-probability of all tokens of a path."""
    tokens = [value for reply in path for value in reply.logprobs or ()]
    return sum(tokens) / len(tokens) if tokens else -inf


@dataclass(frozen=True, slots=True)
class ProbeAndPruneStrategy:
    """n: paths.  chunk: tokens between checkpoints.  keep: share of the open paths that goes on at each.

    by: likelihood or probe.  agree: share of equal probed answers that ends it.  probe_tokens: of a probe.
    most: chunks of a path.
    """

    # sizes double; half and three quarters kept
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"n": (4, 8, 16), "keep": (0.5, 0.75)}
    uses: ClassVar[tuple[str, ...]] = ("resumption",)
    n: int = 8
    chunk: int = 128
    keep: float = 0.5
    by: str = "likelihood"
    agree: float = 0.75
    probe_tokens: int = 16
    most: int = 16

    def __post_init__(self) -> None:
        at_least(1, n=self.n, chunk=self.chunk, probe_tokens=self.probe_tokens, most=self.most)
        between(0, 1, keep=self.keep, agree=self.agree)
        require_known("score", self.by, BY)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Grows all paths by a chunk, probes, prunes; a vote of the paths that ended, else of the last probes."""
        paths: list[list[Reply]] = []
        ended: list[Reply] = []
        asks = Ask(content=question.content, max_tokens=self.chunk).times(self.n)
        before: dict[Ask, list[Reply]] = {ask: [] for ask in asks}
        probed: Sequence[Reply] = ()
        for turn in range(self.most):
            replies = yield All(*asks)
            if turn == 0 and self.by == "likelihood" and any(reply.ended and not reply.logprobs for reply in replies):
                raise UnsupportedError("a path carries no log-probabilities, so it cannot be compared")
            grown = [[*before[reply.ask], reply] for reply in replies]
            ended += [path[-1] for path in grown if path[-1].finish == "stop"]
            paths = [path for path in grown if path[-1].finish == "length"]
            if self.by == "probe" and paths:
                probed = yield All(*(self._probe(path[-1]) for path in paths))
                if max(tally(probed).values(), default=0.0) >= self.agree * self.n:
                    return vote(probed)
            paths = self._kept(paths, probed)
            asks = tuple(Ask(after=path[-1], max_tokens=self.chunk) for path in paths)
            before = dict(zip(asks, paths, strict=True))
            if not asks:
                break
        return vote(ended or candidates(probed) or [path[-1] for path in paths])

    def _probe(self, reply: Reply) -> Ask:
        return Ask("probe", after=reply, content=FINAL, max_tokens=self.probe_tokens, stop=LINE)

    def _kept(self, paths: list[list[Reply]], probed: Sequence[Reply]) -> list[list[Reply]]:
        """The paths that go on: the surest, or those whose probed answer most others share."""
        count = ceil(self.keep * len(paths))
        if self.by == "likelihood":
            return sorted(paths, key=mean_likelihood, reverse=True)[:count]
        shared = tally(probed)
        answer = {reply.ask.after: reply.answer for reply in probed}
        return sorted(paths, key=lambda path: -shared.get(answer.get(path[-1]) or "", 0.0))[:count]
