"""A fleet over time: the choice beside the best fixed fleet, and why every other lost."""

from __future__ import annotations

from typing import Any

from comptroller.planning.over_time import FleetOverTime, FleetPolicyTrial
from comptroller.quantities import short
from comptroller.report.figures import dollars
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right


def over_time_sheets(found: FleetOverTime) -> list[ReportSheet]:
    """The choice on what it was chosen on and on what it had not seen; every choice with why it lost."""
    return [_answer(found), _reasons(found)]


def _answer(found: FleetOverTime) -> ReportSheet:
    seen = found.wish.parts - 1
    rows = [_answer_row("chosen", found.winner, found.kept)]
    if found.fixed is not None and found.fixed_kept is not None and found.fixed is not found.winner:
        rows.append(_answer_row("best fixed fleet", found.fixed, found.fixed_kept))
    saved = f", {found.saved:+.1%} saved there" if len(rows) > 1 else ""
    columns = (
        left("what", ""), left("choice"), right("worst", f"worst of {seen} parts"), right("usd", "dollars"),
        right("kept", "within, unseen part"), right("kept_usd", "dollars, unseen part"),
    )  # fmt: skip
    title = (
        f"Over time: {found.wish.share:.1%} of the calls in every part, start-up {found.start_up_s:.3g} s; a further "
        f"part holds with odds of {found.odds:.0%}{saved}"
    )
    return ReportSheet(title, columns, tuple(rows))


def _answer_row(what: str, one: FleetPolicyTrial, kept: FleetPolicyTrial) -> tuple[str, ...]:
    return (
        what, one.name, f"{min(one.shares):.1%}", dollars(one.spent), f"{kept.shares[0]:.1%}", dollars(kept.spent),
    )  # fmt: skip


def _reasons(found: FleetOverTime) -> ReportSheet:
    columns: SheetColumns[FleetPolicyTrial] = (
        left("choice", None, lambda one: one.name),
        right("parts", "parts played", lambda one: len(one.shares)),
        right("worst", "least within", lambda one: f"{min(one.shares):.1%}"),
        right("replica_h", "replica-hours", lambda one: f"{sum(one.replica_h):.2f}"),
        right("usd", "dollars", lambda one: dollars(one.spent)),
        left("lost", "why not", lambda one: one.lost or "chosen"),
    )
    return ReportSheet.of("What was tried, and why it lost", columns, found.trials)


def over_time_record(found: FleetOverTime) -> dict[str, Any]:
    """Everything, raw."""
    return {
        "name": found.plan.name,
        "share": found.wish.share,
        "parts": found.wish.parts,
        "start_up_s": short(found.start_up_s),
        "odds": short(found.odds),
        "chosen": _trial_record(found.winner),
        "fixed": found.fixed and _trial_record(found.fixed),
        "unseen": {"chosen": _trial_record(found.kept), "fixed": found.fixed_kept and _trial_record(found.fixed_kept)},
        "saved": short(found.saved) if found.fixed_kept else None,
        "trials": [_trial_record(one) for one in found.trials],
    }


def _trial_record(one: FleetPolicyTrial) -> dict[str, Any]:
    told = {"policy": one.policy, "fill": one.fill, "first": one.first, "lost": one.lost}
    figures = {"within": one.shares, "usd": one.usd, "replica_h": one.replica_h}
    return told | {name: [short(value) for value in values] for name, values in figures.items()}
