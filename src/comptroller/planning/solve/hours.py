"""The cheapest day: units by the hour and by term, what may wait moved, over one table of candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.solve.mix import OPTIONS, MixedIntegerProgram, run
from comptroller.planning.solve.program_blocks import (
    Array,
    Caps,
    DeferrableLoad,
    Indices,
    LoadPlacement,
    Market,
    ProgramBuilder,
    UnitReserve,
    carry,
    deferral_columns,
    hold,
    settle_program,
    start_values,
    unit_columns,
)

OBJECTIVES = ("usd", "j", "gco2e")

LIMITED = {"usd": "budget", "j": "energy", "gco2e": "carbon"}
"""What the most of an objective over the day is called."""

SETTINGS: dict[str, bool | int | float] = {
    **OPTIONS,
    "mip_rel_gap": 5e-4,
    "mip_max_nodes": 100,
    "mip_heuristic_run_rins": True,
    "mip_heuristic_run_rens": True,
    "mip_heuristic_run_root_reduced_cost": True,
}
"""Settings for a day, whose hours are many alike: the heuristics find what the tree would take long to (measured)."""


@dataclass(frozen=True, slots=True)
class DayDemand:
    """A day: load by hour as a factor, work, objective, most dollars and grams a day, replicas in reserve.

    factor: by hour, how many times its interactive load it is sized for beyond what all hours are; once, if not given.
    """

    load: Array
    works: tuple[DeferrableLoad, ...] = ()
    objective: str = "usd"
    most: dict[str, float] = field(default_factory=dict)
    spare: int = 0
    factor: Array | None = None

    @property
    def raised(self) -> Array:
        """(h,): the factor of every hour."""
        return np.ones(len(self.load)) if self.factor is None else self.factor

    def hour(self, h: int) -> DayDemand:
        """One hour of it alone."""
        works = tuple(replace(work, released=work.released[[h]]) for work in self.works)
        return replace(self, load=self.load[[h]], works=works, factor=self.raised[[h]])

    @property
    def size(self) -> Array:
        """(h, 1 + works): the load of the hour, and requests per second if a day's work were done in an hour."""
        daily = [np.full(len(self.load), work.released.sum() / 3600.0) for work in self.works]
        return np.stack([self.load, *daily], axis=1)


@dataclass(frozen=True, slots=True)
class DayFleet:
    """A cheapest day. units: (h, j).  share: (h, j), of the hour's interactive load.  done: (h, works, j), of a day's
    work.  moved: by work, (h released, hours waited), shares of a day's work.  chosen: share of each work that
    is done.  total: usd, j and gco2e, by hour.  bound: no day of these columns costs less.
    """

    units: Indices
    share: Array
    done: Array
    moved: tuple[Array, ...]
    chosen: Array
    total: dict[str, Array]
    objective: float
    bound: float


@dataclass(frozen=True, slots=True)
class DayProgram:
    """A day's program with the numbers of its columns."""

    program: MixedIntegerProgram
    share: Indices
    done: Indices
    units: Indices
    moved: tuple[Indices, ...]
    chosen: Indices


def pose(market: Market, asked: DayDemand) -> DayProgram:
    """The program of a day.

    minimise sum_hj p_hj y_hj + sum_hj e_hj x_hj + sum_hkj e_hkj d_hkj
    serve    sum_j x_hj = 1 - sum_k s_k z_k
    carry    f_h l_j x_hj + sum_k w_kj d_hkj <= a_j y_hj                   (every matrix of loads)
    hold     f_h l_j x_hj <= y_hj - g_hj,  g_hj >= lost_j y_hj             (interrupted kinds)
    work     sum_j d_hkj = sum of what was moved to hour h,  which leaves its release within the window
    y_hj = y_j of columns rented for the day; y, g whole; d and z shares of a day's work; z = 1 if it saves nothing.
    """
    hours, rows = len(asked.load), market.load.shape[1]
    rent = ProgramBuilder()
    fits, size = market.fits, asked.size
    open_ = fits & ((np.arange(rows)[:, None] > 0) | (market.lost < 1))
    cost = np.where(fits, market.added(asked.objective), 0.0) * size[:, :, None]
    carried = rent.columns(cost, np.where(open_, 1.0, 0.0))
    share, done = carried[:, 0], carried[:, 1:]
    units = unit_columns(rent, market, asked.objective)
    chosen = rent.columns(np.zeros(rows - 1), 1.0)
    serve = rent.rows(1.0, 1.0, (hours, 1))
    rent.put(serve, share, 1.0)
    rent.put(serve, chosen, np.array([work.saves or 0.0 for work in asked.works]))
    sized = np.concatenate([size[:, :1] * asked.raised[:, None], size[:, 1:]], axis=1)
    carry(rent, market, units, [LoadPlacement(carried, sized, np.arange(rows))])
    hold(rent, market, units, LoadPlacement(carried[:, :1], sized[:, :1], np.arange(1)), UnitReserve(asked.spare))
    waits = tuple(deferral_columns(rent, work, done[:, k], chosen[k]) for k, work in enumerate(asked.works))
    for _, weights, most in market.caps:
        rent.put(rent.rows(-np.inf, most, (hours, 1)), units, weights)
    for name, most in asked.most.items():
        row = rent.rows(-np.inf, most, (1,))
        rent.put(row, units, market.unit(name))
        rent.put(row, carried, np.where(fits, market.added(name), 0.0) * size[:, :, None])
    return DayProgram(rent.program(), share, done, units, waits, chosen)


def cheapest(market: Market, asked: DayDemand, known: DayFleet | None = None) -> DayFleet:
    """The cheapest day of a market, within `SETTINGS`; no dearer than a known day whose units will do.

    Raises:
        InfeasibleError: a slice or a work that no column carries, or limits that leave no day; names which.
    """
    if len(asked.load) > 1 and _apart(market, asked):
        return _join_hours([_alone(market, asked, h) for h in range(len(asked.load))], asked)
    posed = pose(market, asked)
    start = start_values([known.units], [posed.units]) if known is not None else None
    highs = run(posed.program, SETTINGS, start)
    if not highs.getSolution().value_valid:
        raise InfeasibleError(_why(market, asked))
    bound = float(highs.getInfo().mip_dual_bound)
    first = np.array(highs.getSolution().col_value)
    units = np.rint(first[posed.units]).astype(np.int64)
    settled = run(_settle_loads(posed, market, asked, first), SETTINGS).getSolution()
    values = np.maximum(np.array(settled.col_value) if settled.value_valid else first, 0.0)
    share, done = values[posed.share], values[posed.done]
    carried = np.concatenate([share[:, None], done], axis=1)
    totals = {name: _total(market, asked, units, carried, name) for name in OBJECTIVES}
    return DayFleet(
        units=units,
        share=share,
        done=done,
        moved=tuple(values[each] for each in posed.moved),
        chosen=values[posed.chosen],
        total=totals,
        objective=float(totals[asked.objective].sum()),
        bound=bound,
    )


def _apart(market: Market, asked: DayDemand) -> bool:
    """Whether nothing joins the hours: no unit is rented for the day, no work waits or is chosen, no day is limited."""
    held = market.constant & market.fits.any(axis=0)
    joined = [work.window_h > 1 or work.saves is not None for work in asked.works]
    return not (held.any() or any(joined) or asked.most)


def _alone(market: Market, asked: DayDemand, h: int) -> DayFleet:
    return cheapest(replace(market, usd=market.usd[[h]], grid=market.grid[[h]]), asked.hour(h))


def _join_hours(hours: Sequence[DayFleet], asked: DayDemand) -> DayFleet:
    """Days of one hour each, one after the other."""
    parts = [work.released / max(work.released.sum(), 1e-12) for work in asked.works]
    of = np.array(parts).reshape(len(parts), len(hours)).T
    return DayFleet(
        units=np.concatenate([each.units for each in hours]),
        share=np.concatenate([each.share for each in hours]),
        done=np.concatenate([each.done for each in hours]) * of[:, :, None],
        moved=tuple(part[:, None] for part in parts),
        chosen=np.ones(len(parts)),
        total={name: np.concatenate([each.total[name] for each in hours]) for name in OBJECTIVES},
        objective=sum(each.objective for each in hours),
        bound=sum(each.bound for each in hours),
    )


def _settle_loads(posed: DayProgram, market: Market, asked: DayDemand, first: Array) -> MixedIntegerProgram:
    """The same units, with the loads placed to cost least, then to emit least, then to wait least."""
    grams = pose(market, replace(asked, objective="gco2e")).program.cost
    again = settle_program(posed.program, first, posed.units, (grams, posed.program.cost))
    for waits in posed.moved:
        again.cost[waits] += 1e-3 * np.arange(waits.shape[1])
    return again


def _total(market: Market, asked: DayDemand, units: Indices, carried: Array, name: str) -> Array:
    used = carried * asked.size[:, :, None]
    added = np.where(used > 0, market.added(name), 0.0) * used
    return np.asarray((market.unit(name) * units).sum(axis=1) + added.sum(axis=(1, 2)))


def _why(market: Market, asked: DayDemand) -> str:
    """What leaves no day: rows that nothing carries, else limits without which there is one."""
    fits = market.fits
    firm = np.concatenate([fits[:1] & (market.lost < 1), fits[1:]])
    names = ("the interactive load", *(work.name for work in asked.works))
    some = [bool(row.any()) for row in firm]
    stranded = [name for name, any_ in zip(names, some, strict=True) if not any_]
    if stranded:
        return f"nothing that is allowed, and outlasts an interruption, carries {', '.join(stranded)}"
    return binding_limits(asked, market.caps, lambda other, caps: cheapest(replace(market, caps=caps), other).objective)


def binding_limits(asked: DayDemand, caps: Caps, least: Callable[[DayDemand, Caps], float]) -> str:
    """Which limits leave no day: those without which there is one, with what would do.

    least: the objective of the cheapest day within other limits; raises Infeasible where there is none.
    """
    found = []
    for name, most in asked.most.items():
        others = {other: value for other, value in asked.most.items() if other != name}
        try:
            needs = least(replace(asked, objective=name, most=others), caps)
        except InfeasibleError:
            continue
        found.append(f"{LIMITED[name]} of the day (at most {most:.6g}, needs {needs:.6g})")
    for name, _, most in caps:
        try:
            least(asked, tuple(cap for cap in caps if cap[0] != name))
        except InfeasibleError:
            continue
        found.append(f"{name} (at most {most:g})")
    limits = [*(LIMITED[name] for name in asked.most), *(name for name, _, _ in caps)]
    return "the limits leave no day: " + ("; or ".join(found) or f"{', '.join(limits)} conflict")
