"""TensorRT-LLM: `trtllm-serve` (nvidia.github.io/TensorRT-LLM, command reference of 1.0)."""

from __future__ import annotations

from comptroller.costs.deployment import ModelReplica
from comptroller.launch._checkpoint import LaunchCheckpoint
from comptroller.launch._parse import LaunchFlags

IMAGES = {"NVIDIA": "nvcr.io/nvidia/tensorrt-llm/release:1.0.0"}

DEGREES = frozenset({"tp", "pp", "ep"})
"""Degrees that the command sets; data-parallel attention takes a file of options (`enable_attention_dp`)."""

TOGETHER = True
"""Whether it sets several of them at once."""

VERSION = ("python", "-c", "import importlib.metadata as m; print(m.version('tensorrt_llm'))")
"""What prints the version that is installed."""

POLICIES = {"batching": {"chunked": ()}, "scheduling": {"fcfs": ()}}
"""Policies of a replica that it follows, with their arguments; others stand in a file of options, if at all.
There stands chunking too (`enable_chunked_prefill`; a flag from 1.2 on): without it a prompt has to fit in
--max_num_tokens."""

FLAGS = LaunchFlags(
    start=(("trtllm-serve", "serve"), ("trtllm-serve",)),
    setting={
        "--tp_size": "ranks", "--pp_size": "pp", "--ep_size": "ep", "--kv_cache_dtype": "cache",
        "--max_batch_size": "max_batch", "--max_num_tokens": "chunk_tokens", "--max_seq_len": "context_tokens",
        "--kv_cache_free_gpu_memory_fraction": "memory_fraction",
    },
    passed=frozenset({"--backend"}),
)  # fmt: skip
"""How a line is read."""


def words(replica: ModelReplica, files: LaunchCheckpoint, context_tokens: int) -> list[str | int | float]:
    """Arguments of the command; number formats come from the checkpoint."""
    engine, layout = replica.engine, replica.layout
    line: list[str | int | float] = ["trtllm-serve", "serve", files.path, "--backend", "pytorch"]
    line += ["--tp_size", layout.stage_devices, "--pp_size", layout.pp]
    if layout.ep > 1:
        line += ["--ep_size", layout.ep]
    line += files.flags
    line += ["--max_batch_size", engine.max_batch, "--max_num_tokens", engine.chunk_tokens]
    line += ["--max_seq_len", context_tokens]
    return [*line, "--kv_cache_free_gpu_memory_fraction", engine.memory_fraction]
