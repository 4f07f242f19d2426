"""vLLM: `vllm serve` (docs.vllm.ai, CLI reference of 0.11)."""

from __future__ import annotations

from comptroller.costs.deployment import ModelReplica

IMAGES = {"NVIDIA": "vllm/vllm-openai:v0.12.0", "AMD": "vllm/vllm-openai-rocm:v0.14.0"}
"""hub.docker.com/u/vllm; there is none for AMD before 0.14."""

SPREAD = '--nnodes {nodes} --node-rank "$RANK" --master-addr "$LEADER" $([ "$RANK" = 0 ] || echo --headless)'
"""Arguments of a node, in shell; the first one listens."""

QUANTIZATION = {
    "fp8_e4m3": "fp8",
    "fp8_block": "fp8",
    "int8": "compressed-tensors",
    "int4_g128": "compressed-tensors",
    "int4_awq_g128": "awq_marlin",
    "nvfp4": "modelopt_fp4",
    "mxfp4": "mxfp4",
    "q4_k": "gguf",
    "q8_0": "gguf",
}


def words(replica: ModelReplica, context_tokens: int) -> list[str | int | float]:
    """Arguments of the command."""
    engine, layout, recipe = replica.engine, replica.layout, replica.recipe
    line: list[str | int | float] = ["vllm", "serve", replica.model.repository or replica.model.id]
    line += ["--tensor-parallel-size", layout.tp]
    if layout.pp > 1:
        line += ["--pipeline-parallel-size", layout.pp]
    if layout.dp > 1:
        line += ["--data-parallel-size", layout.dp]
    if layout.ep > 1:
        line += ["--enable-expert-parallel"]
    own = recipe.experts == replica.model.experts and recipe.weights == replica.model.weights
    if recipe.experts in QUANTIZATION and not own:
        line += ["--quantization", QUANTIZATION[recipe.experts]]
    if recipe.activations in {"bf16", "fp16"}:
        line += ["--dtype", {"bf16": "bfloat16", "fp16": "float16"}[recipe.activations]]
    if recipe.kv.startswith("fp8"):
        line += ["--kv-cache-dtype", "fp8"]
    line += ["--max-model-len", context_tokens, "--max-num-seqs", engine.max_batch]
    line += ["--max-num-batched-tokens", engine.chunk_tokens]
    return [*line, "--gpu-memory-utilization", engine.memory_fraction]
