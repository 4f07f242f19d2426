"""A fleet over time: the choice beside the best fixed fleets, what is saved, and why every other lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from comptroller.planning.ground.over_time_document import FleetSaving, FleetTrialDocument, OverTimeDocument
from comptroller.planning.over_time import FleetOverTime
from comptroller.planning.over_time_write import over_time_document
from comptroller.report.figures import dollars, with_prefix
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right

COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "usd": ("dollars", dollars),
    "j": ("joules", partial(with_prefix, unit="J")),
    "gco2e": ("CO2e", partial(with_prefix, unit="g")),
}
"""Of an objective: what it is called, and a value in words."""


def over_time_sheets(found: FleetOverTime) -> list[ReportSheet]:
    """The choice on what it was chosen on and on what it had not seen; every choice with why it lost."""
    told = over_time_document(found)
    return [_answer(told), _reasons(told)]


def saving_words(one: FleetSaving) -> str:
    """A saving with its interval.

    >>> saving_words(FleetSaving(against="6 replicas", mean=0.31, low=0.25, high=0.36, level=0.9, blocks=12))
    '31.0% (25.0% to 36.0%) less than 6 replicas'
    """
    return f"{one.mean:.1%} ({one.low:.1%} to {one.high:.1%}) less than {one.against}"


def _answer(told: OverTimeDocument) -> ReportSheet:
    costs = [told.objective] + (["gco2e"] if told.grid and told.objective != "gco2e" else [])
    rows = [_answer_row("chosen", told.chosen, told.unseen.chosen, costs)]
    if told.runner_up:
        rows.append(_answer_row("second", told.runner_up, None, costs))
    for what, one, kept in (
        ("best fixed fleet", told.fixed, told.unseen.fixed),
        ("best fixed fleet with spot or power", told.fixed_aided, told.unseen.fixed_aided),
    ):
        if one is not None and one.name != told.chosen.name:
            rows.append(_answer_row(what, one, kept, costs))
    names = [COSTS[cost][0] for cost in costs]
    columns = (
        left("what", ""), left("choice"), right("worst", f"worst of {told.parts - 1} parts"),
        *(right(name) for name in names), right("kept", "within, unseen part"),
        *(right(f"kept {name}", f"{name}, unseen part") for name in names),
    )  # fmt: skip
    saved = "".join(f"; {saving_words(one)} there" for one in told.savings)
    noted = f" ({told.grid_note})" if told.grid_note else ""
    title = (
        f"Over time: {told.share:.1%} of the calls in every part, start-up {told.start_up_s:.3g} s; a further part "
        f"holds with odds of {told.odds:.0%}{saved}"
        + (f"; CO2e by the hours of {told.grid}{noted}" if told.grid else "")
    )
    return ReportSheet(title, columns, tuple(rows))


def _answer_row(
    what: str, one: FleetTrialDocument, kept: FleetTrialDocument | None, costs: Sequence[str]
) -> tuple[str, ...]:
    unseen = (f"{kept.within[0]:.1%}", *_cost_cells(kept, costs)) if kept else ("–",) * (1 + len(costs))
    return (what, one.name, f"{min(one.within):.1%}", *_cost_cells(one, costs), *unseen)


def _cost_cells(one: FleetTrialDocument, costs: Sequence[str]) -> tuple[str, ...]:
    return tuple(COSTS[cost][1](sum(getattr(one, cost))) for cost in costs)


def _reasons(told: OverTimeDocument) -> ReportSheet:
    named, words = COSTS[told.objective]
    columns: SheetColumns[FleetTrialDocument] = (
        left("choice", None, lambda one: one.name),
        right("parts", "parts played", lambda one: len(one.within)),
        right("worst", "least within", lambda one: f"{min(one.within):.1%}" if one.within else "–"),
        right("replica_h", "replica-hours", lambda one: f"{sum(one.replica_h):.2f}"),
        right("cost", named, lambda one: words(sum(getattr(one, told.objective)))),
        left("lost", "why not", lambda one: one.lost or "chosen"),
    )
    return ReportSheet.of("What was tried, and why it lost", columns, told.trials)


def over_time_record(found: FleetOverTime) -> dict[str, Any]:
    """Everything, raw."""
    return {"name": found.plan.name} | over_time_document(found).model_dump(mode="json")
