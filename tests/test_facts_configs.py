"""Users' own configs: what is accepted, what is refused by file and key, and how counts scale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.errors import FactError
from comptroller.facts.config import model, model_from_config
from comptroller.facts.model import Model
from comptroller.facts.reader import folder, ids, parse_toml

SHIPPED = ids("models")
TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 512,
}


# ---- a user's own files -----------------------------------------------------------------------------------


def write(path: Path, config: object) -> str:
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def test_a_users_config_with_unknown_keys(tmp_path: Path) -> None:
    found = model(write(tmp_path / "config.json", {**TINY, "frobnicate": {"deep": [1]}, "rope_theta": 1e6}))
    assert found.id == tmp_path.name
    assert found.kv_elements_per_token == 2 * 2 * 2 * 16
    assert model(str(tmp_path)).blocks == found.blocks


def test_a_users_toml(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "Mine"\nfamily = "llama"\n[sources.config]\ntitle = "t"\nurl = "https://x"\n'
        "date = 2026-01-01\n[config]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in TINY.items()),
        encoding="utf-8",
    )
    assert (model(str(path)).id, model(str(path)).layers) == ("mine", 2)


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"hidden_size": None}, "hidden_size", "is missing"),
        ({"vocab_size": None}, "vocab_size", "is missing"),
        ({"num_hidden_layers": None}, "num_hidden_layers", "num_hidden_layers or n_layer"),
        ({"num_attention_heads": -4}, "num_attention_heads", "whole number"),
        ({"hidden_size": 0}, "hidden_size", "0 is not a size"),
        ({"hidden_size": 63}, "hidden_size", "not a multiple"),
        ({"hidden_size": "64"}, "hidden_size", "whole number"),
        ({"num_key_value_heads": 3}, "num_key_value_heads", "does not divide"),
        ({"layer_types": ["full_attention"]}, "layer_types", "one for each of 2"),
        ({"layer_types": ["full_attention", "psychic"]}, "layer_types", "sliding_attention"),
        ({"num_experts": 4, "num_experts_per_tok": 8}, "num_experts_per_tok", "8 of 4"),
        ({"num_experts": 4}, "num_experts_per_tok", "is missing"),
        ({"compress_ratios": [1, 4]}, "compress_ratios", "not supported"),
        ({"architectures": ["BertForMaskedLM"]}, "architectures", "does not generate"),
        ({"torch_dtype": "float13"}, "torch_dtype", "bfloat16"),
        ({"quantization_config": {"quant_method": "magic"}}, "quantization_config", "mxfp4"),
        ({"quantization_config": ["fp8"]}, "quantization_config", "not a table"),
        ({"text_config": "none"}, "text_config", "not a table"),
        ({"hybrid_override_pattern": "M-X"}, "hybrid_override_pattern", "entries"),
        ({"block_configs": [{}, {}]}, "block_configs.0", "attention and ffn"),
    ],
)
def test_a_malformed_config_names_file_and_field(
    tmp_path: Path, change: dict[str, object], field: str, says: str
) -> None:
    path = write(tmp_path / "config.json", {**TINY, **change})
    with pytest.raises(FactError) as caught:
        model(path)
    assert caught.value.field == field
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


JUNK = st.sampled_from([None, True, 0, -1, 10**30, 1.5, "x", "", [], [1], ["x"], {}, {"a": 1}, [{}]])


@given(st.data(), st.sampled_from(SHIPPED), JUNK)
def test_any_slip_in_any_key_is_a_fact_error_or_harmless(data: st.DataObject, name: str, junk: object) -> None:
    config = parse_toml(folder("models") / f"{name}.toml")["config"]
    tables = [config, *(value for value in config.values() if isinstance(value, dict))]
    table = data.draw(st.sampled_from([table for table in tables if table]))
    table[data.draw(st.sampled_from(sorted(table)))] = junk
    try:
        assert model_from_config(config, name).layers > 0
    except FactError as error:
        assert error.field and error.problem


@pytest.mark.parametrize("text", ["{", "[]", "", "7"])
def test_a_file_that_is_no_config(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FactError, match=r"config\.json"):
        model(str(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FactError, match="No such file"):
        model(str(tmp_path / "nowhere.json"))


# ---- checkpoints ------------------------------------------------------------------------------------------


def compressed(**weights: object) -> dict[str, object]:
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}


@pytest.mark.parametrize(
    ("scheme", "weights"),
    [
        (None, "fp16"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
        ({"quant_method": "fp8"}, "fp8_e4m3"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "int4_g128"),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "int8_wo"),
        ({"quant_method": "awq", "bits": 4}, "int4_awq_g128"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "nf4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}, "nvfp4"),
        (compressed(type="int", num_bits=4, group_size=32), "int4_g32"),
        (compressed(type="float", num_bits=8, strategy="channel"), "fp8_e4m3"),
        (compressed(type="float", num_bits=4, group_size=16), "nvfp4"),
    ],
)
def test_checkpoint_format_of_a_dense_model(scheme: dict[str, object] | None, weights: str) -> None:
    found = model_from_config({**TINY, "torch_dtype": "float16", "quantization_config": scheme}, "tiny")
    assert (found.weights, found.experts) == (weights, weights)


@pytest.mark.parametrize(
    ("spared", "weights"),
    [(["lm_head"], "mxfp4"), (["model.layers.*.self_attn"], "bf16"), (["re:.*self_attn.*"], "bf16")],
)
def test_a_sparse_checkpoint_may_spare_its_attention(spared: list[str], weights: str) -> None:
    scheme = {"quant_method": "mxfp4", "modules_to_not_convert": spared}
    sparse = {**TINY, "num_experts": 4, "num_experts_per_tok": 2, "quantization_config": scheme}
    found = model_from_config(sparse, "tiny")
    assert (found.weights, found.experts) == (weights, "mxfp4")


# ---- how counts scale -------------------------------------------------------------------------------------

shapes = st.fixed_dictionaries(
    {
        "num_hidden_layers": st.integers(1, 40),
        "kv": st.sampled_from([1, 2, 4, 8]),
        "group": st.integers(1, 8),
        "head_dim": st.sampled_from([32, 64, 128]),
        "intermediate_size": st.integers(1, 4096),
        "experts": st.integers(2, 64),
    }
)


def shaped(shape: dict[str, int], **more: object) -> Model:
    heads = shape["kv"] * shape["group"]
    config = {
        **TINY,
        "num_hidden_layers": shape["num_hidden_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": shape["kv"],
        "head_dim": shape["head_dim"],
        "intermediate_size": shape["intermediate_size"],
        **more,
    }
    return model_from_config(config, "shaped")


@given(shapes)
def test_blocks_scale_with_layers(shape: dict[str, int]) -> None:
    once, twice = shaped(shape), shaped({**shape, "num_hidden_layers": 2 * shape["num_hidden_layers"]})
    assert twice.kv_elements_per_token == 2 * once.kv_elements_per_token
    fixed = once.embedding_params + once.hidden
    assert twice.total_params - fixed == 2 * (once.total_params - fixed)


@given(shapes)
def test_cache_is_two_vectors_a_head(shape: dict[str, int]) -> None:
    expected = shape["num_hidden_layers"] * shape["kv"] * 2 * shape["head_dim"]
    assert shaped(shape).kv_elements_per_token == expected


@given(shapes, st.integers(1, 64))
def test_active_experts_never_exceed_all(shape: dict[str, int], chosen: int) -> None:
    chosen = min(chosen, shape["experts"])
    sparse = shaped(shape, num_experts=shape["experts"], num_experts_per_tok=chosen)
    assert sparse.active_params <= sparse.total_params
    idle = (shape["experts"] - chosen) / shape["experts"] * sparse.expert_params
    assert sparse.total_params - sparse.active_params == pytest.approx(idle)
    assert shaped(shape).active_params == shaped(shape).total_params


@given(shapes)
def test_tying_saves_one_table(shape: dict[str, int]) -> None:
    loose, tied = shaped(shape, tie_word_embeddings=False), shaped(shape, tie_word_embeddings=True)
    assert loose.total_params - tied.total_params == loose.hidden * loose.vocabulary


@pytest.mark.parametrize("empty", ["", []])
def test_a_stack_chosen_layer_by_layer_must_have_layers(empty: object) -> None:
    config = {"architectures": ["DeciLMForCausalLM"], "num_hidden_layers": 2, "hidden_size": 64}
    config |= {"num_attention_heads": 4, "vocab_size": 100, "block_configs": empty}
    with pytest.raises(FactError, match=r"block_configs.*is empty"):
        model_from_config(config, "empty")
