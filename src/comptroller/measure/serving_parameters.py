"""The constants that a fit moves, and the latency model over them: many runs at once, parameters as logarithms.

The equations are those of `costs.serving_time`; here the constants become arrays over runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.causes import QUANTITIES, EffectName
from comptroller.costs.closed_loop import ClosedLoopDemand, closed_first_token
from comptroller.costs.fitted_calibration import ATTENTION, GROUPS
from comptroller.costs.serving_time import closed_prompts_per_step, marginal_prompt_s, token_time_s
from comptroller.costs.timing import ServingOverheads, StepOverheads
from comptroller.facts.serving import ANY
from comptroller.measure.features import FeatureBank, RunFeatures

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

WIRED = np.isin(GROUPS, ("all_reduce", "exchange"))
"""Which groups of kernels are collectives."""

ATTENDING = np.isin(GROUPS, sorted(ATTENTION))
"""Which are attention."""


@dataclass(frozen=True, slots=True)
class ParameterPrior:
    """What is believed of a parameter before the fit: centre, log standard deviation, unit."""

    centre: float
    spread: float
    unit: str = "1"


PRIORS: Mapping[str, ParameterPrior] = {
    **{f"time.{group}": ParameterPrior(1.0, 0.1) for group in GROUPS},
    **{f"time.{group}": ParameterPrior(1.0, 0.15) for group in GROUPS if group.startswith("gemm")},
    "time.elementwise": ParameterPrior(1.0, 0.3),
    "time.experts_dequantised": ParameterPrior(1.0, 0.5),
    "time.exchange": ParameterPrior(1.0, 0.4),
    "floor": ParameterPrior(1.0, 0.2),
    "layer": ParameterPrior(5e-7, 0.4, "s"),
    "step": ParameterPrior(5e-4, 0.4, "s"),
    "sequence": ParameterPrior(1e-5, 1.0, "s"),
    "ranks": ParameterPrior(3e-4, 1.0, "s"),
    "interference": ParameterPrior(1.0, 0.15),
    "host": ParameterPrior(0.06, 0.25, "s"),
    "client": ParameterPrior(5e-4, 0.25, "s"),
    "prefill": ParameterPrior(1.2, 0.3),
    "wait_steps": ParameterPrior(1.0, 0.3),
    "burst": ParameterPrior(0.4, 0.125),
    "crowd": ParameterPrior(0.6, 0.4),
    "poll": ParameterPrior(0.8, 0.6),
}
"""Scales of kernel times stand at the kernel tables' own values; the others at orders of magnitude that public
engine logs and profiles show (a decode step's host part is near a millisecond, an HTTP request below 0.1 s). What is
before the first token is believed firmly, for its constants stand for another's in one engine's runs: at twice the
spreads of `host`, `client` and `burst` the first token on accelerators and days left out is 28 and 23 % off, at these
24 and 17."""

SHARED = (*(f"time.{group}" for group in GROUPS), "ranks", "crowd", "poll")
"""Parameters that are one for all engines."""

FIRST = frozenset(("host", "client", "prefill", "wait_steps", "burst", "crowd", "poll"))
"""Parameters of the time to first token only, with the effects that start with `outside`."""

EFFECT_SPREADS: Mapping[str, float] = {
    "pace.family": 0.2,
    "pace": 0.3,
    "attention": 0.5,
    "launch": 0.3,
    "work": 1.0,
    "sequence": 1.5,
    "wire": 0.4,
    "outside": 0.4,
}
"""Log standard deviation of an effect before the fit, by the start of its name. Kernels that were timed have
no effect of their own; those of another family or engine, of an older generation or of another vendor's build may take
a factor. At twice these values a cause with one measured group takes that group's error for its own."""


def prior_of(name: str) -> ParameterPrior:
    """The prior of a parameter, or of an effect, which is 1 within the spread of its cause.

    >>> prior_of("pace.family.cdna3")
    ParameterPrior(centre=1.0, spread=0.2, unit='1')
    """
    if name in PRIORS:
        return PRIORS[name]
    return ParameterPrior(1.0, next(spread for start, spread in EFFECT_SPREADS.items() if name.startswith(start)))


def is_first(name: str) -> bool:
    """Whether a parameter or an effect is of the time to first token only."""
    return name in FIRST or name.startswith("outside.")


@dataclass(frozen=True, slots=True)
class ParameterLayout:
    """Where each parameter stands in the vector of logarithms that a fit moves."""

    names: tuple[tuple[str, str], ...]
    engines: tuple[str, ...]

    @classmethod
    def of(cls, engines: Sequence[str], effects: Iterable[EffectName] = ()) -> ParameterLayout:
        """Parameters for these engines, and these effects after them."""
        engine_names = tuple(sorted(set(engines)))
        own = [name for name in PRIORS if name not in SHARED]
        names = [(name, ANY) for name in SHARED] + [(name, engine) for name in own for engine in engine_names]
        return cls((*names, *sorted(set(effects))), engine_names)

    def columns(self, name: str) -> Index:
        """Index of a parameter, by engine or once."""
        return np.array([i for i, (known, _) in enumerate(self.names) if known == name])

    def centre(self) -> Array:
        """Logarithms of the priors' centres."""
        return np.log([prior_of(name).centre for name, _ in self.names])

    def spread(self) -> Array:
        """Log standard deviations of the priors."""
        return np.array([prior_of(name).spread for name, _ in self.names])

    def design(self, effects: Sequence[Mapping[EffectName, float]], quantity: str) -> Array:
        """How often the effects of a quantity apply to the runs, (runs, parameters)."""
        place = {name: i for i, name in enumerate(self.names) if name[0].startswith(f"{quantity}.")}
        found = np.zeros((len(effects), len(self.names)))
        for row, names in enumerate(effects):
            known = [name for name in names if name in place]
            found[row, [place[name] for name in known]] = [names[name] for name in known]
        return found


@dataclass(frozen=True, slots=True)
class RunLatency:
    """Seconds of every run: of a prompt alone, what it adds to the steps it shares, and per output token."""

    solo_s: Array
    marginal_s: Array
    tpot_s: Array


@dataclass(frozen=True, slots=True)
class RunLatencyModel:
    """The latency model over some runs: their features, the layout of parameters, and the engine of each run.

    designs: by quantity, the effects that any run has, and how often they apply to which.  places: columns of the
    parameters by name.  steps: the parameters that are not of the first token alone.  timed: times at the values of
    those that were asked for last.
    """

    features: RunFeatures
    layout: ParameterLayout
    engine: Index
    designs: Mapping[str, tuple[Index, Array]]
    places: Mapping[str, Index]
    steps: Index
    timed: dict[bytes, RunLatency] = field(default_factory=dict)

    @classmethod
    def of(cls, runs: FeatureBank, layout: ParameterLayout) -> RunLatencyModel:
        """For these runs."""
        engine, effects = np.array([layout.engines.index(e) for e in runs.engines], dtype=np.int64), runs.effects
        whole = {name: layout.design(effects, name) for name in QUANTITIES}
        used = {name: np.flatnonzero(design.any(axis=0)) for name, design in whole.items()}
        places = {name: layout.columns(name) for name in PRIORS}
        steps = np.array([i for i, (name, _) in enumerate(layout.names) if not is_first(name)], dtype=np.int64)
        designs = {name: (used[name], design[:, used[name]]) for name, design in whole.items()}
        return cls(runs.features, layout, engine, designs, places, steps)

    def _effect(self, values: Array, quantity: str) -> Array:
        used, design = self.designs[quantity]
        return np.asarray(np.exp(design @ np.log(values[used])))

    def _own(self, values: Array, name: str) -> Array:
        return np.asarray(values[self.places[name]][self.engine])

    def _one(self, values: Array, name: str) -> float:
        return float(values[self.places[name][0]])

    def serving(self, values: Array) -> ServingOverheads:
        """What the engine of each run adds around its steps."""
        names = ("interference", "host", "client", "prefill", "wait_steps", "burst")
        own = ServingOverheads(*(self._own(values, name) for name in names))
        outside, late = self._effect(values, "outside"), self._one(values, "poll") * (self.features.poll - 1)
        return replace(
            own,
            crowd=self._one(values, "crowd"),
            host_s=outside * own.host_s,
            client_s=outside * own.client_s,
            unseen_steps=late,
        )

    def overheads(self, values: Array) -> StepOverheads:
        """What the engine of each run takes outside kernels."""
        step = self._own(values, "step") + np.where(self.features.ranks > 1, self._one(values, "ranks"), 0.0)
        work, each = self._effect(values, "work"), self._effect(values, "sequence")
        return StepOverheads(work * self._own(values, "layer"), work * step, each * self._own(values, "sequence"))

    def times(self, logs: Array) -> RunLatency:
        """Times at parameters given as logarithms. Those of the first token alone do not enter."""
        key = logs[self.steps].tobytes()
        if key not in self.timed:
            self.timed.clear()
            self.timed[key] = self._times(logs)
        return self.timed[key]

    def _times(self, logs: Array) -> RunLatency:
        values, runs = np.exp(logs), self.features
        scale = np.array([self._one(values, f"time.{group}") for group in GROUPS])
        least = self._own(values, "floor")[:, None] * scale
        wire, pace, attention, launch = (
            self._effect(values, name)[:, None] for name in ("wire", "pace", "attention", "launch")
        )
        kernels = np.where(WIRED, wire, pace * np.where(ATTENDING, attention, 1.0))
        full = np.concatenate([kernels * scale, np.where(WIRED, wire, pace * launch) * least], axis=1)
        over = self.overheads(values)
        loaded, empty = (over.total_s(runs.layers, batch, runs.ranks) for batch in (runs.batch, 0.0))
        decode, mixed = ((step * full).sum(axis=1) + loaded for step in (runs.decode, runs.mixed))
        solo = ((runs.chunk * full).sum(axis=1) + empty) * runs.chunks
        marginal = marginal_prompt_s(mixed, decode, runs.chunks, runs.stages)
        others = closed_prompts_per_step(runs.batch, runs.output_tokens, self._own(values, "interference"))
        others = others + runs.own / np.maximum(runs.output_tokens, 1)
        return RunLatency(solo, marginal, token_time_s(decode, others, marginal))

    def tpot(self, logs: Array) -> Array:
        """Logarithm of the time per output token."""
        return np.asarray(np.log(self.times(logs).tpot_s))

    def ttft(self, logs: Array) -> Array:
        """Logarithm of the time to first token."""
        runs, times = self.features, self.times(logs)
        load = ClosedLoopDemand(runs.clients, runs.batch, runs.output_tokens)
        first = closed_first_token(self.serving(np.exp(logs)), load, times.solo_s, times.marginal_s, times.tpot_s)
        return np.asarray(np.log(first.total_s))
