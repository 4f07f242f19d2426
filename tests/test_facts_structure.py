"""Architectures by form: published cases, keys that nothing reads, what a user says of them, exclude lists, schemes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import weight_bytes
from comptroller.errors import FactError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model, model_from_config
from comptroller.facts.engine import engine_facts
from comptroller.facts.model import LinearAttention, MixtureOfExperts, SoftmaxAttention
from comptroller.facts.shards import checkpoint_bytes
from comptroller.planning.planner import plan
from comptroller.report.facts import details
from comptroller.work.workload import parse

Config = dict[str, Any]

TINY: Config = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 512,
}
EIGHT_B_LAYERS: Config = {
    **TINY,
    "hidden_size": 4096,
    "num_hidden_layers": 4,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14_336,
    "vocab_size": 32_000,
}
ATTENTION_IN_BYTES = 4 * (2 * 4096 * 4096 + 2 * 4096 * 1024)


def written(path: Path, config: object) -> str:
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


# ---- published forms --------------------------------------------------------------------------------------


def test_jamba_attends_in_one_of_eight_layers_and_has_experts_in_every_second() -> None:
    keys = {"attn_layer_period": 8, "attn_layer_offset": 4, "expert_layer_period": 2, "expert_layer_offset": 1}
    mamba = {"mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 256}
    sizes = {
        **EIGHT_B_LAYERS,
        "num_hidden_layers": 32,
        "vocab_size": 65_536,
        "num_experts": 16,
        "num_experts_per_tok": 2,
    }
    found = model_from_config({**sizes, **keys, **mamba, "model_type": "jamba"}, "jamba")
    assert found.total_params / 1e9 == pytest.approx(51.57, abs=0.005)
    assert found.kv_elements_per_token == 8_192
    assert sum(b.count for b in found.blocks if isinstance(b.ffn, MixtureOfExperts)) == 16
    assert sum(b.count for b in found.blocks if isinstance(b.mixer, LinearAttention)) == 28


def test_ernie_has_experts_from_a_layer_on() -> None:
    sizes = {"hidden_size": 2560, "num_hidden_layers": 28, "num_attention_heads": 20, "num_key_value_heads": 4}
    sizes |= {"head_dim": 128, "intermediate_size": 12_288, "moe_intermediate_size": 1536, "vocab_size": 103_424}
    experts = {"moe_num_experts": 64, "moe_k": 6, "moe_num_shared_experts": 2, "moe_layer_start_index": 1}
    ernie = {**TINY, **sizes, **experts, "tie_word_embeddings": True, "model_type": "ernie4_5_moe"}
    found = model_from_config(ernie, "ernie")
    assert (found.total_params / 1e9, found.active_params / 1e9) == pytest.approx((21.83, 3.35), abs=0.005)


def test_chatglm_has_a_width_of_its_own() -> None:
    config = {"hidden_size": 4096, "num_layers": 28, "num_attention_heads": 32, "multi_query_group_num": 2}
    config |= {"ffn_hidden_size": 13_696, "padded_vocab_size": 65_024, "seq_length": 8192, "kv_channels": 128}
    found = model_from_config({**config, "model_type": "chatglm", "architectures": ["ChatGLMModel"]}, "glm")
    assert found.total_params / 1e9 == pytest.approx(6.244, abs=0.001)


def test_gpt_j_is_four_times_as_wide_inside() -> None:
    config = {"n_embd": 4096, "n_layer": 28, "n_head": 16, "n_positions": 2048, "vocab_size": 50_400}
    found = model_from_config({**config, "n_inner": None, "model_type": "gptj"}, "gptj")
    assert found.total_params / 1e9 == pytest.approx(6.05, abs=0.005)


@pytest.mark.parametrize(
    ("form", "cache"),
    [
        ({"new_decoder_architecture": True, "num_kv_heads": 8, "multi_query": True}, 61_440),
        ({"new_decoder_architecture": False, "num_kv_heads": 128, "multi_query": True}, 60 * 2 * 64),
        ({"new_decoder_architecture": False, "multi_query": False}, 60 * 2 * 8192),
    ],
)
def test_falcon_has_three_forms(form: Config, cache: int) -> None:
    config = {"hidden_size": 8192, "num_hidden_layers": 60, "num_attention_heads": 128, "vocab_size": 65_024}
    assert model_from_config({**config, **form, "model_type": "falcon"}, "falcon").kv_elements_per_token == cache


def test_two_mixers_in_a_layer_are_one_layer() -> None:
    mamba = {"mamba_d_ssm": 128, "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_d_state": 16, "mamba_n_groups": 1}
    found = model_from_config({**TINY, **mamba, "mamba_d_conv": 4, "model_type": "falcon_h1"}, "h1")
    assert found.layers == 2
    assert found.kv_elements_per_token == 2 * 2 * 2 * 16
    assert sum(b.count for b in found.blocks if isinstance(b.mixer, LinearAttention)) == 2


def test_layers_that_look_at_pictures_keep_nothing_of_the_text() -> None:
    found = model_from_config({**TINY, "cross_attention_layers": [1], "model_type": "mllama_text_model"}, "vision")
    assert found.kv_elements_per_token == 2 * 2 * 16
    plain = model_from_config(TINY, "plain")
    assert found.total_params == plain.total_params


# ---- what is no decoder -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"architectures": ["BertModel"], "model_type": "bert"}, "architectures"),
        ({"architectures": ["MistralModel"], "model_type": "mistral"}, "architectures"),
        ({"architectures": ["Qwen2ForRewardModel"], "model_type": "qwen2"}, "architectures"),
        ({"architectures": ["XLMRobertaForSequenceClassification"]}, "architectures"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "is_encoder_decoder"),
        ({"model_type": "nomic_bert"}, "model_type"),
        ({"model_type": "rwkv7"}, "model_type"),
    ],
)
def test_what_does_not_generate_is_refused_as_such(config: Config, field: str) -> None:
    with pytest.raises(FactError) as caught:
        model_from_config({**TINY, **config}, "encoder")
    assert caught.value.field == field


# ---- keys that nothing reads ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "strange",
    [
        {"foo_num_experts": 8},
        {"mamba_d_state": 16},
        {"conv_L_cache": 3},
        {"attn_every_k": 4},
        {"cross_attention_frequency": 4},
        {"altup_num_streams": 4},
        {"shared_mlp_width": 512},
        {"ffn_hidden_size": 512},
        {"o_lora_rank": 16},
        {"kv_compress_rate": 4},
        {"memory_window": 128},
        {"use_moe": True},
        {"layer_pattern": "ABAB"},
        {"ffn_config": {"ffn_hidden_size": 512}},
    ],
)
@pytest.mark.parametrize("kind", ["novel", "llama"])
def test_structure_that_is_not_understood_is_refused_by_its_key(strange: Config, kind: str) -> None:
    with pytest.raises(FactError) as caught:
        model_from_config({**TINY, **strange, "model_type": kind}, "novel")
    assert caught.value.field.partition(".")[0] == next(iter(strange))
    assert "[model.structure]" in str(caught.value)


def test_an_unknown_type_is_read_and_marked() -> None:
    found = model_from_config({**TINY, "model_type": "novel"}, "novel")
    assert not found.checked
    assert "architecture not checked" in found.doubt
    assert "'novel'" in found.doubt
    assert found.blocks == model_from_config(TINY, "tiny").blocks


def test_no_width_by_fallback() -> None:
    config = {key: value for key, value in TINY.items() if key != "intermediate_size"}
    with pytest.raises(FactError, match=r"intermediate_size.*is missing"):
        model_from_config({**config, "model_type": "novel"}, "novel")


def test_another_name_of_what_was_read_is_no_riddle() -> None:
    assert model_from_config({**TINY, "num_kv_heads": 2}, "twice").checked
    with pytest.raises(FactError, match="num_kv_heads"):
        model_from_config({**TINY, "num_kv_heads": 1}, "contradiction")


# ---- what a user says -------------------------------------------------------------------------------------

NOVEL = {**TINY, "model_type": "novel", "foo_num_experts": 8, "foo_top": 2, "foo_rank": 3}


def own_toml(folder: Path, lines: str) -> str:
    written(folder / "config.json", NOVEL)
    path = folder / "mine.toml"
    path.write_text(f'[model]\nconfig = "config.json"\n[model.structure]\n{lines}', encoding="utf-8")
    return str(path)


def test_a_user_says_what_a_key_holds(tmp_path: Path) -> None:
    found = model(own_toml(tmp_path, 'foo_num_experts = "experts"\nfoo_top = "chosen"\nfoo_rank = "none"\n'))
    assert found.id == "mine"
    assert {b.ffn for b in found.blocks} == {MixtureOfExperts(8, 2, 128)}
    assert not found.checked


def test_a_user_may_set_a_key(tmp_path: Path) -> None:
    lines = 'foo_num_experts = "none"\nfoo_top = "none"\nfoo_rank = "none"\ntie_word_embeddings = true\n'
    assert model(own_toml(tmp_path, lines)).tied_embedding


def test_what_a_user_says_is_not_checked() -> None:
    assert model_from_config(TINY, "tiny").checked
    assert not model_from_config({**TINY, "foo_rank": 3}, "tiny", structure={"foo_rank": "none"}).checked


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ('foo_num_experts = "wizards"\n', "model.structure.foo_num_experts"),
        ('foo_num_experts = "experts"\n', "num_experts_per_tok"),
        ("", "foo_num_experts"),
    ],
)
def test_a_structure_that_does_not_do(tmp_path: Path, lines: str, field: str) -> None:
    with pytest.raises(FactError) as caught:
        model(own_toml(tmp_path, lines))
    assert field in str(caught.value)


def test_a_model_table_holds_config_and_structure(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[model]\nweights = "bf16"\n', encoding="utf-8")
    with pytest.raises(FactError, match=r"\[model\.structure\]"):
        model(str(path))


# ---- the files beside a config ----------------------------------------------------------------------------


def index(folder: Path, total: object) -> None:
    written(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": {}})


def test_files_that_weigh_what_the_config_predicts(tmp_path: Path) -> None:
    written(tmp_path / "config.json", TINY)
    index(tmp_path, int(checkpoint_bytes(model_from_config(TINY, "tiny"))))
    assert model(str(tmp_path)).checked


def test_files_that_weigh_more_mark_a_checked_model_and_refuse_another(tmp_path: Path) -> None:
    predicted = checkpoint_bytes(model_from_config(TINY, "tiny"))
    for kind in ("llama", "novel"):
        (tmp_path / kind).mkdir()
        written(tmp_path / kind / "config.json", {**TINY, "model_type": kind})
        index(tmp_path / kind, int(predicted * 1.2))
    assert "the files weigh" in model(str(tmp_path / "llama")).doubt
    with pytest.raises(FactError, match=r"metadata\.total_size.*predict"):
        model(str(tmp_path / "novel"))


@pytest.mark.parametrize("total", [None, "big", -1])
def test_an_index_without_a_size_says_nothing(tmp_path: Path, total: object) -> None:
    written(tmp_path / "config.json", TINY)
    index(tmp_path, total)
    assert model(str(tmp_path)).checked


def test_modelopts_own_file_gives_the_quantisation(tmp_path: Path) -> None:
    written(tmp_path / "config.json", TINY)
    written(tmp_path / "hf_quant_config.json", {"producer": {}, "quantization": {"quant_algo": "FP8"}})
    assert model(str(tmp_path)).weights == "fp8_e4m3"


# ---- what a quantised checkpoint spares -------------------------------------------------------------------

PROJECTIONS = [f"self_attn.{name}_proj" for name in "qkvo"]


@pytest.mark.parametrize(
    ("scheme", "key", "entries"),
    [
        ("fbgemm_fp8", "modules_to_not_convert", [f"model.layers.{i}.{p}" for i in range(4) for p in PROJECTIONS]),
        ("fbgemm_fp8", "modules_to_not_convert", [f"model.layers.{i}.self_attn" for i in range(4)]),
        ("fbgemm_fp8", "modules_to_not_convert", ["self_attn", "lm_head"]),
        ("fp8", "ignored_layers", ["re:.*self_attn.*"]),
        ("modelopt", "ignore", ["model.layers.*.self_attn*", "lm_head"]),
        ("modelopt", "exclude_modules", [f"model.layers.{i}.self_attn*" for i in range(4)]),
    ],
)
def test_spared_attention_is_weighed_in_16_bit(scheme: str, key: str, entries: list[str]) -> None:
    table: Config = {"quant_method": scheme, key: entries}
    table |= {"quant_algo": "FP8"} if scheme == "modelopt" else {}
    found = model_from_config({**EIGHT_B_LAYERS, "quantization_config": table}, "spared")
    assert found.spared_elements == ATTENTION_IN_BYTES
    recipe = PrecisionRecipe(weights=found.weights, experts=found.experts)
    engine = EngineSettings.default(engine_facts("vllm"))
    replica = ModelReplica(found, accelerator("h100_sxm"), recipe, ParallelLayout(), engine)
    assert weight_bytes(replica) == checkpoint_bytes(found) == 1_564_549_120


@pytest.mark.parametrize(
    "entries", [[], ["lm_head"], ["model.layers.9.self_attn"], ["vision_tower.layers.0.self_attn"]]
)
def test_what_is_no_layer_of_the_decoder_spares_nothing(entries: list[str]) -> None:
    table = {"quant_method": "fbgemm_fp8", "modules_to_not_convert": entries}
    found = model_from_config({**EIGHT_B_LAYERS, "quantization_config": table}, "whole")
    assert checkpoint_bytes(found) == 1_396_776_960


def test_half_of_a_gated_part_may_be_spared() -> None:
    table = {"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["mlp.up_proj"]}
    found = model_from_config({**EIGHT_B_LAYERS, "quantization_config": table}, "half")
    assert found.spared_elements == 4 * 4096 * 14_336


# ---- schemes ----------------------------------------------------------------------------------------------

INT4_CLASS = {"default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 64}}}


@pytest.mark.parametrize(
    ("scheme", "weights"),
    [
        ({"group_size": 64, "bits": 4}, "int4_g64"),
        ({"mode": "mxfp4", "group_size": 32, "bits": 4}, "mxfp4"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "nf4_dq"),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, "fp8_e4m3"),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4", "group_size": 32}}}, "mxfp4"),
        (
            {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "int4", "group_size": 128}}},
            "int4_g128",
        ),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "int8_wo"),
        ({"quant_method": "torchao", "quant_type": INT4_CLASS}, "int4_g64"),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}, "nvfp4"),
    ],
)
@pytest.mark.parametrize("key", ["quantization", "quantization_config"])
def test_schemes_of_other_tools(scheme: Config, weights: str, key: str) -> None:
    assert model_from_config({**TINY, key: scheme}, "tiny").weights == weights


@pytest.mark.parametrize(
    "scheme",
    [
        {"quant_method": "aqlm"},
        {"quant_method": "hqq"},
        {"quant_method": "bitsandbytes", "bnb_4bit_quant_type": "fp4"},
        {"quant_method": "torchao", "quant_type": "intx_everything"},
        {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "int3"}}},
        {"mode": "magic", "bits": 4},
        {"unheard": "of"},
    ],
)
def test_a_scheme_that_is_not_known_is_refused_with_the_list(scheme: Config) -> None:
    with pytest.raises(FactError) as caught:
        model_from_config({**TINY, "quantization_config": scheme}, "tiny")
    assert caught.value.field.startswith("quantization_config")
    assert caught.value.allowed


def test_a_softmax_block_of_a_mixture_of_mixers_keeps_its_heads() -> None:
    config = {**TINY, "layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "model_type": "lfm2"}
    conv, attention = (block.mixer for block in model_from_config(config, "lfm2").blocks)
    assert isinstance(conv, LinearAttention)
    assert conv.state_elements == 2 * 64
    assert attention == SoftmaxAttention(4, 2, 16)


# ---- where it is said -------------------------------------------------------------------------------------


def test_a_plan_says_that_an_architecture_was_not_checked(tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 32, "vocab_size": 128_256, "max_position_embeddings": 8192, "model_type": "novel"}
    workload = {
        "name": "own",
        "models": [written(tmp_path / "novel.json", {**EIGHT_B_LAYERS, **sizes})],
        "rate_per_s": 3.0,
        "lengths": {
            "input": {"median": 600, "mean": 900, "most": 6000},
            "output": {"median": 150, "mean": 200, "most": 900},
        },
        "objectives": {"tpot": {"p": 95.0, "max": 40.0, "unit": "ms"}},
        "allow": {"sites": ["us_neocloud"], "accelerators": ["h100_sxm"]},
    }
    notes = plan(parse(workload, tmp_path / "own.toml"), rehearsal=None).notes
    assert [note for note in notes if note.startswith("novel: architecture not checked")]


def test_a_shown_model_says_whether_it_was_checked() -> None:
    (sheet,) = details("models", "qwen3_8b")
    assert ("architecture", "checked") in {row[:2] for row in sheet.rows}
