"""From a fleet chosen over time to the plan's document."""

from __future__ import annotations

from comptroller.planning.ground.over_time_document import (
    FleetTrialDocument,
    OverTimeDocument,
    SpotShareDocument,
    UnseenPart,
)
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.over_time import FleetOverTime
from comptroller.planning.over_time_trial import FleetPolicyTrial
from comptroller.quantities import short


def plan_over_time(found: FleetOverTime) -> Plan:
    """The plan with what was chosen over time."""
    return found.plan.model_copy(update={"over_time": over_time_document(found)})


def over_time_document(found: FleetOverTime) -> OverTimeDocument:
    """What was chosen over time, and everything that lost."""
    savings = [
        one.model_copy(update={name: short(getattr(one, name)) for name in ("mean", "low", "high")})
        for one in found.savings
    ]
    return OverTimeDocument(
        trace=found.trace, objective=found.plan.objective, share=found.wish.share, parts=found.wish.parts,
        start_up_s=short(found.start_up_s), odds=short(found.odds), chosen=trial_document(found.winner),
        runner_up=_or_none(found.runner_up), fixed=_or_none(found.fixed), fixed_aided=_or_none(found.fixed_aided),
        unseen=UnseenPart(
            chosen=trial_document(found.kept), fixed=_or_none(found.fixed_kept),
            fixed_aided=_or_none(found.fixed_aided_kept),
        ),
        savings=tuple(savings), trials=tuple(map(trial_document, found.trials)), grid=found.grid,
        grid_note=found.grid_note,
    )  # fmt: skip


def _or_none(one: FleetPolicyTrial | None) -> FleetTrialDocument | None:
    return trial_document(one) if one else None


def trial_document(one: FleetPolicyTrial) -> FleetTrialDocument:
    """A choice and what it came to."""
    columns = zip(*one.played, strict=True) if one.played else ((),) * 6
    within, usd, j, gco2e, replica_h, over_s = (tuple(map(short, column)) for column in columns)
    return FleetTrialDocument(
        name=one.name, policy=one.policy, fill=one.fill, first=one.first,
        spot=SpotShareDocument(**one.spot._asdict()) if one.spot else None, power=one.power, within=within, usd=usd,
        j=j, gco2e=gco2e, replica_h=replica_h, over_s=over_s, lost=one.lost,
    )  # fmt: skip
