"""Reader of published measurements (`published_known.csv`): closed loops, static batches, single streams, offline runs.

Every exclusion is a rule on input columns. A source's rows share its faults: `RunObservation.source` names it, and a
fit weighs by it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from math import isfinite, nan
from pathlib import Path

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.errors import ComptrollerError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.format import format_
from comptroller.facts.model import Model
from comptroller.measure.observations import ExclusionReport, RunObservation
from comptroller.measure.run_observations import FactLookup

ENGINES = ("vllm", "sglang", "trtllm", "llama_cpp")

FORMATS = {
    "fp16": "bf16",
    "full_prec": "bf16",
    "q4_k_m": "q4_k",
    "q4_k_xl": "q4_k",
    "q5_k_xl": "q5_k",
    "q8_k_xl": "q8_0",
    "int8_sq": "int8",
}
"""Format as a source names it -> ours: 16-bit types run alike, and a mixture by layers is its most frequent part."""

SIXTEEN_BIT_ACTIVATIONS = ("int4_", "int8_wo", "int8_g", "q", "bf16", "nf4")
"""Starts of the formats whose kernels multiply in 16 bit."""

MODELS = {
    "amd/Llama-3.1-405B-Instruct-FP8-KV": "llama_3_1_405b",
    "meta-llama/Llama-3.1-405B-FP8": "llama_3_1_405b",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a16": "llama_3_1_8b",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16": "llama_3_1_8b",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8": "llama_3_1_8b",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8": "llama_3_1_8b",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-FP8": "nemotron_3_nano_30b_a3b",
    "lmsys/vicuna-7b-v1.5": "llama_2_7b",
    "huggyllama/llama-7b": "llama_2_7b",
    "Qwen/Qwen2-7B": "qwen2_5_7b",
    "Qwen/Qwen2-72B": "qwen2_5_72b",
}
"""Quantised or tuned copy -> the model whose architecture it has."""

OLD = {"vllm": "0.6", "trtllm": "0.12"}
"""Version of an engine in 2024, for sources of 2024 that state none."""

WAVES = 2
"""Batches' worth of requests below which an offline run never reaches a steady state: no fit uses it."""

UNSTATED = 0.3
"""Log standard deviation of what the flags that a source does not state do to a configuration: repeats of one
configuration under one recorded version differ by a median factor of 1.44 in the dated measurements. At half of this
the parameters that all runs share follow old builds."""

Row = Mapping[str, str]


def read_published(path: Path) -> tuple[list[RunObservation], ExclusionReport]:
    """The measurements that a prediction can be asked for, and why others are left out."""
    report, kept, lookup = ExclusionReport(), list[RunObservation](), FactLookup()
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            problem = _problem(row)
            if problem:
                report.add(number, problem)
                continue
            try:
                kept.append(_observation(number, row, lookup))
            except ComptrollerError as error:
                report.add(number, str(error).partition(";")[0])
    return kept, report


def _problem(row: Row) -> str | None:
    """Why a row is left out: the first rule that applies."""
    apart = "disagg" in f"{row['note']} {row['source']}".lower() or "comparison/p" in row["source"]
    several = not row["tp"] and row["devices"] not in {"", "1"} and row["engine"] != "llama_cpp"
    lengths = _number(row["input_tokens"]) >= 0 and _number(row["output_tokens"]) >= 2
    figure = isfinite(_number(row["tpot_ms"])) or isfinite(_rate(row))
    rules = (
        (row["engine"] not in ENGINES, f"engine {row['engine'] or 'not stated'}"),
        (row["mode"] == "open-loop", "open loop: the requests in flight are not stated"),
        (apart, "prefill and decode in pools apart"),
        (several, "several devices, their layout is not stated"),
        (row["eager"] == "1", "without captured graphs"),
        (not lengths, "lengths are not stated"),
        (not figure, "neither a time per token nor an output rate"),
        (row["mode"] != "offline-max" and not _number(row["clients_or_batch"]) >= 1, "clients are not stated"),
    )
    return next((words for applies, words in rules if applies), None)


def _rate(row: Row) -> float:
    """Output tokens per second of the whole replica."""
    printed = _number(row["output_tokens_per_s_total"])
    if isfinite(printed):
        return printed
    return _number(row["clients_or_batch"]) * _number(row["output_tokens"]) / (_number(row["e2e_ms"]) / 1e3)


def _observation(number: int, row: Row, lookup: FactLookup) -> RunObservation:
    device, whole = lookup.accelerator(row["accelerator"]), lookup.model(MODELS.get(row["model"], row["model"]))
    facts = lookup.engine(row["engine"])
    when = date.fromisoformat(row["date"]) if len(row["date"]) == 10 else None
    year = row["date"][:4]
    version = row["engine_version"] or (OLD.get(facts.id, "") if year and year < "2025" else "")
    settings = EngineSettings.at_version(facts, version)
    clients = _number(row["clients_or_batch"])
    clients = clients if isfinite(clients) else float(settings.max_batch)
    if row["mode"] != "offline-max":
        settings = replace(settings, max_batch=max(settings.max_batch, int(clients)))
    offline = row["mode"] == "offline-max"
    tpot = nan if offline and isfinite(_rate(row)) else _number(row["tpot_ms"]) / 1e3
    return RunObservation(
        number=number,
        replica=ModelReplica(whole, device, recipe(row, whole, device), _layout(row), settings),
        input_tokens=max(_number(row["input_tokens"]), 1.0),
        output_tokens=_number(row["output_tokens"]),
        concurrency=clients,
        ttft_s=_number(row["ttft_ms"]) / 1e3 if row["mode"] == "closed-loop" and row["statistic"] == "mean" else nan,
        tpot_s=tpot,
        source=source_of(row["source"]),
        group=f"published {row['id']}",
        version=version,
        measured=when,
        tokens_per_s=_rate(row),
        spread=UNSTATED,
        weight=0.0 if offline and clients < WAVES * settings.max_batch else 1.0,
    )


def source_of(text: str) -> str:
    """The publisher and repository of a source.

    >>> source_of("argonne-lcf/LLM-Inference-Bench@4211f5d:results/a.csv")
    'argonne-lcf/LLM-Inference-Bench'
    """
    if text.startswith("MLPerf"):
        return "MLPerf"
    name = text.partition("@")[0].partition(":")[0]
    return "/".join(name.split(" ")[0].split("/")[:2])


def _layout(row: Row) -> ParallelLayout:
    """As stated; without a statement all devices share every layer, in llama.cpp each has layers of its own."""
    tp, pp, devices = (int(_number(row[name])) if row[name] else 0 for name in ("tp", "pp", "devices"))
    ep, dp = (int(_number(row[name])) if row[name] else 1 for name in ("ep", "dp"))
    if row["engine"] == "llama_cpp":
        return ParallelLayout(1, max(devices, 1))
    tp = tp or max(devices // max(pp, 1) // max(dp, 1), 1)
    return ParallelLayout(tp, max(pp, 1), max(dp, 1), ep if (tp * max(dp, 1)) % ep == 0 else 1)


def recipe(row: Row, whole: Model, device: Accelerator) -> PrecisionRecipe:
    """Formats of a row; of the checkpoint where the row states none.

    4-bit floating checkpoints of mixtures of experts spare the rest; MXFP4 runs with 8-bit activations where the device
    multiplies them, else in 16 bit, and so do formats that a device does not multiply. A device without bf16 runs fp16.
    """
    stated = FORMATS.get(row["weights_format"], row["weights_format"])
    weights = experts = stated or whole.weights
    if not stated and whole.is_moe:
        experts = whole.experts
    if whole.is_moe and stated in {"mxfp4", "nvfp4", "int4_g32"}:
        weights, experts = "bf16", stated
    activations = experts
    if experts.startswith(SIXTEEN_BIT_ACTIVATIONS) and experts != "bf16":
        activations = "bf16"
    if experts == "mxfp4":
        activations = "mxfp8" if device.family in MX_FAMILIES else "bf16"
    elif format_(activations).support(device) != "native":
        activations = "bf16"
    cached = FORMATS.get(row["kv_format"], row["kv_format"])
    kv = cached if cached in {"fp8_e4m3", "bf16"} else "kv_int8" if cached == "int8_wo" else "bf16"
    wide = "bf16" if "bf16" in device.peak_flops_per_s else "fp16"
    return PrecisionRecipe(*(wide if name == "bf16" else name for name in (weights, experts, activations, kv)))


MX_FAMILIES = ("blackwell", "blackwell_ultra")
"""Families with a published kernel of MXFP4 by MXFP8 (`kernels` of the format)."""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan
