"""What is said beside the figures of a replay: of a modelled checker, and of parts that were trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from comptroller.strategies import routers, success_prediction
from comptroller.strategies.modelled_reward import ModelledReward
from comptroller.strategies.replay import ModelledChecker
from comptroller.strategies.spelling import asks_checker, parse
from comptroller.strategies.verdict_notes import break_even_notes
from comptroller.work.evidence import Evidence, Ints

PlayedStrategy = tuple[str, Mapping[str, str], Ints]
"""A strategy as it is written, role -> model, and the numbers of its questions."""


def checker_notes(evidence: Evidence, checker: ModelledChecker, played: Sequence[PlayedStrategy]) -> Iterator[str]:
    """The error rates of the checker, where a strategy asks one, and the rate at which it would no longer pay."""
    if any(asks_checker(strategy) for strategy, _, _ in played):
        yield f"modelled: the checker accepts {checker.tpr:.0%} of right and {checker.fpr:.0%} of wrong answers"
        for strategy, models, question in played:
            yield from break_even_notes(evidence, strategy, models, question, checker.tpr)


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


def trained_notes(evidence: Evidence, strategies: Iterable[str]) -> Iterator[str]:
    """What the trained parts of strategies were trained on; in sample, where it is the evidence itself."""
    for name in dict.fromkeys(part for strategy in strategies for part in _trained_parts(strategy)):
        is_router = name in routers.names() or name.endswith(".npz")
        part = routers.router(name) if is_router else success_prediction.success_predictor(name)
        if part.about.get("data") == evidence.source:
            yield f"in sample: the trained part {name} was trained on {evidence.source}"
        elif isinstance(part, routers.ModelRouter):
            yield f"{name} was trained on {part.about['data']}, for {' < '.join(part.models)}"


def _trained_parts(spelled: str) -> list[str]:
    """Ids or paths of the predictors and routers that a strategy names in `by`."""
    by = getattr(parse(spelled), "by", "")
    shipped = (*success_prediction.names(), *routers.names())
    return [
        name for name in ((by,) if isinstance(by, str) else by) if name in shipped or name.endswith((".json", ".npz"))
    ]
