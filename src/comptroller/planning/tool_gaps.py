"""What becomes of caches while tools run: dropped, kept on the device, or taken to a slower tier; side by side.

Kept is what engines do: blocks stay until memory is wanted, the least recently used go first. Dropped is a fleet that
keeps no prefixes, so that every call computes its whole prompt. Offloaded is kept with a tier of host memory (or
another) below, from which what was evicted is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.cache_gaps import least_load_bytes_per_s, longest_hold_s, survival_s
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError, UnsupportedError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import CacheTierDocument
from comptroller.planning.simulation import PlanSimulation, TraceReplaySettings, simulate_plan
from comptroller.work.trace import RequestTrace

ALIKE = 1.02
"""Prefill seconds that count as the same: a tier that is hardly used shifts the times of a few calls either way. At
1.04 a tier would have to save twice as much to be named."""


@dataclass(frozen=True, eq=False)
class ToolGapOutcome:
    """One way to treat caches, and what came of it. name: dropped, kept, or the tier that they are taken to."""

    name: str
    simulation: PlanSimulation

    @property
    def cached(self) -> float:
        """Share of prompt tokens that were found in a cache."""
        done = self.simulation.outcome.done
        prompts = self.simulation.trace.input_tokens[done]
        return float(self.simulation.outcome.requests.cached[done].sum() / max(prompts.sum(), 1))

    @property
    def prefill_s(self) -> float:
        """Seconds from admission to the first token, summed over all calls."""
        outcome = self.simulation.outcome
        return float(np.nansum(outcome.ttft_s - outcome.queue_s))


@dataclass(frozen=True, eq=False)
class ToolGapComparison:
    """The ways side by side, with what arithmetic says of them beforehand.

    survival_s: wait up to which a kept cache is still there.  outlived: share of the waits that are longer.
    hold_s: wait up to which holding a cache is cheaper than computing it, where memory is short.  load_bytes_per_s:
    bandwidth from which on a tier beats computing.  foretold: the way that arithmetic names: of prompt tokens that
    occurred before, a kept cache computes the share outlived again, and a tier loads that share instead.
    """

    outcomes: tuple[ToolGapOutcome, ...]
    survival_s: float
    outlived: float
    hold_s: float
    load_bytes_per_s: float
    foretold: str

    @property
    def best(self) -> ToolGapOutcome:
        """The first, which needs least, of those whose prefill seconds are within `ALIKE` of the least."""
        return self.outcomes[_first_of_least([one.prefill_s for one in self.outcomes])]


def _first_of_least(prefill_s: Sequence[float]) -> int:
    limit = ALIKE * min(prefill_s)
    return next(place for place, one in enumerate(prefill_s) if one <= limit)


def compare_tool_gaps(
    plan: Plan,
    trace: RequestTrace,
    conditions: TraceReplaySettings,
    tiers: Sequence[CacheTierDocument],
    calibration: TimingCalibration | None = None,
) -> ToolGapComparison:
    """The trace with caches dropped, kept, and taken to each of the tiers, all under one routing policy.

    A router that looks for prefixes finds none where caches are dropped.

    Raises:
        InputError: nothing in the trace waits for replies, or it names no prefix blocks.
        UnsupportedError: pools apart, or what `simulate_plan` refuses.
    """
    if trace.tasks is None or trace.blocks is None:
        raise InputError(f"{trace.source}: has no calls that wait for tools, with prompts that go on from one another")
    if any(len(service.deployment.pools) > 1 for service in plan.services):
        raise UnsupportedError("caches in tool waits: of services in one pool each")
    bare = replace(conditions, cache_tiers=())
    dropped = ToolGapOutcome("dropped", simulate_plan(plan, replace(trace, blocks=None), bare, calibration))
    kept = ToolGapOutcome("kept", simulate_plan(plan, trace, bare, calibration))
    beside = [
        ToolGapOutcome(tier.tier, simulate_plan(plan, trace, replace(conditions, cache_tiers=(tier,)), calibration))
        for tier in tiers
    ]
    return _with_arithmetic((dropped, kept, *beside))


def _with_arithmetic(outcomes: tuple[ToolGapOutcome, ...]) -> ToolGapComparison:
    dropped, kept = outcomes[:2]
    outcome, tasks = kept.simulation.outcome, kept.simulation.trace.tasks
    if tasks is None:
        raise InputError("caches in tool waits: no waits")
    table = outcome.fleet.replicas()[0][1].table
    device_s = len(outcome.fleet.replicas()) * outcome.horizon_s
    tokens = (outcome.jobs.prompt + outcome.jobs.output)[outcome.done]
    resident = float((tokens * outcome.e2e_s[outcome.done]).sum() / device_s)
    fresh = float((tokens - outcome.requests.cached[outcome.done]).sum() / device_s)
    survives_s = survival_s(table.kv_capacity_tokens, resident, fresh)
    waits = tasks.wait_s[tasks.parent >= 0]
    alone = dropped.simulation.outcome
    prompts = float(alone.jobs.prompt[alone.done].sum())
    prefill_per_s = prompts / max(float(np.nansum(alone.ttft_s - alone.queue_s - alone.outside_s)), 1e-9)
    outlived = float((waits > survives_s).mean()) if waits.size else 0.0
    load_bytes_per_s = least_load_bytes_per_s(table.kv_bytes_per_token, prefill_per_s)
    blocks = kept.simulation.trace.blocks
    shares = _prefill_shares(outcomes, blocks.reuse if blocks else 0.0, outlived, load_bytes_per_s)
    return ToolGapComparison(
        outcomes,
        survives_s,
        outlived,
        longest_hold_s(table.kv_capacity_tokens, prefill_per_s),
        load_bytes_per_s,
        outcomes[_first_of_least(shares)].name,
    )


def _prefill_shares(
    outcomes: tuple[ToolGapOutcome, ...], reuse: float, outlived: float, load_bytes_per_s: float
) -> list[float]:
    """Prefill seconds of each way by arithmetic, as shares of those of caches dropped.

    reuse: share of prompt tokens that occurred before.
    """
    shares = [1.0, 1 - reuse + reuse * outlived]
    for one in outcomes[2:]:
        (store,) = one.simulation.outcome.fleet.replicas()[0][1].stores
        shares.append(1 - reuse + reuse * outlived * load_bytes_per_s / store.bytes_per_s)
    return shares
