"""Models: every shipped file, published sizes and architectures, public repository names."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from comptroller.errors import UnknownIdError
from comptroller.facts.config import model, repositories
from comptroller.facts.format import format_
from comptroller.facts.model import (
    DenseFeedForward,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
    Model,
    SoftmaxAttention,
)
from comptroller.facts.reader import folder, ids, parse_toml

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data"))
SHIPPED = ids("models")


def mixers(found: Model, kind: type) -> int:
    return sum(block.count for block in found.blocks if isinstance(block.mixer, kind))


def windows(found: Model) -> dict[int | None, int]:
    counted: dict[int | None, int] = {}
    for block in found.blocks:
        if isinstance(block.mixer, SoftmaxAttention):
            key = block.mixer.window_tokens
            counted[key] = counted.get(key, 0) + block.count
    return counted


# ---- every file -------------------------------------------------------------------------------------------


def test_at_least_forty_models_ship() -> None:
    assert len(SHIPPED) >= 40


@pytest.mark.parametrize("name", SHIPPED)
def test_layers_are_those_of_the_config(name: str) -> None:
    config = parse_toml(folder("models") / f"{name}.toml")["config"]
    text = config.get("text_config", config)
    stated = text.get("num_hidden_layers") or text.get("n_layer") or len(text["layers_block_type"])
    assert model(name).layers == stated


@pytest.mark.parametrize("name", SHIPPED)
def test_total_agrees_with_the_published_one(name: str) -> None:
    found = model(name)
    assert found.published.total_params is not None
    derived = found.total_params - (0 if found.published.total_vision else found.vision_elements)
    assert derived == pytest.approx(found.published.total_params, rel=0.02)


@pytest.mark.parametrize("name", [name for name in SHIPPED if model(name).published.active_params])
def test_active_agrees_with_the_published_one(name: str) -> None:
    found = model(name)
    table = found.hidden * found.vocabulary
    left_out = {"both": 0, "head": table, "none": found.embedding_params}
    derived = found.active_params - left_out[found.published.active_embeddings]
    assert derived == pytest.approx(found.published.active_params, rel=0.05)


@pytest.mark.parametrize("name", SHIPPED)
def test_cache_and_state(name: str) -> None:
    found = model(name)
    recurrent = mixers(found, LinearAttention)
    attending = mixers(found, SoftmaxAttention) + mixers(found, LatentAttention)
    assert (found.kv_elements_per_token > 0) == (attending > 0)
    assert attending + recurrent > 0
    state = sum(b.count * b.mixer.state_elements for b in found.blocks if b.mixer)
    assert (state > 0) == (recurrent > 0)


@pytest.mark.parametrize("name", SHIPPED)
def test_says_where_it_was_read(name: str) -> None:
    found = model(name)
    assert found.sources["config"].url.startswith("https://")
    assert set(found.provenance.values()) <= set(found.sources)
    assert found.provenance["published.total_params"] == "published"
    assert found.id == name
    assert found.context_tokens >= 2048


@pytest.mark.parametrize("name", [*SHIPPED, *sorted(repositories())])
def test_checkpoint_formats_exist(name: str) -> None:
    found = model(name)
    assert format_(found.weights).bytes_per_element > 0
    assert format_(found.experts).bytes_per_element > 0


def test_no_repository_stands_in_two_files() -> None:
    listed = [
        name.lower()
        for stem in SHIPPED
        for document in [parse_toml(folder("models") / f"{stem}.toml")]
        for name in [*document.get("aliases", ()), *document.get("variants", {})]
    ]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("serving/silicon_known.csv", "model_path"),
        ("energy/ml_energy_known.csv", "model_id"),
        ("serving/splitwise_known.csv", "model"),
    ],
)
def test_measured_data_names_known_models(file: str, column: str) -> None:
    path = DATA / file
    if not path.is_file():
        pytest.skip(f"measured data not present: {path}")
    with path.open(newline="", encoding="utf-8") as rows:
        names = {row[column] for row in csv.DictReader(rows)}
    assert names
    assert all(model(name).total_params > 0 for name in names)


# ---- published architecture -------------------------------------------------------------------------------


def test_llama_3_1_70b_keeps_320_kib_a_token() -> None:
    assert model("llama_3_1_70b").kv_elements_per_token * 2 == 2 * 80 * 8 * 128 * 2 == 327_680


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("llama_2_7b", 6_738_415_616),
        ("llama_2_70b", 68_976_648_192),
        ("llama_3_1_8b", 8_030_261_248),
        ("smollm2_1_7b", 1_711_376_384),
        ("smollm2_135m", 134_515_008),
        ("phi_4", 14_659_507_200),
    ],
)
def test_exact_counts_of_public_checkpoints(name: str, exact: int) -> None:
    assert model(name).total_params == exact


def test_llama_3_1_405b_layers_and_heads() -> None:
    found = model("llama_3_1_405b")
    (block,) = found.blocks
    assert (block.count, block.mixer, block.ffn) == (126, SoftmaxAttention(128, 8, 128), DenseFeedForward(53_248))


def test_deepseek_v3_keeps_a_latent_of_576_in_61_layers() -> None:
    found = model("deepseek_v3")
    assert {b.mixer.kv_elements_per_token for b in found.blocks if b.mixer} == {512 + 64}
    assert found.kv_elements_per_token == 61 * 576
    dense, sparse = found.blocks
    assert (dense.count, dense.ffn) == (3, DenseFeedForward(18_432))
    assert (sparse.count, sparse.ffn) == (58, MixtureOfExperts(256, 8, 2048, shared_width=2048))


def test_sparse_latent_attention_has_an_indexer() -> None:
    mixer = model("deepseek_v3_2").blocks[0].mixer
    assert isinstance(mixer, LatentAttention)
    assert (mixer.top_tokens, mixer.index_heads, mixer.index_dim) == (2048, 64, 128)
    shared = model("glm_5_2")
    assert sum(b.count for b in shared.blocks if isinstance(b.mixer, LatentAttention) and b.mixer.index_dim) == 21
    assert mixers(shared, LatentAttention) == 78


@pytest.mark.parametrize(("name", "layers"), [("gemma_3_12b", 48), ("gemma_3_27b", 62)])
def test_gemma_3_slides_in_five_of_six_layers(name: str, layers: int) -> None:
    assert windows(model(name)) == {1024: layers - layers // 6, None: layers // 6}


def test_gemma_4_has_wider_heads_where_it_sees_everything() -> None:
    sliding, full = (block.mixer for block in model("gemma_4_31b").blocks)
    assert sliding == SoftmaxAttention(32, 16, 256, window_tokens=1024)
    assert full == SoftmaxAttention(32, 4, 512)


@pytest.mark.parametrize(("name", "layers"), [("gpt_oss_20b", 24), ("gpt_oss_120b", 36)])
def test_gpt_oss_alternates_windows_of_128(name: str, layers: int) -> None:
    assert windows(model(name)) == {128: layers // 2, None: layers // 2}
    assert (model(name).weights, model(name).experts) == ("bf16", "mxfp4")


def test_qwen3_5_has_three_linear_layers_to_one_full() -> None:
    found = model("qwen3_5_397b_a17b")
    assert (mixers(found, LinearAttention), mixers(found, SoftmaxAttention)) == (45, 15)
    (linear,) = {b.mixer for b in found.blocks if isinstance(b.mixer, LinearAttention)}
    assert linear.state_elements == 64 * 128 * 128 + 3 * (2 * 16 * 128 + 64 * 128)
    assert found.kv_elements_per_token == 15 * 2 * 2 * 256


def test_nemotron_has_layers_of_three_sorts() -> None:
    found = model("nemotron_nano_9b_v2")
    assert (mixers(found, LinearAttention), mixers(found, SoftmaxAttention)) == (27, 4)
    assert sum(b.count for b in found.blocks if b.mixer is None) == 25
    assert all((b.mixer is None) != (b.ffn is None) for b in found.blocks)
    assert all(not b.ffn.gated for b in found.blocks if b.ffn)


def test_nemotron_super_experts_work_in_a_latent() -> None:
    (moe,) = {b.ffn for b in model("nemotron_3_super_120b_a12b").blocks if isinstance(b.ffn, MixtureOfExperts)}
    assert moe == MixtureOfExperts(512, 22, 2688, shared_width=5376, gated=False, latent=1024)
    assert moe.expert_elements(4096) == 2 * 2688 * 1024


def test_llama_4_chunks_three_of_four_layers_and_shares_an_expert() -> None:
    found = model("llama_4_maverick")
    assert windows(found) == {8192: 36, None: 12}
    assert sum(b.count for b in found.blocks if isinstance(b.ffn, MixtureOfExperts)) == 24
    assert {b.ffn for b in found.blocks} == {
        DenseFeedForward(16_384),
        MixtureOfExperts(128, 1, 8192, shared_width=8192),
    }


def test_searched_layers_may_lack_attention() -> None:
    found = model("llama_3_3_nemotron_super_49b")
    assert mixers(found, SoftmaxAttention) == 49


def test_ternary_and_bloom() -> None:
    assert model("bitnet_b1_58_2b_4t").weights == "ternary"
    (block,) = model("bloom_176b").blocks
    assert (block.mixer, block.ffn) == (SoftmaxAttention(112, 112, 128), DenseFeedForward(4 * 14_336, gated=False))


# ---- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stem", "weights", "experts"),
    [
        ("nvidia/DeepSeek-R1-NVFP4", "deepseek_r1", "bf16", "nvfp4"),
        ("nvidia/DeepSeek-V3.1-NVFP4", "deepseek_v3", "bf16", "nvfp4"),
        ("nvidia/Qwen3-32B-NVFP4", "qwen3_32b", "nvfp4", "nvfp4"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "llama_3_1_8b", "fp8_e4m3", "fp8_e4m3"),
        ("Qwen/Qwen3-235B-A22B-FP8", "qwen3_235b_a22b", "fp8_block", "fp8_block"),
        ("Qwen/Qwen3-14B-FP8", "qwen3_14b", "fp8_block", "fp8_block"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "qwen2_5_72b", "int4_awq_g128", "int4_awq_g128"),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "llama_3_1_405b", "fp8_e4m3", "fp8_e4m3"),
        ("moonshotai/Kimi-K2.5", "kimi_k2_5", "bf16", "int4_g32"),
        ("zhipuai/GLM-5", "glm_5", "bf16", "bf16"),
        ("MiniMaxAI/MiniMax-M2.5", "minimax_m2_5", "fp8_block", "fp8_block"),
        ("llama2-70b", "llama_2_70b", "fp16", "fp16"),
    ],
)
def test_repository_names_resolve(name: str, stem: str, weights: str, experts: str) -> None:
    found = model(name)
    assert (found.weights, found.experts) == (weights, experts)
    assert found.blocks == model(stem).blocks
    assert model(found.id) == found


def test_a_variant_keeps_its_longer_context() -> None:
    assert model("qwen3_30b_a3b").context_tokens == 40_960
    assert model("Qwen/Qwen3-30B-A3B-Instruct-2507").context_tokens == 262_144


@pytest.mark.parametrize(("name", "nearest"), [("llama_3_1_7b", "llama_3_1_8b"), ("Qwen/Qwen3-33B", "qwen/qwen3-32b")])
def test_unknown_names_list_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownIdError, match="nearest") as caught:
        model(name)
    assert nearest in str(caught.value)
