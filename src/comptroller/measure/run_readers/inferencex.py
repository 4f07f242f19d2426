"""Results of InferenceMAX, now InferenceX (SemiAnalysisAI, Apache-2.0): one object or a list, a run each.

Lengths are those asked for where the file has no measured ones. Latencies are in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comptroller.measure.run_rows import (
    Record,
    RunFile,
    RunFilePreview,
    RunFileReader,
    RunRow,
    RunRowCollector,
    number_of,
    version_of_image,
    without_empty,
)
from comptroller.work.documents import objects

NAME = "InferenceMAX or InferenceX"
NEEDED = {"hw", "conc", "framework", "tp", "mean_ttft"}
HARDWARE = {
    "h100": "h100_sxm",
    "h200": "h200_sxm",
    "b200": "b200_sxm",
    "b300": "b300_sxm",
    "b200-trt": "b200_sxm",
    "h200-trt": "h200_sxm",
}
"""Their name of a device -> ours, where they differ."""
FRAMEWORKS = {"vllm": "vllm", "sglang": "sglang", "trt": "trtllm", "trtllm": "trtllm"}
TRUE = {True, "true", "True", "1"}
WITHOUT = (None, "", "none", "None", "false", "False", False)
"""Values that mean: no speculation, nothing offloaded."""

CACHED_SHARE = 0.05
"""Share of prompt tokens found in a cache from which the time to the first token is not that of the prompt: it is then
off by about as much as repeats of a run differ. At twice this a tenth of the prefill would be missing unseen."""


def _problem(record: Record) -> str:
    if record.get("disagg") in TRUE or record.get("is_multinode") in TRUE:
        return "disaggregated or over several nodes: not a run of one replica"
    if record.get("spec_decoding") not in WITHOUT:
        return f"speculative decoding ({record['spec_decoding']}) is not modelled"
    if record.get("offloading") not in WITHOUT or number_of(record, "server_gpu_cache_hit_rate") > CACHED_SHARE:
        return "prompts were found in a cache: their prefill was not timed"
    if record.get("framework") not in FRAMEWORKS:
        return f"framework {record.get('framework')!r} is none of {', '.join(FRAMEWORKS)}"
    return ""


def _run(number: int, record: Record) -> RunRow | str:
    if problem := _problem(record):
        return problem
    ranks = record.get("tp") if record.get("dp_attention") in TRUE else 1
    stated = without_empty(
        model=record.get("model"),
        accelerator=HARDWARE.get(str(record["hw"]), record["hw"]),
        engine=FRAMEWORKS[record["framework"]],
        version=version_of_image(str(record.get("image") or "")),
        tp=1 if ranks != 1 else record.get("tp"),
        dp=ranks,
        ep=record.get("ep"),
    )
    return RunRow(
        number,
        stated,
        number_of(record, "mean_input_tokens", "isl"),
        number_of(record, "mean_output_tokens_actual", "osl"),
        number_of(record, "conc"),
        number_of(record, "mean_ttft"),
        number_of(record, "mean_tpot"),
    )


def _read(path: Path, columns: Mapping[str, str]) -> RunFile:
    found = RunRowCollector()
    for number, record in zip(*objects(path), strict=True):
        found.add(_run(number, record), number)
    return found.file(path, NAME)


def _recognises(preview: RunFilePreview) -> bool:
    return preview.names >= NEEDED


READER = RunFileReader(NAME, f"JSON with {', '.join(sorted(NEEDED))}", _recognises, _read)
