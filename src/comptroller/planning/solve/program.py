"""The program: options over classes, calls over deployments and units over hours, as rows and columns.

minimise  sum_hmj p_hmj u_hmj + sum_hmbj e_hmbj (y + v)_hmbj + L sum_hco a_co (f_h w_c x + d)_hco + works
ask       sum_o x_hco = 1 - sum_k s_k z_k,   sum_o d_hco = w_c sum_k r_k (what was moved to hour h)
solve     sum_co (q_co - Q) (f_h w_c x + d)_hco >= 0   over all classes, and over each that has a target, in every hour
serve     sum_j y_hmbj = f_h sum_co w_c n_comb x_hco,  sum_j v_hmbj = sum_co n_comb d_hco
carry     L sum_b l_mbj (t_h y + v)_hmbj + works <= a_j u_hmj             (every matrix of loads l)
hold      L sum_b l_mbj t_h y_hmbj <= u_hmj - g_hmj,  g_hmj >= lost_j u_hmj   (interrupted kinds, units in reserve)
limit     sum_mj k_mj u_hmj <= most, for every limit of an hour; day: the objectives summed over the hours <= most
kinds     u_hmj <= M k_hmj,  sum_mj k_hmj <= most kinds, where they are limited
ways      x_hco = x_h0o for every class c where all are answered alike; x whole where each has one way (of one hour)

x: share of class c (weight w, share solved q) in hour h that option o answers; d questions that waited, in parts of
the busiest rate L; f the load of the hour; n calls of model m in bucket b, a API dollars; y, v calls on deployment j,
in the same parts; l units per call a second; t the factor that interactive calls are sized with; u units, one number
for the day where they are rented all day; p, e what a unit and a call cost; z whether optional work k is done, which
saves s. One hour is a day of one hour; requests are one class with one option. (Melange, arXiv 2404.14527, for the
part of one class and option; splitting, limits, reserves, options and hours are added.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from comptroller.highs import MixedIntegerProgram
from comptroller.planning.ground.nouns import Floats, Ints, Market
from comptroller.planning.solve.blocks import LoadPlacement, UnitReserve, carry, deferral_columns, hold, unit_columns
from comptroller.planning.solve.case import ProgramCase
from comptroller.planning.solve.rows import ProgramBuilder, with_row

MOST_UNITS = 1e4
"""Most units of a kind where kinds are limited: one of them then opens a kind by 1e-4, a hundred times what the solver
takes for zero. Twice as many leave half of that."""


@dataclass(frozen=True, slots=True)
class ServingColumns:
    """The columns of a model. placed: interactive calls, those of questions that waited, and works, as paid for."""

    units: Ints
    placed: tuple[LoadPlacement, LoadPlacement, LoadPlacement]


@dataclass(frozen=True, slots=True)
class PosedProgram:
    """A program with the numbers of its columns; shapes as of a `Fleet`."""

    program: MixedIntegerProgram
    share: Ints
    later: Ints
    done: tuple[Ints, ...]
    moved: tuple[Ints, ...]
    chosen: Ints
    serving: Mapping[int, ServingColumns]

    @property
    def units(self) -> Ints:
        """Numbers of all columns that are units, each once."""
        parts = [serving.units.ravel() for serving in self.serving.values()]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))

    def start(self, units: Mapping[int, Ints]) -> tuple[Ints, Floats]:
        """Columns and values of given units, (h, j) by model, to begin a search from."""
        pairs = [(serving.units.ravel(), units[model].ravel()) for model, serving in self.serving.items()]
        columns, first = np.unique(np.concatenate([pair[0] for pair in pairs]), return_index=True)
        return columns, np.concatenate([pair[1] for pair in pairs])[first].astype(float)

    def fixed(self, units: Mapping[int, Ints] | Mapping[int, Floats]) -> MixedIntegerProgram:
        """The linear program of given units, (h, j) by model."""
        program = self.program
        least, most = np.zeros(len(program.cost)), program.most.copy()
        for model, serving in self.serving.items():
            least[serving.units] = most[serving.units] = units[model]
        return replace(program, least=least, most=most)


def pose(case: ProgramCase, stands: bool = False, below: float = np.inf) -> PosedProgram:
    """The program of a case.

    stands: with rows that whole units imply and parts of them do not, which close the tree of one hour sooner.
    below: the objective is to be no more than so much.
    """
    builder, demand = ProgramBuilder(), case.demand
    price = case.usd_per_h * (case.goal.objective == "usd")
    waiting = case.question_works
    share = _share_columns(builder, case, price)
    later_price = case.options.usd * demand.rate_per_s * 3600.0 * (case.goal.objective == "usd")
    later = builder.columns(np.tile(later_price[:, : later_price.shape[1] * bool(waiting)], (demand.hours, 1, 1)))
    chosen = builder.columns(np.zeros(len(demand.works)), 1.0)
    done = {k: builder.columns(np.zeros((demand.hours, 1))) for k in waiting}
    _ask(builder, case, (share, later, chosen), done)
    if case.goal.ways.same and share.shape[1] > 1:
        alike = builder.rows("ways", 0.0, 0.0, share[:, 1:].shape)
        builder.put(alike, share[:, 1:], 1.0)
        builder.put(alike, share[:, :1], -1.0)
    if case.has_whole_ways and waiting:
        most = demand.weight[:, None] * (demand.works_per_s[waiting].sum() / demand.rate_per_s)
        goes = builder.rows("wait as asked", -np.inf, 0.0, later.shape)
        builder.put(goes, later, 1.0)
        builder.put(goes, share, -np.broadcast_to(most, share.shape))
    serving = {}
    for model, market in case.markets.items():
        serving[model] = columns = _serve(builder, case, model, (share, later))
        if stands:
            _stand(builder, case.options.calls[model], share, columns.units)
        of_model = [k for k, work in enumerate(demand.works) if work.name in market.works]
        done |= {k: columns.placed[2].columns[:, place] for place, k in enumerate(of_model)}
    moved = tuple(deferral_columns(builder, work, done[k], chosen[k]) for k, work in enumerate(demand.works))
    _limit(builder, case, (share, later), serving)
    _limit_kinds(builder, case, serving)
    program = builder.program()
    if np.isfinite(below):
        program = with_row(program, "below", program.cost, below)
    every_work = tuple(done[k] for k in range(len(demand.works)))
    return PosedProgram(program, share, later, every_work, moved, chosen, serving)


def _share_columns(builder: ProgramBuilder, case: ProgramCase, price: Floats) -> Ints:
    """Columns of the interactive questions, (h, classes, options): one for the whole day where shares are all day's."""
    options, load = case.options, case.demand.load
    most = np.full(price.shape, np.inf) if options.most is None else options.most
    if options.shut is not None:
        most = np.where(options.shut, 0.0, most)
    if options.all_day:
        columns = builder.columns(price * load.sum(), most, whole=case.has_whole_ways)
        return np.broadcast_to(columns, (len(load), *price.shape))
    most = np.broadcast_to(most, (len(load), *price.shape))
    return builder.columns(load[:, None, None] * price, most, whole=case.has_whole_ways)


def _ask(
    builder: ProgramBuilder, case: ProgramCase, columns: tuple[Ints, Ints, Ints], done: Mapping[int, Ints]
) -> None:
    """Every question is answered, and enough of each hour's are solved."""
    share, later, chosen = columns
    demand, weight, score = case.demand, case.demand.weight, case.options.score
    ask = builder.rows("ask", 1.0, 1.0, share.shape[:2])[:, :, None]
    builder.put(ask, share, 1.0)
    builder.put(ask, chosen, np.array([work.saves or 0.0 for work in demand.works]))
    if done:
        wait = builder.rows("wait", 0.0, 0.0, share.shape[:2])
        builder.put(wait[:, :, None], later, 1.0)
        for k, columns_k in done.items():
            builder.put(wait, columns_k, -weight * demand.works_per_s[k] / demand.rate_per_s)
    for number, least in case.quality:
        some = slice(None) if number is None else slice(number, number + 1)
        solve = builder.rows("solve", 0.0, np.inf, (share.shape[0], 1, 1))
        above = score[some] - least
        builder.put(solve, share[:, some], demand.load[:, None, None] * weight[some, None] * above)
        builder.put(solve, later[:, some], above[:, : later.shape[2]])


def _serve(builder: ProgramBuilder, case: ProgramCase, model: int, columns: tuple[Ints, Ints]) -> ServingColumns:
    """Calls and works of a model on its market's deployments, and the units that carry them."""
    share, later = columns
    demand, market, objective = case.demand, case.markets[model], case.goal.objective
    calls = case.options.calls[model].transpose(2, 0, 1)
    works = [k for k, work in enumerate(demand.works) if work.name in market.works]
    buckets, rate = np.arange(market.buckets), np.full((demand.hours, market.buckets), demand.rate_per_s)
    work_rows = np.array([market.row(demand.works[k].name) for k in works], np.int64)
    work_rate = np.tile(demand.works_per_s[works], (demand.hours, 1))
    placed = (
        _place(builder, market, objective, (rate, buckets), interactive=True),
        _place(builder, market, objective, (rate, buckets[: market.buckets * bool(later.size)])),
        _place(builder, market, objective, (work_rate, work_rows)),
    )
    units = unit_columns(builder, market, objective)
    weighted = demand.weight[None, :, None] * calls
    waited = calls[:, :, : later.shape[2]]
    by_hour = np.broadcast_to(waited, (demand.hours, *waited.shape))
    interactive = demand.load[:, None, None, None] * weighted
    for placement, asks, values in ((placed[0], share, interactive), (placed[1], later, by_hour)):
        if asks.size:
            serve = builder.rows("serve", 0.0, 0.0, (demand.hours, market.buckets))
            builder.put(serve[:, :, None], placement.columns, 1.0)
            builder.put(serve[:, :, None, None], asks[:, None], -values)
    sized = replace(placed[0], amount=placed[0].amount * case.goal.demand * demand.sizing[:, None])
    carry(builder, market, units, (sized, *placed[1:]))
    most = float(calls.sum(axis=0).max(initial=0.0) * demand.load.max())
    hold(builder, market, units, sized, UnitReserve(case.goal.spare, most))
    return ServingColumns(units, placed)


def _place(
    builder: ProgramBuilder, market: Market, objective: str, what: tuple[Floats, Ints], interactive: bool = False
) -> LoadPlacement:
    """New columns for loads, (h, loads, j); interactive ones only on what may outlast an interruption.

    what: amounts (h, loads), and loads of the market.
    """
    amount, rows = what
    opened = market.fits[rows] & ((market.lost < 1) | (not interactive))
    bare = LoadPlacement(np.zeros(0, np.int64), amount[:, : len(rows)], rows)
    columns = builder.columns(bare.costs(market, objective), np.where(opened, np.inf, 0.0))
    return replace(bare, columns=columns)


def _stand(builder: ProgramBuilder, calls: Floats, share: Ints, units: Ints) -> None:
    """No question of a class goes to a model without a unit: implied by whole units, and not by parts of them."""
    for number, users in enumerate(calls.sum(axis=2) > 0):
        if users.any():
            rows = builder.rows("stand", -np.inf, 0.0, (share.shape[0], 1))
            builder.put(rows, share[:, number, users], 1.0)
            builder.put(rows, units, -1.0)


def _limit(
    builder: ProgramBuilder, case: ProgramCase, columns: tuple[Ints, Ints], serving: Mapping[int, ServingColumns]
) -> None:
    """Limits of every hour, and of the day; what is paid to APIs counts as dollars."""
    share, later = columns
    load, paid = case.demand.load[:, None, None], case.usd_per_h
    later_paid = (case.options.usd * case.demand.rate_per_s * 3600.0)[:, : later.shape[2]]
    for name, most in case.goal.limits:
        rows = builder.rows(f"limit {name}", -np.inf, most, (case.demand.hours, 1))
        for model, columns_of in serving.items():
            builder.put(rows, columns_of.units, case.markets[model].takes[name])
        if name == "budget":
            builder.put(rows[:, :, None], share, load * paid)
            builder.put(rows[:, :, None], later, later_paid)
    for name, most in case.goal.over_day:
        row = builder.rows(f"day {name}", -np.inf, most, (1,))
        for model, columns_of in serving.items():
            market = case.markets[model]
            builder.put(row, columns_of.units, market.unit(name))
            for placement in columns_of.placed:
                builder.put(row, placement.columns, placement.costs(market, name))
        if name == "usd":
            builder.put(row, share, load * paid)
            builder.put(row, later, later_paid)


def _limit_kinds(builder: ProgramBuilder, case: ProgramCase, serving: Mapping[int, ServingColumns]) -> None:
    """No more kinds of deployments in an hour than the goal allows."""
    if case.goal.most_kinds is None:
        return
    kinds = builder.rows("kinds", -np.inf, float(case.goal.most_kinds), (case.demand.hours, 1))
    for columns in serving.values():
        used = builder.columns(np.zeros(columns.units.shape), 1.0, whole=True)
        opened = builder.rows("open", -np.inf, 0.0, columns.units.shape)
        builder.put(opened, columns.units, 1.0)
        builder.put(opened, used, -MOST_UNITS)
        builder.put(kinds, used, 1.0)
