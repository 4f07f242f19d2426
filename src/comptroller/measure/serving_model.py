"""The serving model as a function of its parameters, over the features of measured runs.

The same equations as `costs.timing`, `costs.steady` and `costs.closed`; a test holds both to the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.fitted_calibration import GROUPS
from comptroller.facts.serving import ANY
from comptroller.measure.features import RunFeatures

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

STEP_NAMES = ("floor", "layer", "step", "sequence", "interference")
FIRST_NAMES = ("host", "client", "prefill", "wait_steps", "burst")


@dataclass(frozen=True, slots=True)
class ParameterPrior:
    """What is believed of a parameter before the fit: centre, log standard deviation, unit."""

    centre: float
    spread: float
    unit: str = "1"


PRIORS: Mapping[str, ParameterPrior] = {
    **{f"time.{group}": ParameterPrior(1.0, 0.1) for group in GROUPS},
    "time.elementwise": ParameterPrior(1.0, 0.3),
    "time.experts_dequantised": ParameterPrior(1.0, 0.5),
    "time.exchange": ParameterPrior(1.0, 0.4),
    "floor": ParameterPrior(1.0, 0.2),
    "layer": ParameterPrior(5e-7, 0.4, "s"),
    "step": ParameterPrior(5e-4, 0.4, "s"),
    "sequence": ParameterPrior(1e-5, 0.4, "s"),
    "ranks": ParameterPrior(3e-4, 1.0, "s"),
    "interference": ParameterPrior(1.0, 0.15),
    "host": ParameterPrior(0.1, 0.5, "s"),
    "client": ParameterPrior(1e-3, 0.5, "s"),
    "prefill": ParameterPrior(1.2, 0.3),
    "wait_steps": ParameterPrior(1.0, 0.3),
    "burst": ParameterPrior(0.4, 0.5),
    "crowd": ParameterPrior(0.6, 0.2),
}
"""Scales of kernel times stand at the kernel tables' own values; the others at orders of magnitude that public
engine logs and profiles show (a decode step's host part is near a millisecond, an HTTP request near 0.1 s)."""

SHARED = (*(f"time.{group}" for group in GROUPS), "ranks", "crowd")
"""Parameters that are one for all engines."""

FIRST = frozenset((*FIRST_NAMES, "crowd"))
"""Parameters of the time to first token only."""


@dataclass(frozen=True, slots=True)
class ParameterLayout:
    """Where each parameter stands in the vector of logarithms that a fit moves."""

    names: tuple[tuple[str, str], ...]
    engines: tuple[str, ...]

    @classmethod
    def of(cls, engines: Sequence[str]) -> ParameterLayout:
        """Parameters for these engines."""
        each = tuple(sorted(set(engines)))
        own = [name for name in PRIORS if name not in SHARED]
        names = [(name, ANY) for name in SHARED] + [(name, engine) for name in own for engine in each]
        return cls(tuple(names), each)

    def columns(self, name: str) -> Index:
        """Index of a parameter, by engine or once."""
        return np.array([i for i, (known, _) in enumerate(self.names) if known == name])

    def centre(self) -> Array:
        """Logarithms of the priors' centres."""
        return np.log([PRIORS[name].centre for name, _ in self.names])

    def spread(self) -> Array:
        """Log standard deviations of the priors."""
        return np.array([PRIORS[name].spread for name, _ in self.names])


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Seconds of every run: per token, of a pure decode step, of a prompt alone and beside the batch."""

    tpot_s: Array
    step_s: Array
    solo_s: Array
    marginal_s: Array


@dataclass(frozen=True, slots=True)
class ServingModel:
    """The model over some runs: their features, the layout of parameters, and the engine of each run."""

    features: RunFeatures
    layout: ParameterLayout
    engine: Index

    @classmethod
    def of(cls, features: RunFeatures, engines: Sequence[str], layout: ParameterLayout) -> ServingModel:
        """For runs of these engines."""
        return cls(features, layout, np.array([layout.engines.index(e) for e in engines], dtype=np.int64))

    def _own(self, values: Array, name: str) -> Array:
        return np.asarray(values[self.layout.columns(name)][self.engine])

    def _one(self, values: Array, name: str) -> float:
        return float(values[self.layout.columns(name)[0]])

    def times(self, logs: Array) -> RunTimes:
        """Times at parameters given as logarithms."""
        values, runs = np.exp(logs), self.features
        scale = np.array([self._one(values, f"time.{group}") for group in GROUPS])
        least = self._own(values, "floor")[:, None] * scale
        full = np.concatenate([np.broadcast_to(scale, least.shape), least], axis=1)
        over = runs.layers * self._own(values, "layer") + self._own(values, "step")
        over = over + np.where(runs.ranks > 1, self._one(values, "ranks"), 0.0)
        step = (runs.decode * full).sum(axis=1) + over + self._own(values, "sequence") * runs.batch / runs.ranks
        marginal = np.maximum((runs.marginal * full).sum(axis=1), 0.0)
        others = self._own(values, "interference") * np.maximum(runs.batch - 1, 0) / runs.output_tokens
        solo = (runs.solo * full).sum(axis=1) + runs.chunks * over
        return RunTimes(step + others * marginal, step, solo, marginal)

    def tpot(self, logs: Array) -> Array:
        """Logarithm of the time per output token."""
        return np.asarray(np.log(self.times(logs).tpot_s))

    def ttft(self, logs: Array) -> Array:
        """Logarithm of the time to first token."""
        values, runs, times = np.exp(logs), self.features, self.times(logs)
        crowd = runs.batch ** self._one(values, "crowd") - 1.0
        first = self._own(values, "host") + self._own(values, "client") * runs.clients
        first = first + self._own(values, "prefill") * times.solo_s
        first = first + self._own(values, "burst") * crowd * times.marginal_s
        first = first + self._own(values, "wait_steps") * times.tpot_s
        served = first + runs.output_tokens * times.tpot_s
        return np.asarray(np.log(first + np.maximum(runs.clients - runs.batch, 0.0) / runs.batch * served))
