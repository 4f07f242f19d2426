"""SplitwiseSim's measured prompt and token times (Mutinifni/splitwise-sim, data/perf_model.csv, MIT) as step tables."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import memory
from comptroller.costs.steptable import StepTable
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts

Floats = npt.NDArray[np.float64]

Key = TypeVar("Key")

MODELS = {"bloom-176b": "bloom_176b", "llama2-70b": "llama_2_70b"}
DEVICES = {"a100-80gb": "a100_80_sxm", "h100-80gb": "h100_sxm"}
USD_PER_DEVICE_H = {"a100-80gb": 2.21, "h100-80gb": 4.76}
"""notebooks/utils.py of the same repository."""
TP = 8
MAX_BATCH, BATCH_TOKENS = 512, 2048
"""configs/start_state/*.yaml of the same repository."""
LINK_BYTES_PER_S = 200e9
"""Its `transfer_bandwidth` between machines."""
USUAL_PROMPT, USUAL_TOKENS = 512, 128
"""The sizes at which the table varies the batch."""
MIXED_FACTOR = 1.1
"""What a step of prompts and tokens takes over one of its prompts, in its performance_model.py."""


@dataclass(frozen=True)
class Timings:
    """Medians of one model on one machine, in seconds.

    prompt_s: by prompt tokens of the step.  token_s: by (prompt, batch, output) sizes.
    """

    model: str
    hardware: str
    prompt_s: Mapping[int, float]
    token_s: Mapping[tuple[int, int, int], float]

    def prompt_at(self, tokens: npt.ArrayLike) -> Floats:
        """Seconds of a step of so many prompt tokens; the end segments go on."""
        return _line(self.prompt_s, tokens)

    @property
    def kv_token_s(self) -> float:
        """Seconds per cached token of a decode step: the slope over single sequences."""
        singles = [(p + t / 2, s) for (p, b, t), s in self.token_s.items() if b == 1]
        slope = np.polyfit(*np.array(singles).T, 1)[0]
        return max(float(slope), 0.0)

    def decode_at(self, batch: Floats, kv_tokens: Floats) -> Floats:
        """Seconds of a decode step: the measured batch at its own cached tokens, moved along the slope."""
        usual = {b: s for (p, b, t), s in self.token_s.items() if (p, t) == (USUAL_PROMPT, USUAL_TOKENS)}
        cached = batch * (USUAL_PROMPT + USUAL_TOKENS / 2)
        least = min(self.token_s.values()) / 2
        return np.maximum(_line(usual, batch) + self.kv_token_s * (kv_tokens - cached), least)

    def decode_as_read(self, batch: Floats, kv_tokens: Floats) -> Floats:
        """The same as SplitwiseSim looks it up: the table goes by prompt times batch, and a decoding sequence is
        taken for one prompt token, so a batch hardly costs anything."""
        found: dict[int, list[float]] = defaultdict(list)
        for (prompt, b, _), seconds in self.token_s.items():
            found[prompt * b].append(seconds)
        return _line({tokens: median(values) for tokens, values in found.items()}, batch) + 0 * kv_tokens


def _line(known: Mapping[int, float], at: npt.ArrayLike) -> Floats:
    """Linear between the known points and beyond them."""
    x, at = np.array(sorted(known), float), np.asarray(at, float)
    y = np.array([known[int(key)] for key in x])
    left = np.clip(np.searchsorted(x, at, side="right") - 1, 0, x.size - 2)
    value = y[left] + (y[left + 1] - y[left]) / (x[left + 1] - x[left]) * (at - x[left])
    return np.asarray(np.maximum(value, y.min() / 2))


def read_timings(path: Path) -> dict[tuple[str, str], Timings]:
    """Medians by model and machine, for machines of eight devices."""
    prompts: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    tokens: dict[tuple[str, str], dict[tuple[int, int, int], list[float]]]
    tokens = defaultdict(lambda: defaultdict(list))
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if int(row["tensor_parallel"]) == TP:
                key = row["model"], row["hardware"]
                size = int(row["prompt_size"]), int(row["batch_size"]), int(row["token_size"])
                prompts[key][size[0] * size[1]].append(float(row["prompt_time"]) / 1e3)
                tokens[key][size].append(float(row["token_time"]) / 1e3)
    return {key: Timings(*key, _medians(prompts[key]), _medians(tokens[key])) for key in prompts}


def _medians(found: Mapping[Key, Iterable[float]]) -> dict[Key, float]:
    return {key: median(values) for key, values in found.items()}


Decode = Callable[[Timings, Floats, Floats], Floats]


def step_table(timings: Timings, decode: Decode, mixed_factor: float = 1.0) -> StepTable:
    """The step table of a machine. Joules are not modelled: they are seconds times one watt."""
    replica = ModelReplica(
        model(MODELS[timings.model]),
        accelerator(DEVICES[timings.hardware]),
        PrecisionRecipe("fp16", "fp16", "fp16", "fp16"),
        ParallelLayout(tp=TP),
        EngineSettings.default(engine_facts("vllm")),
    )
    held = memory(replica)
    # SplitwiseSim gives the cache all that the weights leave.
    capacity = int((held.total_bytes - held.weight_bytes) / held.kv_bytes_per_token)
    batches = np.arange(MAX_BATCH + 1, dtype=float)[:, None]
    knots = np.array([0.0, float(capacity)])
    decode_s = decode(timings, np.maximum(batches, 1.0), knots[None, :])
    tokens = np.concatenate([[0.0], np.sort(np.array(list(timings.prompt_s), float))])
    mixed_s = timings.prompt_at(tokens) * mixed_factor
    pairs = np.array([0.0, 1e12])
    return StepTable(
        kv_knots_tokens=knots,
        decode_s=decode_s,
        decode_j=decode_s,
        token_knots=tokens,
        mixed_s=mixed_s,
        mixed_j=mixed_s,
        pair_knots=pairs,
        pair_s=np.zeros(2),
        pair_j=np.zeros(2),
        idle_w=1.0,
        devices=TP,
        kv_capacity_tokens=capacity,
        kv_block_tokens=16,
        max_batch=MAX_BATCH,
        chunk_tokens=BATCH_TOKENS,
        kv_bytes_per_token=held.kv_bytes_per_token * TP,
        swap_bytes_per_s=LINK_BYTES_PER_S,
        transfer_bytes_per_s=LINK_BYTES_PER_S,
        usd_per_s=USD_PER_DEVICE_H[timings.hardware] * TP / 3600,
        gco2e_per_j=0.0,
    )
