"""Strategies that ask one model after another until an answer is trusted, in closed form.

The samples of different models are independent, so that a stage is reached with the product of the chances that those
before it are not trusted. What one stage comes to is a mean over its own samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from comptroller.quantities import Cost
from comptroller.strategies.expected_runs import ExpectedRun
from comptroller.strategies.recorded_service import RecordedService
from comptroller.strategies.sample_pools import SamplePool, SampleTable, combined_cost

Floats = npt.NDArray[np.float64]


class TrustMeans(NamedTuple):
    """What a stage comes to where it is reached; arrays of shape (questions,), scores (2, questions): with the square.

    trusted, kept: chance that it has an answer which is taken, or which is not.  trusted_score, kept_score: mean score
    of such an answer times its chance.  calls: replies.  seconds: until the stage ends.  lost: replies that were
    truncated, failed or refused.
    """

    trusted: Floats
    kept: Floats
    trusted_score: Floats
    kept_score: Floats
    cost: Cost
    calls: Floats
    seconds: Floats
    lost: Floats


class StageChoice(Protocol):
    """How the answer of a stage comes about, and whether it is trusted."""

    def means(self, pool: SamplePool, table: SampleTable) -> TrustMeans | None:
        """Of the questions of a pool; None where the record has no closed form for it."""
        ...


@dataclass(frozen=True, slots=True)
class StagedRun:
    """Stages by role, in the order of asking; the answer is the first that is trusted, else the last that there is."""

    stages: tuple[tuple[str, StageChoice], ...]

    @classmethod
    def runs(cls, forms: Sequence[StagedRun], table: SampleTable) -> list[ExpectedRun | None]:
        """The means of each; None where two stages draw from one model's samples, or a stage has no closed form."""
        known: dict[tuple[str, StageChoice], TrustMeans | None] = {}
        for form in forms:
            for stage in form.stages:
                if stage not in known:
                    known[stage] = _stage_means(*stage, table)
        return [form.run(known, table) for form in forms]

    def run(self, known: dict[tuple[str, StageChoice], TrustMeans | None], table: SampleTable) -> ExpectedRun | None:
        """The means from those of the stages."""
        asked = [table.replay.roles.get(role) for role, _ in self.stages]
        models = {service.arm for service in asked if isinstance(service, RecordedService)}
        stages = [means for stage in self.stages if (means := known[stage]) is not None]
        if len(models) < len(self.stages) or len(stages) < len(self.stages):
            return None
        strong = table.replay.strong_roles
        count = len(table.questions)
        reached, held = np.ones(count), np.zeros(count)
        score, held_score, amounts = np.zeros((2, count)), np.zeros((2, count)), np.zeros((4, count))
        costs: list[Cost] = []
        for (role, _), stage in zip(self.stages, stages, strict=True):
            none = 1.0 - stage.trusted - stage.kept
            amounts += reached * np.stack([stage.calls, stage.seconds, stage.lost, stage.calls * (role in strong)])
            costs.append(_where_reached(stage.cost, reached))
            score += reached * stage.trusted_score
            held_score = held_score * none + reached * stage.kept_score
            held = held * none + reached * stage.kept
            reached = reached * (1.0 - stage.trusted)
        calls, seconds, lost, strong_calls = amounts
        score = score + held_score
        return ExpectedRun(
            score=score[0],
            square=score[1],
            cost=combined_cost(costs, lambda parts: np.sum(parts, axis=0)),
            calls=calls,
            elapsed_s=seconds if table.replay.timed else np.full(count, nan),
            truncated=np.zeros(count),
            lost=lost,
            unanswered=np.maximum(reached - held, 0.0),
            strong_calls=strong_calls if strong else np.full(count, nan),
        )


def _where_reached(cost: Cost, reached: Floats) -> Cost:
    """The cost of a stage times the chance that it is reached: nothing where that is 0, even of unknown cost."""
    return combined_cost([cost], lambda one: np.where(reached > 0.0, reached * one[0], 0.0))


def _stage_means(role: str, choice: StageChoice, table: SampleTable) -> TrustMeans | None:
    """What a stage comes to on all questions of a table."""
    pools = table.pools(role)
    means = [choice.means(pool, table) for pool in pools]
    known = [one for one in means if one is not None]
    if not pools or len(known) < len(pools):
        return None

    def gathered(parts: Sequence[Floats]) -> Floats:
        whole = np.full((*np.shape(parts[0])[:-1], len(table.questions)), nan)
        for pool, part in zip(pools, parts, strict=True):
            whole[..., pool.place] = part
        return whole

    return _together(known, gathered)


def _together(means: Sequence[TrustMeans], combine: Callable[[Sequence[Floats]], Floats]) -> TrustMeans:
    columns = {name: combine([getattr(one, name) for one in means]) for name in TrustMeans._fields if name != "cost"}
    return TrustMeans(**columns, cost=combined_cost([one.cost for one in means], combine))
