"""How much of a microbatch's activations leaves the device, and how much is computed again: whichever takes less time.

Source: Fuyou (arXiv 2403.06504), whose amount of swapped activations minimises the time of an epoch, convex in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.training_offload import IN_TURN, PHASES

Array = npt.NDArray[np.float64]

THIRDS = 60
"""Times that a third of the interval in which the best share lies is cut off: 3e-11 of it is left."""


@dataclass(frozen=True, slots=True)
class MicrobatchPasses:
    """Seconds of computing of one microbatch, arrays of points. forward, backward: without what is computed again.
    again: of computing all layers again.  rounds: microbatches of a step."""

    forward_s: Array
    backward_s: Array
    again_s: Array
    rounds: Array


def waiting_s(traffic: Array, passes: MicrobatchPasses, share: Array) -> Array:
    """Seconds of a step for which computing waits for what is outside of the device, where a share of the activations
    is swapped and the others are computed again.

    traffic: of shape (phases, resources, points).

    One resource, busy for 3 s beside 2 s of a forward pass, 1 s beside a backward pass of 4, and 5 s for the optimiser
    beside the last of them or after it:

    >>> one = MicrobatchPasses(*(np.array([value]) for value in (2.0, 4.0, 0.0, 1.0)))
    >>> beside, after = np.zeros((2, len(PHASES), 5, 1))
    >>> beside[:3, 3, 0] = 3.0, 1.0, 5.0
    >>> after[[0, 1, PHASES.index("update")], 3, 0] = 3.0, 1.0, 5.0
    >>> [float(waiting_s(load, one, np.zeros(1))[0]) for load in (beside, after)]
    [3.0, 6.0]
    """
    forward, backward, once, out, back = (
        traffic[PHASES.index(name)] for name in ("forward", "backward", "beside", "out", "back")
    )
    room = passes.backward_s + (1.0 - share) * passes.again_s
    coming = backward + share * back
    ahead = np.maximum((forward + share * out).max(axis=0) - passes.forward_s, 0.0)
    behind = np.maximum(coming.max(axis=0) - room, 0.0)
    last = np.maximum((coming + once).max(axis=0) - room, 0.0)
    after = traffic[list(IN_TURN)].max(axis=1).sum(axis=0)
    return np.asarray(passes.rounds * ahead + (passes.rounds - 1.0) * behind + last + after)


def swap_share(traffic: Array, passes: MicrobatchPasses) -> Array:
    """Share of the activations to swap: the least time of computing again and of waiting, convex in the share.

    0 where nothing may be swapped or nothing would be computed again. With 2 s to compute a layer's worth again and a
    link that takes 6 s for all activations beside a forward pass of 3 s and a backward pass of 6, half is free and more
    would cost what it saves:

    >>> load = np.zeros((len(PHASES), 5, 1)); load[-2, 1] = load[-1, 0] = 6.0
    >>> one = MicrobatchPasses(*(np.array([value]) for value in (3.0, 6.0, 2.0, 1.0)))
    >>> round(float(swap_share(load, one)[0]), 6)
    0.5
    """
    points = len(passes.rounds)
    may = (traffic[PHASES.index("out")].max(axis=0) > 0) & (passes.again_s > 0)
    if not may.any():
        return np.zeros(points)

    def step_s(share: Array) -> Array:
        return waiting_s(traffic, passes, share) - share * passes.again_s * passes.rounds

    low, high = np.zeros(points), np.ones(points)
    for _ in range(THIRDS):
        third = (high - low) / 3.0
        falls = step_s(low + third) > step_s(high - third)
        low, high = np.where(falls, low + third, low), np.where(falls, high, high - third)
    ends = np.stack([np.zeros(points), (low + high) / 2.0, np.ones(points)])
    best = np.stack([step_s(one) for one in ends]).argmin(axis=0)
    return np.where(may, ends[best, np.arange(points)], 0.0)
