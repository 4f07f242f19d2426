"""What servers logged of weights and cache, beside what the package reckons: `../shared/data/memory.csv`.

Rows that state a cache in tokens are compared in tokens, for the tensor rank with least decides. Where a row leaves
something open, the engine's default of the facts holds; what the log behind a row says is in `LOGGED`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from accuracy_data import data_folder
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import kv_bytes_per_token, memory, sliding_caches, weight_bytes
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from record import table, write

GIB = 2.0**30
CACHE_WITHIN, WEIGHTS_WITHIN = 0.10, 0.02
"""What a reader is promised: `README.md` and the issue of the file."""

SAME_SHAPE = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": "qwen2_5_14b",
    "zai-org/GLM-5.2-NVFP4": "glm_5_2",
    "meta-llama/Meta-Llama-3-70B-Instruct": "llama_3_70b",
}
"""Repositories that the facts do not name -> the entry of the same architecture."""

EXPERTS_ONLY = {"zai-org/GLM-5.2-NVFP4", "Qwen/Qwen3.6-35B-A3B", "openai/gpt-oss-20b"}
"""Checkpoints whose experts alone are narrow; attention, head and embedding are in 16 bit."""

SMALL_SERVER = {"max_batch": 256, "chunk_tokens": 2048}
"""vLLM's defaults on devices of less than 70 GiB, and on the A100 (note of `facts/engines/vllm.toml`)."""

SORTING_SAMPLER = 38.0
"""Bytes per logit of the versions that sort (note of `facts/engines/vllm.toml`)."""

LOGGED: Mapping[str, Mapping[str, float]] = {
    "noonghunna/club-3090 issue 612": {"chunk_tokens": 8192, "memory_fraction": 0.92},
    "vllm-project/vllm issue 21348": {"logit_bytes": SORTING_SAMPLER},
}
"""Source of a row -> what its log says beside: vLLM 0.24 with `max_num_batched_tokens` 8192 and that version's default
fraction; a version of July 2025."""


@dataclass(frozen=True)
class LogComparison:
    """One row: gibibytes and tokens as logged and as reckoned; None where the row does not state it."""

    source: str
    replica: str
    weights_gib: float | None
    reckoned_weights_gib: float
    cache: float | None
    reckoned_cache: float | None
    unit: str

    @property
    def weights_error(self) -> float | None:
        """Relative error of the weights."""
        return self.reckoned_weights_gib / self.weights_gib - 1 if self.weights_gib else None

    @property
    def cache_error(self) -> float | None:
        """Relative error of the cache."""
        return self.reckoned_cache / self.cache - 1 if self.cache and self.reckoned_cache else None


def logs(path: Path) -> list[dict[str, str]]:
    """The rows of the file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def settings(row: Mapping[str, str]) -> EngineSettings:
    """The engine as the row's server was started."""
    engine = EngineSettings.default(engine_facts(row["engine"] or "vllm"))
    device = accelerator(row["accelerator"]) if row["accelerator"] else None
    if row["engine"] == "vllm" and device and (device.memory_bytes < 70 * GIB or device.id.startswith("a100")):
        engine = replace(engine, **SMALL_SERVER)
    columns = {"memory_fraction": float, "max_sequences": int, "step_tokens": int}
    names = {"max_sequences": "max_batch", "step_tokens": "chunk_tokens"}
    told = {names.get(name, name): kind(row[name]) for name, kind in columns.items() if row[name]}
    known = LOGGED.get(row["source"], {}) if row["engine"] == "vllm" else {}
    return replace(engine, **known, **told)


def replica_of(row: Mapping[str, str]) -> ModelReplica:
    """The row's replica; a row without an accelerator is put on one that holds it, for its weights alone."""
    name = row["model"].partition(" ")[0]
    narrow = row["weights_format"]
    weights = "bf16" if name in EXPERTS_ONLY else narrow
    recipe = PrecisionRecipe(
        weights, narrow, narrow if narrow.startswith("fp8") else "bf16", row["kv_format"] or "bf16"
    )
    device = accelerator(row["accelerator"] or "b200_sxm")
    layout = ParallelLayout(tp=int(row["tp"] or 1))
    return ModelReplica(model(SAME_SHAPE.get(name, name)), device, recipe, layout, settings(row))


def compare(row: Mapping[str, str]) -> LogComparison:
    """A row beside what the package reckons."""
    replica = replica_of(row)
    weights = float(row["weights_gib_per_device"]) if row["weights_gib_per_device"] else None
    told = row["cache_tokens"] or row["cache_gib_per_device"]
    cache, reckoned, unit = None, None, ""
    if told:
        held = memory(replica)
        cache, unit = float(told), "tokens" if row["cache_tokens"] else "GiB"
        reckoned = float(held.kv_capacity_tokens) if row["cache_tokens"] else held.cache_bytes / GIB
    return LogComparison(row["source"], str(replica), weights, weight_bytes(replica) / GIB, cache, reckoned, unit)


def main() -> int:
    """Compare, print and write."""
    path = data_folder(sys.argv[1:]) / "memory.csv"
    if not path.exists():
        print(
            f"memory_logs: {path} is not there; name the folder that holds it, or set COMPTROLLER_DATA", file=sys.stderr
        )
        return 2
    rows = logs(path)
    found = [compare(row) for row in rows]
    per_token = [one for row, one in zip(rows, map(replica_of, rows), strict=True) if "bytes of cache" in row["note"]]
    caches = [one.cache_error for one in found if one.cache_error is not None]
    weights = [one.weights_error for one in found if one.weights_error is not None]
    near = sum(abs(error) <= CACHE_WITHIN for error in caches), sum(abs(error) <= WEIGHTS_WITHIN for error in weights)
    lines = [[one.replica, *_numbers(one)] for one in found if one.cache or one.weights_gib]
    heads = ["server", "weights GiB", "ours", "error", "cache", "ours", "error"]
    tokens = ", ".join(
        f"{one.model.id} {kv_bytes_per_token(one) + sum(x.bytes_per_token for x in sliding_caches(one)):,.0f} bytes"
        for one in per_token
    )
    text = (
        "# Memory as servers log it\n\n"
        f"Cache within {CACHE_WITHIN:.0%} on {near[0]} of {len(caches)} logs that state it, weights within "
        f"{WEIGHTS_WITHIN:.0%} on {near[1]} of {len(weights)}. Cache per token of a log that states it: {tokens}.\n\n"
        f"{table(heads, lines)}\n\n{REMARKS}"
    )
    print(text)
    write("memory_logs", {"within": near, "logs": [asdict(one) for one in found]}, text)
    return 0


REMARKS = """What misses: Qwen3-235B on vLLM is a server of July 2025 with a cache connector, which kept 1.5 GiB more a
device than its sampler explains; its twin on SGLang is within the bound."""


def _numbers(one: LogComparison) -> list[str]:
    def cell(value: float | None, digits: int = 2) -> str:
        return "" if value is None else f"{value:,.{digits}f}"

    def per_cent(value: float | None) -> str:
        return "" if value is None else f"{value:+.1%}"

    digits = 0 if one.unit == "tokens" else 2
    unit = f" {one.unit}" if one.cache else ""
    return [
        cell(one.weights_gib),
        cell(one.reckoned_weights_gib),
        per_cent(one.weights_error),
        cell(one.cache, digits) + unit,
        cell(one.reckoned_cache, digits) + unit,
        per_cent(one.cache_error),
    ]


if __name__ == "__main__":
    sys.exit(main())
