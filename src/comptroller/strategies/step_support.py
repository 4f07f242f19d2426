"""Questions on which a search stays within the recorded tree: it continues no step that was never continued.

Where the record itself decides what a search does, questions on which it leaves the record are left out. Where rewards
are drawn, their errors decide, and those questions would remain on which the errors do not matter: a search that leaves
more than a few is refused, with what the record says of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.strategies.protocol import QuestionBudget, Strategy
from comptroller.strategies.recorded_roles import uses
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker
from comptroller.strategies.results import runs
from comptroller.strategies.spelling import settings, spell
from comptroller.strategies.world_inputs import REWARD
from comptroller.work.evidence import STEP

MOST_LEFT = 0.1
"""Share of questions, over all deals, on which drawn rewards may leave the record: what is not known of the share
solved is then as wide. At twice this it is wider than what rewards that err 10 % and 20 % of the time differ by."""


def searches(strategies: Iterable[Strategy], grid: bool) -> list[Strategy]:
    """The strategies that continue recorded steps, at every point of their grids if asked for."""
    steps = [strategy for strategy in strategies if STEP in uses(strategy)]
    return [point for strategy in steps for point in (settings(strategy) if grid else [strategy])]


def within_record(
    replays: Sequence[EvidenceReplay], points: Sequence[Strategy], questions: Iterable[int], budget: QuestionBudget
) -> tuple[set[int], dict[str, str]]:
    """The questions on which no point leaves the record in any of the replays, and the points that are refused: as
    they are written, with why. All questions, where every question is left.

    replays: the same evidence in other orders of its samples.
    """
    kept, refused = set(questions), dict[str, str]()
    asked = sorted(kept)
    for point in points:
        if _draws_rewards(point, replays[0]):
            scores = [[_score(replay, point, number, budget) for number in asked] for replay in replays]
            left = np.array([[score is None for score in of_deal] for of_deal in scores])
            if left.mean() > MOST_LEFT:
                refused[spell(point)] = _why(left, scores)
                continue
            kept -= {asked[place] for place in np.flatnonzero(left.any(axis=0))}
        else:
            within = (all(_score(replay, point, number, budget) is not None for replay in replays) for number in asked)
            kept &= {number for number, stays in zip(asked, within, strict=True) if stays}
    return kept or set(asked), refused


def _draws_rewards(point: Strategy, replay: EvidenceReplay) -> bool:
    """Whether drawn errors decide which steps a search goes on from."""
    return getattr(point, "by", "") == REWARD and isinstance(replay.roles.get(REWARD), ModelledChecker)


def _score(replay: EvidenceReplay, point: Strategy, number: int, budget: QuestionBudget) -> float | None:
    """What a search scores on a question; None where it leaves the record, or asks for what is not there."""
    try:
        ((score, _),) = runs(point, replay, [number], budget)
    except UnsupportedError:
        return None
    return score


def _why(left: npt.NDArray[np.bool_], scores: Sequence[Sequence[float | None]]) -> str:
    """Why drawn rewards are refused. left: (deals, questions), whether a search leaves the record.  scores: of each."""
    gone = float(left.mean())
    least = sum(score or 0.0 for of_deal in scores for score in of_deal) / left.size
    return (
        f"drawn rewards go on from steps that were never continued in the record, on {gone:.0%} of the questions (mean "
        f"over {len(left)} deals); the rest would be those on which their errors do not matter, and all that is known "
        f"of the share solved is {least:.0%} to {least + gone:.0%}. Rewards are drawn on trees in which every step was "
        "continued (step_rewards.parquet); recorded scores (by=score, --role reward=MODEL) need no drawing"
    )
