"""Predicts the energy rows as plans would: the shipped serving calibration, and what is not known of the rows.

Not known are the effects of the engine's generation (vLLM 0.11.1), the tasks' input lengths, and what preparing an
image or a video takes. They are fitted on training rows only, each a log-normal around a stated centre.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.power_demand import DeviceActivity
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.steady import SteadyState, UniformRequests, steady
from comptroller.costs.timing import TERMS, ReplicaTimer, StepOverheads
from comptroller.facts.engine import engine_facts
from comptroller.facts.power import power_facts
from comptroller.facts.serving import serving_facts
from comptroller.measure.serving_parameters import EFFECT_SPREADS
from comptroller_lab.energy import ENGINE_VERSION, TASKS, EnergyMeasurements

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NuisancePrior:
    """A positive number to fit: its centre, and how far its logarithm may stray (one standard deviation)."""

    name: str
    centre: float
    spread: float


EFFECTS = tuple(
    NuisancePrior(name, 1.0, EFFECT_SPREADS[name]) for name in ("pace", "attention", "launch", "work", "sequence")
)
"""What the engine's generation slows, as `costs.causes` has it: the only constants of a prediction that are fitted
here, with the priors of the serving calibration. Everything else of a step is what plans are priced with."""

REQUESTS = (NuisancePrior("image_s", 1e-2, 1.5), NuisancePrior("video_s", 3e-2, 1.5))
"""Seconds in which the engine prepares an image or a video, which no model of the product holds."""

INPUTS = tuple(
    NuisancePrior(f"input {task}", tokens, 0.7)
    for task, tokens in zip(TASKS, (150.0, 250.0, 1500.0, 1500.0, 3000.0), strict=True)
)
"""Input tokens by task. Not recorded in the data; the centres are assumptions, and wide."""

MODALITY = {"image-chat": "image_s", "video-chat": "video_s"}


@dataclass(frozen=True, slots=True)
class NuisanceValues:
    """Values of the nuisances by name."""

    values: Mapping[str, float]


def shipped_serving() -> NuisanceValues:
    """The nuisances that were fitted on all energy rows: vLLM 0.11.1 under the leaderboard's harness."""
    return NuisanceValues({item.name: item.fitted for item in power_facts().serving})


NUISANCES = (*EFFECTS, *REQUESTS, *INPUTS)
"""All of them, in the order of the fit."""


def plan_calibration() -> FittedCalibration:
    """What plans are priced with, without the effects of the energy rows' engine generation, which are fitted here."""
    facts = serving_facts()
    mark = f".generation.{engine_facts('vllm').generation_of(ENGINE_VERSION)}"
    return FittedCalibration(replace(facts, parameters=tuple(p for p in facts.parameters if mark not in p.name)))


@dataclass(frozen=True, slots=True)
class BenchPrediction:
    """Predictions for all rows: seconds per token and decode step; what a device does per token, by phase."""

    token_s: Array
    decode_s: Array
    decoding: DeviceActivity
    prefilling: DeviceActivity

    def measured_in(self, token_s: Array) -> BenchPrediction:
        """The same work in the measured time: what the model does not explain is waiting."""
        busy = self.decoding.busy_s + self.prefilling.busy_s
        squeeze = np.minimum(1.0, token_s / np.maximum(busy, 1e-12))
        prefilling = self.prefilling.within(self.prefilling.busy_s * squeeze)
        decoding = self.decoding.within(token_s - prefilling.total_s)
        return BenchPrediction(token_s, self.decode_s, decoding, prefilling)


@dataclass(frozen=True, slots=True)
class EnergyBench:
    """The energy rows with their replicas resolved under a base calibration."""

    data: EnergyMeasurements
    ready: tuple[ReplicaTimer, ...]

    @classmethod
    def of(cls, data: EnergyMeasurements, base: TimingCalibration) -> EnergyBench:
        """Resolve every replica once."""
        return cls(data, tuple(replica_timer(replica, base) for replica in data.replicas))

    def latencies(self, serving: NuisanceValues, rows: Mask | None = None) -> tuple[Array, Array]:
        """Seconds per token and of the decode step; NaN for replicas without a row in `rows`."""
        token_s, decode_s = np.full((2, self.data.rows), np.nan)
        for ready, member in self._chosen(rows):
            state, host_s = self._state(ready, member, serving)[1:]
            token_s[member] = state.batch / (state.requests_per_s * state.requests.output_tokens) + host_s
            decode_s[member] = state.decode.total_s
        return token_s, decode_s

    def predict(self, serving: NuisanceValues) -> BenchPrediction:
        """Latencies, and what devices do per output token of one sequence."""
        token_s, decode_s = np.empty((2, self.data.rows))
        decoding, prefilling = np.empty((2, 6, self.data.rows))
        for ready, member in self._chosen(None):
            tuned, state, host_s = self._state(ready, member, serving)
            output, batch = state.requests.output_tokens, state.batch
            later = np.maximum(output - 1, 0) / output
            token_s[member] = batch / (state.requests_per_s * output) + host_s
            decode_s[member] = state.decode.total_s
            first = tuned.activity(state.prefill).times(batch / output)
            left = np.maximum(token_s[member] - state.decode.total_s * later, 1e-9)
            _store(decoding, member, tuned.activity(state.decode).times(later))
            _store(prefilling, member, first.within(left))
        return BenchPrediction(token_s, decode_s, DeviceActivity(*decoding), DeviceActivity(*prefilling))

    def _chosen(self, rows: Mask | None) -> Iterator[tuple[ReplicaTimer, Rows]]:
        for ready, member in zip(self.ready, self.data.members, strict=True):
            if rows is None or rows[member].any():
                yield ready, member

    def _state(
        self, ready: ReplicaTimer, member: Rows, serving: NuisanceValues
    ) -> tuple[ReplicaTimer, SteadyState, Array]:
        data, names = self.data, [TASKS[task] for task in self.data.task[member]]
        inputs = np.array([serving.values[f"input {name}"] for name in names])
        admit = np.array([serving.values[MODALITY[name]] if name in MODALITY else 0.0 for name in names])
        output, batch = data.output_tokens[member], data.batch[member]
        tuned = retune_replica(ready, serving)
        return tuned, steady(tuned, UniformRequests(inputs, output), batch), batch / output * admit


def retune_replica(ready: ReplicaTimer, serving: NuisanceValues) -> ReplicaTimer:
    """A replica with the effects of a generation, as `FittedCalibration` applies them."""
    rates, over, known = ready.rates, ready.overheads, serving.values
    attention = np.where(rates.term == TERMS.index("attention"), known["attention"], 1.0)
    slower = np.where(rates.wire, 1.0, known["pace"] * attention)
    least = np.where(rates.wire, 1.0, known["pace"] * known["launch"])
    scaled = replace(
        rates,
        flops_per_s=rates.flops_per_s / slower,
        bytes_per_s=rates.bytes_per_s / slower,
        extra_s=rates.extra_s * slower[:, None],
        floor_s=rates.floor_s * least,
    )
    work, each = known["work"], known["sequence"]
    overheads = StepOverheads(over.layer_s * work, over.step_s * work, over.sequence_s * each)
    return replace(ready, rates=scaled, overheads=overheads)


def _store(table: Array, member: Rows, doing: DeviceActivity) -> None:
    for row, each in zip(table, fields(doing), strict=True):
        row[member] = getattr(doing, each.name)
