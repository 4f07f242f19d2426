"""`comptroller fits`: whether a model fits, by the arithmetic it shows, and what would make it fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comptroller.cli import main
from comptroller.facts.config import repositories
from comptroller.planning.offer.replica_fit import MemoryBreakdown


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["fits", *words])
    said = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), said.out, said.err


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code, out, _ = asked(capsys, *words, "--json")
    found: dict[str, Any] = json.loads(out)
    assert code == (0 if found["fits"] else 1)
    return found


def test_the_arithmetic_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "llama_3_1_8b", "h100_sxm", "--input", "1000", "--output", "200")
    held, sequence = found["memory_per_device"], found["sequence_per_device"]
    left = held["memory_fraction"] * held["total_bytes"] - held["weight_bytes"] - held["reserve_bytes"]
    assert held["cache_bytes"] == pytest.approx(left)
    assert held["reserve_bytes"] == held["peak_bytes"] + held["graph_bytes"] + held["framework_bytes"]
    assert sequence["request_bytes"] == sequence["kv_bytes_per_token"] * 1100
    assert found["requests"] == pytest.approx(left / sequence["request_bytes"], abs=1)
    assert found["remedies"] == [] and "--max-model-len" in found["start"]


def test_one_request_is_faster_than_each_of_a_full_batch_which_makes_more(capsys: pytest.CaptureFixture[str]) -> None:
    one, full = answer(capsys, "qwen3_8b", "h100_sxm")["speed"]
    assert (one["requests"], full["requests"] > 100) == (1, True)
    assert one["tpot_s"] < full["tpot_s"] and one["ttft_s"] < full["ttft_s"]
    assert full["output_tokens_per_s"] > 10 * one["output_tokens_per_s"]


def test_a_name_a_repository_and_a_file_are_the_same_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_id = answer(capsys, "qwen3_8b", "h100_sxm")
    repository = next(name for name, (one, _) in repositories().items() if one == "qwen3_8b")
    assert answer(capsys, repository, "h100_sxm")["requests"] == by_id["requests"]
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
        "head_dim": 64,
    }
    own = tmp_path / "mine.json"
    own.write_text(json.dumps(config))
    mine, shipped = answer(capsys, str(own), "l4"), answer(capsys, "llama_3_2_1b", "l4")
    assert mine["requests"] == shipped["requests"] > 0


def test_what_does_not_fit_says_what_would_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "llama_3_1_70b", "h100_sxm", "--context", "2048")
    assert not found["fits"] and "short by" in found["reason"] and found["speed"] == [] and found["start"] is None
    changes = {remedy["change"]: remedy for remedy in found["remedies"]}
    assert any("tp2" in change for change in changes)
    narrower = next(remedy for change, remedy in changes.items() if change.startswith("weights in"))
    again = answer(capsys, "llama_3_1_70b", "h100_sxm", "--context", "2048", "--format", narrower["weights"])
    assert again["fits"] and again["requests"] == narrower["requests"]


def test_a_context_that_a_server_would_refuse_is_not_called_fitting(capsys: pytest.CaptureFixture[str]) -> None:
    refused = answer(capsys, "llama_3_1_8b", "rtx_4090", "--context", "131072")
    assert not refused["fits"] and "not 131,072" in refused["reason"]
    shorter = next(remedy for remedy in refused["remedies"] if remedy["change"].startswith("a context"))
    most = shorter["context_tokens"]
    assert answer(capsys, "llama_3_1_8b", "rtx_4090", "--context", str(most))["fits"]
    assert not answer(capsys, "llama_3_1_8b", "rtx_4090", "--context", str(most + 16))["fits"]
    open_ = answer(capsys, "llama_3_1_8b", "rtx_4090")
    assert open_["context_tokens"] == most
    assert "refuses" in open_["remarks"][0]
    assert f"--max-model-len {most}" in open_["start"]


def test_fewer_sequences_help_where_the_sampler_is_too_large(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "gemma_2_9b", "rtx_4090", "--input", "200", "--output", "50")
    assert not found["fits"]
    changed = next(remedy for remedy in found["remedies"] if "sequences in a step" in remedy["change"])
    assert changed["max_batch"] < 1024
    words = ("--max-batch", str(changed["max_batch"]), "--input", "200", "--output", "50")
    assert answer(capsys, "gemma_2_9b", "rtx_4090", *words)["requests"] == changed["requests"]


def test_the_table_shows_every_part_of_the_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = asked(capsys, "gemma_2_9b", "h100_sxm", "--input", "250", "--output", "100")
    assert code == 0 and "fits" in out.splitlines()[0]
    shown = ("weights", "peak of a step", "captured graphs", "framework", "left for the cache", "at most 4,096")
    assert all(part in out for part in shown)
    assert len(MemoryBreakdown.__dataclass_fields__) == 10, "a new part of the memory is to be shown"
    code, out, _ = asked(capsys, "llama_3_1_70b", "h100_sxm")
    assert code == 1 and "does not fit" in out and "What would make it fit" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["no_such", "h100_sxm"], "unknown model 'no_such'"),
        (["qwen3_8b", "h100"], "nearest: h100_sxm"),
        (["qwen3_8b", "h100_sxm", "--layout", "2x"], "tp4-pp2"),
        (["qwen3_8b", "h100_sxm", "--layout", "tp7"], "divides its 32 heads"),
        (["qwen3_8b", "h100_sxm", "--layout", "tp2-tp4"], "not known"),
        (["qwen3_8b", "h100_sxm", "--layout", "tp2-ep2"], "ep is for mixtures"),
        (["qwen3_8b", "h100_sxm", "--input", "0"], "input_tokens is 0"),
        (["qwen3_8b", "h100_sxm", "--context", "100"], "does not hold a request"),
        (["qwen3_8b", "h100_sxm", "--input", "90000"], "more than the 40,960"),
        (["qwen3_8b", "h100_sxm", "--format", "int44"], "unknown format"),
        (["qwen3_8b", "h100_sxm", "--kv", "int5"], "cannot hold a cache"),
        (["qwen3_8b", "h100_sxm", "--engine", "vlm"], "nearest: vllm"),
        (["qwen3_8b", "mi300x", "--engine", "trtllm"], "NVIDIA"),
        (["qwen3_8b", "h100_sxm", "--memory", "1.5"], "at most 1"),
        (["qwen3_8b", "h100_sxm", "--max-batch", "0"], "1 and more"),
    ],
)
def test_bad_input_exits_with_2_and_says_what_is_allowed(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = asked(capsys, *words)
    assert (code, out) == (2, "") and says in err.replace("\n", " ")
