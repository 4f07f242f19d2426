"""Strategies in stages: options put together from single stages, each played once, not once for every combination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from comptroller.errors import Unsupported
from comptroller.planning.options import Asked, Floats, Ints, Option
from comptroller.strategies.protocol import Answer, Question, Strategy
from comptroller.strategies.replay import Replay, Service
from comptroller.strategies.results import runs
from comptroller.strategies.spelling import spell
from comptroller.strategies.stages import Staged
from comptroller.work.evidence import Evidence


@dataclass(frozen=True)
class Stage:
    """A stage played on every question. gap: why it cannot be played there, or empty."""

    answer: tuple[Answer, ...]
    score: Floats
    gap: tuple[str, ...]
    asked: Asked


@dataclass(frozen=True)
class Stages:
    """Stages on questions (indices into the evidence), each played when it is first wanted."""

    evidence: Evidence
    question: Ints
    known: dict[tuple[Strategy, int], Stage] = field(default_factory=dict)

    def option(self, strategy: Staged, bound: Mapping[str, int]) -> Option:
        """A strategy with its roles bound to arms: what a replay of it would give.

        Raises:
            Unsupported: a question needs a stage that cannot be played.
        """
        score = np.zeros(len(self.question))
        had = {role: np.zeros(len(self.question), bool) for role in bound}
        for place, item in enumerate(self._texts):
            ended: dict[str, Answer] = {}
            while (role := strategy.following(item, ended)) is not None:
                stage = self._of(strategy.stage(role), role, bound[role])
                if stage.gap[place]:
                    raise Unsupported(stage.gap[place])
                had[role][place], ended[role] = True, stage.answer[place]
                if ended[role].reply is not None:
                    score[place] = stage.score[place]
        kept = {role: arm for role, arm in bound.items() if had[role].any()}
        parts = [(self._of(strategy.stage(role), role, arm).asked, had[role]) for role, arm in kept.items()]
        asked = Asked.together([asked.only(which[asked.question]) for asked, which in parts])
        return Option(spell(strategy), bound, kept, score, asked)

    @property
    def _texts(self) -> list[Question]:
        items = self.evidence.items
        return [Question(items[n].id, items[n].text, task=items[n].task) for n in self.question.tolist()]

    def _of(self, strategy: Strategy, role: str, arm: int) -> Stage:
        if (strategy, arm) not in self.known:
            self.known[strategy, arm] = self._played(strategy, role, arm)
        return self.known[strategy, arm]

    def _played(self, strategy: Strategy, role: str, arm: int) -> Stage:
        replay = Replay(self.evidence, {role: Service(self.evidence.arms[arm])})
        count = len(self.question)
        answers, scores, gaps = [Answer()] * count, np.full(count, np.nan), [""] * count
        asked = [Asked.of([], {})]
        for place, number in enumerate(self.question.tolist()):
            try:
                ((scores[place], run),) = runs(strategy, replay, [number])
            except Unsupported as gap:
                gaps[place] = str(gap)
                continue
            answers[place] = run.answer
            asked.append(Asked.of([run], {role: arm}).at(place))
        return Stage(tuple(answers), scores, tuple(gaps), Asked.together(asked))
