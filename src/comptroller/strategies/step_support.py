"""Questions on which a search stays within the recorded tree: it continues no step that was never continued."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from comptroller.errors import UnsupportedError
from comptroller.strategies.protocol import QuestionBudget, Strategy
from comptroller.strategies.recorded_roles import uses
from comptroller.strategies.replay import EvidenceReplay
from comptroller.strategies.results import runs
from comptroller.strategies.spelling import settings
from comptroller.work.evidence import STEP


def searches(strategies: Iterable[Strategy], grid: bool) -> list[Strategy]:
    """The strategies that continue recorded steps, at every point of their grids if asked for."""
    steps = [strategy for strategy in strategies if STEP in uses(strategy)]
    return [point for strategy in steps for point in (settings(strategy) if grid else [strategy])]


def within_record(
    replays: Sequence[EvidenceReplay], points: Sequence[Strategy], questions: Iterable[int], budget: QuestionBudget
) -> set[int]:
    """The questions on which no point leaves the record, in any of the replays; all, where every question is left.

    replays: the same evidence in other orders of its samples.
    """
    asked = list(questions)
    kept = {number for number in asked if all(_stays(replay, points, number, budget) for replay in replays)}
    return kept or set(asked)


def _stays(replay: EvidenceReplay, points: Sequence[Strategy], number: int, budget: QuestionBudget) -> bool:
    try:
        for point in points:
            runs(point, replay, [number], budget)
    except UnsupportedError:
        return False
    return True
