"""The cheapest fleet of a case: one hour to the optimum, by bounds first; a day within the gap of its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from comptroller.errors import InfeasibleError, UnsupportedError
from comptroller.highs import ANY, DAY, DAY_OF_OPTIONS, EXACT, KNOWN, MixedIntegerProgram, Settings, SolverResult, solve
from comptroller.planning.ground.limit_names import OBJECTIVES
from comptroller.planning.ground.nouns import Fleet, Floats, Ints
from comptroller.planning.solve.balance import balanced_columns, one_kind_units
from comptroller.planning.solve.bound import MARGIN, DualBound
from comptroller.planning.solve.case import CaseSubset, ProgramCase
from comptroller.planning.solve.infeasible import why_infeasible
from comptroller.planning.solve.program import PosedProgram, pose
from comptroller.planning.solve.rows import with_row

SLACK = 1e-9
"""Shares below this are the solver's rounding: its feasibility tolerance."""

PROOF = 1e-7
"""What is not cheaper by more than this share of a known fleet is not looked for: a cent on $100,000."""

CREDIT = 1e-7
"""Share of the worth of the calls that a unit can carry, taken off its price to choose among equally cheap fleets: the
same as `PROOF`, so that it outweighs no difference in cost that is looked for. Slack is what queues are held with: of
fleets at one price some hold their percentiles in simulation and others do not."""

Units = Mapping[int, Ints]
"""(h, deployments) by model."""


def within(case: ProgramCase, most: float) -> bool:
    """Whether any fleet of one hour costs no more than `most`."""
    bound = DualBound(case)
    if bound.least > most * (1 + MARGIN):
        return False
    posed = pose(bound.kept(most).case, stands=True, below=most)
    return solve(posed.program, ANY).values is not None


def optimum(case: ProgramCase, below: float = np.inf) -> Fleet | None:
    """The cheapest fleet of one hour; of equally cheap ones the shares that solve most. `None` where there is none, or
    none costs less than `below`.

    A small program first, whose optimum bounds the rest; then a proof over all that may still be cheaper.
    """
    bound = DualBound(case)
    if bound.least > below * (1 + MARGIN):
        return None
    seeds = bound.seeds() if np.isinf(below) else bound.kept(below)
    best = _cheapest_units(seeds, bound, below)
    most = below if best is None else best[1]
    kept = bound.kept(most)
    if np.isinf(below) and (best is None or not _covers(seeds, kept)):
        best = _cheapest_units(kept, bound, most) or best
    considered = sum(len(columns) for columns in kept.columns.values())
    if best is None:
        return None
    fleet = fleet_of_units(case, one_kind_units(case, best[1]) or best[0])
    return None if fleet is None else replace(fleet, considered=considered)


def _covers(whole: CaseSubset, part: CaseSubset) -> bool:
    """Whether one subset holds all that another does."""
    return set(part.options) <= set(whole.options) and all(
        set(columns) <= set(whole.columns.get(model, ())) for model, columns in part.columns.items()
    )


def _cheapest_units(subset: CaseSubset, bound: DualBound, most: float = np.inf) -> tuple[Units, float] | None:
    """The units of the cheapest fleet of a subset and what it costs, if it is cheaper than `most`.

    Of equally cheap ones those with most slack: a unit is credited a tiny part of the worth of the calls it can carry.

    Raises:
        UnsupportedError: none was found within the limit of nodes, and none is known to stand in its place.
    """
    posed = pose(subset.case, stands=True, below=most * (1 - PROOF))
    cost = posed.program.cost.copy()
    for model, columns in subset.columns.items():
        cost[posed.serving[model].units] -= CREDIT * bound.worth[model].held[columns]
    result = solve(replace(posed.program, cost=cost), KNOWN)
    if result.values is None:
        if result.node_limit and np.isinf(most):
            raise UnsupportedError(
                f"no plan was found within {KNOWN['mip_max_nodes']:,} nodes of the program; allow fewer choices"
            )
        return None
    units = {model: np.zeros((1, len(market.rows)), np.int64) for model, market in bound.case.markets.items()}
    for model, columns in subset.columns.items():
        units[model][:, columns] = np.rint(result.values[posed.serving[model].units])
    return units, float(posed.program.cost @ result.values)


def fleet_of_units(case: ProgramCase, units: Units) -> Fleet | None:
    """The cheapest shares for given units of one hour, and of those the ones that solve most, or that leave the
    busiest units least busy where there is but one option; `None` where the units do not hold the goal."""
    columns = {model: np.flatnonzero(count.any(axis=0)) for model, count in units.items()}
    subset = CaseSubset.of(case, np.arange(case.options.count), columns)
    rented = {model: units[model][:, columns[model]] for model in subset.columns}
    posed = pose(subset.case)
    program = posed.fixed(rented)
    if not program.whole.any() or not (subset.case.goal.spare or subset.case.has_whole_ways):
        program = program.relaxation
    result = solve(program, EXACT)
    if result.values is None:
        return None
    values = _second_criterion(subset.case, posed, program, result)
    fleet = read(subset.case, posed, values, result.objective)
    return replace(_of_whole(fleet, subset, case), objective=result.objective)


def _second_criterion(
    case: ProgramCase, posed: PosedProgram, program: MixedIntegerProgram, result: SolverResult
) -> Floats:
    """The columns that are best among those that cost least."""
    assert result.values is not None
    if case.options.count == 1:
        better = balanced_columns(case, posed, program, result.values)
    else:
        solved = np.zeros(len(program.cost))
        solved[posed.share] = -(case.demand.weight[:, None] * case.options.score)
        kept = with_row(program, "cost", program.cost, result.objective * (1 + SLACK))
        better = solve(replace(kept, cost=solved), EXACT).values
    return result.values if better is None else better


def _of_whole(fleet: Fleet, subset: CaseSubset, whole: ProgramCase) -> Fleet:
    """The fleet of a subset, told over all options and deployments of the case."""
    share = np.zeros((fleet.share.shape[0], *whole.options.score.shape))
    share[:, :, subset.options] = fleet.share
    units, calls = {}, {}
    for model, market in whole.markets.items():
        units[model] = np.zeros((fleet.share.shape[0], len(market.rows)), np.int64)
        calls[model] = np.zeros((fleet.share.shape[0], market.buckets, len(market.rows)))
        if model in subset.columns:
            units[model][:, subset.columns[model]] = fleet.units[model]
            calls[model][:, :, subset.columns[model]] = fleet.calls_per_s[model]
    return replace(fleet, share=share, units=units, calls_per_s=calls)


def cheapest_day(case: ProgramCase, known: Fleet | None = None) -> Fleet:
    """The cheapest day, within the gap of its settings; no dearer than a known day whose units will do.

    Hours that nothing joins are solved one by one.

    Raises:
        InfeasibleError: targets that no option reaches, work that nothing carries, or limits that leave no day.
    """
    if case.demand.hours > 1 and not case.joined:
        return _join_hours([cheapest_day(case.hour(h)) for h in range(case.demand.hours)], case)
    posed = pose(case)
    start = posed.start(known.units) if known is not None and posed.serving else None
    result = solve(posed.program, _day_settings(case), start)
    if result.values is None:
        raise InfeasibleError(why_infeasible(case, posed))
    program = _settle_program(case, posed, result.values)
    again = solve(program, _day_settings(case)).values
    values = result.values if again is None else again
    whole = posed.program.whole
    values = np.where(whole, np.rint(result.values), np.maximum(values, 0.0))
    return read(case, posed, values, result.bound)


NOTHING = 1e-6
"""Share of its dearest column up to which what a day costs is the tolerance of the solver, not an amount: a day bought
whole emitted 1e-13 of one, and was settled at weights of 1e13."""


def least_day(case: ProgramCase) -> tuple[float, PosedProgram, Floats]:
    """The cheapest day of fractional units, which no day undercuts: its objective, columns and values.

    Raises:
        InfeasibleError: as `cheapest_day`.
    """
    posed = pose(case)
    result = solve(posed.program.relaxation, _day_settings(case))
    if result.values is None:
        raise InfeasibleError(why_infeasible(case, posed))
    return result.objective, posed, result.values


def _day_settings(case: ProgramCase) -> Settings:
    return DAY if case.options.count == 1 else DAY_OF_OPTIONS


def _settle_program(case: ProgramCase, posed: PosedProgram, first: Floats) -> MixedIntegerProgram:
    """The same units, with all else placed to cost least, then to emit least, to wait least, and to solve most.

    Each cost counts a thousand times the one after it, relative to its own value, or where that is nothing to its
    dearest column: the program's numbers stay of a size that the solver's tolerances see.
    """
    grams = pose(replace(case, goal=replace(case.goal, objective="gco2e"))).program.cost
    ladder = (grams, posed.program.cost)
    dearest = [float(np.abs(rung).max(initial=0.0)) for rung in ladder]
    spent = [float(np.abs(rung) @ first) for rung in ladder]
    own = [value if value > NOTHING * top else top or 1.0 for value, top in zip(spent, dearest, strict=True)]
    cost = np.asarray(sum(1e3**k * rung / value for k, (rung, value) in enumerate(zip(ladder, own, strict=True))))
    most, whole, units = posed.program.most.copy(), posed.program.whole.copy(), posed.units
    cost[units], most[units], whole[units] = -1e3, np.rint(first[units]), False
    for waits in posed.moved:
        cost[waits] += 1e-3 * np.arange(waits.shape[1])
    score, load = case.options.score, case.demand.load[:, None, None]
    weighted = case.demand.weight[:, None] * score
    np.add.at(cost, posed.share, -1e-5 / case.demand.hours * load * weighted)
    np.add.at(cost, posed.later, -1e-5 / case.demand.hours * score[:, : posed.later.shape[2]])
    return replace(posed.program, cost=cost, most=most, whole=whole)


def read(case: ProgramCase, posed: PosedProgram, values: Floats, bound: float) -> Fleet:
    """The fleet that the columns' values are."""
    demand, load = case.demand, case.demand.load
    share, later = values[posed.share], values[posed.later]
    later_usd = (case.options.usd * demand.rate_per_s * 3600.0)[:, : later.shape[2]]
    bought = np.einsum("h,hco,co->h", load, share, case.usd_per_h) + np.einsum("hco,co->h", later, later_usd)
    total = {name: np.zeros(demand.hours) for name in OBJECTIVES}
    total["usd"] += bought
    units, calls, work, waited = {}, {}, {}, {}
    for model, serving in posed.serving.items():
        market, interactive = case.markets[model], serving.placed[0]
        units[model] = np.rint(values[serving.units]).astype(np.int64)
        sized = demand.rate_per_s * case.goal.demand * demand.sizing[:, None, None]
        calls[model] = np.maximum(values[interactive.columns], 0.0) * sized
        work[model] = values[serving.placed[2].columns]
        if serving.placed[1].columns.size:
            waited[model] = np.maximum(values[serving.placed[1].columns], 0.0) * demand.rate_per_s
        for name in OBJECTIVES:
            added = [values[placed.columns] * placed.costs(market, name) for placed in serving.placed]
            total[name] += (market.unit(name) * units[model]).sum(axis=1)
            total[name] += np.sum([part.sum(axis=(1, 2)) for part in added], axis=0)
    done = np.zeros((demand.hours, len(demand.works)))
    for k, columns in enumerate(posed.done):
        done[:, k] = values[columns].reshape(demand.hours, -1).sum(axis=1)
    share = np.rint(share) if case.has_whole_ways else np.where(share < SLACK, 0.0, share)
    answered = (share * load[:, None, None] * demand.weight[:, None]).sum(axis=0)
    return Fleet(
        share=share,
        later=later * demand.rate_per_s,
        units=units,
        calls_per_s=calls,
        done=done,
        work=work,
        moved=tuple(values[columns] for columns in posed.moved),
        chosen=values[posed.chosen],
        total=total,
        bought=bought,
        objective=float(total[case.goal.objective].sum()),
        bound=bound,
        solved=float((answered * case.options.score).sum() / max(float(answered.sum()), 1e-12)),
        waited=waited,
    )


def _join_hours(hours: Sequence[Fleet], case: ProgramCase) -> Fleet:
    """Fleets of one hour each, one after the other."""
    works = case.demand.works
    parts = [work.released / max(work.released.sum(), 1e-12) for work in works]
    released = np.array(parts).reshape(len(parts), len(hours)).T
    own = {m: [works.index(w) for w in works if w.name in market.works] for m, market in case.markets.items()}

    def joined(name: str) -> dict[int, Floats]:
        return {m: np.concatenate([getattr(hour, name)[m] for hour in hours]) for m in hours[0].units}

    return Fleet(
        share=np.concatenate([hour.share for hour in hours]),
        later=np.concatenate([hour.later for hour in hours]),
        units={m: units.astype(np.int64) for m, units in joined("units").items()},
        calls_per_s=joined("calls_per_s"),
        done=released,
        work={m: work * released[:, own[m], None] for m, work in joined("work").items()},
        moved=tuple(part[:, None] for part in parts),
        chosen=np.ones(len(parts)),
        total={name: np.concatenate([hour.total[name] for hour in hours]) for name in OBJECTIVES},
        bought=np.concatenate([hour.bought for hour in hours]),
        objective=sum(hour.objective for hour in hours),
        bound=sum(hour.bound for hour in hours),
        solved=float(np.average([hour.solved for hour in hours], weights=np.maximum(case.demand.load, 1e-12))),
    )
