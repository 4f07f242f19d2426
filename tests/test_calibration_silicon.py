"""The reader of the public end-to-end measurements: its layout traps, published exclusions and refusals."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from comptroller.costs.deployment import ParallelLayout, PrecisionRecipe
from comptroller.errors import InputError, RecordError
from comptroller.measure.features import bank
from comptroller_lab.silicon import COLUMNS, read_silicon

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data"))
MEASURED = DATA / "serving" / "silicon_known.csv"

ROW = dict.fromkeys(COLUMNS, "") | {
    "backend": "trtllm",
    "backend_version": "1.2.0",
    "model_path": "deepseek-ai/DeepSeek-R1",
    "system": "b200_sxm",
    "mode": "agg",
    "isl": "1024",
    "osl": "1024",
    "gemm_quant_mode": "fp8",
    "moe_quant_mode": "fp8",
    "batch_size": "4",
    "tp_size": "8",
    "pp_size": "1",
    "attention_dp_size": "1",
    "moe_tp_size": "1",
    "moe_ep_size": "8",
    "ttft_ms": "200",
    "tpot_ms": "10",
    "measured": "2026-02-05",
    "config": "c1",
    "run": "r1",
}


def written(folder: Path, *changes: dict[str, str]) -> Path:
    path = folder / "silicon.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for i, change in enumerate(changes):
            writer.writerow(ROW | {"config": f"c{i}", "run": f"r{i}", "ttft_ms": str(200 + i)} | change)
    return path


def cut(tp: int, dp: str, moe_tp: int, moe_ep: int, batch: int = 4) -> dict[str, str]:
    return {
        "tp_size": str(tp),
        "attention_dp_size": dp,
        "moe_tp_size": str(moe_tp),
        "moe_ep_size": str(moe_ep),
        "batch_size": str(batch),
    }


@pytest.mark.parametrize(
    ("columns", "layout", "clients"),
    [
        (cut(8, "1", 1, 8), ParallelLayout(8, 1, 1, 8), 4),
        (cut(8, "1", 8, 1), ParallelLayout(8), 4),
        (cut(64, "1", 8, 8), ParallelLayout(8, 1, 1, 8), 4),  # every device counted twice over
        (cut(1, "64", 8, 8, 2), ParallelLayout(1, 1, 8, 8), 128),  # the same as ranks; the batch is one rank's
        (cut(1, "8", 1, 8, 16), ParallelLayout(1, 1, 8, 8), 128),
        (cut(4, "4", 1, 16, 2), ParallelLayout(4, 1, 1, 4), 8),
        (cut(2, "", 4, 1), ParallelLayout(2, 1, 2, 1), 4),  # rows without ranks: the experts' devices say them
        (cut(4, "", 0, 0), ParallelLayout(4), 4),
    ],
)
def test_layout_columns_mean_what_the_runs_show(
    tmp_path: Path, columns: dict[str, str], layout: ParallelLayout, clients: float
) -> None:
    (found,), report = read_silicon(written(tmp_path, columns))
    assert (found.replica.layout, found.concurrency) == (layout, clients)
    assert not report.rows


@pytest.mark.parametrize(
    ("columns", "recipe"),
    [
        ({}, PrecisionRecipe("fp8_block", "fp8_block", "fp8_block", "fp8_e4m3")),
        ({"backend": "vllm"}, PrecisionRecipe("fp8_block", "fp8_block", "fp8_block", "bf16")),
        (
            {"gemm_quant_mode": "nvfp4", "moe_quant_mode": "nvfp4"},
            PrecisionRecipe("bf16", "nvfp4", "nvfp4", "fp8_e4m3"),
        ),
        (
            {"model_path": "Qwen/Qwen3-32B", "gemm_quant_mode": "", "moe_quant_mode": "", "system": "h100_sxm"},
            PrecisionRecipe(),
        ),
    ],
)
def test_quantisation_modes_become_recipes(tmp_path: Path, columns: dict[str, str], recipe: PrecisionRecipe) -> None:
    (found,), _ = read_silicon(written(tmp_path, columns))
    assert found.replica.recipe == recipe


@pytest.mark.parametrize("mode", ["nvfp4", "w4a16_mxfp4", "w4a8_mxfp4_mxfp8"])
@pytest.mark.parametrize("backend", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize(
    ("system", "recipe"),
    [
        ("h100_sxm", PrecisionRecipe("bf16", "mxfp4", "bf16", "bf16")),
        ("h200_sxm", PrecisionRecipe("bf16", "mxfp4", "bf16", "bf16")),
        ("b200_sxm", PrecisionRecipe("bf16", "mxfp4", "mxfp8", "fp8_e4m3")),
    ],
)
def test_experts_in_mxfp4_are_no_nvfp4_and_are_priced(
    tmp_path: Path, mode: str, backend: str, system: str, recipe: PrecisionRecipe
) -> None:
    row = {"model_path": "openai/gpt-oss-120b", "gemm_quant_mode": "", "moe_quant_mode": mode, "system": system}
    (found,), report = read_silicon(written(tmp_path, row | cut(2, "1", 2, 1) | {"backend": backend}))
    assert found.replica.recipe == recipe
    priced = bank([found], report)
    assert len(priced.observations) == 1
    assert not report.rows


def test_an_unknown_quantisation_mode_is_named(tmp_path: Path) -> None:
    kept, report = read_silicon(written(tmp_path, {"moe_quant_mode": "fp2"}))
    assert not kept
    assert report.rows[0][1] == "moe_quant_mode fp2 is not known"


def test_rows_are_left_out_by_published_rules_and_named(tmp_path: Path) -> None:
    bad = [
        {"mode": "disagg"},
        {"system": "gb200", **cut(36, "1", 36, 1)},
        {"tpot_ms": "0"},
        {"ttft_ms": "-5"},
        {"batch_size": "none"},
        {"model_path": "no/such-model"},
        {"tpot_ms": "99999999"},
    ]
    kept, report = read_silicon(written(tmp_path, {}, *bad))
    assert [o.number for o in kept] == [2]
    assert [number for number, _ in report.rows] == list(range(3, 10))
    assert sum(report.counts.values()) == len(bad)


def test_sglang_rows_without_version_count_for_tpot_only(tmp_path: Path) -> None:
    (found,), _ = read_silicon(written(tmp_path, {"backend": "sglang", "backend_version": ""}))
    assert np.isnan(found.ttft_s) and found.tpot_s == 0.01


def test_the_same_run_under_two_labels_is_one_group(tmp_path: Path) -> None:
    first, second, rounded, other = (
        {"run": "a", "ttft_ms": "200.123456"},
        {"run": "a", "ttft_ms": "200.123456", "model_path": "deepseek-ai/DeepSeek-V3"},
        {"run": "z", "ttft_ms": "200.12", "measured": ""},
        {"run": "y", "ttft_ms": "300"},
    )
    kept, _ = read_silicon(written(tmp_path, first, second, rounded, other))
    assert len({o.group for o in kept[:3]}) == 1 and kept[3].group != kept[0].group


def test_missing_columns_and_files_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "silicon.csv"
    path.write_text("model_path,system\n")
    with pytest.raises(RecordError, match="no column backend"):
        read_silicon(path)
    with pytest.raises(InputError, match="No such file"):
        read_silicon(tmp_path / "absent.csv")


@pytest.mark.skipif(not MEASURED.is_file(), reason=f"the measurements are not at {MEASURED}")
def test_every_measured_row_with_a_load_is_priced_and_none_is_called_out_of_memory() -> None:
    kept, report = read_silicon(MEASURED)
    unpriced = len(report.rows)
    runs = bank([o for o in kept if o.prefill is None], report)
    assert len(report.rows) == unpriced, report.lines()
    assert np.isfinite(runs.features.decode).all() and (runs.features.decode.sum(axis=1) > 0).all()
