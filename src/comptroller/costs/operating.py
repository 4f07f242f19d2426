"""Where a service runs once its share of the demand is known: batch, latency, utilisation, watts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.capacity import LatencyTarget, MixtureSteadyState, SlicedLoad, device_w, prompts, state, tail_s
from comptroller.costs.money import host_w
from comptroller.costs.queueing import busy_batch
from comptroller.costs.timing import ReplicaTimer

Array = npt.NDArray[np.float64]

POINTS = 96
"""Batches between which the operating point is interpolated."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A replica's steady state under its share of the demand.

    batch: mean requests in flight.  ttft_s, tpot_s: means.  tails_s: by target.
    utilisation: share of its capacity in use.  w: mean watts at the meter of one replica.
    """

    batch: float
    ttft_s: float
    tpot_s: float
    tails_s: tuple[float, ...]
    utilisation: float
    w: float


def operating_point(
    ready: ReplicaTimer, load: SlicedLoad, targets: Sequence[LatencyTarget], pue: float
) -> OperatingPoint:
    """Solve Little's law B = r O TPOT(B) for one replica that gets all of `load`.

    Overload (no batch below the engine's most carries the rate) shows as utilisation above 1 and infinite tails.
    """
    rate = float(load.rate_per_s.sum())
    grid = np.geomspace(0.05, ready.replica.engine.max_batch, POINTS)
    over = state(ready, load, grid, prompts(ready, load, grid))
    needed = rate * float(load.weight @ load.requests.output_tokens) * over.tpot_s(np.full(POINTS, rate))
    batch = float(np.interp(0.0, grid - needed, grid)) if grid[-1] > needed[-1] else float(grid[-1])
    quantile = max((t.quantile for t in targets), default=0.5)
    crowd = float(busy_batch(np.array(batch), quantile))
    points = np.array([batch, max(crowd, 1.0)])
    both = state(ready, load, points, prompts(ready, load, points))
    rates = np.array([rate, rate])
    tpot = both.tpot_s(rates)
    wait, _ = both.wait_s(rates)
    first = both.load.weight @ both.first_token_s(tpot)
    overloaded = grid[-1] <= needed[-1]
    tails = tuple(np.inf if overloaded else _tail(both, rates, tpot, t) for t in targets)
    device = ready.replica.layout.devices
    watts = float(device_w(ready, both, rates)[0])
    return OperatingPoint(
        batch=batch,
        ttft_s=float(wait[0] + first[0]),
        tpot_s=float(tpot[0]),
        tails_s=tails,
        utilisation=float(rate / over.saturated_per_s[-1]),
        w=(watts * device + host_w(device)) * pue,
    )


def _tail(both: MixtureSteadyState, rates: Array, tpot: Array, target: LatencyTarget) -> float:
    return float(tail_s(both, rates, np.full(2, tpot[1]), target)[0])
