"""Power and energy of a replica from the time split of its steps.

While anything runs on a device, a floor and shares of its power limit add up, and the limit caps the sum;
while it waits for the host it draws the floor:

    P / TDP = gap f floor + busy cap(f (floor + (active t_kernel + communication t_collective
              + sequence t_sequence) / t_busy + memory u_mem + compute sqrt(u_matrix)))

f is a factor of the device family, near 1 (1 for a family that was not measured). gap and busy are shares of
the step's time, u_mem and u_matrix shares of the peak rates while busy. The root stands for what measured
kernels show: matrix units far below their peak already draw much of their power.
Energy adds over phases by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import arithmetic
from comptroller.costs.steady import SteadyState
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import COLLECTIVES, TERMS, ReplicaTimer, StepTime, kernel_of
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.power import PowerFacts, PowerShareTable, power_facts

Array = npt.NDArray[np.float64]

CAP_NORM = 8.0
"""Exponent of the smooth minimum of demand and power limit."""


@dataclass(frozen=True, slots=True)
class DeviceActivity:
    """Seconds of one device by what it does; arrays of points.

    total_s: the span.  kernel_s, collective_s, sequence_s: something of that kind runs; the rest it waits.
    memory_s, matrix_s: how long the same work takes memory and matrix units at their peak rates.
    """

    total_s: Array
    kernel_s: Array
    collective_s: Array
    sequence_s: Array
    memory_s: Array
    matrix_s: Array

    @classmethod
    def stack(cls, parts: Sequence[DeviceActivity]) -> DeviceActivity:
        """Several one after the other, their points in one array."""
        return cls(
            *(np.concatenate([np.atleast_1d(getattr(part, each.name)) for part in parts]) for each in fields(cls))
        )

    @property
    def busy_s(self) -> Array:
        """Seconds in which anything runs."""
        return np.asarray(self.kernel_s + self.collective_s + self.sequence_s)

    def within(self, total_s: Array) -> DeviceActivity:
        """The same work in another span: more of it waiting, or everything squeezed where it is shorter."""
        squeeze = np.minimum(1.0, total_s / np.maximum(self.busy_s, 1e-12))
        return DeviceActivity(
            np.asarray(total_s),
            self.kernel_s * squeeze,
            self.collective_s * squeeze,
            self.sequence_s * squeeze,
            self.memory_s,
            self.matrix_s,
        )

    def times(self, factor: Array | float) -> DeviceActivity:
        """Repeated `factor` times."""
        return DeviceActivity(*(getattr(self, each.name) * factor for each in fields(self)))


@dataclass(frozen=True, slots=True)
class IdlePower:
    """Watts of one device without load; `source` says whence its file has them, or that they are fitted."""

    w: float
    error_w: float
    source: str


@dataclass(frozen=True, slots=True)
class RequestEnergy:
    """Joules of one request on all devices of a replica, by phase; arrays of points."""

    prefill_j: Array
    decode_j: Array

    @property
    def total_j(self) -> Array:
        """Prefill and decode."""
        return np.asarray(self.prefill_j + self.decode_j)


def soft_power_cap(demand: npt.ArrayLike) -> Array:
    """A demand as a share of the power limit, held below it: d / (1 + d^p)^(1/p) with p = 8.

    >>> round(float(soft_power_cap(0.5)), 3), round(float(soft_power_cap(2.0)), 3)
    (0.5, 1.0)
    """
    wanted = np.asarray(demand, float)
    return np.asarray(wanted / (1.0 + wanted**CAP_NORM) ** (1.0 / CAP_NORM))


def limit_s(activity: DeviceActivity, shares: PowerShareTable, factor: Array | float = 1.0) -> Array:
    """Seconds at the power limit that an activity's energy is worth: E / TDP; `factor` scales all shares.

    >>> from comptroller.facts.power import power_facts
    >>> waiting = DeviceActivity(*(np.array(x) for x in (2.0, 0.0, 0.0, 0.0, 0.0, 0.0)))
    >>> shares = power_facts().shares
    >>> bool(limit_s(waiting, shares) == 2.0 * shares.floor.fraction)
    True
    """
    busy = activity.busy_s
    span = np.maximum(busy, 1e-12)
    demand = (
        shares.floor.fraction
        + shares.active.fraction * activity.kernel_s / span
        + shares.communication.fraction * activity.collective_s / span
        + shares.sequence.fraction * activity.sequence_s / span
        + shares.memory.fraction * np.minimum(activity.memory_s / span, 1.0)
        + shares.compute.fraction * np.sqrt(np.minimum(activity.matrix_s / span, 1.0))
    )
    waiting = np.maximum(activity.total_s - busy, 0.0)
    return np.asarray(busy * soft_power_cap(factor * demand) + waiting * factor * shares.floor.fraction)


def activity(ready: ReplicaTimer, time: StepTime) -> DeviceActivity:
    """What one device does during steps; a layer's overhead and the step's own count as waiting."""
    overheads, layers = ready.overheads, ready.replica.model.layers
    overhead = time.terms[TERMS.index("overhead")]
    sequence = np.maximum(overhead - layers * overheads.layer_s - overheads.step_s, 0.0)
    collective = time.terms[TERMS.index("communication")]
    return DeviceActivity(
        time.total_s,
        time.total_s - overhead - collective,
        collective,
        np.where(overheads.sequence_s > 0, sequence, 0.0),
        time.bytes / ready.replica.device.memory_bytes_per_s,
        time.flops / matrix_flops_per_s(ready),
    )


def device_w(ready: ReplicaTimer, time: StepTime, facts: PowerFacts | None = None) -> Array:
    """Mean watts of one device over steps, shape (points,); never above the power limit."""
    known, device = facts or power_facts(), ready.replica.device
    doing = activity(ready, time)
    share = limit_s(doing, known.shares, known.factor(device.family)) / np.maximum(doing.total_s, 1e-12)
    return np.asarray(device.tdp_w * share)


def device_interval_w(watts: Array, device: Accelerator, facts: PowerFacts | None = None) -> tuple[Array, Array]:
    """80 % interval of a power per device whose step times are predicted too; held below the limit."""
    known = facts or power_facts()
    half = known.spread.half(known.spread.predicted_steps, device.family in known.families)
    return np.asarray(watts * np.exp(-half)), np.minimum(watts * np.exp(half), device.tdp_w)


def energy_interval_j(joules: Array, device: Accelerator, facts: PowerFacts | None = None) -> tuple[Array, Array]:
    """80 % interval of joules per token or request where times and power are predicted."""
    known = facts or power_facts()
    half = known.spread.half(known.spread.energy, device.family in known.families)
    return np.asarray(joules * np.exp(-half)), np.asarray(joules * np.exp(half))


def step_j(ready: ReplicaTimer, time: StepTime, facts: PowerFacts | None = None) -> Array:
    """Joules of steps on all devices of the replica."""
    return np.asarray(device_w(ready, time, facts) * time.total_s * ready.replica.layout.devices)


def request_j(ready: ReplicaTimer, state: SteadyState, facts: PowerFacts | None = None) -> RequestEnergy:
    """Joules of one request in a closed loop: its share of the replica's time, each phase at its own power.

    decode = n P_decode t_decode (O - 1) / B;  prefill = n P_prefill (t_request / B - t_decode (O - 1) / B)
    """
    devices = ready.replica.layout.devices
    decoding_s = state.decode.total_s * np.maximum(state.requests.output_tokens - 1, 0) / state.batch
    prefilling_s = np.maximum(state.request_s / state.batch - decoding_s, 0.0)
    return RequestEnergy(
        devices * device_w(ready, state.prefill, facts) * prefilling_s,
        devices * device_w(ready, state.decode, facts) * decoding_s,
    )


def idle(device: Accelerator, facts: PowerFacts | None = None) -> IdlePower:
    """Idle power of a device: its file's value, else the fitted share of its power limit with its error."""
    if device.idle_w is not None:
        return IdlePower(device.idle_w, 0.0, f"{device.id}: {device.provenance['idle_w']}")
    share = (facts or power_facts()).idle
    return IdlePower(share.fraction * device.tdp_w, share.error * device.tdp_w, "fitted share of the power limit")


def idle_w(device: Accelerator) -> float:
    """Watts of one device without load.

    >>> from comptroller.facts.accelerator import accelerator
    >>> idle_w(accelerator("b200_sxm"))
    243.0
    """
    return idle(device).w


def matrix_flops_per_s(ready: ReplicaTimer) -> float:
    """Peak rate over the arithmetics a replica computes in, weighted by the FLOPs of one decoded token."""
    replica = ready.replica
    formats, device = replica.formats, replica.device
    flops, _ = ready.operations.work(ReplicaStep.decode(1.0, 1.0))
    work = ready.operations.count * flops[:, 0]
    seconds = 0.0
    for done, row in zip(work, ready.operations.rows, strict=True):
        if done > 0 and row.kind not in COLLECTIVES:
            weights = formats.experts if row.part == "experts" else formats.weights
            own = arithmetic(weights, formats.activations, device) if row.kind in {"gemm", "moe"} else ""
            seconds += done / device.peak(kernel_of(replica, row, own).arithmetic)
    return float(work.sum() / seconds)
