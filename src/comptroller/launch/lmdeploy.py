"""LMDeploy: `lmdeploy serve api_server` with its TurboMind engine (lmdeploy/cli/serve.py of 0.18)."""

from __future__ import annotations

from comptroller.costs.deployment import ModelReplica
from comptroller.launch._checkpoint import LaunchCheckpoint
from comptroller.launch._parse import LaunchFlags

ADDRESS = ("--server-name", "--server-port")
"""Flags of the address that it listens on."""

DEGREES = frozenset({"tp"})
"""Degrees that the command sets for TurboMind; `--dp` and `--ep` go through a proxy, or are the PyTorch engine's."""

TOGETHER = True
"""Whether it sets several of them at once."""

VERSION = ("python", "-c", "import importlib.metadata as m; print(m.version('lmdeploy'))")
"""What prints the version that is installed."""

POLICIES = {"batching": {"chunked": ()}, "scheduling": {"fcfs": ()}}
"""Policies of a replica that it follows, with their arguments: TurboMind cuts prompts by --max-prefill-token-num."""

FLAGS = LaunchFlags(
    start=(("lmdeploy", "serve", "api_server"),),
    setting={
        "--tp": "ranks", "--dtype": "dtype", "--quant-policy": "cache", "--session-len": "context_tokens",
        "--max-batch-size": "max_batch", "--max-prefill-token-num": "chunk_tokens",
        "--cache-max-entry-count": "memory_fraction",
    },
    bare=frozenset({"--enable-prefix-caching"}),
    passed=frozenset({"--backend", "--model-format", "--server-name", "--server-port", "--model-name"}),
)  # fmt: skip
"""How a line is read; the format of a checkpoint follows from its files."""


def words(replica: ModelReplica, files: LaunchCheckpoint, context_tokens: int) -> list[str | int | float]:
    """Arguments of the command."""
    engine, recipe = replica.engine, replica.recipe
    line: list[str | int | float] = ["lmdeploy", "serve", "api_server", files.path, "--backend", "turbomind"]
    line += ["--tp", replica.layout.tp, "--dtype", {"bf16": "bfloat16"}.get(recipe.activations, "float16")]
    line += files.flags
    line += ["--session-len", context_tokens, "--max-batch-size", engine.max_batch]
    line += ["--max-prefill-token-num", engine.chunk_tokens]
    return [*line, "--cache-max-entry-count", engine.memory_fraction]
