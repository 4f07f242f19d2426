"""What days are made of: markets by the hour, work that may wait, and the blocks of their programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csc_array

from comptroller.planning.solve.mix import MixedIntegerProgram

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Caps = tuple[tuple[str, Array, float], ...]
"""What may be limited in every hour: name, what a unit of each column takes of it, the most."""


@dataclass(frozen=True, slots=True)
class Market:
    """What can be rented: columns j over hours h. Its rows are the interactive load, and works k.

    load: (matrices, 1 + works, j), units of j that the load takes at factor 1, or one request per second of a work;
    inf where it cannot.  usd, grid: (h, j), dollars per unit and hour, gCO2e per joule.  idle_j: (j,), joules of a
    unit and hour.  added_j, added_usd: (1 + works, j), what such a load adds in an hour.  constant: rented for the
    whole day.  standing: share of the time that a unit stands.  lost: share of j's units that one interruption takes.
    caps: (names, weights (j,), most), held in every hour.
    """

    load: Array
    usd: Array
    grid: Array
    idle_j: Array
    added_j: Array
    added_usd: Array
    constant: npt.NDArray[np.bool_]
    standing: Array
    lost: Array
    caps: Caps = ()

    @property
    def fits(self) -> npt.NDArray[np.bool_]:
        """(1 + works, j): whether the load can run there."""
        return np.asarray(np.isfinite(self.load).all(axis=0))

    @property
    def finite(self) -> Array:
        """The loads, 0 where they cannot run."""
        return np.where(self.fits, self.load, 0.0)

    def only(self, which: npt.NDArray[np.bool_] | Indices) -> Market:
        """Some columns."""
        last = ("load", "usd", "grid", "idle_j", "added_j", "added_usd", "constant", "standing", "lost")
        caps = tuple((name, weights[which], most) for name, weights, most in self.caps)
        return replace(self, caps=caps, **{name: getattr(self, name)[..., which] for name in last})

    def unit(self, objective: str) -> Array:
        """(h, j): a unit and hour in the objective, while it stands."""
        each = {"usd": self.usd, "j": self.idle_j + 0 * self.usd, "gco2e": self.idle_j * self.grid}[objective]
        return np.asarray(each * self.standing)

    def added(self, objective: str) -> Array:
        """(h, 1 + works, j): what a load adds in an hour, in the objective."""
        if objective == "gco2e":
            return self.added_j * self.grid[:, None, :]
        each = {"usd": self.added_usd, "j": self.added_j}[objective]
        return np.broadcast_to(each, (len(self.usd), *each.shape))


@dataclass(frozen=True, slots=True)
class DeferrableLoad:
    """Work that may wait: requests released by hour, hours within which it is done, interactive share it saves."""

    name: str
    released: Array
    window_h: int
    saves: float | None = None


class ProgramBuilder:
    """A program written block by block: columns and rows are arrays of numbers, coefficients broadcast over them."""

    def __init__(self) -> None:
        self._columns: list[tuple[Array, Array, bool]] = []
        self._bounds: list[tuple[Array, Array]] = []
        self._parts: list[tuple[Indices, Indices, Array]] = []
        self._width = self._height = 0

    def columns(self, cost: Array, most: Array | float = np.inf, whole: bool = False) -> Indices:
        """New columns, in the shape of their cost."""
        found = self._width + np.arange(cost.size).reshape(cost.shape)
        self._columns.append((cost.ravel(), np.broadcast_to(most, cost.shape).ravel(), whole))
        self._width += cost.size
        return found

    def rows(self, lower: Array | float, upper: Array | float, shape: Sequence[int]) -> Indices:
        """New rows between two bounds."""
        size = int(np.prod(shape))
        self._bounds.append((np.broadcast_to(lower, shape).ravel(), np.broadcast_to(upper, shape).ravel()))
        self._height += size
        return self._height - size + np.arange(size).reshape(shape)

    def put(self, rows: Indices, columns: Indices, values: Array | float) -> None:
        """Coefficients; columns that a row has twice add up."""
        each = np.broadcast_arrays(rows, columns, values)
        kept = each[2].ravel() != 0
        self._parts.append(tuple(part.ravel()[kept] for part in each))

    def program(self) -> MixedIntegerProgram:
        """The whole."""
        rows, columns, values = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        matrix = coo_array((values.astype(float), (rows, columns)), shape=(self._height, self._width))
        cost, most = (np.concatenate([c[n] for c in self._columns]) for n in (0, 1))
        lower, upper = (np.concatenate([b[n] for b in self._bounds]) for n in (0, 1))
        whole = np.concatenate([np.full(len(c[0]), c[2]) for c in self._columns])
        return MixedIntegerProgram(cost, csc_array(matrix), lower, upper, most, whole)


@dataclass(frozen=True, slots=True)
class LoadPlacement:
    """Loads put on a market's columns j. columns: numbers of the program's columns, (h, loads, j).  amount: (h, loads),
    what one of each is of its load in the market.  rows: (loads,), rows of the market that they are.
    """

    columns: Indices
    amount: Array
    rows: Indices

    def taken(self, load: Array) -> Array:
        """(h, loads, j): units that one of each takes, by one matrix of loads."""
        return np.asarray(self.amount[:, :, None] * load[self.rows])

    def costs(self, market: Market, objective: str) -> Array:
        """(h, loads, j): what one of each adds to the objective; 0 where it cannot run."""
        fits = market.fits[self.rows]
        return np.where(fits, market.added(objective)[:, self.rows], 0.0) * self.amount[:, :, None]


def unit_columns(rent: ProgramBuilder, market: Market, objective: str) -> Indices:
    """Columns of units, (h, j): one for the whole day where it is constant."""
    price = market.unit(objective)
    units = np.empty(price.shape, np.int64)
    units[:, ~market.constant] = rent.columns(price[:, ~market.constant], whole=True)
    units[:, market.constant] = rent.columns(price[:, market.constant].sum(axis=0), whole=True)
    return units


def carry(rent: ProgramBuilder, market: Market, units: Indices, placed: Sequence[LoadPlacement]) -> None:
    """What is placed fits the units while they stand, by every matrix of loads."""
    for load in market.finite:
        room = rent.rows(-np.inf, 0.0, units.shape)
        for each in placed:
            rent.put(room[:, None, :], each.columns, each.taken(load))
        rent.put(room, units, -market.standing)


@dataclass(frozen=True, slots=True)
class UnitReserve:
    """Units kept in reserve for each column in use; most: what the loads placed on a column can come to."""

    units: int
    most: float = 1.0


def hold(rent: ProgramBuilder, market: Market, units: Indices, on: LoadPlacement, reserve: UnitReserve) -> None:
    """Interactive load fits what is left after an interruption, and beside the units in reserve."""
    risky = np.flatnonzero((market.lost < 1) & ((market.lost > 0) | (reserve.units > 0)))
    shape = (len(units), len(risky))
    gone = rent.columns(np.zeros(shape), whole=True)
    lost = rent.rows(0.0, np.inf, shape)
    rent.put(lost, gone, 1.0)
    rent.put(lost, units[:, risky], -market.lost[risky])
    for load in market.finite:
        room = rent.rows(-np.inf, 0.0, shape)
        rent.put(room[:, None, :], on.columns[:, :, risky], on.taken(load)[:, :, risky])
        rent.put(room, units[:, risky], -1.0)
        rent.put(room, gone, 1.0)
    if reserve.units:
        used = rent.columns(np.zeros(shape), 1.0, whole=True)
        kept = rent.rows(0.0, np.inf, (2, *shape))
        rent.put(kept, used, np.array([-float(reserve.units), reserve.most])[:, None, None])
        rent.put(kept[0], gone, 1.0)
        rent.put(kept[1][:, None, :], on.columns[:, :, risky], -1.0)


def deferral_columns(rent: ProgramBuilder, work: DeferrableLoad, done: Indices, chosen: Indices) -> Indices:
    """Columns (h released, hours waited): all that is chosen leaves its hour of release within the window.

    done: columns (h, ...), shares of the day's work done in each hour.  chosen: the column of the share done at all.
    """
    hours = len(work.released)
    found = rent.columns(np.zeros((hours, min(work.window_h, hours))))
    leave, arrive = rent.rows(0.0, 0.0, (hours, 1)), rent.rows(0.0, 0.0, (hours, 1))
    rent.put(leave, found, 1.0)
    rent.put(leave[:, 0], chosen, -work.released / max(work.released.sum(), 1e-12))
    rent.put(arrive[(np.arange(hours)[:, None] + np.arange(found.shape[1])) % hours, 0], found, 1.0)
    rent.put(arrive, done, -1.0)
    if work.saves is None:
        rent.put(rent.rows(1.0, 1.0, (1,)), chosen, 1.0)
    return found


def settle_program(
    program: MixedIntegerProgram, first: Array, units: Indices, ladder: Sequence[Array]
) -> MixedIntegerProgram:
    """The same units as in a first solution, with the loads placed anew.

    ladder: costs, from the least important; each counts a thousand times the one before, relative to its own value.
    """
    cost = np.asarray(sum(1e3**k * each / max(float(np.abs(each) @ first), 1e-9) for k, each in enumerate(ladder)))
    most, whole = program.most.copy(), program.whole.copy()
    cost[units], most[units], whole[units] = -1e3 * 1e3 ** (len(ladder) - 2), np.rint(first[units]), False
    return replace(program, cost=cost, most=most, whole=whole)


def start_values(known: Sequence[Indices], units: Sequence[Indices]) -> tuple[Indices, Array]:
    """Columns and values of the units of a known day, to start from."""
    columns, first = np.unique(np.concatenate([each.ravel() for each in units]), return_index=True)
    return columns, np.concatenate([each.ravel() for each in known])[first].astype(float)
