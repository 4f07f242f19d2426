"""The program of a day of questions: strategies, routes and units for every hour, questions that may wait moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from comptroller.planning.solve.hours import DayDemand
from comptroller.planning.solve.mix import MixedIntegerProgram
from comptroller.planning.solve.program_blocks import (
    Array,
    Indices,
    LoadPlacement,
    Market,
    ProgramBuilder,
    UnitReserve,
    carry,
    deferral_columns,
    hold,
    unit_columns,
)


@dataclass(frozen=True, slots=True)
class ModelMarket:
    """What own devices may serve of a model. calls: (classes, ways, buckets) of a question.

    market: its first loads are one call a second of each bucket, the others one request a second of each of `works`,
    by name.
    """

    market: Market
    calls: Array
    works: tuple[str, ...] = ()

    @property
    def buckets(self) -> int:
        """How many kinds of calls there are."""
        return int(self.calls.shape[2])

    def row(self, work: str) -> int:
        """The load of the market that a work is."""
        return self.buckets + self.works.index(work)


@dataclass(frozen=True, slots=True)
class QuestionTraffic:
    """Questions and who may answer them.

    rate_per_s: in the busiest hour.  demand: factor that interactive calls are sized with.  weight: of classes.  score,
    usd: (classes, ways), share solved and API dollars of a question.  quality: (class, or None for all, least share),
    in every hour.  arms: own devices.  held: the shares of the ways are the same in every hour.
    most: (classes, ways), upper bounds on the shares of the interactive questions.
    """

    rate_per_s: float
    demand: float
    weight: Array
    score: Array
    usd: Array
    quality: tuple[tuple[int | None, float], ...]
    arms: Mapping[int, ModelMarket]
    held: bool = False
    most: Array | None = None

    def with_arms(self, arms: Mapping[int, ModelMarket]) -> QuestionTraffic:
        """The same questions on other devices."""
        return replace(self, arms=arms)

    @property
    def usd_per_h(self) -> Array:
        """(classes, ways): dollars an hour paid to APIs if all questions at the busiest rate went that way."""
        return np.asarray(self.usd * self.rate_per_s * 3600.0)

    def questions(self, asked: DayDemand) -> list[int]:
        """Numbers of the works that are questions."""
        of_arms = {name for arm in self.arms.values() for name in arm.works}
        return [k for k, work in enumerate(asked.works) if work.name not in of_arms]


@dataclass(frozen=True, slots=True)
class ServingColumns:
    """The columns of an arm. placed: interactive calls, those of questions that waited, and works, as paid for."""

    units: Indices
    placed: tuple[LoadPlacement, LoadPlacement, LoadPlacement]


@dataclass(frozen=True, slots=True)
class QuestionDayProgram:
    """A day's program with the numbers of its columns."""

    program: MixedIntegerProgram
    share: Indices
    later: Indices
    done: tuple[Indices, ...]
    moved: tuple[Indices, ...]
    chosen: Indices
    arms: Mapping[int, ServingColumns]


def pose(traffic: QuestionTraffic, asked: DayDemand) -> QuestionDayProgram:
    """The program of a day.

    minimise sum_haj p_haj u_haj + sum_habj e_habj (y + v)_habj + L sum_hco a_co (f_h x + d)_hco + works
    ask      sum_o x_hco = w_c (1 - sum_k s_k z_k),   sum_o d_hco = w_c sum_k r_k (what was moved to hour h)
    solve    sum_co (q_co - Q) (f_h x + d)_hco >= 0   over all classes, and of each that has a target, in every hour
    serve    sum_j y_habj = f_h sum_co n_coab x_hco,   sum_j v_habj = sum_co n_coab d_hco
    carry    L sum_b l_abj (t y + v)_habj + works <= a_j u_haj                 (every matrix of loads)
    hold     L sum_b l_abj t y_habj <= u_haj - g_haj,  g_haj >= lost_j u_haj   (interrupted kinds, units in reserve)

    x: share of the hour's questions of class c (weight w, pass rate q) that goes way o; d questions that waited, in
    parts of the busiest rate L; n calls of arm a in bucket b, a API dollars; y, v calls on column j, in the same parts;
    l units per call a second; t the factor of sizing; u units, one number for the day where they are constant.
    """
    rent = ProgramBuilder()
    price = traffic.usd_per_h * (asked.objective == "usd")
    waiting = traffic.questions(asked)
    share = _shares(rent, asked.load, price, traffic)
    later = rent.columns(np.tile(price[:, : price.shape[1] * bool(waiting)], (len(asked.load), 1, 1)))
    chosen = rent.columns(np.zeros(len(asked.works)), 1.0)
    done = {k: rent.columns(np.zeros((len(asked.load), 1))) for k in waiting}
    _ask(rent, traffic, asked, (share, later, chosen), done)
    arms = {}
    for number, arm in traffic.arms.items():
        arms[number] = serving = _serve(rent, traffic, asked, arm, (share, later))
        mine = [k for k, work in enumerate(asked.works) if work.name in arm.works]
        done |= {k: serving.placed[2].columns[:, place] for place, k in enumerate(mine)}
    waits = tuple(deferral_columns(rent, work, done[k], chosen[k]) for k, work in enumerate(asked.works))
    _limit(rent, traffic, asked, (share, later), arms)
    each = tuple(done[k] for k in range(len(asked.works)))
    return QuestionDayProgram(rent.program(), share, later, each, waits, chosen, arms)


def _shares(rent: ProgramBuilder, load: Array, price: Array, traffic: QuestionTraffic) -> Indices:
    """Columns of the interactive questions, (h, classes, ways): one for the whole day where they are held."""
    most = np.full(price.shape, np.inf) if traffic.most is None else traffic.most
    if traffic.held:
        return np.broadcast_to(rent.columns(price * load.sum(), most), (len(load), *price.shape))
    return rent.columns(load[:, None, None] * price, most)


def _ask(
    rent: ProgramBuilder,
    traffic: QuestionTraffic,
    asked: DayDemand,
    columns: tuple[Indices, Indices, Indices],
    done: Mapping[int, Indices],
) -> None:
    """Every question is answered, and enough of each hour's are solved."""
    share, later, chosen = columns
    shape, weight = share.shape[:2], traffic.weight
    ask = rent.rows(weight, weight, shape)[:, :, None]
    rent.put(ask, share, 1.0)
    rent.put(ask, chosen, weight[:, None] * np.array([work.saves or 0.0 for work in asked.works]))
    if done:
        wait = rent.rows(0.0, 0.0, shape)
        rent.put(wait[:, :, None], later, 1.0)
        for k, each in done.items():
            rent.put(wait, each, -weight * asked.size[0, 1 + k] / traffic.rate_per_s)
    for row, least in traffic.quality:
        of = slice(None) if row is None else slice(row, row + 1)
        solve = rent.rows(0.0, np.inf, (shape[0], 1, 1))
        above = traffic.score[of] - least
        rent.put(solve, share[:, of], asked.load[:, None, None] * above)
        rent.put(solve, later[:, of], above[:, : later.shape[2]])


def _serve(
    rent: ProgramBuilder, traffic: QuestionTraffic, asked: DayDemand, arm: ModelMarket, columns: tuple[Indices, Indices]
) -> ServingColumns:
    """Calls and works of an arm on its market's columns, and the units that carry them."""
    share, later = columns
    market, hours, calls = arm.market, len(asked.load), arm.calls.transpose(2, 0, 1)
    buckets, works = np.arange(arm.buckets), [k for k, w in enumerate(asked.works) if w.name in arm.works]
    rows = np.array([arm.row(asked.works[k].name) for k in works], np.int64)
    rate = np.full((hours, arm.buckets), traffic.rate_per_s)
    each = (
        _place_loads(rent, market, asked.objective, (rate, buckets), interactive=True),
        _place_loads(rent, market, asked.objective, (rate, buckets[: arm.buckets * bool(later.size)])),
        _place_loads(rent, market, asked.objective, (asked.size[:, 1:][:, works], rows)),
    )
    units = unit_columns(rent, market, asked.objective)
    for placed, asks, factor in zip(each, (share, later), (asked.load, np.ones(hours)), strict=False):
        if asks.size:
            serve = rent.rows(0.0, 0.0, (hours, arm.buckets))
            rent.put(serve[:, :, None], placed.columns, 1.0)
            rent.put(serve[:, :, None, None], asks[:, None], -factor[:, None, None, None] * calls)
    sized = replace(each[0], amount=each[0].amount * traffic.demand * asked.raised[:, None])
    carry(rent, market, units, (sized, *each[1:]))
    top = float(arm.calls.sum(axis=2).max(initial=0.0) * asked.load.max())
    hold(rent, market, units, sized, UnitReserve(asked.spare, top))
    return ServingColumns(units, each)


def _place_loads(
    rent: ProgramBuilder, market: Market, objective: str, what: tuple[Array, Indices], interactive: bool = False
) -> LoadPlacement:
    """New columns for loads, (h, loads, j); interactive ones only on what may outlast an interruption.

    what: amounts (h, loads), and rows of the market.
    """
    amount, rows = what
    open_ = market.fits[rows] & ((market.lost < 1) | (not interactive))
    bare = LoadPlacement(np.zeros(0, np.int64), amount[:, : len(rows)], rows)
    columns = rent.columns(bare.costs(market, objective), np.where(open_, np.inf, 0.0))
    return replace(bare, columns=columns)


def _limit(
    rent: ProgramBuilder,
    traffic: QuestionTraffic,
    asked: DayDemand,
    columns: tuple[Indices, Indices],
    arms: Mapping[int, ServingColumns],
) -> None:
    """Caps in every hour, and the most of the day."""
    share, later = columns
    for number, (_, most) in enumerate(_caps(traffic)):
        row = rent.rows(-np.inf, most, (len(asked.load), 1))
        for arm, serving in arms.items():
            rent.put(row, serving.units, traffic.arms[arm].market.caps[number][1])
    for name, most in asked.most.items():
        row = rent.rows(-np.inf, most, (1,))
        for arm, serving in arms.items():
            market = traffic.arms[arm].market
            rent.put(row, serving.units, market.unit(name))
            for placed in serving.placed:
                rent.put(row, placed.columns, placed.costs(market, name))
        if name == "usd":
            rent.put(row, share, asked.load[:, None, None] * traffic.usd_per_h)
            rent.put(row, later, traffic.usd_per_h[:, : later.shape[2]])


def _caps(traffic: QuestionTraffic) -> list[tuple[str, float]]:
    """Names and most of what is limited in every hour, the same for all arms."""
    return [(name, most) for arm in list(traffic.arms.values())[:1] for name, _, most in arm.market.caps]
