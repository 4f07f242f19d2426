"""`plan --over-time`: the fleet that a trace begins with, who scales it and how full, chosen in simulation.

The trace is cut into parts; all choices are played on the same parts (common random numbers), one part after the other.
A choice that does not hold the share of calls in a part is out, and so is one that is so much dearer than the cheapest
still standing that no part left could make up for it (racing). The last part is kept from the choice: what the winner
and the best fixed fleet come to there is told beside it.

A choice that held in each of k parts holds in a further one, if parts are alike, with odds of k / (k + 1): the worst of
k + 1 parts is as likely to be any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InfeasibleError, InputError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.scaled_simulation import ScalingConditions, ScalingStage, scaling_stage
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace

FIXED = "none"
"""The policy of a fleet as it is."""

POLICIES = ("forecast", "harmony", "hpa")
"""Who may scale: ours, and the most used of the published ones."""

FILLS = (0.7, 0.85, 1.0, 1.25, 1.6)
"""Shares of what a replica takes that are tried: beyond 1.6 no policy held 95 % of the calls of the Azure traces."""

HOPELESS = 1.5
"""Times the dollars of the cheapest still standing, over the parts so far, at which a choice is given up."""

LEAST_CALLS = 100
"""Calls that a part needs for a share of them to say anything: one in a hundred is one per cent."""


@dataclass(frozen=True, slots=True)
class OverTimeWish:
    """What a fleet over time is to hold. share: of the calls within all objectives, in every part.  parts: the trace is
    cut into, the last kept from the choice."""

    share: float = 0.95
    parts: int = 4
    policies: tuple[str, ...] = POLICIES

    def __post_init__(self) -> None:
        if not (0 < self.share < 1 and self.parts >= 2):
            asked = f"a share of {self.share:g}, {self.parts} parts"
            raise InputError(f"over time: {asked}; allowed: between 0 and 1, from 2")


@dataclass
class FleetPolicyTrial:
    """A choice and what it came to. first: replicas at the start.  shares, usd, replica_h: by part that was played."""

    policy: str
    fill: float
    first: int
    shares: list[float] = field(default_factory=list)
    usd: list[float] = field(default_factory=list)
    replica_h: list[float] = field(default_factory=list)
    lost: str = ""

    @property
    def name(self) -> str:
        """The choice in words.

        >>> FleetPolicyTrial("hpa", 0.85, 4).name, FleetPolicyTrial("none", 1.0, 6).name
        ('hpa fills 85 %, from 4', '6 replicas')
        """
        if self.policy == FIXED:
            return "1 replica" if self.first == 1 else f"{self.first} replicas"
        return f"{self.policy} fills {100 * self.fill:.0f} %, from {self.first}"

    @property
    def spent(self) -> float:
        """Dollars over the parts so far."""
        return sum(self.usd)


@dataclass(frozen=True, eq=False)
class FleetOverTime:
    """The choice for a trace. trials: every choice, with why it lost; kept, fixed_kept: the winner, and the best fixed
    fleet, on the part that neither was chosen on.  odds: that a further part like those is held."""

    plan: Plan
    wish: OverTimeWish
    start_up_s: float
    trials: tuple[FleetPolicyTrial, ...]
    winner: FleetPolicyTrial
    fixed: FleetPolicyTrial | None
    kept: FleetPolicyTrial
    fixed_kept: FleetPolicyTrial | None

    @property
    def odds(self) -> float:
        """That a further part, like those that were seen, is held."""
        return (self.wish.parts - 1) / self.wish.parts

    @property
    def saved(self) -> float:
        """Share of the best fixed fleet's dollars that the winner does without, on the part that nobody saw."""
        return 1 - self.kept.spent / self.fixed_kept.spent if self.fixed_kept else float("nan")


def fleet_over_time(
    plan: Plan,
    trace: RequestTrace,
    wish: OverTimeWish,
    conditions: ScalingConditions,
    calibration: TimingCalibration | None = None,
) -> FleetOverTime:
    """The cheapest fleet and policy that hold the share of a trace's calls in every part but the last.

    Raises:
        InputError: a part with too few calls, or too many calls longer than the plan's deployment takes.
        InfeasibleError: no choice holds the share; says the best.
        UnsupportedError: as `simulate_scaling`.
    """
    stage = scaling_stage(plan, conditions, calibration)
    _refuse_long(stage, trace, wish.share)
    *seen, unseen = [(part, stage.calls_of(part)) for part in parts_of(trace, wish.parts)]
    trials = list(_choices(stage, wish, trace))
    for number, (part, calls) in enumerate(seen, 1):
        _race(stage, [one for one in trials if not one.lost], (part, calls), (number, wish.share))
    standing = sorted((one for one in trials if not one.lost), key=lambda one: one.spent)
    if not standing:
        best = max(trials, key=lambda one: (len(one.shares), min(one.shares)))
        raise InfeasibleError(
            f"over time: no fleet of at most {stage.most} replicas holds {wish.share:.1%} of the calls in every part; "
            f"closest: {best.name}, {min(best.shares):.1%} (allow more with --most-replicas, or a lower --share)"
        )
    winner = standing[0]
    for one in standing[1:]:
        more = one.spent / winner.spent - 1
        one.lost = f"dearer: {more:+.1%}" if more > 5e-4 else "no cheaper"
    fixed = next((one for one in standing if one.policy == FIXED), None)
    kept = _again(stage, winner, unseen)
    fixed_kept = kept if fixed is winner else _again(stage, fixed, unseen) if fixed else None
    return FleetOverTime(plan, wish, stage.start_up_s, tuple(trials), winner, fixed, kept, fixed_kept)


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
    edges = np.linspace(0.0, trace.arrival_s[-1] if len(trace) else 0.0, parts + 1)
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


def _race(
    stage: ScalingStage, standing: list[FleetPolicyTrial], part: tuple[RequestTrace, CallTable], goal: tuple[int, float]
) -> None:
    """Play a part under every choice that stands; those that fail or are hopelessly dear fall out."""
    number, share = goal
    for one in standing:
        _play(stage, one, part)
        if one.shares[-1] < share:
            one.lost = f"part {number}: {one.shares[-1]:.1%} of {share:.1%}"
    left = [one for one in standing if not one.lost]
    cheapest = min((one.spent for one in left), default=0.0)
    for one in left:
        if one.spent > HOPELESS * cheapest and one.policy != FIXED:
            one.lost = f"after part {number} {one.spent / cheapest:.2f} times as dear as the cheapest"


def _play(stage: ScalingStage, one: FleetPolicyTrial, part: tuple[RequestTrace, CallTable]) -> None:
    found = stage.play(*part, stage.settings(one.policy, one.fill, one.first))
    one.shares.append(found.attainment)
    one.usd.append(found.outcome.usd)
    one.replica_h.append(found.outcome.replica_hours)


def _again(stage: ScalingStage, one: FleetPolicyTrial, part: tuple[RequestTrace, CallTable]) -> FleetPolicyTrial:
    fresh = FleetPolicyTrial(one.policy, one.fill, one.first)
    _play(stage, fresh, part)
    return fresh
