"""Options of `comptroller simulate` about replicas: where blocks of the cache lie, and two engines over one cache."""

from __future__ import annotations

import json as documents
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from comptroller.cli._simulation_output import show_compared
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import CacheTierDocument
from comptroller.planning.shared_phases import SharedPhaseConditions, simulate_shared_phases
from comptroller.planning.simulation import ReplicaMemorySettings, TraceReplaySettings
from comptroller.planning.tool_gaps import compare_tool_gaps
from comptroller.report.shared_phase_tables import shared_phase_records, shared_phase_sheet
from comptroller.report.terminal import console, print_sheet
from comptroller.report.tool_gap_tables import tool_gaps_record, tool_gaps_sentence, tool_gaps_sheet
from comptroller.work.trace import RequestTrace

CacheTiers = tuple[CacheTierDocument, ...] | None

USUAL_TIER = CacheTierDocument(tier="host_memory", gb=256)
"""Where caches are taken in tool waits if no tier is named: the memory that a node has beside each accelerator."""


def tool_gaps(
    tool_gaps: Annotated[
        bool, typer.Option("--tool-gaps", help="Drop, keep and offload caches while tools run, side by side.")
    ] = False,
) -> bool:
    """Whether the ways to treat caches in tool waits are compared."""
    return tool_gaps


def one_routing(routing: Sequence[str] | None) -> str:
    """The policy that all ways are routed by; the plan's own, empty, where none is named.

    Raises:
        InputError: several, which would be told from the ways by nothing.
    """
    named = list(dict.fromkeys(routing or ()))
    if len(named) > 1:
        raise InputError(f"--routing: {', '.join(named)} with --tool-gaps, whose ways are compared under one: name one")
    return named[0] if named else ""


def show_tool_gaps(
    plan: Plan, trace: RequestTrace, settings: TraceReplaySettings, calibration: TimingCalibration | None, as_json: bool
) -> None:
    """Simulate the ways side by side, and print them."""
    found = compare_tool_gaps(plan, trace, settings, settings.cache_tiers or (USUAL_TIER,), calibration)
    if as_json:
        typer.echo(documents.dumps(tool_gaps_record(found), indent=2, ensure_ascii=False).replace("NaN", "null"))
        return
    print_sheet(tool_gaps_sheet(found), console())
    console().print(tool_gaps_sentence(found), soft_wrap=True)


def cache_tiers(
    cache_tier: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep blocks that devices evict, as TIER=GB of each replica (of all, if shared); again for the next "
            "tier. Ids: host_memory, nvme_pcie5, rdma_pool, cxl_pool, what_if_fenghuang. [default: the plan's]",
            show_default=False,
        ),
    ] = None,
) -> CacheTiers:
    """What the options say; None where they say nothing.

    Raises:
        InputError: not TIER=GB.
    """
    return tuple(map(_tier, cache_tier)) if cache_tier else None


def replica_memory(
    swap_gb: Annotated[
        float, typer.Option("--swap", help="GB of host memory of each rank that preempted sequences may take.")
    ] = 0.0,
    swap_chunk: Annotated[int, typer.Option(help="Tokens that a call of swapping moves; 0: all in one.")] = 0,
    swap_call_us: Annotated[
        float, typer.Option("--swap-call", help="Microseconds of each such call beside its bytes.")
    ] = 0.0,
    swap_beside: Annotated[bool, typer.Option("--swap-beside", help="Swap beside the steps, not before.")] = False,
    adapter_slots: Annotated[int, typer.Option(help="Adapters that are in a device at once; 0: all.")] = 0,
    adapter_load_ms: Annotated[
        float, typer.Option("--adapter-load", help="Milliseconds that fetching an adapter takes.")
    ] = 0.0,
) -> ReplicaMemorySettings | None:
    """What the options say; None where they say nothing."""
    said = ReplicaMemorySettings(
        swap_gb, swap_chunk, swap_call_us * 1e-6, swap_beside, adapter_slots, adapter_load_ms * 1e-3
    )  # fmt: skip
    return said if said != ReplicaMemorySettings() else None


def _tier(text: str) -> CacheTierDocument:
    name, mark, size = text.partition("=")
    try:
        gigabytes = float(size)
    except ValueError:
        gigabytes = -1.0
    if not name or not mark or not 0 <= gigabytes < float("inf"):
        raise InputError(f"--cache-tier: {text!r} is not TIER=GB, as host_memory=256")
    return CacheTierDocument(tier=name, gb=gigabytes)


@dataclass(frozen=True, slots=True)
class SharedPhaseOptions:
    """Which shares of devices are compared."""

    conditions: SharedPhaseConditions

    def show(self, plan: Plan, trace: RequestTrace, scale: float, priced: TimingCalibration, json: bool) -> None:
        """The service as it is, then with each share."""
        found = simulate_shared_phases(plan, trace, replace(self.conditions, scale=scale), priced)
        show_compared(
            plan, "shared_phases", lambda: shared_phase_records(found), lambda: [shared_phase_sheet(found)], json
        )


def shared_phase_options(
    shared_phases: Annotated[
        list[float] | None,
        typer.Option(
            help="Prompts and tokens in two engines on the same devices (semi-PD): share of the multiprocessors for "
            "prompts; again for others to compare.",
            show_default=False,
        ),
    ] = None,
    bandwidth_full_at: Annotated[
        float | None,
        typer.Option(
            help="Shared phases: share of the multiprocessors from which on the memory bandwidth is full.",
            show_default=False,
        ),
    ] = None,
) -> SharedPhaseOptions:
    """What the options say."""
    return SharedPhaseOptions(SharedPhaseConditions(tuple(dict.fromkeys(shared_phases or [])), bandwidth_full_at))
