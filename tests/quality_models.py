"""A small random decoder written as GGUF and as a folder of safetensors, the same function in both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

LAYERS, WIDTH, HEADS, KV_HEADS, INNER = 2, 64, 4, 2, 128
WORDS = [chr(code) for code in range(33, 127)] + ["Ġ"] + [f"Ġ{chr(code)}" for code in range(97, 123)]
MERGES = [f"Ġ {chr(code)}" for code in range(97, 123)]
NAMES = {
    "q": ("attn_q", "self_attn.q_proj"), "k": ("attn_k", "self_attn.k_proj"), "v": ("attn_v", "self_attn.v_proj"),
    "o": ("attn_output", "self_attn.o_proj"), "gate": ("ffn_gate", "mlp.gate_proj"), "up": ("ffn_up", "mlp.up_proj"),
    "down": ("ffn_down", "mlp.down_proj"), "attn_norm": ("attn_norm", "input_layernorm"),
    "ffn_norm": ("ffn_norm", "post_attention_layernorm"),
}  # fmt: skip


def weights(seed: int = 0, heads: int = HEADS, kv_heads: int = KV_HEADS) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    kv = WIDTH // heads * kv_heads
    sizes = {"q": (WIDTH, WIDTH), "k": (kv, WIDTH), "v": (kv, WIDTH), "o": (WIDTH, WIDTH)}
    sizes |= {"gate": (INNER, WIDTH), "up": (INNER, WIDTH), "down": (WIDTH, INNER)}
    made = []
    for _ in range(LAYERS):
        layer = {name: rng.standard_normal(size).astype(np.float32) * 0.2 for name, size in sizes.items()}
        made.append({**layer, "attn_norm": np.ones(WIDTH, np.float32), "ffn_norm": np.ones(WIDTH, np.float32)})
    return made


def halves(x: np.ndarray, heads: int) -> np.ndarray:
    """Rows of neighbouring rotary pairs (GGUF) as halves (safetensors)."""
    return x.reshape(heads, -1, 2, x.shape[1]).transpose(0, 2, 1, 3).reshape(x.shape)


def write_gguf(path: Path, architecture: str = "llama", heads: int = HEADS, kv_heads: int = KV_HEADS) -> Path:
    writer = GGUFWriter(path, architecture)
    for name, value in (("block_count", LAYERS), ("embedding_length", WIDTH), ("attention.head_count", heads)):
        writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_uint32(f"{architecture}.attention.head_count_kv", kv_heads)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_float32(f"{architecture}.rope.freq_base", 10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(WORDS)
    writer.add_token_merges(MERGES)
    for number, layer in enumerate(weights(heads=heads, kv_heads=kv_heads)):
        for name, value in layer.items():
            writer.add_tensor(f"blk.{number}.{NAMES[name][0]}.weight", value)
    for name, value in outer().items():
        writer.add_tensor({"embedding": "token_embd.weight", "norm": "output_norm.weight"}[name], value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def outer() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(9)
    return {
        "embedding": rng.standard_normal((len(WORDS), WIDTH)).astype(np.float32),
        "norm": np.ones(WIDTH, np.float32),
    }


def write_folder(path: Path, kind: str = "llama") -> Path:
    path.mkdir()
    facts = {"model_type": kind, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "hidden_size": WIDTH}
    (path / "config.json").write_text(json.dumps({**facts, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}))
    tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(WORDS)}, [tuple(m.split(" ")) for m in MERGES]))
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.save(str(path / "tokenizer.json"))
    tensors = {}
    for number, layer in enumerate(weights()):
        for name, value in layer.items():
            turned = halves(value, {"q": HEADS, "k": KV_HEADS}[name]) if name in "qk" else value
            tensors[f"model.layers.{number}.{NAMES[name][1]}.weight"] = np.ascontiguousarray(turned)
    found = outer()
    save_file({**tensors, "model.embed_tokens.weight": found["embedding"], "model.norm.weight": found["norm"]},
              path / "model.safetensors")  # fmt: skip
    return path


TEXT = "the quick brown fox jumps over a lazy dog and counts 1234 stars by night " * 40
