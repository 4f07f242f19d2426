"""SplitwiseSim's prompt and token times: an eager engine of 2023, held out by model and GPU.

Such an engine launches kernels one by one without captured graphs, so a phase takes the longer of what the device
and the host need:

    t = (device^4 + host^4)^(1/4),  device = sum over groups of scale * kernel time
    host = layers * t_layer(machine) * launches(model) + sequences * t_sequence

with the kernel times at the shipped priors (16 bit) and few scales, fitted on the other (model, GPU) pairs: the
machine's host is known from the other model on it, the model's launches from the other machine.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from accuracy_folds import Errors
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import GROUPS
from comptroller.costs.knee import smooth_max
from comptroller.costs.step import ReplicaStep, causal_pairs
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.measure import robust
from comptroller.measure.features import PricedReplica, by_group

Array = npt.NDArray[np.float64]

MODELS = {"llama2-70b": "llama_2_70b", "bloom-176b": "bloom_176b"}
DEVICES = {"a100-80gb": "a100_80_sxm", "h100-80gb": "h100_sxm"}
SCALED = ("gemm_16bit", "attention_decode", "attention_prefill", "elementwise", "all_reduce")
PRIORS = {
    **dict.fromkeys(SCALED, (1.0, 0.3)),
    "floor": (1.0, 0.3),
    "layer_s": (3e-4, 1.0),
    "sequence_s": (1e-4, 1.0),
    **dict.fromkeys(DEVICES, (1.0, 0.5)),
    **dict.fromkeys(MODELS, (1.0, 0.5)),
}
"""Centre and log standard deviation; the host's 0.3 ms a layer is some ten launches of 20 to 40 us each."""


Row = tuple[Array, float, float, float, str, str]


@dataclass(frozen=True)
class Phase:
    """Configurations of one phase: kernel seconds by group (work, then least times), what the host sees, seconds."""

    kernels: Array
    layers: Array
    sequences: Array
    seconds: Array
    model: npt.NDArray[np.str_]
    machine: npt.NDArray[np.str_]

    @property
    def pair(self) -> npt.NDArray[np.str_]:
        """Model and machine: what is left out together."""
        return np.char.add(np.char.add(self.model, " on "), self.machine)


def read(path: Path) -> dict[str, Phase]:
    """The prompt and the token phase, repeats of a configuration at their median."""
    rows: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
    names = ("model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size")
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            times = float(row["prompt_time"]) / 1e3, float(row["token_time"]) / 1e3
            if min(times) > 0:
                rows[tuple(row[name] for name in names)].append(times)
    ready: dict[tuple[str, str, str], PricedReplica] = {}
    found: dict[str, list[Row]] = {"prompt": [], "token": []}
    for (name, device, tp, prompt, batch, output), times in sorted(rows.items()):
        key = (name, device, tp)
        if key not in ready:
            ready[key] = PricedReplica.of(_replica(*key))
        one, (first, each) = ready[key], np.median(np.array(times), axis=0)
        steps = _steps(float(prompt), float(batch), float(output))
        layers = float(one.priced.replica.model.layers)
        for phase, seconds in (("prompt", first), ("token", each)):
            kernels = by_group(one.priced, one.group, steps[phase])
            found[phase].append((kernels, layers, float(batch), float(seconds), name, device))
    return {phase: _phase(columns) for phase, columns in found.items()}


def _phase(rows: list[Row]) -> Phase:
    return Phase(*(np.array(column) for column in zip(*rows, strict=True)))


def _replica(name: str, device: str, tp: str) -> ModelReplica:
    recipe = PrecisionRecipe("fp16", "fp16", "fp16", "fp16")
    engine = EngineSettings.default(engine_facts("vllm"))
    return ModelReplica(model(MODELS[name]), accelerator(DEVICES[device]), recipe, ParallelLayout(int(tp)), engine)


def _steps(prompt: float, batch: float, output: float) -> dict[str, ReplicaStep]:
    one, zero = np.ones(1), np.zeros(1)
    pairs = batch * causal_pairs(np.array([prompt]), zero)
    whole = ReplicaStep(zero, zero, batch * prompt * one, pairs, batch * one)
    return {"prompt": whole, "token": ReplicaStep.decode(batch, batch * (prompt + output / 2))}


def predict(logs: Array, phase: Phase) -> Array:
    """Logarithm of a phase's seconds."""
    values = dict(zip(PRIORS, np.exp(logs), strict=True))
    scale = np.array([values.get(group, 1.0) for group in GROUPS])
    device = (phase.kernels * np.concatenate([scale, scale * values["floor"]])).sum(axis=1)
    launches = np.array([values[m] * values[d] for m, d in zip(phase.model, phase.machine, strict=True)])
    host = phase.layers * values["layer_s"] * launches + phase.sequences * values["sequence_s"]
    return np.asarray(np.log(smooth_max(device, host)))


def held_out(path: Path) -> dict[str, tuple[Errors, Errors]]:
    """Errors of both phases, each (model, GPU) predicted from the others: at the priors, and fitted."""
    found = {}
    centre, spread = np.log([c for c, _ in PRIORS.values()]), np.array([s for _, s in PRIORS.values()])
    prior = robust.FitPrior(centre, spread, np.ones(len(centre), dtype=bool))
    for name, phase in read(path).items():
        logs = np.empty(len(phase.seconds))
        for pair in np.unique(phase.pair):
            train, test = _part(phase, phase.pair != pair), _part(phase, phase.pair == pair)
            cell = np.unique(train.pair, return_inverse=True)[1].astype(np.int64)
            target = robust.FitTarget(
                np.log(train.seconds), cell, np.arange(len(cell)), np.ones(len(cell)), np.zeros(int(cell.max()) + 1)
            )
            settings = robust.FitSettings(error=0.1, cell=0.02, most=20.0, rounds=30)
            fitted = robust.fit(lambda p, part=train: predict(p, part), target, prior, settings)
            logs[phase.pair == pair] = predict(fitted.logs, test)
        found[name] = Errors.of(predict(centre, phase), phase.seconds), Errors.of(logs, phase.seconds)
    return found


def _part(phase: Phase, rows: npt.NDArray[np.bool_]) -> Phase:
    return Phase(*(getattr(phase, item.name)[rows] for item in fields(Phase)))
