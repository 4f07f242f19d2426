"""Calls by the tier that a power policy tells apart, and replicas for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.steptable import StepTable
from comptroller.errors import InputError
from comptroller.serving.fleet import SimulatedFleet, SimulatedService
from comptroller.serving.policies import module
from comptroller.serving.state import PoolRole
from comptroller.work.call import CallTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def tier_of(policy: str, calls: CallTable) -> Ints:
    """The tier of each call under a power policy, from 0, the lowest.

    Raises:
        InputError: the calls lack what the policy tells them apart by.
    """
    tell: Callable[[CallTable], Ints] | None = getattr(module("power", policy), "tiers", None)
    return np.zeros(len(calls), np.int64) if tell is None else tell(calls)


def by_tier(
    fleet: SimulatedFleet, calls: CallTable, tier: Ints, names: Sequence[str]
) -> tuple[SimulatedFleet, CallTable]:
    """The fleet's one service as a service for each tier with calls, replicas in proportion to the work of its calls,
    and the calls sent there.

    Raises:
        InputError: the fleet has several services or pools apart, or fewer replicas than tiers with calls.
    """
    if len(fleet.services) != 1 or any(one.pool != PoolRole.MIXED for _, one in fleet.replicas()):
        raise InputError("rows within a power budget have one service whose replicas do prefill and decode")
    (service,) = fleet.services
    present = np.unique(tier)
    if len(service.replicas) < present.size:
        told = ", ".join(names[one] for one in present)
        raise InputError(
            f"{len(service.replicas)} replicas for the tiers {told}: at least {present.size} are needed (--replicas)"
        )
    work = np.bincount(np.searchsorted(present, tier), _work_s(service.replicas[0].table, calls)).astype(np.float64)
    counts = apportion(work, len(service.replicas))
    split = tuple(
        SimulatedService(names[one], (service.replicas[0],) * count)
        for one, count in zip(present.tolist(), counts, strict=True)
    )
    sent = np.searchsorted(present, tier)
    columns = {**calls.columns, "service": sent}
    named = {**calls.names, "service": tuple(one.name for one in split)}
    return replace(fleet, services=split), CallTable(columns, named, calls.block_ids, calls.block_starts)


def _work_s(table: StepTable, calls: CallTable) -> Floats:
    """Seconds of a replica that each call takes: its prompt, and its share of the steps of a half-filled batch."""
    batch = max(table.max_batch // 2, 1)
    prompt = np.asarray(calls["input_tokens"], np.float64)
    step_s = table.decode_step_s(batch, batch * float(np.mean(prompt))) / batch
    return table.prompt_s(prompt, np.zeros_like(prompt)) + step_s * calls["output_tokens"]


def apportion(work: Floats, replicas: int) -> list[int]:
    """Whole replicas in proportion to work, at least one each, by largest remainders.

    >>> apportion(np.array([1.0, 3.0]), 8), apportion(np.array([0.01, 3.0]), 4)
    ([2, 6], [1, 3])
    """
    exact = work / work.sum() * replicas
    counts = np.maximum(np.floor(exact).astype(int), 1)
    while counts.sum() != replicas:
        step = 1 if counts.sum() < replicas else -1
        free = counts + step >= 1
        counts[int(np.argmax(np.where(free, step * (exact - counts), -np.inf)))] += step
    return counts.tolist()  # type: ignore[no-any-return]
