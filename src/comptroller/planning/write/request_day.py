"""The cheapest day of a workload, where its saving comes from, and what its deadlines are worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.timing import TimingCalibration
from comptroller.errors import InfeasibleError
from comptroller.planning.ground.day_document import DayPlan, HourDocument, HourTrial
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.day_market import DeploymentMarket, deployment_market
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.prove.hour_rehearsal import RequestHourStage, hour_rehearsal_notes, raise_hours_until_held
from comptroller.planning.solve.fleet_search import Goal
from comptroller.planning.solve.hours import DayDemand, DayFleet, cheapest
from comptroller.planning.solve.program_blocks import Array, DeferrableLoad, Market
from comptroller.planning.write.day_steps import done_in, notes, rented_replicas, solve_steps, step_of, work_of
from comptroller.planning.write.plan import PlanningProblem
from comptroller.quantities import short
from comptroller.work.hours import WorkloadDay

FEW = 12
"""Columns that are all kept; of more, those that the cheapest fleet of some term has at some load."""

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the day's load: where whole fleets are sought, and at twice the most, for work that comes on top."""


@dataclass(frozen=True, slots=True)
class RequestDayFreedom:
    """One way to run the day: what may be rented, and what is asked."""

    name: str
    market: Market
    asked: DayDemand

    def day(self, asked: DayDemand, known: DayFleet | None = None) -> DayFleet:
        """The cheapest day for what is asked, begun from a known one."""
        return cheapest(self.market, asked, known)


def with_hours(
    found: Plan, problem: PlanningProblem, calibration: TimingCalibration, rehearsal: RehearsalSettings | None = None
) -> Plan:
    """The plan with its day, if the workload has hours: sized for the demand that held in simulation.

    rehearsal: how every hour is simulated by itself, where there are latency objectives.

    Raises:
        InfeasibleError: no day holds the limits.
        InputError: the hours are malformed.
    """
    hours = problem.workload.hours
    if hours is None:
        return found
    market = deployment_market(problem.workload, hours, problem.search.table.load, problem.goal, calibration)
    few = pruned_market(market, problem.goal)
    stage = RequestHourStage(few, problem, calibration, rehearsal) if rehearsal and problem.goal.targets else None
    return found.model_copy(update={"hours": day_plan(few, hours, problem, stage)})


def day_plan(
    few: DeploymentMarket, hours: WorkloadDay, problem: PlanningProblem, stage: RequestHourStage | None = None
) -> DayPlan:
    """The cheapest day of a market as a document; with a stage, every hour is simulated and raised until it holds."""
    demand, terms = problem.goal.demand, problem.workload.allow.terms
    each = list(freedoms(few))
    steps = [(each[place], day) for place, day in solve_steps(each)]
    last, day = steps[-1]
    tried = None if stage is None else raise_hours_until_held(stage, last, day)
    if tried is not None and tried.day is not day:
        last, day = replace(last, name="every hour held in simulation", asked=tried.asked), tried.day
        steps.append((last, day))
    totals = {name: short(values.sum()) for name, values in day.total.items()}
    rate_per_s = problem.asked.rate_per_s
    return DayPlan(
        usd_per_day=totals["usd"],
        j_per_day=totals["j"],
        gco2e_per_day=totals["gco2e"],
        least_per_day=short(day.bound),
        hours=tuple(
            _hour(few, last, day, h, rate_per_s, tried.tried(demand, h) if tried else None)
            for h in range(len(day.units))
        ),
        steps=tuple(step_of(step.name, one) for step, one in steps),
        works=tuple(work_of(last, day, k) for k in range(len(last.asked.works))),
        notes=(
            *notes(hours, demand, terms),
            *(hour_rehearsal_notes(tried, demand) if tried else ()),
            _gap(day, len(few.rows)),
        ),
    )


def pruned_market(market: DeploymentMarket, goal: Goal) -> DeploymentMarket:
    """The market of the columns that count."""
    if len(market.rows) <= FEW:
        return market
    return market.only(np.flatnonzero(np.isin(market.rows, list(_fleets(market, goal)))))


def _fleets(market: DeploymentMarket, goal: Goal) -> Iterator[int]:
    """Rows of the cheapest fleets of each term alone, at several loads of the day: whole units, small and large."""
    rows, load = np.arange(len(market.search.table.candidates)), market.asked.load
    factors = dict.fromkeys([*np.quantile(load[load > 0], QUANTILES).tolist(), 2 * load.max()])
    for term in dict.fromkeys(market.terms):
        keep = np.isin(rows, market.rows[np.array(market.terms) == term])
        for factor in factors:
            try:
                fleet = market.search.solve(replace(goal, demand=goal.demand * factor, limits=()), keep)
            except InfeasibleError:
                continue
            yield from np.flatnonzero(fleet.units).tolist()


def freedoms(of: DeploymentMarket) -> Iterator[RequestDayFreedom]:
    """From a peak fleet on demand, held all day, to every term and every hour; a step that adds nothing is left out.

    Columns that a step may not rent cost nothing less: they are closed by what they carry.
    """
    market, asked, terms = of.market, of.asked, np.array(of.terms)
    first = terms == ("on_demand" if "on_demand" in terms else terms[0])
    must = tuple(work for work in asked.works if work.saves is None)
    at_once = replace(asked, works=tuple(replace(work, window_h=1) for work in must))
    held = replace(market, constant=market.constant | first)
    only = {name: _with_closed_columns(each, ~first, of, must) for name, each in (("held", held), ("open", market))}
    yield RequestDayFreedom(f"peak fleet held all day, {terms[first][0].replace('_', '-')}", only["held"], at_once)
    if not market.constant[first].any():
        yield RequestDayFreedom("units rented by the hour", only["open"], at_once)
    if any(work.window_h > 1 for work in must):
        yield RequestDayFreedom("deferrable work moved", only["open"], replace(asked, works=must))
    if len(must) < len(asked.works):
        yield RequestDayFreedom(
            "sleep-time work where it pays", _with_closed_columns(market, ~first, of, asked.works), asked
        )
    if not first.all():
        others = ", ".join(dict.fromkeys(terms[~first].tolist()))
        yield RequestDayFreedom(
            f"{others} beside", _with_closed_columns(market, np.zeros(len(terms), bool), of, asked.works), asked
        )


def _with_closed_columns(
    market: Market, columns: Array, of: DeploymentMarket, works: tuple[DeferrableLoad, ...]
) -> Market:
    """The market with some columns carrying nothing, and the rows of some works only."""
    wanted = [work.name for work in works]
    rows = [0, *(1 + k for k, work in enumerate(of.asked.works) if work.name in wanted)]
    load = np.where(columns, np.inf, market.load)[:, rows]
    return replace(market, load=load, added_j=market.added_j[rows], added_usd=market.added_usd[rows])


def _hour(
    of: DeploymentMarket, step: RequestDayFreedom, day: DayFleet, h: int, rate_per_s: float, tried: HourTrial | None
) -> HourDocument:
    return HourDocument(
        hour=h,
        load_per_s=short(rate_per_s * step.asked.load[h]),
        rented=tuple(rented_replicas(of, day.units[h], step.market.unit("usd")[h])),
        done=done_in(step, day, h),
        usd=short(day.total["usd"][h]),
        w=short(day.total["j"][h] / 3600.0),
        gco2e=short(day.total["gco2e"][h]),
        tried=tried,
    )


def _gap(day: DayFleet, columns: int) -> str:
    return (
        f"{columns} candidates were kept, those of the cheapest fleets of each term at several loads; no day of theirs "
        f"costs less by more than {max(1.0 - day.bound / day.objective, 0.0):.1%}"
    )
