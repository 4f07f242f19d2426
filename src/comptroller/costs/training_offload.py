"""What training keeps outside of devices: every resource has a timeline, and a phase takes as long as its busiest one.

Weights come to the device for the forward and again for the backward pass of each microbatch, gradients leave it, and
Adam runs on the host once a step (on the device where all lies in a pool). Where there is a store (NVMe) weights and
states are read from it and written back, through the host's memory; activations may leave after the forward pass and
come back before the backward one (`costs.activation_swap`). With everything overlapped gradients are taken up as they
arrive and the optimiser runs beside the last backward pass (Fuyou, arXiv 2403.06504). Without it they wait in 32 bits,
in the store where there is one, and the optimiser comes after, reading, updating and writing in turn (ZeRO-Infinity,
arXiv 2104.07857, as runtime/zero/stage3.py and runtime/swap_tensor of DeepSpeed 0.19.8 do it with `pipeline_read` and
`pipeline_write` off, their default).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

WEIGHT_BYTES, GRADIENT_BYTES, STATE_BYTES = 2.0, 2.0, 12.0
"""Of a weight: its 16-bit copy, its gradient as it leaves the device, master weight and two moments."""

ADAM_BYTES = 30.0
"""Bytes that Adam moves per weight in the host's memory: reads gradient (2) and states (12), writes states (12), the
16-bit weight (2), and the gradient came in (2)."""

WIDE_BYTES = 4.0
"""Of a gradient that waits for the optimiser: DeepSpeed widens it on the device before it leaves."""

TURN_BYTES = 42.0
"""Bytes per weight in the host's memory where the optimiser comes after the last pass: gradients are scaled in place (8
bytes), Adam reads gradient, weight and moments (16) and writes three of them (12), and a pass of its own makes the
16-bit weight (6)."""

RESOURCES = ("link_down", "link_up", "store", "host", "far")
"""Rows of a load: the device's link in both directions, the node's store (reads and writes share it, as flash does),
the host's memory, and a slower memory beside it."""

PHASES = ("forward", "backward", "beside", "fetch", "update", "store", "out", "back")
"""First axis of `OffloadTraffic.seconds`: passes of one microbatch; once a step what runs beside the last backward
pass, and in turn after it states on their way in, the update, and states on their way out; and all activations of a
microbatch on their way out and back."""

IN_TURN = tuple(PHASES.index(name) for name in ("fetch", "update", "store"))


class OffloadedPart(StrEnum):
    """What may lie in the slower memory: optimiser states with gradients, 16-bit weights, activations."""

    STATES = "states"
    WEIGHTS = "weights"
    ACTIVATIONS = "activations"


@dataclass(frozen=True, slots=True)
class OffloadTier:
    """Where what is not on devices lies; rates of a node. host_bytes_per_s: of its memory.  read, write: of its store,
    infinite where there is none.  overlapped: whether the optimiser runs beside the backward pass.  far_share,
    far_bytes_per_s: of the parts `far_parts` in a slower memory of the host (CXL), which works beside the other.
    swaps: whether activations may leave the device.  host_bytes: that the node's memory may hold.  pool_bytes_per_s: of
    each device to a pool that all lies in; the device then updates its states itself."""

    host_bytes_per_s: float
    read_bytes_per_s: float = float("inf")
    write_bytes_per_s: float = float("inf")
    overlapped: bool = True
    far_share: float = 0.0
    far_bytes_per_s: float = float("inf")
    far_parts: frozenset[OffloadedPart] = frozenset({OffloadedPart.STATES})
    swaps: bool = False
    host_bytes: float = float("inf")
    pool_bytes_per_s: float | None = None

    @property
    def has_store(self) -> bool:
        """Whether states lie in a store."""
        return bool(np.isfinite(self.read_bytes_per_s))

    def far_of(self, part: OffloadedPart) -> float:
        """Share of a part that lies in the slower memory."""
        return self.far_share if part in self.far_parts else 0.0


@dataclass(frozen=True, slots=True)
class OutsideBytes:
    """What a device keeps outside, arrays of points. params: weights of its shard.  trained: share of them that has
    gradients and states.  weight_bytes: of a weight as it is computed with, fewer where it is frozen in fewer bits.
    inputs: activations that always leave where any may: the inputs of layers.  rest: all other
    activations of a microbatch.  node: devices that share the host and its store."""

    params: Array
    trained: float
    inputs: Array
    rest: Array
    node: Array
    weight_bytes: float = WEIGHT_BYTES

    def held_bytes(self, tier: OffloadTier) -> Array:
        """Bytes that the host's memory has to hold for a node where there is no store; with one, none need lie there.

        A billion weights are 16 GB with gradients accumulated in the place of the 16-bit ones' copies:

        >>> one = OutsideBytes(np.array([1e9]), 1.0, np.zeros(1), np.zeros(1), np.array([8.0]))
        >>> one.held_bytes(OffloadTier(200e9)).tolist()
        [128000000000.0]
        """
        if tier.has_store or tier.pool_bytes_per_s is not None:
            return np.zeros_like(self.params)
        states = self.params * (self.weight_bytes + (GRADIENT_BYTES + STATE_BYTES) * self.trained)
        return np.asarray(self.node * (states + self.inputs) * (1.0 - tier.far_share))


@dataclass(frozen=True, slots=True)
class OffloadTraffic:
    """Seconds of resources beside the device's computing, of shape (phases, resources, points)."""

    seconds: Array

    def phase(self, name: str) -> Array:
        """Loads of a phase, of shape (resources, points)."""
        return np.asarray(self.seconds[PHASES.index(name)])


def offload_traffic(tier: OffloadTier, outside: OutsideBytes, link_bytes_per_s: float) -> OffloadTraffic:
    """Traffic of a device with what it keeps outside.

    A billion weights over a link of 32 GB/s, a store of 8 GB/s up and 4 down, a host of 200 GB/s:

    >>> tier, none = OffloadTier(200e9, 8e9, 4e9), np.zeros(1)
    >>> found = offload_traffic(tier, OutsideBytes(np.array([1e9]), 1.0, none, none, np.array([1.0])), 32e9)
    >>> [round(float(found.phase(one).max()), 4) for one in ("forward", "backward", "beside")]
    [0.25, 0.25, 5.0]

    In turn gradients of 4 bytes go to the store and come back with the states (16 bytes in, 14 out):

    >>> from dataclasses import replace
    >>> after = replace(tier, overlapped=False)
    >>> found = offload_traffic(after, OutsideBytes(np.array([1e9]), 1.0, none, none, np.array([1.0])), 32e9)
    >>> [round(float(found.phase(one).max()), 4) for one in ("beside", "fetch", "update", "store")]
    [1.0, 2.0, 0.21, 3.5]
    """
    link = tier.pool_bytes_per_s or link_bytes_per_s
    out = _activation_load(tier, outside, link, outside.rest, True)
    back = _activation_load(tier, outside, link, outside.rest, False)
    computed = outside.weight_bytes * outside.params
    weights = _load(tier, outside, link, computed, OffloadedPart.WEIGHTS) + _store_load(tier, outside, computed, True)
    gradients = GRADIENT_BYTES * outside.params * outside.trained
    up = _upward_load(_load(tier, outside, link, gradients, OffloadedPart.STATES))
    forward = weights + _activation_load(tier, outside, link, outside.inputs, True)
    backward = weights + up + _activation_load(tier, outside, link, outside.inputs, False)
    once = _once_loads(tier, outside, link)
    if not tier.overlapped:  # the device adds to what it wrote
        backward = backward + _load(tier, outside, link, gradients, OffloadedPart.STATES)
    return OffloadTraffic(np.stack([forward, backward, *once, out, back]))


def _upward_load(load: Array) -> Array:
    """A load of bytes on their way from the device, of the same on their way to it."""
    found = load.copy()
    found[[0, 1]] = load[[1, 0]]
    return found


def _store_load(tier: OffloadTier, outside: OutsideBytes, moved: Array, read: bool) -> Array:
    """Loads of bytes of each device that the store gives or takes: the host's memory is their other end."""
    found = np.zeros((len(RESOURCES), len(moved)))
    if tier.has_store:
        rate = tier.read_bytes_per_s if read else tier.write_bytes_per_s
        found[RESOURCES.index("store")] = moved * outside.node / rate
        found[RESOURCES.index("host")] = moved * outside.node / tier.host_bytes_per_s
    return found


def _load(tier: OffloadTier, outside: OutsideBytes, link: float, moved: Array, part: OffloadedPart) -> Array:
    """Loads of bytes that come down to each device from where a part lies."""
    found = np.zeros((len(RESOURCES), len(moved)))
    found[RESOURCES.index("link_down")] = moved / link
    if tier.pool_bytes_per_s is None:
        share = tier.far_of(part)
        found[RESOURCES.index("host")] = moved * outside.node * (1.0 - share) / tier.host_bytes_per_s
        found[RESOURCES.index("far")] = moved * outside.node * share / tier.far_bytes_per_s
    return found


def _activation_load(tier: OffloadTier, outside: OutsideBytes, link: float, moved: Array, leaves: bool) -> Array:
    """Loads of activations on their way out or back; what the host's memory does not hold goes on to the store."""
    found = _load(tier, outside, link, moved, OffloadedPart.ACTIVATIONS)
    spilled = _store_load(tier, outside, _spill_share(tier, outside) * moved, not leaves)
    return (_upward_load(found) if leaves else found) + spilled


def _spill_share(tier: OffloadTier, outside: OutsideBytes) -> Array:
    """Share of a microbatch's activations that the host's memory has no room for."""
    if not tier.has_store:
        return np.zeros_like(outside.params)
    whole = np.maximum((outside.inputs + outside.rest) * outside.node, 1.0)
    return np.asarray(1.0 - np.minimum(tier.host_bytes / whole, 1.0))


def _once_loads(tier: OffloadTier, outside: OutsideBytes, link: float) -> tuple[Array, ...]:
    """Loads of a step's `beside`, `fetch`, `update` and `store`."""
    trained = outside.params * outside.trained
    none = np.zeros((len(RESOURCES), len(trained)))
    if tier.pool_bytes_per_s is not None:
        none[RESOURCES.index("link_down")] = (GRADIENT_BYTES + STATE_BYTES) * trained / link
        none[RESOURCES.index("link_up")] = (STATE_BYTES + WEIGHT_BYTES) * trained / link
        return none, *(np.zeros_like(none) for _ in IN_TURN)
    written = _store_load(tier, outside, (STATE_BYTES + WEIGHT_BYTES) * trained, False)
    if tier.overlapped:
        read = _store_load(tier, outside, STATE_BYTES * trained, True)
        return read + _update_load(tier, outside, ADAM_BYTES) + written, none, none, none
    wide = WIDE_BYTES * trained
    handed = _upward_load(_load(tier, outside, link, wide, OffloadedPart.STATES)) + _store_load(
        tier, outside, wide, False
    )
    read = _store_load(tier, outside, STATE_BYTES * trained + wide, True)
    return handed, read, _update_load(tier, outside, TURN_BYTES), written


def _update_load(tier: OffloadTier, outside: OutsideBytes, weight_bytes: float) -> Array:
    """Loads of the host's memories while states are updated. weight_bytes: moved per weight."""
    shared, share = outside.params * outside.trained * outside.node, tier.far_of(OffloadedPart.STATES)
    found = np.zeros((len(RESOURCES), len(shared)))
    found[RESOURCES.index("host")] = weight_bytes * shared * (1.0 - share) / tier.host_bytes_per_s
    found[RESOURCES.index("far")] = weight_bytes * shared * share / tier.far_bytes_per_s
    return found
