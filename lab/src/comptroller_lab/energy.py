"""Reader of the public energy measurements of the ML.ENERGY leaderboard (vLLM 0.11.1, steady state).

A row is a replica under a closed loop of `avg_batch_size` sequences; its power is that of all devices. Input
lengths are not recorded: they are a nuisance of each task, fitted with the latencies (`comptroller_lab.harness`).
Exclusions are rules on input columns, counted in the report; no row is dropped by its error.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.errors import InputError, RecordError, UnknownIdError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.model import Model
from comptroller.measure.observations import ABSURD_S, ExclusionReport

Array = npt.NDArray[np.float64]
Row = Mapping[str, str]

NUMBERS = {
    "batch": "avg_batch_size",
    "output": "avg_output_len",
    "power": "avg_power_watts",
    "rate": "output_throughput_tokens_per_sec",
    "itl": "median_itl_ms",
    "joules": "energy_per_token_joules",
    "devices": "num_gpus",
    "data": "data_parallel",
    "expert": "expert_parallel",
}
COLUMNS = ("task", "model_id", "gpu_model", "weight_precision", *NUMBERS.values())

DEVICES = {"H100": "h100_sxm", "B200": "b200_sxm", "A100": "a100_80_sxm", "H200": "h200_sxm"}
TASKS = ("lm-arena-chat", "gpqa", "sourcegraph-fim", "image-chat", "video-chat")
ENGINE_VERSION = "0.11.1"
FAMILIES = ("Nemotron", "Qwen3-VL", "Qwen3", "Llama-3", "Llama-4", "gemma-3", "DeepSeek", "gpt-oss")
"""Model families as they stand in repository names, the first that fits; never on both sides of a split."""

PRECISIONS = {"bfloat16": "bf16", "fp8": "fp8_e4m3", "mxfp4": "mxfp4"}
DISAGREE = 0.05
"""Energy per token is power over throughput; a row where they differ by more is inconsistent."""

OVER_LIMIT = 1.2
"""A mean power above this many times the device's limit is a wrong unit."""


@dataclass(frozen=True, slots=True)
class EnergyMeasurements:
    """Rows as arrays, and the replicas they ran on.

    number: line of the file.  task: index in `TASKS`.  batch: sequences in flight.  output_tokens: mean.
    device_w: per device.  limit_w: its power limit.  token_s: seconds per output token of one sequence with
    all prefill and waiting (batch / throughput).  itl_s: median gap between tokens.
    token_j: joules per output token, all devices.  members: rows of each replica.
    """

    number: npt.NDArray[np.int64]
    task: npt.NDArray[np.int64]
    batch: Array
    output_tokens: Array
    device_w: Array
    limit_w: Array
    token_s: Array
    itl_s: Array
    token_j: Array
    family: npt.NDArray[np.str_]
    device: npt.NDArray[np.str_]
    replicas: tuple[ModelReplica, ...]
    members: tuple[npt.NDArray[np.int64], ...]

    @property
    def rows(self) -> int:
        """How many."""
        return self.number.size

    @property
    def crowd(self) -> Array:
        """How many rows share a row's replica: they are one experiment at several batch sizes."""
        sizes = np.empty(self.rows)
        for member in self.members:
            sizes[member] = member.size
        return sizes


def family(repository: str) -> str:
    """Family of a repository by its name.

    >>> family("Qwen/Qwen3-VL-8B-Instruct"), family("Qwen/Qwen3-Coder-30B-A3B-Instruct"), family("z/GLM-5")
    ('Qwen3-VL', 'Qwen3', 'glm')
    """
    name = repository.rpartition("/")[2].lower()
    found = [known for known in FAMILIES if known.lower() in name]
    return found[0] if found else name.partition("-")[0]


def read_energy(path: Path) -> tuple[EnergyMeasurements, ExclusionReport]:
    """The usable rows, and why the others are left out.

    Raises:
        RecordError: columns are missing, or no row is usable.
        InputError: the file cannot be read.
    """
    report = ExclusionReport()
    kept: list[tuple[int, Row, dict[str, float], ModelReplica]] = []
    for number, row in enumerate(_table(path), start=2):
        numbers = {name: number_of(row[column]) for name, column in NUMBERS.items()}
        if problem := _problem(row, numbers):
            report.add(number, problem)
            continue
        try:
            kept.append((number, row, numbers, replica_of(row, numbers)))
        except UnknownIdError as error:
            report.add(number, str(error).partition(";")[0])
    if not kept:
        raise RecordError(path.name, report.rows[:3], len(report.rows))
    return _arrays(kept), report


def replica_of(row: Row, numbers: Mapping[str, float]) -> ModelReplica:
    """The replica of a row: attention is tensor-parallel over all devices of a data-parallel rank."""
    found = model(row["model_id"])
    devices, data = int(numbers["devices"]), int(numbers["data"])
    layout = ParallelLayout(tp=devices // data, dp=data, ep=devices if numbers["expert"] > 1 else 1)
    engine = EngineSettings.at_version(engine_facts("vllm"), ENGINE_VERSION)
    device = accelerator(DEVICES[row["gpu_model"]])
    return ModelReplica(found, device, recipe(found, PRECISIONS[row["weight_precision"]]), layout, engine)


def recipe(found: Model, precision: str) -> PrecisionRecipe:
    """Formats of a checkpoint as it is served; the model's own where they are of the recorded precision.

    Eight-bit weights multiply eight-bit activations, all others 16-bit ones.
    """
    weights, experts = found.weights, found.experts
    stored = experts if found.is_moe else weights
    if not stored.startswith(precision[:3]):
        weights = experts = precision
    eight = [name for name in (experts, weights) if name.startswith("fp8")]
    return PrecisionRecipe(weights, experts, eight[0] if eight else "bf16", "bf16")


def _table(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise RecordError(path.name, [(1, f"no column {name}") for name in missing[:3]], len(missing))
            return [{key: value or "" for key, value in row.items() if key} for row in reader]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def number_of(text: str) -> float:
    """The number a cell holds; NaN where it holds none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _problem(row: Row, numbers: Mapping[str, float]) -> str | None:
    """What keeps a row out: the first rule on its input columns that it breaks."""
    for column, known in (("task", TASKS), ("gpu_model", DEVICES), ("weight_precision", PRECISIONS)):
        if row[column] not in known:
            return f"{column} {row[column]!r} is not one of {', '.join(known)}"
    for name, value in numbers.items():
        if not isfinite(value) or value <= 0:
            return f"{NUMBERS[name]} is not above 0"
    limit_w = accelerator(DEVICES[row["gpu_model"]]).tdp_w * numbers["devices"]
    rules = (
        (min(numbers["batch"], numbers["output"]) < 1, "less than one sequence or output token"),
        (numbers["devices"] % numbers["data"] != 0, "num_gpus is not a multiple of data_parallel"),
        (numbers["itl"] / 1e3 > ABSURD_S, "median_itl_ms is above an hour"),
        (numbers["power"] > OVER_LIMIT * limit_w, "avg_power_watts is far above the devices' power limit"),
        (
            abs(numbers["joules"] * numbers["rate"] / numbers["power"] - 1) > DISAGREE,
            "energy_per_token_joules is not power over throughput",
        ),
    )
    return next((words for broken, words in rules if broken), None)


def _arrays(kept: list[tuple[int, Row, dict[str, float], ModelReplica]]) -> EnergyMeasurements:
    def column(name: str) -> Array:
        return np.array([numbers[name] for _, _, numbers, _ in kept])

    replicas = {str(replica): replica for *_, replica in kept}
    which = np.array([list(replicas).index(str(replica)) for *_, replica in kept])
    return EnergyMeasurements(
        number=np.array([number for number, *_ in kept]),
        task=np.array([TASKS.index(row["task"]) for _, row, _, _ in kept]),
        batch=column("batch"),
        output_tokens=column("output"),
        device_w=column("power") / column("devices"),
        limit_w=np.array([replica.device.tdp_w for *_, replica in kept]),
        token_s=column("batch") / column("rate"),
        itl_s=column("itl") / 1e3,
        token_j=column("joules"),
        family=np.array([family(row["model_id"]) for _, row, _, _ in kept]),
        device=np.array([replica.device.id for *_, replica in kept]),
        replicas=tuple(replicas.values()),
        members=tuple(np.flatnonzero(which == i) for i in range(len(replicas))),
    )
