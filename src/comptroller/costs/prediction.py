"""Predictions as they leave the house: a value and the interval that held 80 % of held-out measurements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.costs.closed_loop import ClosedLoop, replica_loop
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.residual import GaussianProcessResidual, Novelty, ResidualCorrection, ResidualIdentity, places
from comptroller.facts.serving import PredictionErrorBands, ServingFacts, anchors, serving_facts

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PredictionInterval:
    """A predicted figure and its 80 % interval; arrays of points."""

    value: Array
    low: Array
    high: Array

    @classmethod
    def around(cls, value: Array, correction: ResidualCorrection, bands: PredictionErrorBands) -> PredictionInterval:
        """The corrected value, and the band of its novelty around it (see `facts.serving.Bands`)."""
        middle = value * np.exp(correction.mean)
        if correction.novelty == "seen":
            low, high = (np.exp(edge * correction.spread) for edge in bands.seen)
        else:
            band = bands.related if correction.novelty == "related" else bands.new
            low, high = (np.full(np.shape(value), np.exp(edge)) for edge in band)
        return cls(middle, middle * low, middle * high)


@dataclass(frozen=True, slots=True)
class ClosedLoopLoad:
    """Equal requests from a closed loop of clients; arrays of points. run: version and date, of a measurement."""

    input_tokens: Array
    output_tokens: Array
    clients: Array
    run: str = ""


@dataclass(frozen=True, slots=True)
class ReplicaPrediction:
    """What a replica does under loads: seconds per token, seconds to the first, output tokens per second.

    novelty: whether this engine, model, formats and accelerator were measured together ("seen"), the model under
    this engine was ("related"), or neither ("new").  loop: the physics, with every part of the time visible.
    """

    tpot_s: PredictionInterval
    ttft_s: PredictionInterval
    output_tokens_per_s: PredictionInterval
    novelty: Novelty
    loop: ClosedLoop


@dataclass(frozen=True, slots=True)
class ReplicaPredictor:
    """A calibration with its residuals and intervals."""

    calibration: FittedCalibration
    tpot: GaussianProcessResidual
    ttft: GaussianProcessResidual

    @property
    def facts(self) -> ServingFacts:
        """The constants behind it."""
        return self.calibration.facts

    @classmethod
    @lru_cache(maxsize=8)
    def shipped(cls, constants: Path | None = None, learned: Path | None = None) -> ReplicaPredictor:
        """The shipped one, or one from a user's own files."""
        facts, known = serving_facts(constants), anchors(learned)
        tpot = GaussianProcessResidual.of(facts.tpot_kernel, known, [anchor.tpot_weight for anchor in known])
        ttft = GaussianProcessResidual.of(facts.ttft_kernel, known, [anchor.ttft_weight for anchor in known])
        return cls(FittedCalibration(facts), tpot, ttft)

    def predict(self, replica: ModelReplica, load: ClosedLoopLoad) -> ReplicaPrediction:
        """TPOT, TTFT and throughput of a replica under loads, each with its 80 % interval.

        Raises:
            InsufficientMemoryError: the weights leave no room for a cache.
            UnsupportedFormatError: the accelerator cannot run the formats.
        """
        loop = replica_loop(replica, self.calibration, (load.input_tokens, load.output_tokens), load.clients)
        identity = ResidualIdentity.of(replica, load.run)
        at = places(replica, load.clients, load.input_tokens, load.output_tokens)
        tpot = self.tpot.correction(identity, at)
        ttft = self.ttft.correction(identity, at)
        token_interval = PredictionInterval.around(loop.tpot_s, tpot, self.facts.tpot)
        first = PredictionInterval.around(loop.ttft_s, ttft, self.facts.ttft)
        rate = PredictionInterval(
            *(
                _rate(load, f, t)
                for f, t in (
                    (first.value, token_interval.value),
                    (first.high, token_interval.high),
                    (first.low, token_interval.low),
                )
            )
        )
        return ReplicaPrediction(token_interval, first, rate, tpot.novelty, loop)


def _rate(load: ClosedLoopLoad, ttft_s: Array, tpot_s: Array) -> Array:
    return np.asarray(load.clients * load.output_tokens / (ttft_s + np.maximum(load.output_tokens - 1, 0) * tpot_s))
