"""From one freedom to the next: days solved in turn, what each saves, and what the deadlines of work are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.day_document import (
    DeadlineAlternative,
    DeferrableWorkDocument,
    FreedomStep,
    RentedReplicas,
)
from comptroller.planning.offer.day_market import DeploymentMarket
from comptroller.planning.solve.hours import DayDemand
from comptroller.planning.solve.program_blocks import Array, Indices
from comptroller.quantities import short
from comptroller.work.hours import WorkloadDay


class SolvedDay(Protocol):
    """A day that was found."""

    @property
    def objective(self) -> float:
        """In the objective's unit, over the day."""
        ...

    @property
    def bound(self) -> float:
        """No day of the same columns costs less."""
        ...

    @property
    def moved(self) -> tuple[Array, ...]:
        """By work, (h released, hours waited): shares of a day's work."""
        ...

    @property
    def chosen(self) -> Array:
        """Share of each work that is done."""
        ...

    @property
    def done(self) -> Array:
        """(h, works, ...): shares of a day's work."""
        ...

    @property
    def total(self) -> dict[str, Array]:
        """usd, j and gco2e by hour."""
        ...


D = TypeVar("D", bound=SolvedDay)


class DayFreedom(Protocol[D]):
    """One way to run the day: what is asked, and how the cheapest such day is found."""

    @property
    def name(self) -> str:
        """In a few words."""
        ...

    @property
    def asked(self) -> DayDemand:
        """Load and work."""
        ...

    def day(self, asked: DayDemand, known: D | None = None) -> D:
        """The cheapest day for what is asked, begun from a known one."""
        ...


def solve_steps(steps: Sequence[DayFreedom[D]]) -> list[tuple[int, D]]:
    """Places of the steps with their days, each begun from the one before; one that the limits forbid is left out,
    but the last.

    Raises:
        InfeasibleError: the last step has no day; names what binds.
    """
    found: list[tuple[int, D]] = []
    for place, step in enumerate(steps):
        try:
            found.append((place, step.day(step.asked, found[-1][1] if found else None)))
        except InfeasibleError:
            if step is steps[-1]:
                raise
    return found


def step_of(name: str, day: SolvedDay, metered: bool = True) -> FreedomStep:
    """A step as it stands in a plan; metered: all that it emits is known."""
    return FreedomStep(
        name=name,
        objective_per_day=short(day.objective),
        usd_per_day=short(day.total["usd"].sum()),
        gco2e_per_day=short(day.total["gco2e"].sum()) if metered else None,
    )


def work_of(step: DayFreedom[D], day: D, k: int) -> DeferrableWorkDocument:
    """A work as it stands in a plan."""
    work, moved = step.asked.works[k], day.moved[k]
    waits = moved.sum(axis=0)
    done = max(float(waits.sum()), 1e-12)
    return DeferrableWorkDocument(
        name=work.name,
        requests_per_day=short(work.released.sum()),
        deadline_h=work.window_h,
        chosen=short(day.chosen[k]),
        moved=short(1.0 - waits[0] / done),
        mean_wait_h=short(float(waits @ np.arange(len(waits))) / done),
        saves=work.saves,
        later=_deadline(step, day, k, 1),
        earlier=_deadline(step, day, k, -1),
    )


def done_in(step: DayFreedom[D], day: D, h: int) -> dict[str, float]:
    """Requests or questions of each work done in an hour."""
    daily = step.asked.size[h, 1:] * 3600.0
    each = zip(step.asked.works, day.done[h], daily.tolist(), strict=True)
    return {work.name: short(share.sum() * requests) for work, share, requests in each}


def rented_replicas(of: DeploymentMarket, units: Indices, prices: Array) -> Iterator[RentedReplicas]:
    """What an hour rents; prices: dollars of a unit of each column in it."""
    for column in np.flatnonzero(units):
        candidate, row = of.candidates[column], of.rows[column]
        yield RentedReplicas(
            service=candidate.id,
            accelerator=candidate.replica.device.id,
            site=candidate.site.id,
            term=candidate.offer.term,
            replicas=round(units[column] * of.search.unit.replicas[row]),
            devices=round(units[column] * of.search.unit.devices[row]),
            usd=short(prices[column] * units[column]),
        )


def _deadline(step: DayFreedom[D], day: D, k: int, towards: int) -> DeadlineAlternative | None:
    """What an hour more or less for work that must be done changes, solved again; nothing where it is not proven."""
    work = step.asked.works[k]
    hours = work.window_h + towards
    if work.saves is not None or not 1 <= hours <= len(step.asked.load):
        return None
    try:
        other = step.day(_within(step.asked, k, hours), day)
    except InfeasibleError:
        return DeadlineAlternative(hours=hours, change_per_day=None)
    proven = other.objective < day.bound if towards > 0 else other.bound > day.objective
    return DeadlineAlternative(hours=hours, change_per_day=short(other.objective - day.objective if proven else 0.0))


def _within(asked: DayDemand, k: int, hours: int) -> DayDemand:
    """The same with another deadline of a work."""
    works = list(asked.works)
    works[k] = replace(works[k], window_h=hours)
    return replace(asked, works=tuple(works))


def notes(hours: WorkloadDay, demand: float, terms: Sequence[str]) -> Iterator[str]:
    """What every day assumes."""
    yield (
        f"every hour is sized for {demand:.3g} x its demand, as the plan for the rate to hold is; "
        f"the day repeats itself, and work may wait past midnight"
    )
    spot = hours.spot
    if spot is None and "spot" in terms:
        yield "spot is not used: the workload gives no rate of interruptions (hours.spot)"
    if spot is not None:
        yield (
            f"spot: {spot.interruptions_per_h:g} interruptions of a unit per hour and {spot.outage_s:g} s without it "
            f"({spot.source}): a unit stands {spot.standing:.1%} of the time, and interactive load fits what is left "
            f"when {spot.lost_at_once:.0%} of a kind's units go at once"
        )
