"""`comptroller fit calibration`: what it writes, what it leaves out, what it cannot tell."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from comptroller.cli import main

ROWS = """model,accelerator,engine,input_tokens,output_tokens,clients,ttft_ms,tpot_ms
llama_3_1_8b,h100_sxm,vllm,1024,512,8,120,9.1
llama_3_1_8b,h100_sxm,vllm,1024,512,32,180,11.5
llama_3_1_8b,h100_sxm,vllm,1024,512,0,240,15.2
"""


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "calibration", *words])
    return int(ended.value.code or 0)


def test_a_fit_writes_both_files_and_names_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "own.csv"
    data.write_text(ROWS)
    assert run(str(data), "--out", str(tmp_path / "fitted")) == 0
    said = capsys.readouterr().out
    assert "clients is 0" in said and "row 4" in said and "the data cannot tell" in said
    written = tomllib.loads((tmp_path / "fitted" / "serving.toml").read_text())
    assert written["parameters"] and (tmp_path / "fitted" / "residual.csv").is_file()


def test_missing_columns_and_a_missing_folder_are_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "own.csv"
    data.write_text("model,engine\nllama_3_1_8b,vllm\n")
    assert run(str(data), "--out", str(tmp_path)) == 2
    assert "no column" in capsys.readouterr().err
    assert run(str(data)) == 2
    assert "--out" in capsys.readouterr().err


def test_predicted_is_drawn_against_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    more = "llama_3_1_8b,h100_sxm,vllm,2048,256,16,240,10.9\nllama_3_1_8b,h100_sxm,vllm,256,256,16,60,9.6\n"
    data, svg, page = tmp_path / "own.csv", tmp_path / "c.svg", tmp_path / "c.html"
    data.write_text(ROWS.replace(",0,240", ",64,240") + more)
    assert run(str(data), "--out", str(tmp_path / "fitted"), "--png", str(svg), "--html", str(page)) == 0
    for text in (svg.read_text(), page.read_text()):
        for words in ("Time per token", "Time to the first token", "measured, ms", "fitted, held out", "equal"):
            assert words in text


def test_too_few_runs_are_drawn_under_the_shipped_calibration_alone(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    data, svg = tmp_path / "own.csv", tmp_path / "c.svg"
    data.write_text(ROWS)
    assert run(str(data), "--out", str(tmp_path / "fitted"), "--png", str(svg)) == 0
    assert "shipped calibration" in svg.read_text() and "held out" not in svg.read_text()
