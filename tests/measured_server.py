"""A server that takes longer than the shipped physics says, measured: its runs, its calibration, workloads for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.prediction import ClosedLoopLoad, ReplicaPredictor
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts

SLOWER = 1.4
LOADS = [(inputs, outputs, clients) for inputs in (512, 2048) for outputs in (256,) for clients in (1, 8, 32, 64)]
WORKLOAD = """
name = "measured"
models = ["MODEL"]
rate_per_s = 8.0
cv = 1.0
CALIBRATION
[objectives]
ttft = { p = 95, max = 2000, unit = "ms" }
tpot = { p = 95, max = 60, unit = "ms" }
[allow]
accelerators = ["h100_sxm"]
sites = ["aws_us_east"]
engines = ["vllm"]
formats = ["bf16"]
[lengths]
input_edges = [1000, 1001]
output_edges = [200, 201]
input_means = [1000.0]
output_means = [200.0]
weights = [[1]]
"""


def server(name: str = "llama_3_1_8b", tp: int = 1) -> ModelReplica:
    engine = EngineSettings.default(engine_facts("vllm"))
    return ModelReplica(model(name), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout(tp), engine)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def rows(count: int | None = None) -> str:
    """Runs of a server that takes `SLOWER` times as long as the shipped physics, as a user's table."""
    inputs, outputs, clients = (np.array(column, float) for column in zip(*LOADS, strict=True))
    loop = ReplicaPredictor.shipped().predict(server(), ClosedLoopLoad(inputs, outputs, clients)).loop
    lines = ["input_tokens,output_tokens,clients,ttft_s,tpot_s"]
    for load_, ttft, tpot in list(zip(LOADS, loop.ttft_s, loop.tpot_s, strict=True))[:count]:
        lines.append(",".join(map(str, (*load_, ttft * SLOWER, tpot * SLOWER))))
    return "\n".join(lines) + "\n"


SERVER = ("--model", "llama_3_1_8b", "--accelerator", "h100_sxm", "--engine", "vllm")


def workload(folder: Path, name: str = "llama_3_1_8b", own: bool = False) -> Path:
    file = folder / f"{name}_{own}.toml"
    calibration = 'calibration = "calibration"' if own else ""
    file.write_text(WORKLOAD.replace("MODEL", name).replace("CALIBRATION", calibration))
    return file
