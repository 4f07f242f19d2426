"""Blocks of the program: units, loads that they carry, units in reserve, and work that waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.planning.ground.nouns import DeferrableLoad, Floats, Ints, Market
from comptroller.planning.solve.rows import ProgramBuilder


@dataclass(frozen=True, slots=True)
class LoadPlacement:
    """Loads put on a market's deployments j. columns: numbers of the program's columns, (h, loads, j).  amount:
    (h, loads), what one of each is of its load in the market.  rows: (loads,), loads of the market that they are.
    """

    columns: Ints
    amount: Floats
    rows: Ints

    def taken(self, load: Floats) -> Floats:
        """(h, loads, j): units that one of each takes, by one matrix of loads."""
        return np.asarray(self.amount[:, :, None] * load[self.rows])

    def costs(self, market: Market, objective: str) -> Floats:
        """(h, loads, j): what one of each adds to the objective; 0 where it cannot run."""
        fits = market.fits[self.rows]
        return np.where(fits, market.added(objective)[:, self.rows], 0.0) * self.amount[:, :, None]


@dataclass(frozen=True, slots=True)
class UnitReserve:
    """Units kept in reserve for each deployment in use; most: what the loads placed on one can come to."""

    units: int
    most: float = 1.0


def unit_columns(builder: ProgramBuilder, market: Market, objective: str) -> Ints:
    """Columns of units, (h, j): one for the whole day where it is rented all day."""
    price, all_day = market.unit(objective), market.all_day
    units = np.empty(price.shape, np.int64)
    units[:, ~all_day] = builder.columns(price[:, ~all_day], whole=True)
    units[:, all_day] = builder.columns(price[:, all_day].sum(axis=0), whole=True)
    return units


def carry(builder: ProgramBuilder, market: Market, units: Ints, placements: Sequence[LoadPlacement]) -> None:
    """What is placed fits the units while they stand, by every matrix of loads."""
    for load in market.finite:
        room = builder.rows("carry", -np.inf, 0.0, units.shape)
        for placement in placements:
            builder.put(room[:, None, :], placement.columns, placement.taken(load))
        builder.put(room, units, -market.standing)


def hold(builder: ProgramBuilder, market: Market, units: Ints, on: LoadPlacement, reserve: UnitReserve) -> None:
    """Interactive load fits what is left after an interruption, and beside the units in reserve."""
    risky = np.flatnonzero((market.lost < 1) & ((market.lost > 0) | (reserve.units > 0)))
    if not len(risky):
        return
    shape = (len(units), len(risky))
    interrupted = bool((market.lost[risky] > 0).any())
    used = builder.columns(np.zeros(shape), 1.0, whole=True) if reserve.units else np.zeros(0, np.int64)
    if interrupted:
        gone, share = builder.columns(np.zeros(shape), whole=True), 1.0
        lost = builder.rows("hold", 0.0, np.inf, shape)
        builder.put(lost, gone, 1.0)
        builder.put(lost, units[:, risky], -market.lost[risky])
    else:
        gone, share = used, float(reserve.units)
    for load in market.finite:
        room = builder.rows("hold", -np.inf, 0.0, shape)
        builder.put(room[:, None, :], on.columns[:, :, risky], on.taken(load)[:, :, risky])
        builder.put(room, units[:, risky], -1.0)
        builder.put(room, gone, share)
    if reserve.units:
        opened = builder.rows("hold", 0.0, np.inf, shape)
        builder.put(opened, used, reserve.most)
        builder.put(opened[:, None, :], on.columns[:, :, risky], -1.0)
        if interrupted:
            kept = builder.rows("hold", 0.0, np.inf, shape)
            builder.put(kept, used, -float(reserve.units))
            builder.put(kept, gone, 1.0)


def deferral_columns(builder: ProgramBuilder, work: DeferrableLoad, done: Ints, chosen: Ints) -> Ints:
    """Columns (h released, hours waited): all that is chosen leaves its hour of release within the window.

    done: columns (h, ...), shares of the day's work done in each hour.  chosen: the column of the share done at all.
    """
    hours = len(work.released)
    moved = builder.columns(np.zeros((hours, min(work.window_h, hours))))
    leave = builder.rows("work", 0.0, 0.0, (hours, 1))
    arrive = builder.rows("work", 0.0, 0.0, (hours, 1))
    builder.put(leave, moved, 1.0)
    builder.put(leave[:, 0], chosen, -work.released / max(work.released.sum(), 1e-12))
    builder.put(arrive[(np.arange(hours)[:, None] + np.arange(moved.shape[1])) % hours, 0], moved, 1.0)
    builder.put(arrive, done, -1.0)
    if work.saves is None:
        builder.put(builder.rows("work", 1.0, 1.0, (1,)), chosen, 1.0)
    return moved
