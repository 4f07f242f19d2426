"""Roles of strategies, and whose replies in the evidence answer them."""

from __future__ import annotations

from comptroller.work.evidence import ASIDE, REVISER, SLEEPER, STEP, VERIFIER

RECORDED = {"verifier": VERIFIER, "reviser": REVISER, "reward": VERIFIER, "step": STEP, "sleeper": SLEEPER}
RECORDED |= {role: role for role in ASIDE}
BESIDE = {"verifier", "reviser", "sleeper", *ASIDE}
"""Role of a strategy -> role of its replies in the evidence; every other role reads a solver's replies, or steps where
it asks for one (`Ask.stop`)."""
JUDGING = ("checker", "tool")
"""Parameters whose value names the role that checks answers."""


def uses(strategy: object) -> tuple[str, ...]:
    """Roles beside the solver whose recorded replies a strategy needs, with the one that is told to check its answers.

    >>> from comptroller.strategies.spelling import parse
    >>> uses(parse("repair")), uses(parse("repair(checker=verifier)"))
    (('reviser',), ('reviser', 'verifier'))
    """
    judging = (getattr(strategy, name, "") for name in JUDGING)
    return tuple(dict.fromkeys((*getattr(strategy, "uses", ()), *(role for role in judging if role in RECORDED))))
