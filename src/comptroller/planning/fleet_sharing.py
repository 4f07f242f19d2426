"""Who shares a simulated fleet: its calls by tenant, priority or adapter, and who was slowed by whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.planning.simulation import PlanSimulation
from comptroller.serving.engine import simulate
from comptroller.serving.fairness import jain_index
from comptroller.serving.outcome import EngineOutcome
from comptroller.work.call import CallTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHARING_ROLES = {"tenant": "key", "priority": "priority", "adapter": "adapter"}
"""What calls are grouped by -> their column."""

OTHERS = "others"
MOST_GROUPS = 12
"""Groups that are told apart, those of most tokens; the rest are one more, `OTHERS`. For each the calls are simulated
twice, alone and without it: twice as many groups take twice as long, and their matrix no longer fits a terminal."""


@dataclass(frozen=True, eq=False)
class CallGrouping:
    """Calls by who they belong to. names: of the groups, most tokens first.  member: the group of each call."""

    role: str
    names: tuple[str, ...]
    member: Ints

    def rows(self, group: int) -> npt.NDArray[np.bool_]:
        """Which calls belong to a group."""
        return np.asarray(self.member == group)


def grouping_roles(calls: CallTable) -> tuple[str, ...]:
    """What the calls can be grouped by: the roles of which they hold more than one value.

    >>> grouping_roles(CallTable.of(input_tokens=[1, 2], priority=[0.0, 1.0]))
    ('priority',)
    """
    return tuple(role for role, column in SHARING_ROLES.items() if np.unique(calls[column]).size > 1)


def call_grouping(calls: CallTable, role: str, most: int = MOST_GROUPS) -> CallGrouping:
    """The calls by one role.

    Raises:
        InputError: there is no such role.
    """
    if role not in SHARING_ROLES:
        raise InputError(f"calls are grouped by {', '.join(SHARING_ROLES)}, not by {role!r}")
    column = calls[SHARING_ROLES[role]]
    values, member = np.unique(column, return_inverse=True)
    labels = calls.names.get(SHARING_ROLES[role])
    tokens = np.bincount(member, calls["input_tokens"] + calls["output_tokens"], minlength=values.size)
    order = np.argsort(-tokens, kind="stable")
    place = np.empty(values.size, np.int64)
    place[order] = np.minimum(np.arange(values.size), most)
    names = [labels[int(value)] if labels else f"{value:g}" for value in values[order][:most].tolist()]
    names += [OTHERS] if values.size > most else []
    return CallGrouping(role, tuple(name or f"no {role}" for name in names), place[member])


def pace_per_s(outcome: EngineOutcome, grouping: CallGrouping) -> Floats:
    """Tokens that each group's calls got for each second that they were in the fleet: x of its fairness, (groups,)."""
    tokens = np.where(outcome.done, outcome.jobs.prompt + outcome.jobs.output, 0).astype(np.float64)
    stay_s = np.where(np.isfinite(outcome.e2e_s), outcome.e2e_s, 0.0)
    sums = [np.bincount(grouping.member, values, minlength=len(grouping.names)) for values in (tokens, stay_s)]
    return np.asarray(sums[0] / np.where(sums[1] > 0, sums[1], np.nan))


@dataclass(frozen=True, eq=False)
class SharingSlowdown:
    """Groups that shared a fleet against each of them alone on it, and with each of the others left out.

    ttft_s, alone_s: time to first token of each call, shared and alone.  e2e_s, alone_e2e_s: end to end.
    later_s: [i, j], by how much later the first token of i's calls came, in the mean, because of j; NaN for i = j.
    """

    grouping: CallGrouping
    ttft_s: Floats
    alone_s: Floats
    e2e_s: Floats
    alone_e2e_s: Floats
    later_s: Floats

    @cached_property
    def slowdown(self) -> Floats:
        """Of each group, its mean time end to end over that alone."""
        return self._ratios(lambda one: float(np.nanmean(one)), self.e2e_s, self.alone_e2e_s)

    @cached_property
    def ttft_p99_ratio(self) -> Floats:
        """Of each group, the 99th percentile of its time to first token over that alone."""
        return self._ratios(lambda one: float(np.nanpercentile(one, 99)), self.ttft_s, self.alone_s)

    @property
    def fairness(self) -> float:
        """Jain's index of the speed that each group is left with, 1 over its slowdown."""
        return jain_index(1.0 / self.slowdown)

    def _ratios(self, statistic: Callable[[Floats], float], shared: Floats, alone: Floats) -> Floats:
        ratios = np.full(len(self.grouping.names), np.nan)
        for group in range(ratios.size):
            rows = self.grouping.rows(group)
            both = rows & np.isfinite(shared) & np.isfinite(alone)
            if both.any():
                ratios[group] = statistic(shared[both]) / statistic(alone[both])
        return ratios


def sharing_slowdown(simulation: PlanSimulation, role: str, most: int = MOST_GROUPS) -> SharingSlowdown:
    """Who slowed whom in a simulation: the same calls on the same fleet, each group alone and each left out.

    Raises:
        InputError: no such role, fewer than two groups, or calls that a strategy made.
    """
    if simulation.solved is not None:
        raise InputError("who slowed whom is told of a trace's requests; a strategy's calls wait for each other")
    grouping = call_grouping(simulation.asked, role, most)
    if len(grouping.names) < 2:
        raise InputError(
            f"who slowed whom by {role} needs the column {role!r} with two values or more, which"
            f" {simulation.trace.source or 'the trace'} lacks; name it by columns.{role}"
        )
    groups = range(len(grouping.names))
    whole = simulation.outcome
    alone_s, alone_e2e_s = np.full(len(whole), np.nan), np.full(len(whole), np.nan)
    later_s = np.full((len(groups), len(groups)), np.nan)
    for group in groups:
        rows = grouping.rows(group)
        alone = simulate(whole.fleet, simulation.asked.take(rows))
        alone_s[rows], alone_e2e_s[rows] = alone.ttft_s, alone.e2e_s
        without = np.full(len(whole), np.nan)
        without[~rows] = simulate(whole.fleet, simulation.asked.take(~rows)).ttft_s
        for other in groups:
            if other != group:
                later_s[other, group] = _mean(whole.ttft_s - without, grouping.rows(other))
    return SharingSlowdown(grouping, whole.ttft_s, alone_s, whole.e2e_s, alone_e2e_s, later_s)


def _mean(values: Floats, rows: npt.NDArray[np.bool_]) -> float:
    known = values[rows & np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def slowdowns_of(simulations: Sequence[PlanSimulation], role: str) -> tuple[SharingSlowdown, ...]:
    """Of each simulation; none where no role is named."""
    return tuple(sharing_slowdown(one, role) for one in simulations) if role else ()
