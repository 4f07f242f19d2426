"""What deadline and budget cost: the next choice on either side, each a whole plan again over all evaluated ways."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.quantities import DAY_S
from comptroller.training.document import TrainingWorkload
from comptroller.training.plan_document import TrainingRunDocument, TrainingShadowPrice


def deadline_prices(
    made: Sequence[TrainingRunDocument], best: TrainingRunDocument, workload: TrainingWorkload
) -> tuple[TrainingShadowPrice, ...]:
    """Shadow prices of the limits that a workload states.

    A looser deadline first changes the choice where a way that spends less is in time; a tighter one where the choice
    itself is late. Every way was evaluated whole, so each price is that of the plan that would be made.
    """
    found: list[TrainingShadowPrice] = []
    run = workload.training
    affordable = [one for one in made if run.budget is None or one.usd.value <= run.budget.max_usd]
    bound = run.deadline.max_s if run.deadline is not None else best.wall_s.value
    found += _looser(affordable, best, workload, bound) if run.deadline is not None else []
    found += _tighter(affordable, best, workload, bound)
    if run.budget is not None:
        found += _budget(made, best, workload)
    return tuple(found)


def _value(one: TrainingRunDocument, workload: TrainingWorkload) -> float:
    return float(getattr(one, str(workload.objective)).value)


def _looser(
    made: Sequence[TrainingRunDocument], best: TrainingRunDocument, workload: TrainingWorkload, bound: float
) -> list[TrainingShadowPrice]:
    cheaper = [one for one in made if one.wall_s.value > bound and _value(one, workload) < _value(best, workload)]
    if not cheaper:
        return []
    chosen = min(cheaper, key=lambda one: (one.wall_s.value, _value(one, workload)))
    saved = _value(chosen, workload) - _value(best, workload)
    return [_price("deadline", bound, chosen, saved, workload, "more")]


def _tighter(
    made: Sequence[TrainingRunDocument], best: TrainingRunDocument, workload: TrainingWorkload, bound: float
) -> list[TrainingShadowPrice]:
    sooner = [one for one in made if one.wall_s.value < best.wall_s.value]
    if not sooner:
        return []
    chosen = min(sooner, key=lambda one: (_value(one, workload), -one.wall_s.value))
    return [_price("time", bound, chosen, _value(chosen, workload) - _value(best, workload), workload, "less")]


def _price(
    limit: str, bound: float, chosen: TrainingRunDocument, change: float, workload: TrainingWorkload, side: str
) -> TrainingShadowPrice:
    days = abs(chosen.wall_s.value - bound) / DAY_S
    verb = "saves" if change < 0 else "costs"
    shown = f"${abs(change):,.0f}" if str(workload.objective) == "usd" else f"{abs(change):.4g} {workload.objective}"
    return TrainingShadowPrice(
        limit=limit,
        bound=bound,
        at=chosen.wall_s.value,
        difference=change,
        per_unit=change / days if days else 0.0,
        unit=f"{workload.objective}/day",
        note=f"{days:,.2f} days {side} {verb} {shown}: {chosen.devices} x {chosen.accelerator} in {chosen.precision} "
        f"at {chosen.site}, {chosen.wall_s.value / DAY_S:,.1f} days",
    )


def _budget(
    made: Sequence[TrainingRunDocument], best: TrainingRunDocument, workload: TrainingWorkload
) -> list[TrainingShadowPrice]:
    """What more money would buy in time: the next way that is sooner and costs more than the budget."""
    budget = workload.training.budget
    assert budget is not None
    dearer = [one for one in made if one.usd.value > budget.max_usd and one.wall_s.value < best.wall_s.value]
    if not dearer:
        return []
    chosen = min(dearer, key=lambda one: one.usd.value)
    days = (best.wall_s.value - chosen.wall_s.value) / DAY_S
    more = chosen.usd.value - budget.max_usd
    return [
        TrainingShadowPrice(
            limit="budget",
            bound=budget.max_usd,
            at=chosen.usd.value,
            difference=-days,
            per_unit=-days / more if more else 0.0,
            unit="days/usd",
            note=f"${more:,.0f} more buys {days:,.1f} days: {chosen.devices} x {chosen.accelerator}",
        )
    ]
