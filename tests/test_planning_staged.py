"""Options put together from stages: what a replay of the whole strategy gives, gaps included."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from comptroller.errors import UnsupportedError
from comptroller.planning.ground.strategy_plays import OptionCalls
from comptroller.planning.offer.stage_plays import StagePlayCache
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.results import runs
from comptroller.strategies.rules.cascade import CascadeStrategy
from comptroller.strategies.rules.route import RouteStrategy
from comptroller.strategies.spelling import settings, spell
from comptroller.strategies.stages import StagedStrategy
from comptroller.work.evidence import Evidence, RecordedModel
from strategy_evidence import drawn

QUESTION = np.array([5, 0, 3, 2])


def three_arms(seed: int) -> Evidence:
    """The seeded evidence with a third arm that has two samples of some questions, and no greedy reply of one."""
    evidence = drawn(seed)
    rows = evidence.rows
    few = (rows.arm == 1) & (rows.role == "solver") & (rows.sample < 2)
    few &= ~((rows.temperature == 0) & (rows.question == 2))
    more = rows.take(np.flatnonzero(few))
    more.arm[:] = 2
    joined = type(rows)(
        **{name: np.concatenate([getattr(rows, name), getattr(more, name)]) for name in rows.__dataclass_fields__}
    )
    return Evidence((*evidence.items,), (*evidence.arms, RecordedModel("third")), joined, None, "drawn")


def told(texts: Evidence) -> Evidence:
    """The same with questions of different lengths, which routers tell apart."""
    items = tuple(item._replace(text="why? " * (3 * n + 1)) for n, item in enumerate(texts.items))
    return replace(texts, items=items)


def alone(evidence: Evidence, strategy: StagedStrategy, bound: dict[str, int]) -> tuple[np.ndarray, OptionCalls]:
    """Score and calls by replaying the whole strategy."""
    replay = EvidenceReplay(evidence, {role: RecordedService(evidence.arms[arm]) for role, arm in bound.items()})
    rows = runs(strategy, replay, QUESTION.tolist())
    return np.array([score for score, _ in rows]), OptionCalls.of([run for _, run in rows], bound)


POINTS = [
    *settings(CascadeStrategy()),
    CascadeStrategy(roles=("weak", "middle", "strong"), threshold=0.6),
    *settings(RouteStrategy()),
]


@pytest.mark.parametrize("seed", range(3))
def test_stages_together_are_a_replay_of_the_whole(seed: int) -> None:
    evidence = told(three_arms(seed))
    stages, gaps = StagePlayCache(evidence, QUESTION), 0
    for strategy in POINTS:
        for arms in permutations(range(3), len(strategy.roles)):
            bound = dict(zip(strategy.roles, arms, strict=True))
            try:
                score, asked = alone(evidence, strategy, bound)
            except UnsupportedError as gap:
                gaps += 1
                with pytest.raises(UnsupportedError) as found:
                    stages.option(strategy, bound)
                assert str(found.value) == str(gap)
                continue
            option = stages.option(strategy, bound)
            assert option.strategy == spell(strategy) and option.bound == bound
            np.testing.assert_array_equal(option.score, score)
            assert option.roles == {r: a for r, a in bound.items() if (asked.model == a).any()}
            for name in ("question", "model", "input_tokens", "output_tokens", "usd", "common_tokens"):
                np.testing.assert_array_equal(getattr(option.calls, name), getattr(asked, name), name)
    assert gaps


def test_a_stage_is_played_once_for_all_combinations() -> None:
    stages = StagePlayCache(told(three_arms(0)), QUESTION)
    for threshold in (0.5, 0.9, 1.0):
        stages.option(CascadeStrategy(threshold=threshold, samples=2), {"weak": 0, "strong": 1})
    assert len(stages.known) == 2
