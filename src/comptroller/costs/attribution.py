"""Attribution of a meter to calls: what the requests, the waste and the idle time of a deployment took.

A meter reads joules, dollars or grams over windows. In each window a floor is idle; the rest belongs to the calls that
worked in it, in proportion to their work there, phase by phase. Requests, waste and idle always sum to the meter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeteredWindows:
    """What a meter read between edges.

    edges_s: ascending, one more than there are windows.  amount: of each window, in any unit that adds.
    floor: of each window, what it takes without any work (idle watts times seconds; all of it where devices
    are rented by the second and nothing runs).
    """

    edges_s: Array
    amount: Array
    floor: Array

    def __post_init__(self) -> None:
        windows = len(self.edges_s) - 1
        if windows < 1 or self.amount.shape != (windows,) or self.floor.shape != (windows,):
            raise InputError(f"a meter of {len(self.edges_s)} edges has {windows} windows, each with amount and floor")
        if not (np.all(np.diff(self.edges_s) > 0) and np.all(self.amount >= 0) and np.all(self.floor >= 0)):
            raise InputError("a meter's edges ascend; its amounts and floors are 0 or more")


@dataclass(frozen=True, slots=True)
class CallPhaseWork:
    """Calls by when they ran and how much work each phase was, one number per call.

    prefill, decode: work in one unit (predicted joules, or device-seconds).  wasted: the share of the call that was
    for nothing (1 where it was cancelled or failed; the part done twice where it was preempted).
    """

    start_s: Array
    end_s: Array
    prefill: Array
    decode: Array
    wasted: Array


@dataclass(frozen=True, slots=True)
class MeterAttribution:
    """What every call took of a meter, by phase, and what is left.

    prefill, decode: of useful work.  waste: of each call.  idle: of nobody, one amount.
    """

    prefill: Array
    decode: Array
    waste: Array
    idle: float

    @property
    def total(self) -> float:
        """Requests, waste and idle: the meter."""
        return float(self.prefill.sum() + self.decode.sum() + self.waste.sum()) + self.idle


def attribute(meter: MeteredWindows, work: CallPhaseWork) -> MeterAttribution:
    """Splits a meter over calls.

    In window k with amount A_k and floor F_k, call i that did w_ik of its work there takes
    (A_k - min(A_k, F_k)) w_ik / sum_j w_jk; a window without work is idle altogether. A call's work is spread evenly
    over its time; work outside the meter's windows takes nothing.

    >>> meter = MeteredWindows(np.array([0.0, 10.0]), np.array([100.0]), np.array([20.0]))
    >>> one, two = np.array([0.0, 5.0]), np.array([5.0, 10.0])
    >>> zero, half = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    >>> shares = attribute(meter, CallPhaseWork(one, two, half, np.array([1.0, 2.0]), zero))
    >>> shares.prefill.tolist(), shares.decode.tolist(), shares.waste.tolist(), shares.idle
    ([20.0, 0.0], [20.0, 0.0], [0.0, 40.0], 20.0)
    """
    call, window, part = _overlaps(meter.edges_s, work.start_s, work.end_s)
    whole = work.prefill + work.decode
    weight = part * whole[call]
    sums = np.bincount(window, weight, len(meter.amount)).astype(float)
    idle = np.where(sums > 0, np.minimum(meter.amount, meter.floor), meter.amount)
    taken = np.bincount(call, (meter.amount - idle)[window] * _ratio(weight, sums[window]), len(whole))
    useful = taken * (1.0 - work.wasted)
    prefill = useful * _ratio(work.prefill, whole)
    return MeterAttribution(prefill, useful - prefill, taken * work.wasted, float(idle.sum()))


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def _overlaps(edges_s: Array, start_s: Array, end_s: Array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Array]:
    """Every pair of a call and a window that it ran in, and the share of its time that fell there."""
    windows = len(edges_s) - 1
    first = np.clip(np.searchsorted(edges_s, start_s, "right") - 1, 0, windows - 1)
    last = np.clip(np.searchsorted(edges_s, end_s, "left") - 1, first, windows - 1)
    count = last - first + 1
    call = np.repeat(np.arange(len(start_s)), count)
    window = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[call]
    inside = np.minimum(end_s[call], edges_s[window + 1]) - np.maximum(start_s[call], edges_s[window])
    span = (end_s - start_s)[call]
    at_once = (edges_s[window] <= start_s[call]) & (start_s[call] <= edges_s[window + 1])
    part = np.where(span > 0, np.maximum(inside, 0.0) / np.where(span > 0, span, 1.0), at_once.astype(float))
    return call, window, part


def charge_back(idle: float, weight: Array) -> Array:
    """Idle cost by call, in proportion to a weight that states the rule: device-seconds, tokens, or ones.

    >>> charge_back(20.0, np.array([1.0, 3.0])).tolist()
    [5.0, 15.0]
    """
    return np.asarray(idle * _ratio(weight, np.full(len(weight), weight.sum())))
