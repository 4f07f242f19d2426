"""Families of ways that people choose among by habit: one model, a router, a cascade.

A family has fewer members than there are ways, so that the best of it is less often merely the luckiest. A plan that
may be one way for all questions is also tried as one way of each family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from comptroller.planning.ground.nouns import Option

SINGLE = ("once", "sample_and_vote", "stop_on_success")


def single_model(option: Option) -> bool:
    """One answer, or several of the same model."""
    return option.play.name in SINGLE and len(option.play.models) == 1


def router_way(option: Option) -> bool:
    """One answer of a model chosen before anything is generated, as RouteLLM does."""
    return option.play.name in ("once", "route")


def cascade_way(option: Option) -> bool:
    """One answer, and the next model where that is not trusted, as FrugalGPT does."""
    return option.play.name in ("once", "cascade", "verdict_cascade")


FAMILIES: Mapping[str, Callable[[Option], bool]] = {
    "of a single model": single_model,
    "of a router": router_way,
    "of a cascade": cascade_way,
}
"""What a way of the family is called, and whether an option is one."""
