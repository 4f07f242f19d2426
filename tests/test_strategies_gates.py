"""Gates trained on evidence: those that ship are met, what is drawn is found, what cannot be learnt is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from command_ends import ends as exit_of
from comptroller.errors import InputError, UnknownIdError
from comptroller.strategies.gate_training import train_gate
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.spelling import parse
from comptroller.strategies.study import ReplayConditions, study
from comptroller.strategies.success_prediction import success_predictor, text_signals
from comptroller.work.evidence import Evidence, RecordedModel
from comptroller.work.evidence_readers import read_evidence


def own() -> tuple[Evidence, RecordedModel]:
    evidence = read_evidence("own")
    assert isinstance(evidence, Evidence)
    return evidence, next(arm for arm in evidence.arms if (arm.format, arm.effort) == ("Q8_0", "direct"))


def written(folder: Path, questions: int = 160, seed: int = 0, coin: bool = False) -> Path:
    """A model that is right on short questions and rarely on long ones; or, with a coin, whatever the question."""
    rng = np.random.default_rng(seed)
    rows = ["question,text,model,score,output_tokens"]
    for number in range(questions):
        text = "word " * int(rng.integers(1, 60)) + str(number)
        right = rng.random() < (0.5 if coin else 0.95 if len(text) < 100 else 0.1)
        rows.append(f"q{number},{text},m,{int(right)},20")
    path = folder / "mine.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def ends(*words: object) -> int:
    return exit_of(["fit", "gates", *words])


@pytest.mark.parametrize(("kind", "samples", "name"), [("question", 1, "own_direct"), ("reply", 4, "agreement_of_4")])
def test_the_parts_that_ship_are_what_training_on_their_evidence_gives(kind: str, samples: int, name: str) -> None:
    evidence, arm = own()
    gate, shipped = train_gate(kind, evidence, arm, samples, {}, 0), success_predictor(name)
    assert gate.part.signals == shipped.signals
    assert gate.part.weights == pytest.approx(shipped.weights, abs=1e-3)
    assert gate.part.measured["log_loss"] == pytest.approx(shipped.measured["log_loss"], abs=2e-4)
    assert gate.part.about["model"] == str(arm) and not gate.caution


def test_a_gate_lets_pass_what_is_easy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.json"
    assert ends(written(tmp_path), "--kind", "question", "--out", out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["caution"] == "" and found["part"]["measured"]["log_loss"] < 0.6
    half = next(one for one in found["thresholds"] if one["threshold"] == 0.5)
    assert 0.1 < half["passed"] < 0.9 and half["right"] > found["part"]["measured"]["base_rate"] + 0.2
    part = success_predictor(str(out))
    easy, hard = (part.chance(text_signals("word " * count + "7")) for count in (4, 55))
    assert easy > 0.7 and hard < 0.3


def test_a_coin_is_no_gate_and_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(written(tmp_path, coin=True), "--kind", "question") == 0
    assert "no more than the base rate" in capsys.readouterr().out


def test_what_cannot_be_learnt_is_refused(tmp_path: Path) -> None:
    evidence, arm = own()
    rows = evidence.rows
    sure = replace(evidence, rows=replace(rows, score=np.ones_like(rows.score)))
    with pytest.raises(InputError, match="all outcomes"):
        train_gate("question", sure, arm, 1, {}, 0)
    with pytest.raises(InputError, match="no question has 17 scored samples"):
        train_gate("reply", evidence, arm, 17, {}, 0)
    with pytest.raises(UnknownIdError, match="kind of gate"):
        train_gate("guess", evidence, arm, 1, {}, 0)
    few = read_evidence(written(tmp_path, 40))
    assert isinstance(few, Evidence)
    with pytest.raises(InputError, match="40 questions are scored for m; 100 are needed"):
        train_gate("question", few, few.arms[0], 1, {}, 0)


def test_all_faults_of_the_options_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--out", tmp_path / "a.npz", "--at", 0, "--model", "a", "--model", "b", "--png", tmp_path / "a.png")
    assert ends("own", *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    for fault in (
        "a gate ends in .json",
        "--kind: one of question",
        "of one model, not 2",
        "--at: one",
        "--png: a gate",
    ):
        assert fault in said
    assert ends("own", "--kind", "reply") == 2
    assert "--model: whose success?" in " ".join(capsys.readouterr().err.split())


def test_a_gate_says_how_many_questions_are_of_other_domains(tmp_path: Path) -> None:
    evidence, arm = own()
    replay = EvidenceReplay(evidence, {"solver": RecordedService(arm)})
    asked = [evidence.items[number] for number in replay.covered().tolist()]
    task = asked[0].task
    elsewhere = sum(item.task != task for item in asked)
    part = replace(success_predictor("own_direct"), about={"data": "another", "tasks": [task]})
    part.save(tmp_path / "mine.json")
    gate = parse(f"difficulty_gate(by={tmp_path / 'mine.json'})")
    notes = study(evidence, [gate], ReplayConditions(arms=(arm,))).notes
    said = f"{elsewhere} of {len(asked)} questions are of domains that it was not trained on"
    assert elsewhere and any(said in note for note in notes)
