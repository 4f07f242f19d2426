"""Strategies that ask one model after the other until a modelled check accepts an answer, in closed form.

One sample of each model is drawn among the recorded ones, and every check errs by itself. With r_i the chance that a
model i is asked, w a whole answer, a the chance that the check accepts it (its rates for right and for wrong answers)
and s its score, the means over all choices of the samples are

    solved = sum_i r_i E[w a s] + L,   r_{i+1} = r_i (1 - E[w a]),   L <- L P(not w) + r_i E[w (1 - a) s]

where L is what refused answers are worth, of which the last one stands; the last model's is taken unchecked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.quantities import Cost
from comptroller.strategies.expected_runs import ExpectedRun, mean_cost
from comptroller.strategies.replay import RIGHT, ModelledChecker, RecordedService
from comptroller.strategies.sample_pools import BLANK, CUT, LOST, SamplePool, SampleTable, combined_cost

Floats = npt.NDArray[np.float64]


class StageMeans(NamedTuple):
    """Means over the samples of one model; arrays of shape (questions,).

    whole: share of whole answers.  lost: of those that failed or were cut.  accepted: share accepted.  solved, square:
    score, and its square, of accepted ones, 0 for others.  refused, refused_square: of whole ones that are refused.
    cost: of a sample.  seconds: until its last token.
    """

    whole: Floats
    lost: Floats
    accepted: Floats
    solved: Floats
    square: Floats
    refused: Floats
    refused_square: Floats
    cost: Cost
    seconds: Floats


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """One model after the other until an answer is accepted. roles: of the models.  accept: least score of an accepting
    check.  checker: the role that checks."""

    roles: tuple[str, ...]
    accept: float
    checker: str

    @classmethod
    def runs(cls, forms: Sequence[CheckedRun], table: SampleTable) -> list[ExpectedRun | None]:
        """The means of each; None where two roles are one model, which draws no sample twice, where a question has no
        sample or an unscored one, and where the check is no modelled one."""
        return [form._run(table) for form in forms]

    def _run(self, table: SampleTable) -> ExpectedRun | None:
        bound, checker = table.replay.roles, table.replay.roles.get(self.checker)
        services = [service for role in self.roles if isinstance(service := bound.get(role), RecordedService)]
        if not isinstance(checker, ModelledChecker) or len({one.arm for one in services}) < len(self.roles):
            return None
        stages = list(self._stages(table, checker))
        return self._together(stages, checker, table) if len(stages) == len(self.roles) else None

    def _stages(self, table: SampleTable, checker: ModelledChecker) -> Iterator[StageMeans]:
        for role in self.roles:
            pools = table.pools(role)
            whole = [pool.score[pool.state >= BLANK] for pool in pools]
            if not pools or any(np.isnan(score).any() for score in whole):
                return
            rates = (1.0, 1.0) if self.accept <= 0.0 or role == self.roles[-1] else (checker.tpr, checker.fpr)
            yield _stage(pools, rates, len(table.questions))

    def _together(self, stages: Sequence[StageMeans], checker: ModelledChecker, table: SampleTable) -> ExpectedRun:
        count, strong = len(table.questions), table.replay.strong_roles
        reached, refused, none = np.ones(count), np.zeros((2, count)), np.ones(count)
        score, calls, seconds, lost, strong_calls = np.zeros((2, count)), *np.zeros((4, count))
        costs = []
        for role, stage in zip(self.roles, stages, strict=True):
            checks = reached * stage.whole * (role != self.roles[-1])
            score = score + reached * np.stack([stage.solved, stage.square])
            refused = refused * (1.0 - stage.whole) + reached * np.stack([stage.refused, stage.refused_square])
            none = none * (1.0 - stage.whole)
            calls, lost = calls + reached + checks, lost + reached * stage.lost
            strong_calls = strong_calls + reached * (role in strong)
            seconds = seconds + reached * stage.seconds + checks * checker.seconds
            costs += [stage.cost * reached, checker.cost * checks]
            reached = reached * (1.0 - stage.accepted)
        score = score + refused
        return ExpectedRun(
            score=score[0],
            square=score[1],
            cost=combined_cost(costs, lambda parts: np.sum(parts, axis=0)),
            calls=calls,
            elapsed_s=seconds if table.replay.timed else np.full(count, nan),
            truncated=np.zeros(count),
            lost=lost,
            unanswered=none,
            strong_calls=strong_calls if strong else np.full(count, nan),
        )


def _stage(pools: Sequence[SamplePool], rates: tuple[float, float], count: int) -> StageMeans:
    """rates: chance that a right and a wrong answer is accepted."""

    def over(value: Callable[[SamplePool], Floats]) -> Floats:
        """(questions,): means over samples of what each pool says of them."""
        means = np.full(count, nan)
        for pool in pools:
            means[pool.place] = value(pool).mean(axis=1)
        return means

    def whole(pool: SamplePool) -> Floats:
        return np.asarray(pool.state >= BLANK, float)

    def accepted(pool: SamplePool) -> Floats:
        return whole(pool) * np.where(pool.score >= RIGHT, *rates)

    def scored(pool: SamplePool, power: int) -> Floats:
        return np.where(pool.state >= BLANK, pool.score, 0.0) ** power

    def cost(parts: Sequence[Floats]) -> Floats:
        means = np.full(count, nan)
        for pool, part in zip(pools, parts, strict=True):
            means[pool.place] = part[:, 0]
        return means

    return StageMeans(
        whole=over(whole),
        lost=over(lambda pool: np.isin(pool.state, (LOST, CUT)).astype(float)),
        accepted=over(accepted),
        solved=over(lambda pool: accepted(pool) * scored(pool, 1)),
        square=over(lambda pool: accepted(pool) * scored(pool, 2)),
        refused=over(lambda pool: (whole(pool) - accepted(pool)) * scored(pool, 1)),
        refused_square=over(lambda pool: (whole(pool) - accepted(pool)) * scored(pool, 2)),
        cost=combined_cost([mean_cost(pool) for pool in pools], cost),
        seconds=over(lambda pool: np.broadcast_to(pool.seconds, pool.state.shape)),
    )
