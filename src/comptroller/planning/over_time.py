"""`plan --over-time`: the fleet that a trace begins with, who scales it and how full, and what of it is spot or slowed.

The trace is cut into parts; all choices are played on the same parts (common random numbers), one part after the other.
A choice that does not hold the share of calls in a part is out, and so is one that is so much dearer than the cheapest
still standing that no part left could make up for it (racing). Where there are zones or rows, the cheapest of the first
race are raced again with shares of spot and policies of power. The last part is kept from the choice: what the winner
and the best fixed fleets come to there is told beside it, with the interval of what is saved.

A choice that held in each of k parts holds in a further one, if parts are alike, with odds of k / (k + 1): the worst of
k + 1 parts is as likely to be any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InfeasibleError, InputError
from comptroller.facts.grid import GridOnClock
from comptroller.planning.ground.over_time_document import FleetSaving
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.over_time_play import FIXED, OverTimeStage, PlayedPart, TracePart
from comptroller.planning.over_time_saving import BLOCKS, blocks_of, saving
from comptroller.planning.over_time_surroundings import rows_of_plan, spot_market
from comptroller.planning.over_time_trial import FILLS, FleetPolicyTrial, OverTimeSurroundings, OverTimeWish
from comptroller.planning.scaled_simulation import ScalingConditions, ScalingStage, scaling_stage
from comptroller.planning.spot_simulation import ReplicaPrices
from comptroller.work.trace import RequestTrace

HOPELESS = 1.5
"""Times the cost of the cheapest still standing, over the parts so far, at which a choice is given up."""

LEAST_CALLS = 100
"""Calls that a part needs for a share of them to say anything: one in a hundred is one per cent."""

FINALISTS = 3
"""Choices of the first race that are raced again with spot or power, and as many fixed fleets: a fourth was never
within the hopeless bound of the best with spot where it was tried."""


@dataclass(frozen=True, eq=False)
class FleetOverTime:
    """The choice for a trace. trials: every choice, with why it lost; fixed, fixed_aided: the best fleet that is not
    scaled, without and with spot or power; kept, fixed_kept, fixed_aided_kept: they on the part that none was chosen
    on.  odds: that a further part like those is held.  drawn: the winner and the best fixed fleets on that part, by
    name.  prices: of a replica, where there are zones.  grid: whose hours emit, empty for the mean of the site.
    grid_note: what was taken for granted in reading them.
    """

    plan: Plan
    wish: OverTimeWish
    trace: str
    start_up_s: float
    trials: tuple[FleetPolicyTrial, ...]
    winner: FleetPolicyTrial
    fixed: FleetPolicyTrial | None
    kept: FleetPolicyTrial
    fixed_kept: FleetPolicyTrial | None
    fixed_aided: FleetPolicyTrial | None
    fixed_aided_kept: FleetPolicyTrial | None
    savings: tuple[FleetSaving, ...]
    drawn: tuple[tuple[str, PlayedPart], ...]
    prices: ReplicaPrices | None = None
    grid: str = ""
    grid_note: str = ""

    @property
    def odds(self) -> float:
        """That a further part, like those that were seen, is held."""
        return (self.wish.parts - 1) / self.wish.parts

    @property
    def runner_up(self) -> FleetPolicyTrial | None:
        """The second: of those that held in every part, the cheapest but the winner."""
        seen = self.wish.parts - 1
        held = [one for one in self.trials if one is not self.winner and len(one.played) == seen]
        held = [one for one in held if min(one.shares) >= self.wish.share and not one.over_s]
        return min(held, key=lambda one: one.spent, default=None)

    @property
    def saved(self) -> float:
        """Share of the best fixed fleet's cost that the winner does without, on the part that nobody saw."""
        return 1 - self.kept.spent / self.fixed_kept.spent if self.fixed_kept else float("nan")


def fleet_over_time(
    plan: Plan,
    trace: RequestTrace,
    wish: OverTimeWish,
    conditions: ScalingConditions,
    calibration: TimingCalibration | None = None,
    around: OverTimeSurroundings | None = None,
) -> FleetOverTime:
    """The cheapest fleet and policy that hold the share of a trace's calls in every part but the last.

    Raises:
        InputError: a part with too few calls, too many calls longer than the plan's deployment takes, or zones or a
            grid whose record is shorter than the trace.
        InfeasibleError: no choice holds the share; says the best.
        UnsupportedError: as `simulate_scaling`.
    """
    stage = _stage(plan, trace, (conditions, around or OverTimeSurroundings()), calibration)
    _refuse_long(stage.scaled, trace, wish.share)
    *seen, unseen = _parts(stage.scaled, trace, wish.parts)
    trials = [replace(one, objective=plan.objective) for one in _choices(stage.scaled, wish, trace)]
    _race(stage, trials, seen, wish.share)
    finals = list(_finals(stage, trials, wish))
    _race(stage, finals, seen, wish.share, min(_standing(trials), key=lambda one: one.spent, default=None))
    trials += finals
    for one in trials:
        if not one.lost and one.over_s:
            one.lost = f"rows above their budget for {one.over_s:g} s"
    winner = _judge(trials, stage.scaled.most, wish.share)
    fixed, fixed_aided = (_best_fixed(trials, is_aided, len(seen), wish.share) for is_aided in (False, True))
    played = {id(one): _again(stage, one, unseen) for one in (winner, fixed, fixed_aided) if one}
    prices = stage.market.prices if stage.market else None
    blocks = {name: blocks_of(one, BLOCKS, plan.objective, prices) for name, (_, one) in played.items()}
    savings = tuple(
        saving(blocks[id(winner)], blocks[id(one)], one.name)
        for one in (fixed, fixed_aided)
        if one and one is not winner
    )
    kept = [played[id(one)][0] if one else None for one in (fixed, fixed_aided)]
    return FleetOverTime(
        plan, wish, trace.source, stage.scaled.start_up_s, tuple(trials), winner, fixed, played[id(winner)][0], kept[0],
        fixed_aided, kept[1], savings, tuple((trial.name, one) for trial, one in played.values()), prices,
        *((stage.grid.grid.place, stage.grid.grid.note) if stage.grid else ()),
    )  # fmt: skip


def _stage(
    plan: Plan,
    trace: RequestTrace,
    how: tuple[ScalingConditions, OverTimeSurroundings],
    calibration: TimingCalibration | None,
) -> OverTimeStage:
    conditions, around = how
    scaled = scaling_stage(plan, conditions, calibration)
    market = spot_market(plan, *around.zones, _end_s(trace)) if around.zones else None
    rows = rows_of_plan(plan, around.rows, calibration) if around.rows else None
    if around.grid:
        _refuse_short(around.grid, trace)
    return OverTimeStage(scaled, market, rows, around.grid)


def _refuse_short(grid: GridOnClock, trace: RequestTrace) -> None:
    """A record of a grid that lacks hours of the trace."""
    if lacking := grid.lacking_hours(_end_s(trace)):
        raise InputError(
            f"over time: the grid {grid.grid.place} has no value for hour {lacking[0]} of the "
            f"{_end_s(trace) / 3600:.3g} h of the trace (begin elsewhere with --grid-from-h, or leave it out for the "
            "mean of the site)"
        )


def _end_s(trace: RequestTrace) -> float:
    """Seconds from the start of what is played, which may lie before the first arrival, to the last arrival."""
    return float(trace.arrival_s[-1]) if len(trace) else 0.0


def _parts(stage: ScalingStage, trace: RequestTrace, count: int) -> list[TracePart]:
    edges = np.linspace(0.0, _end_s(trace), count + 1)
    parts = parts_of(trace, count)
    return [TracePart(one, stage.calls_of(one), float(at_s)) for one, at_s in zip(parts, edges[:-1], strict=True)]


def _judge(trials: Sequence[FleetPolicyTrial], most: int, share: float) -> FleetPolicyTrial:
    """The cheapest that stands; of the others it is told by how much they are dearer."""
    standing = sorted(_standing(trials), key=lambda one: one.spent)
    if not standing:
        best = max(trials, key=lambda one: (len(one.shares), min(one.shares, default=0.0)))
        rows = f", rows above their budget for {best.over_s:g} s" if best.over_s else ""
        raise InfeasibleError(
            f"over time: no fleet of at most {most} replicas holds {share:.1%} of the calls in every part; "
            f"closest: {best.name}, {min(best.shares):.1%}{rows} (allow more with --most-replicas, or a lower --share)"
        )
    for one in standing[1:]:
        more = one.spent / standing[0].spent - 1
        one.lost = f"dearer: {more:+.1%}" if more > 5e-4 else "no cheaper"
    return standing[0]


def _best_fixed(
    trials: Sequence[FleetPolicyTrial], is_aided: bool, parts: int, share: float
) -> FleetPolicyTrial | None:
    """The cheapest fleet that is not scaled and held the share in every part within its rows."""
    held = [
        one for one in trials
        if one.policy == FIXED and one.is_aided == is_aided and len(one.shares) == parts and min(one.shares) >= share
        and not one.over_s
    ]  # fmt: skip
    return min(held, key=lambda one: one.spent, default=None)


def _refuse_long(stage: ScalingStage, trace: RequestTrace, share: float) -> None:
    """A deployment whose context is too short for so many calls that no number of replicas holds the share."""
    context = stage.fleet.replicas()[0][1].context_tokens
    long = float(np.mean(trace.input_tokens + trace.output_tokens > context))
    if 1 - long < share:
        raise InputError(
            f"over time: {long:.1%} of the calls are longer than the {context:,} tokens that the plan's replicas take, "
            f"so that no fleet holds {share:.1%} (plan with the lengths of the trace)"
        )


def parts_of(trace: RequestTrace, parts: int) -> list[RequestTrace]:
    """The trace in parts of equal time.

    Raises:
        InputError: a part has too few calls.
    """
    edges = np.linspace(0.0, _end_s(trace), parts + 1)
    edges[-1] = np.inf
    found = [trace.between(float(low), float(high)) for low, high in pairwise(edges)]
    if (fewest := min(map(len, found))) < LEAST_CALLS:
        raise InputError(
            f"over time: {parts} parts of {trace.span_s:,.0f} s, one with {fewest} calls; needed: {LEAST_CALLS} (fewer "
            "parts, or a longer trace)"
        )
    return found


def _choices(stage: ScalingStage, wish: OverTimeWish, trace: RequestTrace) -> Iterator[FleetPolicyTrial]:
    """Every fixed fleet from the mean load on; every policy at every fill, from the plan's replicas."""
    mean = trace.rate_per_s / stage.per_s
    for count in range(max(1, int(0.7 * mean)), stage.most + 1):
        yield FleetPolicyTrial(FIXED, 1.0, count)
    for policy in wish.policies:
        for fill in FILLS:
            yield FleetPolicyTrial(policy, fill, stage.first)


def _finals(stage: OverTimeStage, trials: Sequence[FleetPolicyTrial], wish: OverTimeWish) -> Iterator[FleetPolicyTrial]:
    """The cheapest that held, scaled and fixed, with every share of spot or policy of power."""
    held = sorted(_standing(trials), key=lambda one: one.spent)
    scaled = [one for one in held if one.policy != FIXED][:FINALISTS]
    fixed = [one for one in held if one.policy == FIXED][:FINALISTS]
    for one in (*scaled, *fixed):
        bare = replace(one, played=[])
        if stage.market is not None:
            yield from (replace(bare, spot=spot, played=[]) for spot in wish.spot)
        if stage.rows is not None:
            yield from (replace(bare, power=power, played=[]) for power in wish.power)


def _race(
    stage: OverTimeStage,
    trials: Sequence[FleetPolicyTrial],
    parts: Sequence[TracePart],
    share: float,
    known: FleetPolicyTrial | None = None,
) -> None:
    """Play part after part under every choice that stands; those that fail or are hopelessly dear fall out, fleets that
    are not scaled beside others of their kind alone.

    known: another choice, not among these, that was played on all parts.
    """
    for number, part in enumerate(parts, 1):
        for one in [one for one in trials if not one.lost]:
            try:
                one.played.append(_play(stage, one, part).figures)
            except InputError as refusal:
                if not one.power:
                    raise
                one.lost = str(refusal)
                continue
            if one.shares[-1] < share:
                one.lost = f"part {number}: {one.shares[-1]:.1%} of {share:.1%}"
        for is_fixed in (True, False):
            left = [one for one in _standing(trials) if not is_fixed or one.policy == FIXED]
            spent = [one.spent for one in left if not one.over_s]
            spent += [known.spent_until(number)] if known and not is_fixed else []
            for one in left:
                if (one.policy == FIXED) == is_fixed and one.spent > HOPELESS * min(spent, default=float("inf")):
                    times = one.spent / min(spent)
                    one.lost = f"after part {number} {times:.2f} times as dear as the cheapest"


def _standing(trials: Sequence[FleetPolicyTrial]) -> list[FleetPolicyTrial]:
    return [one for one in trials if not one.lost]


def _play(stage: OverTimeStage, one: FleetPolicyTrial, part: TracePart) -> PlayedPart:
    return stage.play((one.policy, one.fill, one.first), one.spot, one.power, part)


def _again(stage: OverTimeStage, one: FleetPolicyTrial, part: TracePart) -> tuple[FleetPolicyTrial, PlayedPart]:
    found = _play(stage, one, part)
    return replace(one, played=[found.figures], lost=""), found
