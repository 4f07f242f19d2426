"""What controllers of reinforcement learning give on recorded samples, with intervals over questions and deals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.training.rollout_replay import RULES, UNIFORM, ArmReplay, RolloutReplay
from comptroller.work.evidence import EvidenceCounts

MOST_REPLAYS = 40
"""Most replays, each of resampled questions and another deal of samples: an end of a 90 % interval then is the second
of 40. At twice this it moves by a fifth of its width."""

Bounded = tuple[float, float, float]
"""Value (the median of replays), low and high."""


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """A rule of one model. variance: over that of the uniform rule.  coverage, mixed: less the uniform rule's.

    by_group: mean rollouts of each group, the hardest first, in the first replay; `None` where it has no prompt.
    """

    model: str
    rule: str
    mean: float
    variance: Bounded
    coverage: Bounded
    mixed: Bounded
    by_group: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class PromptFinding:
    """Weights of prompts of one model. drawn, present: shares of the groups, the hardest first, mean of replays.

    loss, mixed: of what was drawn less of all prompts alike.  price: of a rollout by the controller over the exact one.
    """

    model: str
    drawn: tuple[float, ...]
    present: tuple[float, ...]
    loss: Bounded
    mixed: Bounded
    price: Bounded


@dataclass(frozen=True, slots=True)
class RolloutFindings:
    """Everything. mean: rollouts a prompt.  questions: with enough samples."""

    source: str
    mean: int
    questions: int
    replays: int
    level: float
    rules: tuple[RuleFinding, ...]
    prompts: tuple[PromptFinding, ...]

    @property
    def record(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RolloutQuery:
    """Options. mean: rollouts a prompt.  models: in the order in which they are trained; else the weakest first."""

    mean: int = 8
    models: tuple[str, ...] = ()
    level: float = 0.9
    replays: int = MOST_REPLAYS
    seed: int = 0


def rollout_findings(counts: EvidenceCounts, asked: RolloutQuery) -> RolloutFindings:
    """Replay the controllers over the models, again and again on resampled questions.

    Raises:
        UnsupportedError: too few questions have enough samples, or a model is not among the evidence.
    """
    arms = _arms(counts, asked.models)
    counts = EvidenceCounts(
        counts.items, tuple(counts.arms[i] for i in arms), counts.n[:, arms], counts.correct[:, arms], counts.source
    )
    replays = []
    for number in range(min(asked.replays, MOST_REPLAYS)):
        replay = RolloutReplay(counts, asked.mean, asked.seed + number, resample=number > 0)
        replays.append([replay.play(arm) for arm in range(len(arms))])
    questions = len(RolloutReplay(counts, asked.mean, asked.seed).n)
    names = [str(arm) for arm in counts.arms]
    rules = [
        _rule(name, rule, [one[arm] for one in replays], asked.level)
        for arm, name in enumerate(names)
        for rule in RULES
    ]
    prompts = [_prompt(name, [one[arm] for one in replays], asked.level) for arm, name in enumerate(names)]
    return RolloutFindings(
        counts.source, asked.mean, questions, len(replays), asked.level, tuple(rules), tuple(prompts)
    )


def _arms(counts: EvidenceCounts, models: Sequence[str]) -> list[int]:
    """Arms whose names hold a wanted one, in that order; without any all, the weakest first."""
    if not models:
        right = counts.correct.sum(axis=0) / np.maximum(counts.n.sum(axis=0), 1)
        return [int(arm) for arm in np.argsort(right, kind="stable")]
    found = []
    for wanted in models:
        fitting = [i for i, arm in enumerate(counts.arms) if wanted in (str(arm), arm.model)]
        if not fitting:
            known = ", ".join(map(str, counts.arms))
            raise UnsupportedError(f"{counts.source}: no model {wanted!r}; there are {known}")
        found += fitting
    return list(dict.fromkeys(found))


def _with_band(values: Sequence[float], level: float) -> Bounded:
    low, middle, high = np.quantile(np.array(values), ((1 - level) / 2, 0.5, (1 + level) / 2))
    return float(middle), float(low), float(high)


def _rule(name: str, rule: str, replays: Sequence[ArmReplay], level: float) -> RuleFinding:
    def against(of: Callable[[ArmReplay, str], float], ratio: bool = False) -> Bounded:
        pairs = [(of(one, rule), of(one, UNIFORM)) for one in replays]
        return _with_band([mine / other if ratio else mine - other for mine, other in pairs], level)

    return RuleFinding(
        name,
        rule,
        float(np.mean([one.outcomes[rule].mean for one in replays])),
        against(lambda one, rule: one.outcomes[rule].variance, ratio=True),
        against(lambda one, rule: one.outcomes[rule].coverage),
        against(lambda one, rule: one.outcomes[rule].mixed),
        tuple(float(value) if np.isfinite(value) else None for value in replays[0].counts[rule]),
    )


def _prompt(name: str, replays: Sequence[ArmReplay], level: float) -> PromptFinding:
    drawn = np.mean([one.prompts.drawn for one in replays], axis=0)
    present = np.mean([one.prompts.present for one in replays], axis=0)
    return PromptFinding(
        name,
        tuple(float(value) for value in drawn),
        tuple(float(value) for value in present),
        _with_band([one.prompts.loss - one.prompts.even_loss for one in replays], level),
        _with_band([one.prompts.mixed - one.prompts.even_mixed for one in replays], level),
        _with_band([one.price[0] / one.price[1] for one in replays if one.price[1] > 0] or [np.nan], level),
    )
