"""Power and energy of a replica from the time split of its steps.

While anything runs on a device, a floor and shares of its power limit add up, and the limit caps the sum;
while it waits for the host it draws the floor:

    P / TDP = gap f floor + busy cap(f (floor + (active t_kernel + communication t_collective
              + sequence t_sequence) / t_busy + memory u_mem + compute sqrt(u_matrix)))

At a locked clock or under a power cap all but memory and the idle part of the floor is worth `core_power` of it
(`costs/power_demand.py`).

f is a factor of the device family, near 1 (1 for a family that was not measured). gap and busy are shares of
the step's time, u_mem and u_matrix shares of the peak rates while busy. The root stands for what measured
kernels show: matrix units far below their peak already draw much of their power.
Energy adds over phases by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.power_demand import CoreClock, clocked_limit_s, core_power, limit_s
from comptroller.costs.steady import SteadyState
from comptroller.costs.timing import ReplicaTimer, StepTime
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.power import PowerFacts, power_facts

Array = npt.NDArray[np.float64]


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


def device_w(ready: ReplicaTimer, time: StepTime, facts: PowerFacts | None = None) -> Array:
    """Mean watts of one device over steps, shape (points,); never above the power limit."""
    known, device = facts or power_facts(), ready.replica.device
    doing = ready.activity(time)
    setting, factor = ready.replica.clock, known.factor(device.family)
    if setting is None:
        worth_s = limit_s(doing, known.shares, factor)
    else:
        cores = core_power(time.clock, known.clocks)
        at = CoreClock(cores, time.pace, setting.limit_share(device), known.idle.fraction)
        worth_s = clocked_limit_s(doing, known.shares, factor, at)
    return np.asarray(device.tdp_w * worth_s / np.maximum(doing.total_s, 1e-12))


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


def clock_refusal(replica: ModelReplica) -> str:
    """Why a replica cannot be priced with its clock or power limit; empty if it can."""
    setting, device = replica.clock, replica.device
    if setting is None:
        return ""
    if setting.clock_hz is not None:
        if device.clock_hz is None:
            return f"{device.id}: its facts state no clock"
        if not LEAST_LOCK * device.clock_hz <= setting.clock_hz <= device.clock_hz:
            ends = f"{LEAST_LOCK * device.clock_hz / 1e6:,.0f} to {device.clock_hz / 1e6:,.0f} MHz"
            return f"{device.id}: a clock of {setting.clock_hz / 1e6:,.0f} MHz is outside of what is known, {ends}"
    if setting.limit_w is not None and not LEAST_LIMIT * device.tdp_w <= setting.limit_w <= device.tdp_w:
        ends = f"{LEAST_LIMIT * device.tdp_w:,.0f} to {device.tdp_w:,.0f} W"
        return f"{device.id}: a power limit of {setting.limit_w:,.0f} W is outside of what is known, {ends}"
    return ""


LEAST_LOCK = 0.5
"""Lowest locked clock, as a share of the highest: stages were timed down to 0.49 of it (A40) and 0.61 (A100). At half
of this caches and memory, whose clocks follow that of the cores, would slow what is read too."""

LEAST_LIMIT = 0.4
"""Lowest power limit, as a share of the device's own: the lowest at which epochs were timed (V100, 100 of 250 W). At
half of this a device draws as much idle."""
