"""80 % intervals of a plan's figures, from the residuals of measured servers that the calibration left out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from comptroller.costs.causes import TIMED, model_kind, strangeness
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.eager import LAUNCH_ERROR
from comptroller.costs.format_bounds import format_error
from comptroller.costs.own_calibration import OwnCalibration
from comptroller.costs.power import device_interval_w
from comptroller.costs.prediction import ReplicaPredictor
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.residual import ResidualIdentity
from comptroller.costs.step_factor import StepFactorCalibration
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.calibration import kernel_prior
from comptroller.facts.serving import Band, anchors
from comptroller.planning.ground.service_document import PredictedFigure
from comptroller.quantities import short

Array = npt.NDArray[np.float64]

OWN_RUNS = "own runs of this deployment"
JUDGED_BY = {
    "related": "this model under this engine, with the accelerator or the formats left out",
    "new": "models left out",
    "vendor": "other vendors and untimed families, with each source left out",
    "engine": "engines whose kernels nobody timed, with each source left out",
    "generation": "older generations of engines, with each source left out",
    "foreign": "other vendors, untimed and older engines, with each source left out",
}
"""A band of a calibration -> whose held-out errors it holds."""

KINDS = {"dense": "dense models alone", "experts": "mixtures of experts alone"}
"""Kind of models -> what a band of its own holds."""

Z80 = 1.2816
"""Standard deviations to the 90th percentile of a normal distribution."""


@dataclass(frozen=True, slots=True)
class RelativeInterval:
    """Low and high of a figure as ratios to its value. middle: the median, 1 unless the value is told at an end."""

    low: float
    high: float
    middle: float = 1.0

    def around(self, value: float) -> PredictedFigure:
        """The figure with its interval."""
        return PredictedFigure(value=short(value), low=short(value * self.low), high=short(value * self.high))

    def beside(self, factor: float) -> RelativeInterval:
        """The same interval as ratios to so many times the value."""
        return RelativeInterval(self.low / factor, self.high / factor, self.middle / factor)

    def of_deviates(self, z: Array) -> Array:
        """Ratios of normal deviates: 10 % below `low` and 10 % above `high`, log-normal on either side of `middle`.

        f = m exp(z ln(high / m) / z80) for z > 0, m exp(-z ln(low / m) / z80) for z < 0, with m = middle, z80 = 1.2816

        >>> RelativeInterval(0.8, 1.25).of_deviates(np.array([-1.2816, 0.0, 1.2816])).round(3).tolist()
        [0.8, 1.0, 1.25]
        """
        low, high = np.log(self.low / self.middle), np.log(self.high / self.middle)
        return np.asarray(self.middle * np.exp(np.where(z > 0, z * high, -z * low) / Z80))

    @classmethod
    def widest(cls, spreads: Iterable[RelativeInterval]) -> RelativeInterval:
        """The lowest low and the highest high."""
        found = list(spreads)
        return cls(min(x.low for x in found), max(x.high for x in found))


@dataclass(frozen=True, slots=True)
class ReplicaIntervals:
    """Spreads of a replica's figures. Plans use the physics without the learned residual, so the bands are those
    of models measured elsewhere under the engine, or of ones never measured under it; an own calibration has the bands
    of what it was measured for. judged_by, first_judged_by: whose held-out errors those of a token and of the first
    are, in words."""

    tpot: RelativeInterval
    ttft: RelativeInterval
    w: RelativeInterval
    judged_by: str = OWN_RUNS
    first_judged_by: str = OWN_RUNS

    def latency(self, quantity: str) -> RelativeInterval:
        """The spread of a latency; end to end is mostly decoding."""
        return self.ttft if quantity == "ttft_s" else self.tpot

    @classmethod
    def of(cls, replica: ModelReplica, calibration: TimingCalibration) -> ReplicaIntervals:
        """The spreads of a replica's novelty, or those that the calibration which priced it was measured to have; of
        steps that are taken for longer, the same spreads around what they are taken for."""
        if isinstance(calibration, StepFactorCalibration):
            found, factor = cls.of(replica, calibration.base), calibration.factor(replica)
            return replace(found, tpot=found.tpot.beside(factor), ttft=found.ttft.beside(factor))
        efficiency = ReplicaPredictor.shipped()
        measured = efficiency.tpot.novelty(ResidualIdentity.of(replica)) != "new"
        unmeasured = unmeasured_error(replica.device, replica.engine.launched_as)
        low, high = device_interval_w(np.ones(1), replica.device)
        watts = RelativeInterval(float(low[0]), float(high[0]))
        if isinstance(calibration, OwnCalibration) and calibration.covers(replica):
            tpot, ttft = calibration.tpot(replica), calibration.ttft(replica)
            return cls(_of_logs(tpot.band), _of_logs(ttft.band), watts)
        group, kind = strangeness(replica), model_kind(replica)
        name, band = efficiency.facts.tpot.of_group(group, measured, kind)
        first_name, first = efficiency.facts.first_token_band(group, measured, kind)
        alone = LAUNCH_ERROR if replica.engine.eager else 0.0
        more = math.hypot(0.0 if group != TIMED else unmeasured, format_error(replica), alone)
        return cls(_of_band(band, more), _of_band(first, more), watts, judged_by(name), judged_by(first_name))


def judged_by(band: str) -> str:
    """Whose held-out errors a band of a calibration holds, in words.

    >>> judged_by("vendor experts")
    'other vendors and untimed families, with each source left out, mixtures of experts alone'
    >>> judged_by("new+engine")
    'models left out; its steps by engines whose kernels nobody timed, with each source left out'
    """
    whose, _, steps = band.partition("+")
    group, _, kind = whose.partition(" ")
    words = ", ".join((JUDGED_BY[group], *([KINDS[kind]] if kind else [])))
    return f"{words}; its steps by {judged_by(steps)}" if steps else words


def is_timed(replica: ModelReplica, calibration: TimingCalibration) -> bool:
    """Whether somebody timed what a replica runs on: kernels of its device's family, whole servers on its device, or,
    in an own calibration, that server itself. Nobody timed servers that launch kernels one by one."""
    if isinstance(calibration, StepFactorCalibration):
        return is_timed(replica, calibration.base)
    if isinstance(calibration, OwnCalibration) and calibration.covers(replica):
        return True
    device = replica.device
    if replica.engine.eager:
        return False
    return not unmeasured_error(device, replica.engine.launched_as) or device.timed_as in _served_devices()


@lru_cache(maxsize=1)
def _served_devices() -> frozenset[str]:
    """Devices of the servers that the shipped calibration was fitted to."""
    return frozenset(anchor.accelerator for anchor in anchors())


def unmeasured_error(device: Accelerator, engine: str) -> float:
    """Log standard deviation that a device adds none of whose family's kernels were timed; 0 where some were."""
    prior = kernel_prior("attention_decode", device, engine, "bf16")
    return prior.error if prior.source_level == "overall" else 0.0


def _of_logs(band: Band) -> RelativeInterval:
    return RelativeInterval(float(np.exp(band[0])), float(np.exp(band[1])))


def _of_band(band: Band, error: float) -> RelativeInterval:
    """The band of what was left out alike, and the error of a device that was never measured in quadrature."""
    low, high = band
    more = Z80 * error
    return RelativeInterval(float(np.exp(-np.hypot(low, more))), float(np.exp(np.hypot(high, more))))
