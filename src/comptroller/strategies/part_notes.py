"""What trained parts of strategies rest on, whatever the evidence: said wherever a strategy with one is used."""

from __future__ import annotations

from collections.abc import Iterable
from math import nan

from comptroller.strategies import routers, success_prediction
from comptroller.strategies.spelling import parse


def part_names(spelled: str) -> list[str]:
    """Ids or paths of the predictors and routers that a strategy names in `by`.

    >>> part_names("cascade(by=own_direct)"), part_names("once")
    (['own_direct'], [])
    """
    strategy = parse(spelled)
    by = getattr(strategy, "by", "")
    shipped = (*success_prediction.names(), *routers.names())
    named = () if getattr(strategy, "judge", "") else (by,) if isinstance(by, str) else by
    return [name for name in named if name in shipped or name.endswith((".json", ".npz"))]


def is_router(name: str) -> bool:
    """Whether a trained part chooses among models, and is not a chance of being right."""
    return name in routers.names() or name.endswith(".npz")


def part_note(name: str) -> str:
    """What a trained part was trained on: data, number of rows, share of them that was right.

    >>> part_note("own_direct")[:60]
    'the trained part own_direct was trained on own: SmolLM2-135M'
    """
    if is_router(name):
        router = routers.router(name)
        return f"{name} was trained on {router.about['data']}, for {' < '.join(router.models)}"
    part = success_prediction.success_predictor(name)
    rate, count = part.measured.get("base_rate", nan), part.measured.get("rows", nan)
    return (
        f"the trained part {name} was trained on {part.about.get('data', 'unnamed data')}, {count:,.0f} rows, of which "
        f"{rate:.0%} were right"
    )


def parts_of(strategies: Iterable[str]) -> list[str]:
    """Notes of the trained parts of strategies, each part once."""
    return [part_note(name) for name in dict.fromkeys(name for spelled in strategies for name in part_names(spelled))]
