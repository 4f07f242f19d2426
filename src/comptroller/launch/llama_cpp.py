"""llama.cpp: `llama-server` (tools/server/README.md); the checkpoint is a GGUF file in the planned format."""

from __future__ import annotations

from comptroller.costs.deployment import ModelReplica
from comptroller.launch._checkpoint import LaunchCheckpoint
from comptroller.launch._parse import LaunchFlags

DEGREES = frozenset({"tp", "pp"})
"""Degrees that the command sets, one of them at a time: rows or layers split over devices."""

TOGETHER = False
"""Whether it sets several of them at once."""

VERSION = ("llama-server", "--version")
"""What prints the version that is installed."""

POLICIES = {"batching": {"chunked": ()}, "scheduling": {"fcfs": ()}}
"""Policies of a replica that it follows, with their arguments: prompts fill what is left of a batch (server.cpp)."""

FLAGS = LaunchFlags(
    start=(("llama-server",),),
    model=("--model", "-m", "--hf-repo", "-hf"),
    setting={
        "--model": "model", "-m": "model", "--hf-repo": "model", "-hf": "model", "--parallel": "max_batch",
        "-np": "max_batch", "--ctx-size": "context_of_slots", "-c": "context_of_slots", "--cache-type-k": "cache",
        "-ctk": "cache", "--batch-size": "chunk_tokens", "-b": "chunk_tokens", "--n-gpu-layers": "gpu_layers",
        "-ngl": "gpu_layers", "--split-mode": "split", "-sm": "split", "--tensor-split": "shares", "-ts": "shares",
    },
    images=("ghcr.io/ggml-org/llama.cpp:server", "ghcr.io/ggerganov/llama.cpp:server"),
    bare=frozenset({"--cont-batching", "-cb"}),
    passed=frozenset({"--cont-batching", "-cb", "--cache-type-v", "-ctv"}),
)  # fmt: skip
"""How a line is read; a cache whose keys and values differ is not planned, and keys are read."""


def words(replica: ModelReplica, files: LaunchCheckpoint, context_tokens: int) -> list[str | int | float]:
    """Arguments of the command; the context is divided over the parallel slots, and the output counts as a layer
    (`n_layer + 1` in llama_model::load_tensors): without it the head stays on the host."""
    engine = replica.engine
    line: list[str | int | float] = ["llama-server", "--model", files.path]
    line += ["--parallel", engine.max_batch, "--ctx-size", context_tokens * engine.max_batch, "--cont-batching"]
    line += files.flags
    if split := max(replica.layout.tp, replica.layout.pp) - 1:
        mode = "row" if replica.layout.tp > 1 else "layer"
        line += ["--split-mode", mode, "--tensor-split", ",".join("1" * (split + 1))]
    return [*line, "--batch-size", engine.chunk_tokens, "--n-gpu-layers", replica.model.layers + 1]


def context_of(line: list[str]) -> int:
    """Tokens of the context that a command opens, of all its slots.

    >>> context_of(["llama-server", "--ctx-size", "768"])
    768
    """
    return int(line[line.index("--ctx-size") + 1])
