"""Two engines on the same devices, one for prompts and one for tokens, over one cache: semi-PD (arXiv 2504.19867).

The prompts' engine has a share of the multiprocessors, the tokens' engine what it leaves. Compute scales with the
share; memory bandwidth needs only some of the multiprocessors, and where both engines are at work they divide it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.step import ReplicaStep
from comptroller.costs.steptable import StepTable
from comptroller.costs.timing import (
    COLLECTIVES,
    KernelEfficiency,
    KernelSignature,
    ReplicaTimer,
    ServingOverheads,
    StepOverheads,
)
from comptroller.errors import InputError
from comptroller.serving.fleet import SimulatedReplica
from comptroller.serving.state import PoolRole

TOGETHER = 0.5
"""Of what two replicas for the same devices are charged, idle power and price, the part of each."""


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """What an engine has of its devices: of their multiprocessors, and of their memory bandwidth."""

    compute: float
    bandwidth: float

    def __post_init__(self) -> None:
        if not (0 < self.compute <= 1 and 0 < self.bandwidth <= 1):
            raise InputError(
                f"a share of {self.compute:g} of a device, {self.bandwidth:g} of its bandwidth: above 0, to 1"
            )


WHOLE = DeviceShare(1.0, 1.0)


def bandwidth_within(compute: float, knee: float) -> float:
    """Share of the memory bandwidth that a share of the multiprocessors can draw: min(1, x / k).

    compute: x.  knee: k, share of the multiprocessors from which on more of them draw no more.

    >>> bandwidth_within(0.2, 0.4), bandwidth_within(0.8, 0.4)
    (0.5, 1.0)
    """
    return min(1.0, compute / knee)


def bandwidth_beside(own: float, other: float) -> float:
    """What is left of the bandwidth beside another engine that asks for some: max-min fair.

    own, other: what each can draw. Who asks for less than half gets it, the other the rest.

    >>> bandwidth_beside(1.0, 0.2), bandwidth_beside(1.0, 1.0), bandwidth_beside(0.3, 1.0)
    (0.8, 0.5, 0.3)
    """
    return min(own, max(0.5, 1.0 - other))


@dataclass(frozen=True)
class ShareCalibration:
    """A calibration on a share of every device.

    Of a kernel the rates are a share of what they were, and what it takes for each independent piece of work or pass
    over memory as many times as long; launches, serial depth, collectives and the server stay.
    """

    base: TimingCalibration
    share: DeviceShare

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """That of the base at the share."""
        whole = self.base.efficiency(replica, kernel)
        if kernel.kind in COLLECTIVES:
            return whole
        compute, bandwidth = self.share.compute, self.share.bandwidth
        return replace(
            whole,
            flops=whole.flops * compute,
            bytes=whole.bytes * bandwidth,
            item_s=whole.item_s / compute,
            passes=whole.passes / bandwidth,
        )

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """Those of the base."""
        return self.base.overheads(replica)

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """Those of the base."""
        return self.base.serving(replica)


def prompt_bandwidth(ready: ReplicaTimer, prompt_tokens: float) -> float:
    """Share of the memory bandwidth that a step of so many prompt tokens asks for, in its own time."""
    one = np.ones(1)
    time = ready.step(ReplicaStep(0 * one, 0 * one, prompt_tokens * one, 0.5 * prompt_tokens**2 * one, one))
    return min(1.0, float(time.bytes[0] / ready.replica.device.memory_bytes_per_s / time.total_s[0]))


@dataclass(frozen=True)
class SharedDevices:
    """How two engines share devices.

    timer, table: of a replica on a share.  knee: see `bandwidth_within`.  prompt_tokens: of a typical
    step of prompts, by which their draw on the memory is counted.  token_cap, prompt_cap: share of the multiprocessors
    that an engine may take while the other rests, where it is more than its own (in semi-PD's code 1 for tokens, while
    prompts keep to their own).
    """

    timer: Callable[[DeviceShare], ReplicaTimer]
    table: Callable[[DeviceShare], StepTable]
    knee: float
    prompt_tokens: float
    token_cap: float = 1.0
    prompt_cap: float = 0.0

    def replicas(self, prompt_shares: tuple[float, ...], storage: int = 0) -> tuple[SimulatedReplica, SimulatedReplica]:
        """The engine of prompts and that of tokens, with a level for each share that prompts may have.

        Both stand for the same devices: each carries half of the idle power and of the price, and the step under way in
        the other is charged its own idle power there.

        Raises:
            InputError: a share is not between 0 and 1.
        """
        if not prompt_shares or not all(0 < share < 1 for share in prompt_shares):
            raise InputError(f"shares of prompts {prompt_shares}: at least one, each between 0 and 1")
        tables: list[tuple[list[StepTable], list[StepTable]]] = [([], []), ([], [])]
        for share in prompt_shares:
            rest = 1.0 - share
            reach, reach_rest = bandwidth_within(share, self.knee), bandwidth_within(rest, self.knee)
            drawn = prompt_bandwidth(self.timer(DeviceShare(share, reach)), self.prompt_tokens)
            beside = bandwidth_beside(reach, reach_rest), bandwidth_beside(reach_rest, drawn)
            caps = max(share, self.prompt_cap), max(rest, self.token_cap)
            alone = [DeviceShare(cap, bandwidth_within(cap, self.knee)) for cap in caps]
            both = DeviceShare(share, beside[0]), DeviceShare(rest, beside[1])
            for engine in range(2):
                tables[engine][0].append(self._of(alone[engine]))
                tables[engine][1].append(self._of(both[engine]))
        prompt, token = (
            SimulatedReplica(own[0], pool=pool, storage=storage, levels=tuple(own[1:]), beside=tuple(other))
            for pool, (own, other) in zip((PoolRole.PROMPT, PoolRole.TOKEN), tables, strict=True)
        )
        return prompt, token

    def _of(self, share: DeviceShare) -> StepTable:
        return charged_in_part(self.table(share), TOGETHER)


def charged_in_part(table: StepTable, part: float) -> StepTable:
    """The table of one of several engines on the same devices: its part of the price and of the idle power, which steps
    hold too."""
    less_w = table.idle_w * (1.0 - part)
    joules = {
        f"{name}_j": getattr(table, f"{name}_j") - less_w * getattr(table, f"{name}_s")
        for name in ("decode", "mixed", "pair")
    }
    return replace(table, **joules, idle_w=table.idle_w * part, usd_per_s=table.usd_per_s * part)
