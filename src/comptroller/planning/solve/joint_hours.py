"""The cheapest day of questions: the program solved, its loads placed, and what leaves no day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.solve import hours
from comptroller.planning.solve.hours import OBJECTIVES, DayDemand, binding_limits
from comptroller.planning.solve.joint_program import SLACK
from comptroller.planning.solve.mix import MixedIntegerProgram, run
from comptroller.planning.solve.program import QuestionDayProgram, QuestionTraffic, pose
from comptroller.planning.solve.program_blocks import Array, Caps, Indices, settle_program, start_values

SETTINGS = {**hours.SETTINGS, "mip_rel_gap": 1e-3, "mip_max_nodes": 20}
"""Settings for a day of questions, whose nodes are dear: more of them took twice the time for 0.1 % (measured)."""

SCALE = {"usd": 1.0, "j": 3.6e6, "gco2e": 1e3}
"""What an objective is counted in while it is solved: dollars, kilowatt-hours and kilograms, whose size the solver's
tolerances are made for."""


@dataclass(frozen=True, slots=True)
class ModelDayFleet:
    """What a model rents in a day. units: (h, j).  calls: (h, buckets, j), interactive ones per second, as sized."""

    units: Indices
    calls: Array


@dataclass(frozen=True, slots=True)
class QuestionDayFleet:
    """A cheapest day.

    share: (h, classes, ways), of the hour's interactive questions.  later: (h, classes, ways), questions per second
    that waited.  fleets: by arm.  done: (h, works), shares of a day's work.  moved, chosen: as of a `Day`.  total: usd,
    j and gco2e by hour; what APIs take is in the dollars alone.  bought: dollars paid to APIs, by hour.
    bound: no day of these ways and columns costs less.
    """

    share: Array
    later: Array
    fleets: Mapping[int, ModelDayFleet]
    done: Array
    moved: tuple[Array, ...]
    chosen: Array
    total: dict[str, Array]
    bought: Array
    objective: float
    bound: float


def cheapest(traffic: QuestionTraffic, asked: DayDemand, known: QuestionDayFleet | None = None) -> QuestionDayFleet:
    """The cheapest day, within `SETTINGS`; no dearer than a known day whose units will do.

    Raises:
        InfeasibleError: targets that no way reaches, work that nothing carries, or limits that leave no day; names
        which.
    """
    if len(asked.load) > 1 and _apart(traffic, asked):
        return _join_hours([_alone(traffic, asked, h) for h in range(len(asked.load))], asked)
    posed = pose(traffic, asked)
    start = None
    if known is not None and known.fleets:
        units = [(known.fleets[arm].units, serving.units) for arm, serving in posed.arms.items()]
        start = start_values(*zip(*units, strict=True))
    whole, unit = posed.program.whole, SCALE[asked.objective]
    highs = run(replace(posed.program, cost=posed.program.cost / unit), SETTINGS, start)
    if not highs.getSolution().value_valid:
        raise InfeasibleError(_why(traffic, asked))
    info = highs.getInfo()
    bound = unit * float(info.mip_dual_bound if whole.any() else info.objective_function_value)
    first = np.array(highs.getSolution().col_value)
    again = run(_settle_program(posed, traffic, asked, first), SETTINGS).getSolution()
    values = np.array(again.col_value) if again.value_valid else first
    return _read(posed, traffic, asked, np.where(whole, np.rint(first), np.maximum(values, 0.0)), bound)


def least(traffic: QuestionTraffic, asked: DayDemand) -> tuple[float, QuestionDayProgram, Array]:
    """The cheapest day of fractional units, which no day undercuts: its objective, columns and values.

    Raises:
        InfeasibleError: as `cheapest`.
    """
    posed = pose(traffic, asked)
    cost = posed.program.cost / SCALE[asked.objective]
    highs = run(replace(posed.program, cost=cost, whole=np.zeros(len(cost), bool)), SETTINGS)
    if not highs.getSolution().value_valid:
        raise InfeasibleError(_why(traffic, asked))
    values = np.array(highs.getSolution().col_value)
    return float(posed.program.cost @ values), posed, values


def _settle_program(
    posed: QuestionDayProgram, traffic: QuestionTraffic, asked: DayDemand, first: Array
) -> MixedIntegerProgram:
    """The same units, with all else placed to cost least, then to emit least, to wait least, and to solve most."""
    units = np.concatenate([np.zeros(0, np.int64), *(each.units.ravel() for each in posed.arms.values())])
    grams = pose(traffic, replace(asked, objective="gco2e")).program.cost
    again = settle_program(posed.program, first, units, (grams, posed.program.cost))
    for waits in posed.moved:
        again.cost[waits] += 1e-3 * np.arange(waits.shape[1])
    for columns, load in ((posed.share, asked.load[:, None, None]), (posed.later, 1.0)):
        np.add.at(again.cost, columns, -1e-5 / len(asked.load) * load * traffic.score[:, : columns.shape[2]])
    return again


def _read(
    posed: QuestionDayProgram, traffic: QuestionTraffic, asked: DayDemand, values: Array, bound: float
) -> QuestionDayFleet:
    """The day that the columns' values are."""
    share, later = values[posed.share], values[posed.later]
    bought = np.einsum("h,hco,co->h", asked.load, share, traffic.usd_per_h)
    bought += np.einsum("hco,co->h", later, traffic.usd_per_h[:, : later.shape[2]])
    total = {name: np.zeros(len(asked.load)) for name in OBJECTIVES}
    total["usd"] += bought
    fleets = {}
    for arm, serving in posed.arms.items():
        market, units = traffic.arms[arm].market, np.rint(values[serving.units]).astype(np.int64)
        calls = values[serving.placed[0].columns] * traffic.rate_per_s * traffic.demand
        calls *= asked.raised[:, None, None]
        fleets[arm] = ModelDayFleet(units, calls)
        for name in OBJECTIVES:
            added = [values[placed.columns] * placed.costs(market, name) for placed in serving.placed]
            total[name] += (market.unit(name) * units).sum(axis=1)
            total[name] += np.sum([each.sum(axis=(1, 2)) for each in added], axis=0)
    done = np.zeros((len(asked.load), len(asked.works)))
    for k, columns in enumerate(posed.done):
        done[:, k] = values[columns].reshape(len(done), -1).sum(axis=1)
    return QuestionDayFleet(
        share=np.where(share < SLACK, 0.0, share),
        later=later * traffic.rate_per_s,
        fleets=fleets,
        done=done,
        moved=tuple(values[each] for each in posed.moved),
        chosen=values[posed.chosen],
        total=total,
        bought=bought,
        objective=float(total[asked.objective].sum()),
        bound=bound,
    )


def _apart(traffic: QuestionTraffic, asked: DayDemand) -> bool:
    """Whether nothing joins the hours."""
    held = [arm.market.constant & arm.market.fits.any(axis=0) for arm in traffic.arms.values()]
    joined = [work.window_h > 1 or work.saves is not None for work in asked.works]
    return not (traffic.held or any(joined) or asked.most or any(each.any() for each in held))


def _alone(traffic: QuestionTraffic, asked: DayDemand, h: int) -> QuestionDayFleet:
    arms = {
        number: replace(arm, market=replace(arm.market, usd=arm.market.usd[[h]], grid=arm.market.grid[[h]]))
        for number, arm in traffic.arms.items()
    }
    return cheapest(traffic.with_arms(arms), asked.hour(h))


def _join_hours(days: Sequence[QuestionDayFleet], asked: DayDemand) -> QuestionDayFleet:
    """Days of one hour each, one after the other."""
    parts = [work.released / max(work.released.sum(), 1e-12) for work in asked.works]
    fleets = {
        arm: ModelDayFleet(
            np.concatenate([each.fleets[arm].units for each in days]),
            np.concatenate([each.fleets[arm].calls for each in days]),
        )
        for arm in days[0].fleets
    }
    return QuestionDayFleet(
        share=np.concatenate([each.share for each in days]),
        later=np.concatenate([each.later for each in days]),
        fleets=fleets,
        done=np.array(parts).reshape(len(parts), len(days)).T,
        moved=tuple(part[:, None] for part in parts),
        chosen=np.ones(len(parts)),
        total={name: np.concatenate([each.total[name] for each in days]) for name in OBJECTIVES},
        bought=np.concatenate([each.bought for each in days]),
        objective=sum(each.objective for each in days),
        bound=sum(each.bound for each in days),
    )


def _why(traffic: QuestionTraffic, asked: DayDemand) -> str:
    """What leaves no day."""
    if beyond := "; ".join(_out_of_reach(traffic)):
        return beyond
    stranded = [
        work.name
        for work in asked.works
        for arm in traffic.arms.values()
        if work.name in arm.works and not arm.market.fits[arm.row(work.name)].any()
    ]
    if stranded:
        return f"nothing that is allowed carries {', '.join(stranded)}"
    some = next(iter(traffic.arms.values()), None)
    caps = some.market.caps if some else ()

    def objective(other: DayDemand, kept: Caps) -> float:
        return cheapest(_within(traffic, [name for name, _, _ in kept]), other).objective

    return binding_limits(asked, caps, objective)


def _within(traffic: QuestionTraffic, caps: Sequence[str]) -> QuestionTraffic:
    """The same within some of the caps only."""
    arms = {}
    for number, arm in traffic.arms.items():
        kept = tuple(cap for cap in arm.market.caps if cap[0] in caps)
        arms[number] = replace(arm, market=replace(arm.market, caps=kept))
    return traffic.with_arms(arms)


def _out_of_reach(traffic: QuestionTraffic) -> Iterator[str]:
    best = traffic.score.max(axis=1)
    for row, wanted in traffic.quality:
        reached = float(traffic.weight @ best if row is None else best[row])
        if reached < wanted - SLACK:
            yield f"solving {wanted:.1%} in every hour is out of reach; the best supported is {reached:.1%}"
