"""A law that a user fitted, as a file that a workload of training names."""

from __future__ import annotations

from pathlib import Path

import pytest

from comptroller.cli import main
from comptroller.errors import FactError, UnsupportedError
from comptroller.facts.config import model
from comptroller.training.document import TrainingRun
from comptroller.training.tokens import run_tokens
from comptroller.work.law_file import read_law
from comptroller.work.scaling_law import CHINCHILLA
from test_scaling_laws import runs


@pytest.fixture(scope="module")
def law(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The law of made runs, written by the command."""
    folder, points = tmp_path_factory.mktemp("law"), runs(0.002)
    rows = [f"{n},{d},{loss}" for n, d, loss in zip(points.params, points.tokens, points.loss, strict=True)]
    (folder / "losses.csv").write_text("\n".join(["params,tokens,loss", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["fit", "laws", str(folder / "losses.csv"), "--draws", "20", "--out", str(folder / "law.toml")])
    assert not ended.value.code
    return folder / "law.toml"


def asked(**more: object) -> TrainingRun:
    return TrainingRun.model_validate({"model": "llama_3_1_8b", "global_batch": 64, **more})


def test_a_fitted_law_turns_a_loss_into_tokens(law: Path) -> None:
    file = read_law(law)
    assert file.law.floor == pytest.approx(CHINCHILLA.floor, rel=0.05) and file.held_out < 0.01
    small = model("llama_3_2_1b")
    loss = float(file.law.loss(small.active_params, 2e10))
    tokens, source = run_tokens(asked(target_loss=loss, law=law.name), small, law.parent)
    assert tokens == pytest.approx(2e10, rel=1e-6) and "42 runs of losses" in source


def test_beyond_the_reach_of_its_hold_out_it_is_refused(law: Path) -> None:
    found = model("llama_3_1_405b")
    loss = float(read_law(law).law.loss(found.active_params, 1e13))
    with pytest.raises(UnsupportedError, match="hold-out"):
        run_tokens(asked(target_loss=loss, law=law.name), found, law.parent)
    assert run_tokens(asked(target_loss=loss, law=law.name, beyond=True), found, law.parent)[0] > 1e12


def test_a_malformed_law_is_refused_by_its_field(law: Path, tmp_path: Path) -> None:
    bad = tmp_path / "law.toml"
    bad.write_text(law.read_text(encoding="utf-8").replace("alpha = ", "alpha = -"), encoding="utf-8")
    with pytest.raises(FactError, match="alpha"):
        read_law(bad)
    with pytest.raises(ValueError, match="no law is asked"):
        asked(tokens=1e9, law="law.toml")
