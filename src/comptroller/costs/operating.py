"""Where a service runs once its share of the demand is known: batch, latency, utilisation, watts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.capacity import LatencyTarget, MixtureSteadyState, SlicedLoad, prompts, state, tail_s
from comptroller.costs.money import host_w
from comptroller.costs.queueing import busy_batch
from comptroller.costs.split_pools import SplitPools, SplitSteadyState, split_state, split_tail_s
from comptroller.costs.timing import ReplicaTimer

Array = npt.NDArray[np.float64]

POINTS = 32
"""Batches at which the bracket of the operating point is divided."""

ROUNDS = 5
"""Times that the bracket is divided. For an engine of 1,024 sequences the first leaves neighbours 25 % apart, each
further one 31 times less: 3e-7 at the last, over which a straight line is exact to 1e-13."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A replica's steady state under its share of the demand.

    batch: mean requests in flight (at most the engine's).  ttft_s, tpot_s: means.  tails_s: by target.
    utilisation: share of its capacity in use.  w: mean watts at the meter of one replica.
    """

    batch: float
    ttft_s: float
    tpot_s: float
    tails_s: tuple[float, ...]
    utilisation: float
    w: float


def operating_point(
    ready: ReplicaTimer, load: SlicedLoad, targets: Sequence[LatencyTarget], pue: float, pools: SplitPools | None = None
) -> OperatingPoint:
    """Solve Little's law L = r O TPOT for one replica that gets all of `load`, or one group of split pools.

    A request that decodes meets L others (Poisson arrivals see time averages), so its steps hold 1 + L sequences.
    Overload (no batch below the engine's most carries the rate) shows as utilisation above 1 and infinite tails.
    """
    rate = float(load.rate_per_s.sum())
    most = float(ready.replica.engine.max_batch)
    in_flight = _in_flight(ready, load, pools)
    overloaded = in_flight >= most
    quantile = max((t.quantile for t in targets), default=0.5)
    crowd = 1.0 + float(busy_batch(np.array(in_flight), quantile))
    points = np.array([min(1.0 + in_flight, most), max(crowd, 1.0), most])
    both = _state(ready, load, points, pools)
    rates = np.full(len(points), rate)
    tpot = both.tpot_s(rates)
    wait, _ = both.wait_s(rates)
    first = both.load.weight @ both.first_token_s(tpot)
    tails = tuple(np.inf if overloaded else _tail(both, rates, tpot, t) for t in targets)
    device = ready.replica.layout.devices * (pools.ratio.replicas if pools else 1)
    watts = float(both.device_w(ready, rates)[0])
    return OperatingPoint(
        batch=in_flight,
        ttft_s=float(wait[0] + first[0]),
        tpot_s=float(tpot[0]),
        tails_s=tails,
        utilisation=float(rate / both.saturated_per_s[-1]),
        w=(watts * device + host_w(device)) * pue,
    )


def _state(ready: ReplicaTimer, load: SlicedLoad, batch: Array, pools: SplitPools | None) -> MixtureSteadyState:
    if pools is not None:
        return split_state(ready, load, batch, pools)
    return state(ready, load, batch, prompts(ready, load, batch))


def _in_flight(ready: ReplicaTimer, load: SlicedLoad, pools: SplitPools | None) -> float:
    """Mean requests in flight, L = r O TPOT(min(1 + L, most)); the engine's most where it cannot carry the rate."""
    most, rate = float(ready.replica.engine.max_batch), load.rate_per_s.sum()
    grid = np.geomspace(1.0, 1.0 + most, POINTS)
    for _ in range(ROUNDS):
        batch = np.minimum(grid, most)
        spare = grid - 1.0 - _state(ready, load, batch, pools).in_flight(np.full(POINTS, rate))
        carried = np.flatnonzero(spare > 0)
        if not carried.size:
            return min(float(grid[-1]) - 1.0, most)
        first = max(int(carried[0]), 1)
        ends = slice(first - 1, first + 1)
        found = float(np.interp(0.0, spare[ends], grid[ends]))
        grid = np.geomspace(grid[first - 1], grid[first], POINTS)
    return min(found - 1.0, most)


def _tail(both: MixtureSteadyState, rates: Array, tpot: Array, target: LatencyTarget) -> float:
    if isinstance(both, SplitSteadyState):
        return float(split_tail_s(both, rates, np.full(len(tpot), both.decode_s[1]), target)[0])
    return float(tail_s(both, rates, np.full(len(tpot), tpot[1]), target)[0])
