"""Who plays which role in a replay: the roles as they are bound, or every recorded model in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comptroller.errors import UnsupportedError
from comptroller.strategies.world_inputs import REWARD, recorded_rewards, reward_offer
from comptroller.work.evidence import ASIDE, REVISER, SLEEPER, SOLVER, STEP, VERIFIER, Evidence, RecordedModel

SOLVERS = (SOLVER, VERIFIER, REVISER, STEP, SLEEPER, *ASIDE)
"""Roles that the solver's model plays unless they are bound to another."""

BESIDE_SOLVERS = frozenset((REWARD, *SOLVERS)) - {SOLVER, STEP}
"""Roles that solve nothing by themselves: bound alone, they stand beside every model that solves."""


def bindings(
    evidence: Evidence, roles: Mapping[str, RecordedModel], arms: Sequence[RecordedModel]
) -> list[dict[str, RecordedModel]]:
    """Role -> model, of every replay: the roles as bound, or each of `arms` (all, where empty) with those beside it.

    Raises:
        UnsupportedError: the role reward is bound to a model that scored nothing; names those that did.
    """
    judge = roles.get(REWARD)
    if judge is not None and str(judge) not in recorded_rewards(evidence):
        source = evidence.source or "evidence"
        raise UnsupportedError(f"{source}: {judge} has scored no step and no reply; {reward_offer(evidence)}")
    if set(roles) - BESIDE_SOLVERS:
        return [solving_roles(roles)]
    return [solving_roles({**roles, SOLVER: arm}) for arm in arms or evidence.arms]


def solving_roles(roles: Mapping[str, RecordedModel]) -> dict[str, RecordedModel]:
    """Roles that are bound, and those of `SOLVERS` that are not, which the solver's model plays, else the last one's.

    >>> weak, strong = RecordedModel("small"), RecordedModel("large")
    >>> played = solving_roles({"weak": weak, "strong": strong})
    >>> {role: played[role].model for role in ("solver", "reviser", "weak", "strong")}
    {'solver': 'large', 'reviser': 'large', 'weak': 'small', 'strong': 'large'}
    """
    return dict.fromkeys(SOLVERS, roles.get(SOLVER, list(roles.values())[-1])) | dict(roles)
