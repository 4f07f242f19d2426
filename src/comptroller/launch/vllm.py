"""vLLM: `vllm serve` (docs.vllm.ai, CLI reference of 0.11)."""

from __future__ import annotations

import json

from comptroller.costs.deployment import AdapterSet, ModelReplica, ParallelLayout, SpeculativeDecoding
from comptroller.errors import UnsupportedError
from comptroller.facts.engine_formats import in_range
from comptroller.launch._checkpoint import LaunchCheckpoint
from comptroller.launch._parse import LaunchFlags

IMAGES = {"NVIDIA": "vllm/vllm-openai:v0.12.0", "AMD": "vllm/vllm-openai-rocm:v0.14.0"}
"""hub.docker.com/u/vllm; there is none for AMD before 0.14."""

PHASES = {
    "prefill": ("--kv-transfer-config", '{"kv_connector":"NixlConnector","kv_role":"kv_producer"}'),
    "decode": ("--kv-transfer-config", '{"kv_connector":"NixlConnector","kv_role":"kv_consumer"}'),
}
"""docs.vllm.ai/en/v0.12.0/features/nixl_connector_usage; a proxy in front sends a request to one of each."""
FIRST_IMAGES = frozenset({"AMD"})
"""Vendors whose image is the first that there is, and so stands in for an older version."""

SPREAD = '--nnodes {nodes} --node-rank "$RANK" --master-addr "$LEADER" $([ "$RANK" = 0 ] || echo --headless)'
"""Arguments of a node, in shell; the first one listens."""

DEGREES = frozenset({"tp", "pp", "dp", "ep"})
"""Degrees that the command sets."""

TOGETHER = True
"""Whether it sets several of them at once."""

VERSION = ("vllm", "--version")
"""What prints the version that is installed."""

WIDE = ("--all2all-backend", "deepep_high_throughput", "--enable-dbo")
"""docs.vllm.ai, serving/expert_parallel_deployment and design/dbo: tokens go to their experts, two halves of a batch
take turns."""

CADENCE = {"stream_interval": "--stream-interval"}
"""docs.vllm.ai, engine arguments, SchedulerConfig; its scheduler takes new requests before every step."""

EAGER = ("--enforce-eager",)
"""docs.vllm.ai, engine arguments, ModelConfig."""

POLICIES = {"batching": {"chunked": ()}, "scheduling": {"fcfs": (), "priority": ("--scheduling-policy", "priority")}}
"""Policies of a replica that it follows, with their arguments (vllm/config/scheduler.py of 0.12). Of `priority` in a
request lower numbers go first, where a trace's larger ones do: send the negative."""

FLAGS = LaunchFlags(
    start=(("vllm", "serve"), ("python", "-m", "vllm.entrypoints.openai.api_server")),
    model=("--model",),
    setting={
        "--model": "model", "--tensor-parallel-size": "tp", "-tp": "tp", "--pipeline-parallel-size": "pp", "-pp": "pp",
        "--data-parallel-size": "dp", "-dp": "dp", "--enable-expert-parallel": "experts_apart", "--dtype": "dtype",
        "--quantization": "quantization", "-q": "quantization", "--kv-cache-dtype": "cache",
        "--max-model-len": "context_tokens", "--max-num-seqs": "max_batch", "--max-num-batched-tokens": "chunk_tokens",
        "--gpu-memory-utilization": "memory_fraction", "--stream-interval": "stream_interval",
    },
    bare=frozenset(
        {
            "--enable-expert-parallel", "--enable-prefix-caching", "--enable-chunked-prefill", "--enable-dbo",
            "--async-scheduling",
        }
    ),
    images=("vllm/vllm-openai", "docker.io/vllm/vllm-openai", "rocm/vllm"),
    passed=frozenset(
        {
            "--enable-prefix-caching", "--enable-chunked-prefill", "--all2all-backend", "--enable-dbo",
            "--async-scheduling",
        }
    ),
)  # fmt: skip
"""How a line is read; prefix caching and chunked prefill are on in any case since 0.11."""


def words(replica: ModelReplica, files: LaunchCheckpoint, context_tokens: int) -> list[str | int | float]:
    """Arguments of the command. Steps are prepared ahead, as the calibration's servers did; up to 0.13 not with
    pipeline stages or drafts (vllm/config/vllm.py)."""
    engine, layout, recipe = replica.engine, replica.layout, replica.recipe
    line: list[str | int | float] = ["vllm", "serve", files.path]
    line += ["--tensor-parallel-size", layout.tp]
    if layout.pp > 1:
        line += ["--pipeline-parallel-size", layout.pp]
    if layout.dp > 1:
        line += ["--data-parallel-size", layout.dp]
    if layout.ep > 1:
        line += ["--enable-expert-parallel"]
    if layout.is_wide:
        line += WIDE
    if recipe.activations in {"bf16", "fp16"}:
        line += ["--dtype", {"bf16": "bfloat16", "fp16": "float16"}[recipe.activations]]
    line += files.flags
    line += ["--max-model-len", context_tokens, "--max-num-seqs", engine.max_batch]
    line += ["--max-num-batched-tokens", engine.chunk_tokens]
    facts = replica.library.engine(engine.id)
    if facts.must_be_told(engine.version) and layout.pp == 1 and engine.speculation is None:
        line += [facts.asynchronous_flag]
    return [*line, "--gpu-memory-utilization", engine.memory_fraction]


def speculation(drafts: SpeculativeDecoding, version: str) -> list[str | int]:
    """docs.vllm.ai/en/v0.12.0/api/vllm/config/speculative; a draft model raises NotImplementedError up to 0.13 (issue
    31883, merged as 24322).

    Raises:
        UnsupportedError: the version does not draft with a model.
    """
    config: dict[str, str | int] = {"method": "ngram", "prompt_lookup_max": drafts.tokens}
    if drafts.draft is not None:
        if in_range(version, "", "0.14"):
            raise UnsupportedError(f"vllm {version} does not draft with a model; versions after 0.13 do, and sglang")
        config = {"method": "draft_model", "model": drafts.draft.repository or drafts.draft.id}
    return ["--speculative-config", json.dumps({**config, "num_speculative_tokens": drafts.tokens})]


def cadence_problem(name: str, version: str, layout: ParallelLayout) -> str:
    """Why an interval cannot be set; empty where it can. The flag came in November 2025 (pull request 27869)."""
    return f"{version} has no {CADENCE[name]}; versions from 0.12 on do" if in_range(version, "", "0.12") else ""


def offload(offloaded_bytes: float) -> list[str | int | float]:
    """docs.vllm.ai, engine arguments, CacheConfig: GiB of each device's weights that stay in the host's memory."""
    return ["--cpu-offload-gb", round(offloaded_bytes / 2**30, 3)]


def adapters(served: AdapterSet) -> list[str | int]:
    """docs.vllm.ai, features/lora and LoRAConfig (vllm/config/lora.py): slots of a batch, the greatest rank, adapters
    in the host's memory. Files follow as `--lora-modules NAME=PATH`, or over `/v1/load_lora_adapter`."""
    line: list[str | int] = ["--enable-lora", "--max-loras", served.resident, "--max-lora-rank", served.rank]
    return [*line, "--max-cpu-loras", served.count]
