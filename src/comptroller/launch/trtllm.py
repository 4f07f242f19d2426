"""TensorRT-LLM: `trtllm-serve` (nvidia.github.io/TensorRT-LLM, command reference of 1.0)."""

from __future__ import annotations

from comptroller.costs.deployment import ModelReplica
from comptroller.launch._checkpoint import LaunchCheckpoint

IMAGES = {"NVIDIA": "nvcr.io/nvidia/tensorrt-llm/release:1.0.0"}

VERSION = ("python", "-c", "import importlib.metadata as m; print(m.version('tensorrt_llm'))")
"""What prints the version that is installed."""


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
