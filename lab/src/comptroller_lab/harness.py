"""Predicts the latencies of the energy rows: the cost model under one engine's serving overheads.

The overheads and the tasks' input lengths are nuisances of that engine version and harness, fitted on
training rows only, each a log-normal around a stated centre. A device family other than the reference
deviates from it by factors that are log-normal around one, so that an unseen family gets the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.power import DeviceActivity, activity
from comptroller.costs.steady import SteadyState, UniformRequests, steady
from comptroller.costs.timing import TERMS, ReplicaTimer, StepOverheads, TimingCalibration, replica_timer
from comptroller.facts.model import MixtureOfExperts
from comptroller.facts.power import power_facts
from comptroller_lab.energy import TASKS, EnergyMeasurements

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NuisancePrior:
    """A positive number to fit: its centre, and how far its logarithm may stray (one standard deviation)."""

    name: str
    centre: float
    spread: float


SCALES = (
    NuisancePrior("compute", 1.0, 0.2),
    NuisancePrior("memory", 1.0, 0.1),
    NuisancePrior("experts", 1.0, 0.5),
    NuisancePrior("collective_latency", 1.0, 0.4),
    NuisancePrior("collective_bandwidth", 1.0, 0.3),
    NuisancePrior("kernel_floor", 1.0, 0.4),
)
"""Factors on what the latency calibration says; tight, as it was measured kernel by kernel."""

OVERHEADS = (
    NuisancePrior("step_s", 5e-4, 0.7),
    NuisancePrior("layer_s", 1e-5, 0.7),
    NuisancePrior("expert_layer_s", 3e-5, 0.7),
    NuisancePrior("sequence_s", 5e-5, 0.7),
)
"""Seconds per step, per layer, further ones per layer with experts, and per sequence (sampling, output)."""

REQUESTS = (
    NuisancePrior("request_s", 1e-3, 1.0),
    NuisancePrior("image_s", 1e-2, 1.5),
    NuisancePrior("video_s", 3e-2, 1.5),
)
"""Seconds of host work that admitting a request costs the engine: text, image, video."""

INPUTS = tuple(
    NuisancePrior(f"input {task}", tokens, 0.7)
    for task, tokens in zip(TASKS, (150.0, 250.0, 1500.0, 1500.0, 3000.0), strict=True)
)
"""Input tokens by task. Not recorded in the data; the centres are assumptions, and wide."""

DEVIATIONS = (
    NuisancePrior("compute", 1.0, 0.2),
    NuisancePrior("memory", 1.0, 0.1),
    NuisancePrior("experts", 1.0, 0.4),
    NuisancePrior("step_s", 1.0, 0.7),
    NuisancePrior("layer_s", 1.0, 0.7),
    NuisancePrior("expert_layer_s", 1.0, 0.7),
    NuisancePrior("sequence_s", 1.0, 0.3),
    NuisancePrior("request_s", 1.0, 0.7),
)
"""What may differ on a device family other than the reference."""

REFERENCE = "hopper"
MODALITY = {"image-chat": "image_s", "video-chat": "video_s"}


@dataclass(frozen=True, slots=True)
class NuisanceValues:
    """Values of the nuisances by name; `family/name` is a device family's factor on `name`."""

    values: Mapping[str, float]

    def of(self, name: str, family: str) -> float:
        """A value on a device family."""
        return self.values[name] * self.values.get(f"{family}/{name}", 1.0)


def shipped_serving() -> NuisanceValues:
    """The nuisances that were fitted on all energy rows: vLLM 0.11.1 under the leaderboard's harness."""
    return NuisanceValues({item.name: item.fitted for item in power_facts().serving})


def nuisances(families: Sequence[str]) -> tuple[NuisancePrior, ...]:
    """All nuisances where these device families were measured."""
    deviations = [
        replace(item, name=f"{family}/{item.name}")
        for family in sorted(set(families) - {REFERENCE})
        for item in DEVIATIONS
    ]
    return (*SCALES, *OVERHEADS, *REQUESTS, *INPUTS, *deviations)


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

    def families(self) -> list[str]:
        """Device families that were measured."""
        return sorted({replica.device.family for replica in self.data.replicas})

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
            first = activity(tuned, state.prefill).times(batch / output)
            left = np.maximum(token_s[member] - state.decode.total_s * later, 1e-9)
            _store(decoding, member, activity(tuned, state.decode).times(later))
            _store(prefilling, member, first.within(left))
        return BenchPrediction(token_s, decode_s, DeviceActivity(*decoding), DeviceActivity(*prefilling))

    def _chosen(self, rows: Mask | None) -> Iterator[tuple[ReplicaTimer, Rows]]:
        for ready, member in zip(self.ready, self.data.members, strict=True):
            if rows is None or rows[member].any():
                yield ready, member

    def _state(
        self, ready: ReplicaTimer, member: Rows, serving: NuisanceValues
    ) -> tuple[ReplicaTimer, SteadyState, Array]:
        data, family = self.data, ready.replica.device.family
        names = [TASKS[task] for task in data.task[member]]
        inputs = np.array([serving.values[f"input {name}"] for name in names])
        shift = serving.values.get(f"{family}/request_s", 1.0)
        admit = np.array([serving.values[MODALITY.get(name, "request_s")] for name in names]) * shift
        output, batch = data.output_tokens[member], data.batch[member]
        tuned = retune_replica(ready, serving)
        return tuned, steady(tuned, UniformRequests(inputs, output), batch), batch / output * admit


def retune_replica(ready: ReplicaTimer, serving: NuisanceValues) -> ReplicaTimer:
    """A replica resolved under a base calibration, with the factors and overheads of a harness."""
    family, rates = ready.replica.device.family, ready.rates
    experts = rates.term == TERMS.index("experts")
    memory = serving.of("memory", family) * np.where(experts, serving.of("experts", family), 1.0)
    bandwidth = serving.of("collective_bandwidth", family)
    latency = np.where(rates.wire, serving.of("collective_latency", family), serving.of("kernel_floor", family))
    scaled = replace(
        rates,
        flops_per_s=rates.flops_per_s * serving.of("compute", family),
        bytes_per_s=rates.bytes_per_s * np.where(rates.wire, bandwidth, memory),
        direct_bytes_per_s=rates.direct_bytes_per_s * bandwidth,
        floor_s=rates.floor_s * latency,
        setup_s=rates.setup_s * latency,
    )
    model = ready.replica.model
    expert_layers = sum(block.count for block in model.blocks if isinstance(block.ffn, MixtureOfExperts))
    layer_s = serving.of("layer_s", family) + serving.of("expert_layer_s", family) * expert_layers / model.layers
    overheads = StepOverheads(layer_s, serving.of("step_s", family), serving.of("sequence_s", family))
    return replace(ready, rates=scaled, overheads=overheads)


def _store(table: Array, member: Rows, doing: DeviceActivity) -> None:
    for row, each in zip(table, fields(doing), strict=True):
        row[member] = getattr(doing, each.name)
