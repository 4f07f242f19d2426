"""Recorded vLLM runs, request by request (LLMServingSim's bench/examples, MIT): settings, arrivals and what came of
them. A run is `vllm_run_GPU_MODEL.csv` with its `.json` beside it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts

Floats = npt.NDArray[np.float64]

DEVICES = {"RTXPRO6000": "rtx_pro_6000", "RTX4090": "rtx_4090"}
"""The GPU in a file's name -> our id."""
MEMORY_FRACTION = 0.9
"""Of the device, for the engine: what the data's README states of these runs."""


@dataclass(frozen=True)
class Run:
    """A recorded run: what served it (one data-parallel rank of it, `ranks` of them), and its requests.

    Latencies are seconds from the arrival; tpot_s is the mean after the first token.
    """

    name: str
    replica: ModelReplica
    ranks: int
    arrival_s: Floats
    input_tokens: npt.NDArray[np.int64]
    output_tokens: npt.NDArray[np.int64]
    ttft_s: Floats
    e2e_s: Floats

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def tpot_s(self) -> Floats:
        """Mean seconds per token after the first."""
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1)


def read_run(path: Path) -> Run:
    """The run of a CSV file and the JSON beside it."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    settings = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    column = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    device = path.stem.removeprefix("vllm_run_").partition("_")[0]
    kept = settings["engine_kwargs"]
    return Run(
        name=path.stem.removeprefix("vllm_run_"),
        replica=_replica(settings, device),
        ranks=int(kept["data_parallel_size"]),
        arrival_s=column["arrival_s"],
        input_tokens=column["prompt_tokens"].astype(np.int64),
        output_tokens=column["output_tokens"].astype(np.int64),
        ttft_s=column["first_token_s"] - column["arrival_s"],
        e2e_s=column["last_token_s"] - column["arrival_s"],
    )


def _replica(settings: Mapping[str, Any], device: str) -> ModelReplica:
    kept = settings["engine_kwargs"]
    ranks, tensor = int(kept["data_parallel_size"]), int(kept["tensor_parallel_size"])
    engine = replace(
        EngineSettings.default(engine_facts("vllm")),
        version=settings["vllm_version"],
        max_batch=int(kept["max_num_seqs"]) * ranks,
        chunk_tokens=int(kept["max_num_batched_tokens"]) * ranks,
        memory_fraction=MEMORY_FRACTION,
    )
    spread = ranks * tensor if kept["enable_expert_parallel"] else 1
    layout = ParallelLayout(tp=tensor, dp=ranks, ep=spread)
    return ModelReplica(model(settings["model"]), accelerator(DEVICES[device]), PrecisionRecipe(), layout, engine)
