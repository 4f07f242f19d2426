"""What the strategies of a plan rest on: lengths and checkers that are modelled, trained parts and what they decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from comptroller.planning.ground.nouns import Option
from comptroller.planning.ground.strategy_plays import PlaySet
from comptroller.strategies.gate_notes import GatedPlay, trained_notes
from comptroller.strategies.recorded_roles import uses
from comptroller.strategies.spelling import asks_checker, parse
from comptroller.strategies.verdict_notes import break_even_notes
from comptroller.work.quality import WorkloadQuality


def strategy_notes(quality: WorkloadQuality, plays: PlaySet, options: Sequence[Option]) -> Iterator[str]:
    """What of a plan is modelled rather than recorded, and where its trained parts were trained on other questions.

    options: those in use.
    """
    if quality.lengths is not None:
        yield "modelled: lengths of replies without recorded tokens, as quality.lengths declares"
    if quality.checker and any(asks_checker(option.play.strategy) for option in options):
        rates = quality.checker
        yield f"modelled: a checker accepts {rates.tpr:.0%} of right and {rates.fpr:.0%} of wrong answers, at no cost"
    if quality.reward and any("reward" in uses(parse(option.play.strategy)) for option in options):
        errors = quality.reward
        stated = f"passes {errors.tpr:.0%} of right and {errors.fpr:.0%} of wrong steps"
        how = f"errs on steps as {errors.model} did" if errors.model else stated
        yield f"modelled: a reward model {how}, at no cost"
    if plays.evidence is not None:
        if quality.checker:
            for option in options:
                yield from break_even_notes(
                    plays.evidence, option.play.strategy, _models_of(plays, option), plays.question, quality.checker.tpr
                )
        yield from trained_notes(plays.evidence, [_gate_of(plays, option) for option in options])


def _gate_of(plays: PlaySet, option: Option) -> GatedPlay:
    """What an option's strategy does with the questions of the evidence."""
    calls = np.bincount(option.play.calls.question, minlength=len(plays.question)).astype(float)
    return GatedPlay(option.play.strategy, _models_of(plays, option), plays.question, calls)


def _models_of(plays: PlaySet, option: Option) -> dict[str, str]:
    """Who plays each role of an option."""
    return {role: str(plays.models[number]) for role, number in option.play.bound.items()}
