"""Reader of the A100 power readings in SplitwiseSim's profile: mean power over single batches.

Every row is one batch: a prompt phase of `prompt_time`, then `token_size` - 1 steps of `token_time`. Power is
a fraction of the limit; 0 means not measured. Repeats of one configuration are averaged. Peak power is left
alone: it is the highest reading, not the mean of a phase.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.power_demand import DeviceActivity
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.step import ReplicaStep
from comptroller.errors import InputError, RecordError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.measure.observations import ExclusionReport
from comptroller_lab.energy import number_of

Array = npt.NDArray[np.float64]

MODELS = {"llama2-70b": "llama_2_70b", "bloom-176b": "bloom_176b"}
DEVICES = {"a100-80gb": "a100_80_sxm", "h100-80gb": "h100_sxm"}
KEYS = ("model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size")
VALUES = ("average_power", "prompt_time", "token_time")

LONGEST_PROMPT = 4096
"""Mean power of the 8192-token Llama rows is an idle device's (0.17): the meter ran beside the batch."""


@dataclass(frozen=True, slots=True)
class SplitwiseReading:
    """One configuration: a replica, its batch, seconds of its phases, mean power as a share of the limit."""

    replica: ModelReplica
    batch: int
    input_tokens: int
    output_tokens: int
    prompt_s: float
    token_s: float
    share: float


@dataclass(frozen=True, slots=True)
class PowerSpan:
    """What a device did over a span, and the share of its power limit that was measured."""

    phases: tuple[DeviceActivity, ...]
    share: float
    device_family: str


def read_splitwise_power(path: Path) -> tuple[list[SplitwiseReading], ExclusionReport]:
    """One reading per configuration with power, and how many rows were left out and why.

    Raises:
        RecordError: columns are missing.
        InputError: the file cannot be read.
    """
    report = ExclusionReport()
    found: dict[tuple[str, ...], list[list[float]]] = defaultdict(list)
    for number, row in enumerate(_rows(path), start=2):
        if problem := _problem(row):
            report.add(number, problem)
        else:
            found[tuple(row[name] for name in KEYS)].append([float(row[name]) for name in VALUES])
    return [_reading(key, values) for key, values in sorted(found.items())], report


def spans(readings: list[SplitwiseReading], calibration: TimingCalibration) -> list[PowerSpan]:
    """What the devices of each reading did, in its measured times."""
    made = []
    for reading in readings:
        ready = replica_timer(reading.replica, calibration)
        batch, context = reading.batch, reading.input_tokens + reading.output_tokens / 2
        decode = ready.activity(ready.step(ReplicaStep.decode(batch, batch * context)))
        prompt = ready.activity(ready.step(ReplicaStep.prefill(reading.input_tokens, 0.0, batch)))
        prompt = prompt.within(np.array([reading.prompt_s]))
        steps = decode.within(np.array([reading.token_s])).times(reading.output_tokens - 1)
        made.append(PowerSpan((prompt, steps), reading.share, reading.replica.device.family))
    return made


def idle_share(path: Path) -> float:
    """Lowest mean power in the file as a share of the limit: a device beside its batch, so an idle one.

    Raises:
        InputError: no row has a power.
    """
    shares = [number_of(row["average_power"]) for row in _rows(path)]
    measured = [share for share in shares if share > 0]
    if not measured:
        raise InputError(f"{path.name}: no row has an average_power above 0")
    return min(measured)


def _problem(row: Mapping[str, str]) -> str | None:
    numbers = {name: number_of(row[name]) for name in (*KEYS[2:], *VALUES)}
    limits = {name: (1.0 if name in KEYS else 0.0) for name in numbers}
    for name, value in numbers.items():
        if not isfinite(value) or value < limits[name]:
            return f"{name} is not a number of at least {limits[name]:g}"
    if row["model"] not in MODELS or row["hardware"] not in DEVICES:
        return f"no facts for {row['model']} on {row['hardware']}"
    if numbers["average_power"] == 0:
        return "power was not measured"
    if numbers["prompt_size"] > LONGEST_PROMPT:
        return f"prompt above {LONGEST_PROMPT} tokens: the meter ran beside the batch"
    return None


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in (*KEYS, *VALUES) if name not in (reader.fieldnames or ())]
            if missing:
                raise RecordError(path.name, [(1, f"no column {name}") for name in missing[:3]], len(missing))
            return list(reader)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _reading(key: tuple[str, ...], values: list[list[float]]) -> SplitwiseReading:
    name, device, tensor, prompt, batch, tokens = key
    share, prompt_ms, token_ms = np.mean(values, axis=0).tolist()
    engine = replace(EngineSettings.default(engine_facts("vllm")), version="")
    replica = ModelReplica(
        model(MODELS[name]), accelerator(DEVICES[device]), PrecisionRecipe(), ParallelLayout(tp=int(tensor)), engine
    )
    return SplitwiseReading(replica, int(batch), int(prompt), int(tokens), prompt_ms / 1e3, token_ms / 1e3, share)
