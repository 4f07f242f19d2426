"""What four bits gain over sixteen, published and predicted, on L4, A10G, RTX 4090, H100 and MI300X.

Pairs of published runs that differ in the format of the weights alone (`published_known.csv`, and the L4 cells of
arXiv 2605.30571), and the kernel alone on an A10 (Marlin); predictions are the shipped calibration's physics under the
same closed loop. A pair within 20 % agrees; the others are listed with the reason. Of devices without a published pair
the prediction stands alone, or why there is none.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from statistics import median

import numpy as np

import record
from comptroller.costs.closed_loop import closed_loop
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.steady import UniformRequests
from comptroller.costs.step import ReplicaStep
from comptroller.errors import ComptrollerError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data"))
DEVICES = ("l4", "a10g", "rtx_4090", "h100_sxm", "mi300x")
FOUR = {"q4_k_m": "q4_k", "int4_g128": "int4_g128", "int4_awq_g128": "int4_awq_g128"}
WIDE = ("fp16", "bf16")
CLOSE = 0.2
L4 = "2605.30571, Qwen-2.5-7B, batch 1, context 2,048"
REASONS = {
    ("l4", "AutoAWQ"): "the runtime decides: the same bytes in ExLlamaV2 are 2.6 times as fast; Python between kernels",
    ("l4", "ExLlamaV2"): "its kernels stream at 81 % of the memory floor; vLLM's step holds a fixed part as well",
    ("rtx_4090", "llama_cpp"): "Q4_K_M is a mixture with Q6_K, 4.9 bits and not 4.5; decoding its blocks costs time",
}

MARLIN = 3.87
"""Marlin's kernel over FP16 on an A10 with groups of 128: "close to ideal (4x) speedups up to batchsizes of 16-32", at
best 3.87 (IST-DASLab/marlin, README)."""

UNPAIRED = {
    "a10g": "no published run of a whole model in both; the kernel is above",
    "h100_sxm": "published 4-bit runs are MXFP4 experts of gpt-oss, which has no 16-bit twin",
    "mi300x": "no 4-bit run is published; vLLM's chart has no integer kernel on AMD, so none is planned",
}
"""Why a device has no pair among the runs at hand."""

Row = dict[str, str]
Pair = tuple[str, str, str, float, float]


def rows() -> list[Row]:
    with (DATA / "serving" / "published_known.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["accelerator"] in DEVICES]


def rate(row: Row) -> float:
    """Tokens per second of a stream, or of all."""
    if row["tpot_ms"]:
        return 1e3 / float(row["tpot_ms"])
    return float(row["output_tokens_per_s_total"]) if row["output_tokens_per_s_total"] else float("nan")


def published() -> Iterator[tuple[Row, str, float]]:
    """A 16-bit run, the format of its 4-bit twin, and the ratio of their rates."""
    same = ("source", "model", "accelerator", "devices", "tp", "engine", "mode", "clients_or_batch", "input_tokens",
            "output_tokens")  # fmt: skip
    groups: dict[tuple[str, ...], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows():
        if isfinite(rate(row)) and rate(row) > 0:
            groups[tuple(row[name] for name in same)][row["weights_format"]].append(row)
    for found in groups.values():
        wide = next((found[name] for name in WIDE if name in found), None)
        for name, narrow in FOUR.items():
            if wide and name in found:
                yield wide[0], narrow, median(map(rate, found[name])) / median(map(rate, wide))


def replica_of(device: str, name: str, engine: str, weights: str) -> ModelReplica:
    """One device, one replica, an engine's own settings."""
    settings = EngineSettings.default(engine_facts(engine))
    return ModelReplica(
        model(name), accelerator(device), PrecisionRecipe(weights, weights), ParallelLayout(), settings
    )  # fmt: skip


def kernel_gain(device: str, batch: float) -> float:
    """How much sooner the matrices of Llama 3 8B are multiplied in a decode step with 4-bit weights, head left out."""
    seconds = {}
    for each in ("bf16", "int4_g128"):
        timer = replica_timer(replica_of(device, "llama_3_1_8b", "vllm", each), FittedCalibration.shipped())
        found = timer.seconds(ReplicaStep.decode(batch, batch))[0][:, 0]
        seconds[each] = sum(
            s for s, row in zip(found, timer.operations.rows, strict=True) if row.kind == "gemm" and row.part != "head"
        )
    return float(seconds["bf16"] / seconds["int4_g128"])


def predicted(device: str, name: str, engine: str, weights: str, load: tuple[float, float, float]) -> float:
    """How much sooner a token comes with the weights in a format than in 16 bit."""
    found = {}
    for each in ("bf16", weights):
        replica = replica_of(device, name, engine, each)
        timer = replica_timer(replica, FittedCalibration.shipped())
        requests = UniformRequests(np.array([load[1]]), np.array([load[2]]))
        found[each] = float(closed_loop(timer, memory(replica), requests, [load[0]]).tpot_s[0])
    return found["bf16"] / found[weights]


def number(text: str, usual: float) -> float:
    return float(text) if text else usual


def pairs() -> Iterator[Pair]:
    qwen = predicted("l4", "qwen2_5_7b", "vllm", "int4_g128", (1.0, 2048.0, 128.0))
    yield "l4", "GPTQ in ExLlamaV2", L4, 62.32 / 17.36, qwen
    yield "l4", "AutoAWQ with Marlin", L4, 62.32 / 45.24, qwen
    for batch in (1.0, 16.0):
        where = f"IST-DASLab/marlin, README, A10, up to batch 16, batch {batch:g}"
        yield "a10g", "Marlin, kernel alone", where, MARLIN, kernel_gain("a10g", batch)
    for row, weights, ratio in published():
        engine = row["engine"] if row["engine"] in {"vllm", "sglang", "trtllm", "llama_cpp"} else "vllm"
        tokens = max(number(row["input_tokens"], 1.0), 1.0), number(row["output_tokens"], 64.0)
        load = (number(row["clients_or_batch"], 1.0), *tokens)
        try:
            ours = predicted(row["accelerator"], row["model"], engine, weights, load)
        except ComptrollerError as error:
            print(f"left out: {row['id']}: {error}")
            continue
        where = f"{row['source']}, {row['model']}, batch {row['clients_or_batch']}, {row['input_tokens']} tokens"
        yield row["accelerator"], f"{weights} in {row['engine']}", where, ratio, ours


def reason(device: str, what: str, theirs: float, ours: float) -> str:
    if abs(ours / theirs - 1) <= CLOSE:
        return "within 20 %"
    return next((why for (on, word), why in REASONS.items() if on == device and word in what), "not explained")


def main() -> None:
    found = list(pairs())
    lines = [
        [f"{device}, {what}", where, f"{theirs:.2f}", f"{ours:.2f}", f"{ours / theirs - 1:+.0%}",
         reason(device, what, theirs, ours)]
        for device, what, where, theirs, ours in found
    ]  # fmt: skip
    close = sum(abs(ours / theirs - 1) <= CLOSE for *_, theirs, ours in found)
    whole = {device for device, what, *_ in found if "kernel alone" not in what}
    missing = [device for device in DEVICES if device not in whole]
    text = [
        "# What four bits gain",
        "Rate with 4-bit weights over the rate with 16-bit ones; pairs of published runs that differ in nothing else, "
        "beside the shipped calibration.",
        record.table(("device, runtime", "published by", "published", "predicted", "off by", "why"), lines),
        f"{close} of {len(found)} pairs are within 20 %. "
        "The serving calibration was fitted to no run of L4 or RTX 4090.",
    ]
    alone = [
        [device, f"{predicted(device, 'llama_3_1_8b', 'vllm', 'int4_g128', (1.0, 2048.0, 128.0)):.2f}"
         if device != "mi300x" else "–", UNPAIRED[device]]
        for device in missing
    ]  # fmt: skip
    text += [
        "Llama 3.1 8B under vLLM at batch 1 and context 2,048 where no pair of runs is published:",
        record.table(("device", "predicted", "why there is no pair"), alone),
    ]
    figures = {"pairs": len(found), "within_20_percent": close, "no_pair": missing}
    print(record.write("four_bit", figures, "\n\n".join(text)))


if __name__ == "__main__":
    main()
