"""llama.cpp: `llama-server` (tools/server/README.md); the checkpoint is a GGUF file in the planned format."""

from __future__ import annotations

from comptroller.costs.deployment import ModelReplica


def words(replica: ModelReplica, context_tokens: int) -> list[str | int | float]:
    """Arguments of the command; the context is divided over the parallel slots."""
    engine = replica.engine
    line: list[str | int | float] = ["llama-server", "--model", f"{replica.model.id}.{replica.recipe.weights}.gguf"]
    line += ["--parallel", engine.max_batch, "--ctx-size", context_tokens * engine.max_batch, "--cont-batching"]
    if replica.recipe.kv.startswith("q8"):
        line += ["--cache-type-k", "q8_0", "--cache-type-v", "q8_0"]
    return [*line, "--batch-size", engine.chunk_tokens, "--n-gpu-layers", replica.model.layers]
