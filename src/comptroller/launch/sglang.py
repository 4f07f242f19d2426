"""SGLang: `python -m sglang.launch_server` (docs.sglang.ai, server arguments of 0.5)."""

from __future__ import annotations

from comptroller.costs.deployment import AdapterSet, ModelReplica, ParallelLayout, SpeculativeDecoding
from comptroller.launch._checkpoint import LaunchCheckpoint
from comptroller.launch._parse import LaunchFlags

IMAGES = {
    "NVIDIA": "lmsysorg/sglang:v0.5.18",
    "cdna3": "lmsysorg/sglang:v0.5.18-rocm720-mi30x",
    "cdna4": "lmsysorg/sglang:v0.5.19-rocm700-mi35x",
}
"""hub.docker.com/r/lmsysorg/sglang, by vendor or family of device."""

PHASES = {
    phase: ("--disaggregation-mode", phase, "--disaggregation-transfer-backend", "nixl")
    for phase in ("prefill", "decode")
}
"""docs.sglang.ai, advanced_features/pd_disaggregation; `sglang_router.launch_router --pd-disaggregation` in front."""

SPREAD = '--nnodes {nodes} --node-rank "$RANK" --dist-init-addr "$LEADER:20000"'
"""Arguments of a node, in shell; the first one listens."""

DEGREES = frozenset({"tp", "pp", "dp", "ep"})
"""Degrees that the command sets."""

TOGETHER = True
"""Whether it sets several of them at once."""

VERSION = ("python", "-c", "import importlib.metadata as m; print(m.version('sglang'))")
"""What prints the version that is installed."""

EAGER = ("--disable-cuda-graph",)
"""docs.sglang.ai, server arguments, kernel backends and graphs."""

CADENCE = {"poll_steps": "--scheduler-recv-interval", "stream_interval": "--stream-interval"}
"""docs.sglang.ai, server arguments, runtime options."""

WIDE = ("--moe-a2a-backend", "deepep", "--enable-two-batch-overlap")
"""docs.sglang.ai, advanced_features/expert_parallelism: tokens go to their experts, halves of a batch take turns."""

POLICIES = {"batching": {"chunked": ()}, "scheduling": {"fcfs": (), "priority": ("--enable-priority-scheduling",)}}
"""Policies of a replica that it follows, with their arguments (server arguments of 0.5). Its steps were timed under its
own mixing of prompts and decodes (`--enable-mixed-chunk` off), which stands for `chunked`."""

FLAGS = LaunchFlags(
    start=(("python", "-m", "sglang.launch_server"), ("sglang", "serve")),
    model=("--model-path", "--model"),
    setting={
        "--model-path": "model", "--model": "model", "--tp-size": "ranks", "--tensor-parallel-size": "ranks",
        "--tp": "ranks", "--pp-size": "pp", "--pipeline-parallel-size": "pp", "--dp-size": "dp", "--dp": "dp",
        "--data-parallel-size": "dp", "--enable-dp-attention": "attention_ranks", "--ep-size": "ep", "--ep": "ep",
        "--expert-parallel-size": "ep", "--dtype": "dtype", "--quantization": "quantization",
        "--kv-cache-dtype": "cache", "--context-length": "context_tokens", "--max-running-requests": "max_batch",
        "--chunked-prefill-size": "chunk_tokens", "--mem-fraction-static": "memory_fraction",
        "--scheduler-recv-interval": "poll_steps", "--stream-interval": "stream_interval",
    },
    bare=frozenset({"--enable-dp-attention", "--enable-two-batch-overlap"}),
    passed=frozenset(
        {
            *("--load-format", "--tokenizer-path", "--flashinfer-mxfp4-moe-precision", "--device"),
            *("--attention-backend", "--moe-a2a-backend", "--enable-two-batch-overlap"),
        }
    ),
)  # fmt: skip
"""How a line is read; what stands in `passed` follows from the format and the device."""


def words(replica: ModelReplica, files: LaunchCheckpoint, context_tokens: int) -> list[str | int | float]:
    """Arguments of the command; SGLang counts data-parallel attention ranks inside the tensor-parallel size."""
    engine, layout, recipe = replica.engine, replica.layout, replica.recipe
    line: list[str | int | float] = ["python", "-m", "sglang.launch_server"]
    line += ["--model-path", files.path, "--tp-size", layout.stage_devices]
    if layout.pp > 1:
        line += ["--pp-size", layout.pp]
    if layout.dp > 1:
        line += ["--dp-size", layout.dp, "--enable-dp-attention"]
    if layout.ep > 1:
        line += ["--ep-size", layout.ep]
    if layout.is_wide:
        line += WIDE
    if recipe.activations in {"bf16", "fp16"}:
        line += ["--dtype", {"bf16": "bfloat16", "fp16": "float16"}[recipe.activations]]
    line += files.flags
    line += ["--context-length", context_tokens, "--max-running-requests", engine.max_batch]
    line += ["--chunked-prefill-size", engine.chunk_tokens]
    return [*line, "--mem-fraction-static", engine.memory_fraction]


def speculation(drafts: SpeculativeDecoding, version: str) -> list[str | int]:
    """docs.sglang.ai, advanced_features/server_arguments: one chain of drafts (top-k 1), whose tokens count the model's
    own."""
    if drafts.draft is None:
        return ["--speculative-algorithm", "NGRAM", "--speculative-num-draft-tokens", drafts.tokens + 1]
    line: list[str | int] = ["--speculative-algorithm", "STANDALONE"]
    line += ["--speculative-draft-model-path", drafts.draft.repository or drafts.draft.id]
    line += ["--speculative-num-steps", drafts.tokens, "--speculative-eagle-topk", 1]
    return [*line, "--speculative-num-draft-tokens", drafts.tokens + 1]


def cadence_problem(name: str, version: str, layout: ParallelLayout) -> str:
    """Why an interval cannot be set; empty where it can: 0.5 asserts that no looks are left out with data-parallel
    attention (managers/scheduler_recv_skipper.py)."""
    return "not with data-parallel attention" if name == "poll_steps" and layout.dp > 1 else ""


def adapters(served: AdapterSet) -> list[str | int]:
    """docs.sglang.io, advanced_features/lora: slots of a batch, the greatest rank, adapters in the host's memory. Files
    follow as `--lora-paths NAME=PATH`, or over `/load_lora_adapter`."""
    line: list[str | int] = ["--enable-lora", "--max-loras-per-batch", served.resident, "--max-lora-rank", served.rank]
    return [*line, "--max-loaded-loras", served.count, "--lora-target-modules", "all"]
