import csv
from pathlib import Path

import numpy as np
import pytest

from comptroller.errors import InputError, RecordError
from comptroller.facts.config import model
from comptroller_lab.energy import COLUMNS, family, read_energy, recipe
from comptroller_lab.energy_runs import PICTURES, read_energy_runs
from comptroller_lab.harness import shipped_serving
from comptroller_lab.splitwise_power import idle_share, read_splitwise_power

GOOD = {
    "task": "lm-arena-chat",
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "gpu_model": "H100",
    "weight_precision": "bfloat16",
    "avg_batch_size": "64",
    "avg_output_len": "400",
    "avg_power_watts": "600",
    "output_throughput_tokens_per_sec": "5000",
    "median_itl_ms": "11.5",
    "energy_per_token_joules": "0.12",
    "num_gpus": "1",
    "data_parallel": "1",
    "expert_parallel": "1",
}


def table(path: Path, rows: list[dict[str, str]], columns=COLUMNS) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_row_becomes_a_replica_under_a_load(tmp_path):
    wide = {
        **GOOD,
        "model_id": "deepseek-ai/DeepSeek-V3.1",
        "num_gpus": "8",
        "expert_parallel": "8",
        "gpu_model": "B200",
        "weight_precision": "fp8",
        "avg_power_watts": "4800",
        "energy_per_token_joules": "0.96",
    }
    rows, left_out = read_energy(table(tmp_path / "e.csv", [GOOD, wide, {**GOOD, "avg_batch_size": "32"}]))
    assert not left_out.rows
    assert rows.rows == 3
    assert [member.tolist() for member in rows.members] == [[0, 2], [1]]
    assert rows.crowd.tolist() == [2, 1, 2]
    assert rows.token_s[0] == pytest.approx(64 / 5000)
    assert rows.device_w.tolist() == [600, 600, 600]
    eight = rows.replicas[1]
    assert (eight.layout.tp, eight.layout.ep, eight.device.id) == (8, 8, "b200_sxm")
    assert eight.recipe.weights.startswith("fp8")
    assert rows.family.tolist() == ["Llama-3", "DeepSeek", "Llama-3"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "poetry"}, "task 'poetry' is not one of"),
        ({"gpu_model": "H900"}, "gpu_model 'H900'"),
        ({"weight_precision": "int3"}, "weight_precision 'int3'"),
        ({"median_itl_ms": "0"}, "median_itl_ms is not above 0"),
        ({"median_itl_ms": "fast"}, "median_itl_ms is not above 0"),
        ({"median_itl_ms": "1e8"}, "above an hour"),
        ({"avg_power_watts": "600000", "energy_per_token_joules": "120"}, "far above the devices' power limit"),
        ({"energy_per_token_joules": "120"}, "is not power over throughput"),
        ({"avg_batch_size": "0.5"}, "less than one sequence"),
        ({"num_gpus": "3", "data_parallel": "2"}, "not a multiple of data_parallel"),
        ({"model_id": "nobody/nothing"}, "unknown model"),
    ],
)
def test_a_bad_row_is_left_out_by_number_and_reason(tmp_path, change, words):
    rows, left_out = read_energy(table(tmp_path / "e.csv", [GOOD, {**GOOD, **change}]))
    assert rows.rows == 1
    assert [number for number, _ in left_out.rows] == [3]
    assert words in left_out.lines()[0]


def test_a_file_without_a_usable_row_or_column_is_refused(tmp_path):
    with pytest.raises(RecordError, match="1 bad row"):
        read_energy(table(tmp_path / "e.csv", [{**GOOD, "task": "poetry"}]))
    with pytest.raises(RecordError, match="no column avg_power_watts"):
        read_energy(table(tmp_path / "e.csv", [GOOD], [c for c in COLUMNS if c != "avg_power_watts"]))
    with pytest.raises(InputError, match="No such file"):
        read_energy(tmp_path / "absent.csv")


def test_families_keep_sizes_and_variants_of_a_model_together():
    names = ("Qwen/Qwen3-8B", "Qwen/Qwen3-Coder-480B-A35B-Instruct", "Qwen/Qwen3-235B-A22B-Thinking-2507")
    assert {family(name) for name in names} == {"Qwen3"}
    assert family("meta-llama/Llama-3.3-70B-Instruct") == family("meta-llama/Llama-3.1-8B-Instruct")
    assert family("nvidia/NVIDIA-Nemotron-Nano-9B-v2") == "Nemotron"


def test_formats_follow_the_checkpoint_and_the_recorded_precision():
    assert recipe(model("openai/gpt-oss-120b"), "mxfp4").experts == "mxfp4"
    assert recipe(model("llama_3_1_8b"), "bf16").weights == "bf16"
    eight = recipe(model("llama_3_1_8b"), "fp8_e4m3")
    assert (eight.weights, eight.activations) == ("fp8_e4m3", "fp8_e4m3")


SPLIT = {
    "model": "llama2-70b",
    "hardware": "a100-80gb",
    "tensor_parallel": "4",
    "prompt_size": "512",
    "batch_size": "2",
    "token_size": "128",
    "average_power": "0.6",
    "prompt_time": "250",
    "token_time": "45",
}


def test_a100_repeats_are_averaged_and_unmeasured_power_is_left_out(tmp_path):
    rows = [
        SPLIT,
        {**SPLIT, "average_power": "0.62"},
        {**SPLIT, "average_power": "0"},
        {**SPLIT, "prompt_size": "8192", "average_power": "0.17"},
    ]
    path = table(tmp_path / "s.csv", rows, list(SPLIT))
    readings, left_out = read_splitwise_power(path)
    assert len(readings) == 1
    assert readings[0].share == pytest.approx(0.61)
    assert readings[0].replica.layout.tp == 4
    assert np.isclose(readings[0].prompt_s, 0.25)
    assert len(left_out.rows) == 2
    assert idle_share(path) == 0.17


def test_a100_rows_with_words_for_numbers_are_left_out(tmp_path):
    path = table(tmp_path / "s.csv", [SPLIT, {**SPLIT, "token_time": "slow"}], list(SPLIT))
    readings, left_out = read_splitwise_power(path)
    assert len(readings) == 1
    assert left_out.rows[0][0] == 3
    with pytest.raises(RecordError, match="no column token_time"):
        read_splitwise_power(table(tmp_path / "t.csv", [SPLIT], [c for c in SPLIT if c != "token_time"]))


def test_energy_rows_of_text_are_runs_of_the_old_scheduler_and_pictures_are_left_out(tmp_path: Path) -> None:
    path = table(tmp_path / "energy.csv", [GOOD, {**GOOD, "task": "image-chat"}])
    (run,), report = read_energy_runs(path)
    assert run.replica.engine.generation == "v1"
    assert run.concurrency == 64 and run.output_tokens == 400
    assert run.tokens_per_s == pytest.approx(5000)
    assert run.input_tokens == shipped_serving().values["input lm-arena-chat"]
    assert run.spread > 0, "settings that the source does not state: such runs move effects alone"
    assert report.counts == {PICTURES: 1}
