"""llama.cpp: `llama-server` (tools/server/README.md); the checkpoint is a GGUF file in the planned format."""

from __future__ import annotations

from comptroller.costs.deployment import ModelReplica
from comptroller.launch._checkpoint import LaunchCheckpoint

VERSION = ("llama-server", "--version")
"""What prints the version that is installed."""


def words(replica: ModelReplica, files: LaunchCheckpoint, context_tokens: int) -> list[str | int | float]:
    """Arguments of the command; the context is divided over the parallel slots."""
    engine = replica.engine
    line: list[str | int | float] = ["llama-server", "--model", files.path]
    line += ["--parallel", engine.max_batch, "--ctx-size", context_tokens * engine.max_batch, "--cont-batching"]
    line += files.flags
    return [*line, "--batch-size", engine.chunk_tokens, "--n-gpu-layers", replica.model.layers]


def context_of(line: list[str]) -> int:
    """Tokens of the context that a command opens, of all its slots.

    >>> context_of(["llama-server", "--ctx-size", "768"])
    768
    """
    return int(line[line.index("--ctx-size") + 1])
