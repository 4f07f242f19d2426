"""80 % intervals of a plan's figures, from the residuals of measured servers that the calibration left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from comptroller.costs.deployment import Replica
from comptroller.costs.power import device_interval_w
from comptroller.costs.prediction import Predictor
from comptroller.costs.residual import Identity
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.calibration import kernel_prior
from comptroller.facts.serving import Bands
from comptroller.planning.plan import Figure
from comptroller.quantities import short

Z80 = 1.2816
"""Standard deviations to the 90th percentile of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Low and high of a figure as ratios to its value."""

    low: float
    high: float

    def around(self, value: float) -> Figure:
        """The figure with its interval."""
        return Figure(value=short(value), low=short(value * self.low), high=short(value * self.high))

    @classmethod
    def widest(cls, spreads: Iterable[Spread]) -> Spread:
        """The lowest low and the highest high."""
        found = list(spreads)
        return cls(min(x.low for x in found), max(x.high for x in found))


@dataclass(frozen=True, slots=True)
class Spreads:
    """Spreads of a replica's figures. Plans use the physics without the learned residual, so the bands are those
    of models measured elsewhere under the engine, or of ones never measured under it."""

    tpot: Spread
    ttft: Spread
    w: Spread

    def latency(self, quantity: str) -> Spread:
        """The spread of a latency; end to end is mostly decoding."""
        return self.ttft if quantity == "ttft_s" else self.tpot

    @classmethod
    def of(cls, replica: Replica) -> Spreads:
        """The spreads of a replica's novelty."""
        known = Predictor.shipped()
        measured = known.tpot.novelty(Identity.of(replica)) != "new"
        unmeasured = unmeasured_error(replica.device, replica.engine.id)
        low, high = device_interval_w(np.ones(1), replica.device)
        return cls(
            _of_band(known.facts.tpot, measured, unmeasured),
            _of_band(known.facts.ttft, measured, unmeasured),
            Spread(float(low[0]), float(high[0])),
        )


def unmeasured_error(device: Accelerator, engine: str) -> float:
    """Log standard deviation that a device adds none of whose family's kernels were timed; 0 where some were."""
    prior = kernel_prior("attention_decode", device.id, device.family, engine, "bf16")
    return prior.error if prior.source_level == "overall" else 0.0


def _of_band(bands: Bands, measured: bool, error: float) -> Spread:
    """The band, and where the device was never measured the two errors in quadrature."""
    low, high = bands.related if measured else bands.new
    more = Z80 * error
    return Spread(float(np.exp(-np.hypot(low, more))), float(np.exp(np.hypot(high, more))))
