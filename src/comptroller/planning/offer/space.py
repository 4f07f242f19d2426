"""What a workload minimises, within what, and what it allows: its part in every search."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.costs.capacity import LatencyTarget
from comptroller.costs.deployment import AdapterSet, ClockSetting, PrefixStore, SpeculativeDecoding
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.cache_tier import cache_tier
from comptroller.facts.reader import ids, real_ids
from comptroller.planning.ground.limit_names import CAP
from comptroller.planning.ground.nouns import Deployment, Goal
from comptroller.planning.offer.deployments import DeploymentSpace, RejectionTally, enumerate_deployments
from comptroller.planning.offer.intervals import is_timed
from comptroller.work.fleet_limits import MOST_USE
from comptroller.work.quality import WorkloadQuality
from comptroller.work.serving_levers import PoolChoice
from comptroller.work.workload import Workload

ENGINES = ("vllm", "sglang")
"""Engines tried when the workload names none: the open ones that serve on more than one vendor's devices."""


def goal_of(workload: Workload) -> Goal:
    """What a workload minimises, and within what."""
    targets = targets_of(workload)
    most_use = workload.most_use or (1.0 if targets else MOST_USE)
    return Goal(
        objective=workload.objective.value,
        targets=targets,
        most_use=most_use,
        limits=tuple(_limits(workload)),
        spare=workload.spare_replicas,
        quality=quality_targets(workload.quality),
        most_kinds=workload.most_kinds,
        kind_usd_per_h=workload.kind_usd_per_h,
    )


def quality_targets(quality: WorkloadQuality | None) -> tuple[tuple[str, float], ...]:
    """The shares to solve: over all, then by class of questions; none for plain requests."""
    if quality is None:
        return ()
    return (("", quality.solve.least), *((task, share.least) for task, share in quality.each.items()))


def _limits(workload: Workload) -> Iterator[tuple[str, float]]:
    for device, most in workload.caps.items():
        yield f"{CAP}{device}", float(most)
    if workload.budget:
        yield "budget", workload.budget.max_usd_per_s * 3600.0
    if workload.power:
        yield "power", workload.power.in_si("w")
    if workload.carbon:
        yield "carbon", workload.carbon.in_si("gco2e_per_s") * 3600.0


def space_of(workload: Workload) -> DeploymentSpace:
    """What a workload allows; an empty list allows everything there is, and what-ifs where it asks for them.

    Raises:
        InputError: it names a what-if and does not ask for them.
    """
    allow, library, known = workload.allow, workload.library, ids if workload.what_if else real_ids
    devices = tuple(map(library.accelerator, allow.accelerators or known("accelerators")))
    if not workload.what_if:
        for device in devices:
            require_real(device)
    return DeploymentSpace(
        models=() if workload.quality else tuple(map(library.model, workload.models)),
        accelerators=devices,
        engines=tuple(map(library.engine, allow.engines or ENGINES)),
        sites=tuple(map(library.site, allow.sites or known("sites"))),
        terms=allow.terms,
        formats=allow.formats,
        library=library,
        what_if=workload.what_if,
        mixed=PoolChoice.MIXED in allow.pools,
        split=PoolChoice.SPLIT in allow.pools,
        drafts=drafts_of(workload),
        chunk_tokens=allow.chunk_tokens,
        kv_formats=allow.kv_formats,
        sellers=allow.sellers,
        adapters=adapters_of(workload),
        clocks=clocks_of(workload),
        expert_devices=allow.expert_devices,
        eager=allow.eager,
        poll_steps=allow.poll_steps,
        stream_intervals=allow.stream_interval,
        offload_bytes=tuple(gib * 2**30 for gib in allow.offload_gib),
        prefix_store=prefix_store_of(workload),
    )


def prefix_store_of(workload: Workload) -> PrefixStore | None:
    """The cache tier that every replica has, if the workload states one.

    Raises:
        UnknownIdError: there is no such tier.
    """
    asked = workload.cache_tier
    return PrefixStore(cache_tier(asked.tier), asked.gb * 1e9, asked.tier) if asked else None


def require_real(device: Accelerator) -> None:
    """Refuse a machine that nobody can rent or launch.

    Raises:
        InputError: it is a what-if; says why, and what plans it.
    """
    if device.what_if:
        raise InputError(f"{device.id} is a what-if: {device.what_if.why}; --what-if plans with it, marked as such")


def adapters_of(workload: Workload) -> tuple[AdapterSet, ...]:
    """The adapters that are served, in each number of slots; 0 slots where none is stated."""
    asked = workload.adapters
    if asked is None:
        return ()
    return tuple(AdapterSet(asked.count, asked.rank, slots, asked.skew) for slots in asked.resident or (0,))


def clocks_of(workload: Workload) -> tuple[ClockSetting, ...]:
    """The locked clocks and the power limits that may be set, each by itself."""
    allow = workload.allow
    locked = [ClockSetting(clock_hz=mhz * 1e6) for mhz in allow.clock_mhz]
    return tuple(dict.fromkeys([*locked, *(ClockSetting(limit_w=watts) for watts in allow.power_limit_w)]))


def drafts_of(workload: Workload) -> tuple[SpeculativeDecoding, ...]:
    """The speculative decoding that may be used."""
    asked = workload.speculation
    if asked is None:
        return ()
    draft = workload.library.model(asked.draft) if asked.draft else None
    return tuple(SpeculativeDecoding(count, asked.acceptance, draft) for count in dict.fromkeys(asked.tokens))


def allowed_deployments(
    workload: Workload, space: DeploymentSpace, calibration: TimingCalibration, rejected: RejectionTally
) -> Iterator[Deployment]:
    """Every deployment of a space; of a workload that asks for `measured_only`, those that somebody timed."""
    for deployment in enumerate_deployments(space, rejected):
        if workload.allow.measured_only and not is_timed(deployment.replica, calibration):
            why = f"nobody timed a kernel of the family of {deployment.replica.device.id}, nor a server on it"
            rejected.add("not measured", f"{deployment.label}: {why}")
        else:
            yield deployment


def targets_of(workload: Workload) -> tuple[LatencyTarget, ...]:
    """The latency objectives of a workload."""
    asked = workload.objectives
    named = (("ttft_s", asked.ttft), ("tpot_s", asked.tpot), ("e2e_s", asked.e2e))
    return tuple(LatencyTarget(name, bound.p / 100, bound.max_s) for name, bound in named if bound)
