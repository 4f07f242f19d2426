"""What is said beside the figures of a replay of a modelled checker or judge of steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from comptroller.strategies.gate_notes import GatedPlay, trained_notes
from comptroller.strategies.modelled_reward import ModelledReward
from comptroller.strategies.replay import ModelledChecker
from comptroller.strategies.results import ReplayResults
from comptroller.strategies.sleep_break_even import sleep_notes
from comptroller.strategies.spelling import asks_checker, parse
from comptroller.strategies.verdict_notes import break_even_notes
from comptroller.work.evidence import Evidence, Ints

__all__ = ["GatedPlay", "checker_notes", "reward_notes", "sleep_notes", "trained_notes", "unscored_notes"]

PlayedStrategy = tuple[str, Mapping[str, str], Ints]
"""A strategy as it is written, role -> model, and the numbers of its questions."""


def checker_notes(evidence: Evidence, checker: ModelledChecker, played: Sequence[PlayedStrategy]) -> Iterator[str]:
    """The error rates of the checker, where a strategy asks one, and the rate at which it would no longer pay."""
    if any(asks_checker(strategy) for strategy, _, _ in played):
        yield f"modelled: the checker accepts {checker.tpr:.0%} of right and {checker.fpr:.0%} of wrong answers"
        for strategy, models, question in played:
            yield from break_even_notes(evidence, strategy, models, question, checker.tpr)


def unscored_notes(evidence: Evidence, results: Iterable[ReplayResults]) -> Iterator[str]:
    """On how many questions nobody judged what a strategy answered, and of which tasks."""
    blank = {int(number) for one in results for number in one.question[np.isnan(one.score)]}
    if blank:
        tasks = sorted({evidence.items[number].task for number in blank} - {""})
        told = f" of {', '.join(tasks)}; --task names the others" if tasks else ""
        yield f"no share solved where answers have no score, as on {len(blank):,} questions{told}"


def reward_notes(reward: ModelledChecker | None, played: Sequence[PlayedStrategy]) -> Iterator[str]:
    """How the modelled judge of steps errs, where a strategy asks it and no recorded model plays it."""
    asked = [models for strategy, models, _ in played if getattr(parse(strategy), "by", "") == "reward"]
    if reward is None or all("reward" in models for models in asked):
        return
    if isinstance(reward, ModelledReward):
        yield (
            f"modelled: steps are scored as {len(reward.right):,} right and {len(reward.wrong):,} wrong ones were; a "
            f"right one scores above a wrong one in {reward.auc:.0%}"
        )
    else:
        yield f"modelled: the reward accepts {reward.tpr:.0%} of right and {reward.fpr:.0%} of wrong steps"
