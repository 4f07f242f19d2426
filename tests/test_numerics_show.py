"""`comptroller show formats`: the whole catalogue, and formats side by side on real files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from comptroller.cli import main
from comptroller.facts.format import format_
from comptroller.facts.reader import ids
from comptroller.report.formats import catalogue, operations, published_losses, stored_as


@pytest.fixture
def weights(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "weights.safetensors"
    outliers = rng.standard_normal((64, 128)).astype(np.float32)
    outliers[:, ::40] *= 12
    tensors = {"plain": rng.standard_normal((96, 128)).astype(np.float32), "outliers": outliers}
    save_file({**tensors, "odd": rng.standard_normal((100, 100)), "bias": np.zeros(5000, np.float32)}, file)
    return file


def shown(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["show", "formats", *map(str, words)])
    found = capsys.readouterr()
    return ended.value.code, found.out, found.err


def test_the_catalogue_has_error_speed_and_loss():
    rows = {row["id"]: row for row in catalogue().records()}
    assert list(rows) == ids("formats")
    measured = [row for row in rows.values() if row["normal_db"] is not None]
    assert len(measured) == len(rows) - 2  # single precision loses nothing, a sketch keeps no elements
    assert rows["nvfp4"]["native_on"].startswith("blackwell") or "any with the rate" in rows["nvfp4"]["native_on"]
    assert float(rows["nvfp4"]["decode_speed"].split()[0]) < 2 < rows["nvfp4"]["bits_per_element"]
    assert "llama_3_70b +0.5%" in rows["q6_k"]["loss"] and "llama_2_70b +0.2%" in rows["q6_k"]["loss"]
    assert rows["int5"]["decode_speed"] is None and published_losses("int5") == ""
    assert stored_as(format_("fp8_block")) == "e4m3, f32 per 128 x 128"
    assert operations().rows[-1][-1] == pytest.approx(3.7)


def test_formats_side_by_side_on_weights(weights, tmp_path, capsys):
    png, html = tmp_path / "f.png", tmp_path / "f.html"
    names = ("mxfp4", "nvfp4", "nvint4", "nvint4+hadamard")
    code, out, err = shown(capsys, *names, "--on", weights, "--json", "--png", png, "--html", html)
    assert not code and "wrote" in err
    found = json.loads(out)
    rows = {row["id"]: row for row in found["formats"]}
    assert tuple(rows) == names and found["tensors"] == 2 and found["left_out"] == ["odd"]
    assert rows["nvfp4"]["worst_db"] <= rows["nvfp4"]["qsnr_db"]
    assert rows["nvint4"]["rotated_db"] == pytest.approx(rows["nvint4+hadamard"]["qsnr_db"])
    for row in rows.values():
        if "+" not in row["id"]:
            assert row["predicted_db"] == pytest.approx(row["qsnr_db"], abs=0.3)
    assert png.read_bytes().startswith(b"\x89PNG")
    page = html.read_text(encoding="utf-8")
    assert "<svg" in page and "<table" in page and "http" not in page.split("<svg")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mxpf4", "nvfp4"], "nearest: mxfp4"),
        (["--png", "x.png"], "name the formats"),
        (["mxfp4", "nvfp4", "--on", "nothing.safetensors"], "no weights there"),
        (["q4_k", "--on", "WEIGHTS"], "blocks of 256 do not divide rows of 128"),
    ],
)
def test_bad_input_is_one_line(words, message, weights, capsys):
    code, _, err = shown(capsys, *[str(weights) if word == "WEIGHTS" else word for word in words])
    assert code == 2 and message in " ".join(err.split()) and "Traceback" not in err
