"""Strategies in stages: options put together from single stages, each played once, not once for every combination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.planning.ground.strategy_plays import Floats, Ints, OptionCalls, StrategyPlay
from comptroller.strategies.protocol import Answer, Strategy, StrategyQuestion
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.results import runs
from comptroller.strategies.spelling import spell
from comptroller.strategies.stages import StagedStrategy
from comptroller.work.evidence import Evidence


@dataclass(frozen=True)
class StagePlay:
    """A stage played on every question. gap: why it cannot be played there, or empty."""

    answer: tuple[Answer, ...]
    score: Floats
    gap: tuple[str, ...]
    calls: OptionCalls


@dataclass(frozen=True)
class StagePlayCache:
    """Stages on questions (indices into the evidence), each played when it is first wanted."""

    evidence: Evidence
    question: Ints
    known: dict[tuple[Strategy, int], StagePlay] = field(default_factory=dict)

    def option(self, strategy: StagedStrategy, bound: Mapping[str, int]) -> StrategyPlay:
        """A strategy with its roles bound to arms: what a replay of it would give.

        Raises:
            UnsupportedError: a question needs a stage that cannot be played.
        """
        score = np.zeros(len(self.question))
        had = {role: np.zeros(len(self.question), bool) for role in bound}
        for place, item in enumerate(self._texts):
            ended: dict[str, Answer] = {}
            while (role := strategy.following(item, ended)) is not None:
                stage = self._of(strategy.stage(role), role, bound[role])
                if stage.gap[place]:
                    raise UnsupportedError(stage.gap[place])
                had[role][place], ended[role] = True, stage.answer[place]
                if ended[role].reply is not None:
                    score[place] = stage.score[place]
        kept = {role: arm for role, arm in bound.items() if had[role].any()}
        parts = [(self._of(strategy.stage(role), role, arm).calls, had[role]) for role, arm in kept.items()]
        calls = OptionCalls.together([part.only(which[part.question]) for part, which in parts])
        return StrategyPlay(spell(strategy), bound, kept, score, calls)

    @property
    def _texts(self) -> list[StrategyQuestion]:
        items = self.evidence.items
        return [StrategyQuestion(items[n].id, items[n].text, task=items[n].task) for n in self.question.tolist()]

    def _of(self, strategy: Strategy, role: str, arm: int) -> StagePlay:
        if (strategy, arm) not in self.known:
            self.known[strategy, arm] = self._played(strategy, role, arm)
        return self.known[strategy, arm]

    def _played(self, strategy: Strategy, role: str, arm: int) -> StagePlay:
        replay = EvidenceReplay(self.evidence, {role: RecordedService(self.evidence.arms[arm])})
        count = len(self.question)
        answers, scores, gaps = [Answer()] * count, np.full(count, np.nan), [""] * count
        calls = [OptionCalls.of([], {})]
        for place, number in enumerate(self.question.tolist()):
            try:
                ((scores[place], run),) = runs(strategy, replay, [number])
            except UnsupportedError as gap:
                gaps[place] = str(gap)
                continue
            answers[place] = run.answer
            calls.append(OptionCalls.of([run], {role: arm}).at(place))
        return StagePlay(tuple(answers), scores, tuple(gaps), OptionCalls.together(calls))
