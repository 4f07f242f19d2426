"""The cheapest day: units by the hour and by term, what may wait moved, over one table of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csc_array

from comptroller.errors import Infeasible
from comptroller.planning.mix import OPTIONS, Program, run

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

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
    caps: tuple[tuple[str, Array, float], ...] = ()

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
class Work:
    """Work that may wait: requests released by hour, hours within which it is done, interactive share it saves."""

    name: str
    released: Array
    window_h: int
    saves: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A day: load by hour as a factor, work, objective, most dollars and grams a day, replicas in reserve."""

    load: Array
    works: tuple[Work, ...] = ()
    objective: str = "usd"
    most: dict[str, float] = field(default_factory=dict)
    spare: int = 0

    @property
    def size(self) -> Array:
        """(h, 1 + works): the load of the hour, and requests per second if a day's work were done in an hour."""
        daily = [np.full(len(self.load), work.released.sum() / 3600.0) for work in self.works]
        return np.stack([self.load, *daily], axis=1)


@dataclass(frozen=True, slots=True)
class Day:
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


class Rows:
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

    def program(self) -> Program:
        """The whole."""
        rows, columns, values = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        matrix = coo_array((values.astype(float), (rows, columns)), shape=(self._height, self._width))
        cost, most = (np.concatenate([c[n] for c in self._columns]) for n in (0, 1))
        lower, upper = (np.concatenate([b[n] for b in self._bounds]) for n in (0, 1))
        whole = np.concatenate([np.full(len(c[0]), c[2]) for c in self._columns])
        return Program(cost, csc_array(matrix), lower, upper, most, whole)


@dataclass(frozen=True, slots=True)
class Posed:
    """A day's program with the numbers of its columns."""

    program: Program
    share: Indices
    done: Indices
    units: Indices
    moved: tuple[Indices, ...]
    chosen: Indices


def pose(market: Market, asked: Asked) -> Posed:
    """The program of a day.

    minimise sum_hj p_hj y_hj + sum_hj e_hj x_hj + sum_hkj e_hkj d_hkj
    serve    sum_j x_hj = 1 - sum_k s_k z_k
    carry    f_h l_j x_hj + sum_k w_kj d_hkj <= a_j y_hj                   (every matrix of loads)
    hold     f_h l_j x_hj <= y_hj - g_hj,  g_hj >= lost_j y_hj             (interrupted kinds)
    work     sum_j d_hkj = sum of what was moved to hour h,  which leaves its release within the window
    y_hj = y_j of columns rented for the day; y, g whole; d and z shares of a day's work; z = 1 if it saves nothing.
    """
    hours, (_, rows, columns) = len(asked.load), market.load.shape
    rent = Rows()
    fits = np.isfinite(market.load).all(axis=0)
    load = np.where(fits, market.load, 0.0)
    size = asked.size
    open_ = fits & ((np.arange(rows)[:, None] > 0) | (market.lost < 1))
    cost = np.where(fits, market.added(asked.objective), 0.0) * size[:, :, None]
    carried = rent.columns(cost, np.where(open_, 1.0, 0.0))
    share, done = carried[:, 0], carried[:, 1:]
    units = _rented(rent, market, asked)
    chosen = rent.columns(np.zeros(rows - 1), 1.0)
    serve = rent.rows(1.0, 1.0, (hours, 1))
    rent.put(serve, share, 1.0)
    rent.put(serve, chosen, np.array([work.saves or 0.0 for work in asked.works]))
    for each in load:
        room = rent.rows(-np.inf, 0.0, (hours, columns))
        rent.put(room[:, None, :], carried, size[:, :, None] * each)
        rent.put(room, units, -market.standing)
    _hold(rent, market, asked, (share, units, load[:, 0]))
    moved = tuple(_moved(rent, work, done[:, k], chosen[k]) for k, work in enumerate(asked.works))
    for _, weights, most in market.caps:
        rent.put(rent.rows(-np.inf, most, (hours, 1)), units, weights)
    for name, most in asked.most.items():
        row = rent.rows(-np.inf, most, (1,))
        rent.put(row, units, market.unit(name))
        rent.put(row, carried, np.where(fits, market.added(name), 0.0) * size[:, :, None])
    return Posed(rent.program(), share, done, units, moved, chosen)


def _rented(rent: Rows, market: Market, asked: Asked) -> Indices:
    """Columns of units, (h, j): one for the whole day where it is constant."""
    price = market.unit(asked.objective)
    units = np.empty(price.shape, np.int64)
    units[:, ~market.constant] = rent.columns(price[:, ~market.constant], whole=True)
    units[:, market.constant] = rent.columns(price[:, market.constant].sum(axis=0), whole=True)
    return units


def _hold(rent: Rows, market: Market, asked: Asked, of: tuple[Indices, Indices, Array]) -> None:
    """Interactive load fits what is left after an interruption, and beside the replicas in reserve."""
    share, units, load = of
    risky = np.flatnonzero((market.lost < 1) & ((market.lost > 0) | (asked.spare > 0)))
    shape = (len(asked.load), len(risky))
    gone = rent.columns(np.zeros(shape), whole=True)
    lost = rent.rows(0.0, np.inf, shape)
    rent.put(lost, gone, 1.0)
    rent.put(lost, units[:, risky], -market.lost[risky])
    for each in load:
        room = rent.rows(-np.inf, 0.0, shape)
        rent.put(room, share[:, risky], asked.load[:, None] * each[risky])
        rent.put(room, units[:, risky], -1.0)
        rent.put(room, gone, 1.0)
    if asked.spare:
        used = rent.columns(np.zeros(shape), 1.0, whole=True)
        kept = rent.rows(0.0, np.inf, (2, *shape))
        rent.put(kept, used, np.array([-float(asked.spare), 1.0])[:, None, None])
        rent.put(kept[0], gone, 1.0)
        rent.put(kept[1], share[:, risky], -1.0)


def _moved(rent: Rows, work: Work, done: Indices, chosen: Indices) -> Indices:
    """Columns (h released, hours waited): all that is chosen leaves its hour of release within the window."""
    hours = len(work.released)
    moved = rent.columns(np.zeros((hours, min(work.window_h, hours))))
    leave, arrive = rent.rows(0.0, 0.0, (hours, 1)), rent.rows(0.0, 0.0, (hours, 1))
    rent.put(leave, moved, 1.0)
    rent.put(leave[:, 0], chosen, -work.released / max(work.released.sum(), 1e-12))
    rent.put(arrive[(np.arange(hours)[:, None] + np.arange(moved.shape[1])) % hours, 0], moved, 1.0)
    rent.put(arrive, done, -1.0)
    if work.saves is None:
        rent.put(rent.rows(1.0, 1.0, (1,)), chosen, 1.0)
    return moved


def cheapest(market: Market, asked: Asked, known: Day | None = None) -> Day:
    """The cheapest day of a market, within `SETTINGS`; no dearer than a known day whose units will do.

    Raises:
        Infeasible: a slice or a work that no column carries, or limits that leave no day; names which.
    """
    if len(asked.load) > 1 and _apart(market, asked):
        return _joined([_alone(market, asked, h) for h in range(len(asked.load))], asked)
    posed = pose(market, asked)
    start = None
    if known is not None:
        columns, place = np.unique(posed.units, return_index=True)
        start = (columns, known.units.ravel()[place].astype(float))
    highs = run(posed.program, SETTINGS, start)
    if not highs.getSolution().value_valid:
        raise Infeasible(_why(market, asked))
    bound = float(highs.getInfo().mip_dual_bound)
    first = np.array(highs.getSolution().col_value)
    units = np.rint(first[posed.units]).astype(np.int64)
    settled = run(_settled(posed, market, asked, first), SETTINGS).getSolution()
    values = np.maximum(np.array(settled.col_value) if settled.value_valid else first, 0.0)
    share, done = values[posed.share], values[posed.done]
    carried = np.concatenate([share[:, None], done], axis=1)
    totals = {name: _total(market, asked, units, carried, name) for name in OBJECTIVES}
    return Day(
        units=units,
        share=share,
        done=done,
        moved=tuple(values[each] for each in posed.moved),
        chosen=values[posed.chosen],
        total=totals,
        objective=float(totals[asked.objective].sum()),
        bound=bound,
    )


def _apart(market: Market, asked: Asked) -> bool:
    """Whether nothing joins the hours: no unit is rented for the day, no work waits or is chosen, no day is limited."""
    held = market.constant & np.isfinite(market.load).all(axis=0).any(axis=0)
    joined = [work.window_h > 1 or work.saves is not None for work in asked.works]
    return not (held.any() or any(joined) or asked.most)


def _alone(market: Market, asked: Asked, h: int) -> Day:
    hour = replace(market, usd=market.usd[[h]], grid=market.grid[[h]])
    works = tuple(replace(work, released=work.released[[h]]) for work in asked.works)
    return cheapest(hour, replace(asked, load=asked.load[[h]], works=works))


def _joined(hours: Sequence[Day], asked: Asked) -> Day:
    """Days of one hour each, one after the other."""
    parts = [work.released / max(work.released.sum(), 1e-12) for work in asked.works]
    of = np.array(parts).reshape(len(parts), len(hours)).T
    return Day(
        units=np.concatenate([each.units for each in hours]),
        share=np.concatenate([each.share for each in hours]),
        done=np.concatenate([each.done for each in hours]) * of[:, :, None],
        moved=tuple(part[:, None] for part in parts),
        chosen=np.ones(len(parts)),
        total={name: np.concatenate([each.total[name] for each in hours]) for name in OBJECTIVES},
        objective=sum(each.objective for each in hours),
        bound=sum(each.bound for each in hours),
    )


def _settled(posed: Posed, market: Market, asked: Asked, first: Array) -> Program:
    """The same units, with the loads placed to cost least, then to emit least, then to wait least."""
    program, grams = posed.program, pose(market, replace(asked, objective="gco2e")).program.cost
    cost = sum(1e3**k * each / max(float(each @ first), 1e-9) for k, each in enumerate((grams, program.cost)))
    cost, most, whole = np.asarray(cost), program.most.copy(), program.whole.copy()
    for moved in posed.moved:
        cost[moved] += 1e-3 * np.arange(moved.shape[1])
    cost[posed.units], most[posed.units], whole[posed.units] = -1e3, np.rint(first[posed.units]), False
    return replace(program, cost=cost, most=most, whole=whole)


def _total(market: Market, asked: Asked, units: Indices, carried: Array, name: str) -> Array:
    used = carried * asked.size[:, :, None]
    added = np.where(used > 0, market.added(name), 0.0) * used
    return np.asarray((market.unit(name) * units).sum(axis=1) + added.sum(axis=(1, 2)))


def _why(market: Market, asked: Asked) -> str:
    """What leaves no day: rows that nothing carries, else limits without which there is one."""
    fits: npt.NDArray[np.bool_] = np.asarray(np.isfinite(market.load).all(axis=0))
    firm = np.concatenate([fits[:1] & (market.lost < 1), fits[1:]])
    names = ("the interactive load", *(work.name for work in asked.works))
    some = [bool(row.any()) for row in firm]
    stranded = [name for name, any_ in zip(names, some, strict=True) if not any_]
    if stranded:
        return f"nothing that is allowed, and outlasts an interruption, carries {', '.join(stranded)}"
    found = []
    for name, most in asked.most.items():
        others = {other: value for other, value in asked.most.items() if other != name}
        try:
            least = cheapest(market, replace(asked, objective=name, most=others)).objective
        except Infeasible:
            continue
        found.append(f"{LIMITED[name]} of the day (at most {most:.6g}, needs {least:.6g})")
    for name, _, most in market.caps:
        others_ = tuple(cap for cap in market.caps if cap[0] != name)
        try:
            cheapest(replace(market, caps=others_), asked)
        except Infeasible:
            continue
        found.append(f"{name} (at most {most:g})")
    limits = [*(LIMITED[name] for name in asked.most), *(name for name, _, _ in market.caps)]
    return "the limits leave no day: " + ("; or ".join(found) or f"{', '.join(limits)} conflict")
