"""SGLang: `python -m sglang.launch_server` (docs.sglang.ai, server arguments of 0.5)."""

from __future__ import annotations

from comptroller.costs.deployment import ModelReplica

IMAGES = {
    "NVIDIA": "lmsysorg/sglang:v0.5.18",
    "cdna3": "lmsysorg/sglang:v0.5.18-rocm720-mi30x",
    "cdna4": "lmsysorg/sglang:v0.5.19-rocm700-mi35x",
}
"""hub.docker.com/r/lmsysorg/sglang, by vendor or family of device."""

SPREAD = '--nnodes {nodes} --node-rank "$RANK" --dist-init-addr "$LEADER:20000"'
"""Arguments of a node, in shell; the first one listens."""

QUANTIZATION = {
    "fp8_e4m3": "fp8",
    "fp8_block": "fp8",
    "int8": "w8a8_int8",
    "int4_awq_g128": "awq_marlin",
    "nvfp4": "modelopt_fp4",
    "mxfp4": "mxfp4",
    "q4_k": "gguf",
    "q8_0": "gguf",
}


def words(replica: ModelReplica, context_tokens: int) -> list[str | int | float]:
    """Arguments of the command; SGLang counts data-parallel attention ranks inside the tensor-parallel size."""
    engine, layout, recipe = replica.engine, replica.layout, replica.recipe
    line: list[str | int | float] = ["python", "-m", "sglang.launch_server"]
    line += ["--model-path", replica.model.repository or replica.model.id, "--tp-size", layout.stage_devices]
    if layout.pp > 1:
        line += ["--pp-size", layout.pp]
    if layout.dp > 1:
        line += ["--dp-size", layout.dp, "--enable-dp-attention"]
    if layout.ep > 1:
        line += ["--ep-size", layout.ep]
    own = recipe.experts == replica.model.experts and recipe.weights == replica.model.weights
    if recipe.experts in QUANTIZATION and not own:
        line += ["--quantization", QUANTIZATION[recipe.experts]]
    if recipe.activations in {"bf16", "fp16"}:
        line += ["--dtype", {"bf16": "bfloat16", "fp16": "float16"}[recipe.activations]]
    if recipe.kv.startswith("fp8"):
        line += ["--kv-cache-dtype", "fp8_e4m3"]
    line += ["--context-length", context_tokens, "--max-running-requests", engine.max_batch]
    line += ["--chunked-prefill-size", engine.chunk_tokens]
    return [*line, "--mem-fraction-static", engine.memory_fraction]
