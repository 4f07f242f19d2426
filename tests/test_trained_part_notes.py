"""What is said of trained parts wherever a strategy with one is used: plans, simulations and a gateway at its start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from comptroller.gateway.config import single_service_config
from comptroller.gateway.plan_drift import planned_notes
from comptroller.planning.write.strategy_notes import strategy_notes
from comptroller.strategies.gate_notes import GatedPlay, trained_notes
from comptroller.strategies.part_notes import part_names, part_note, parts_of
from comptroller.strategies.spelling import names
from comptroller.work.evidence_readers import read_evidence
from joint_problems import posed, recorded_in, workload

GOLDEN = Path(__file__).parent / "golden" / "two_services.json"
CASCADE = "cascade(by=reply_length)"


def test_every_shipped_part_says_what_it_was_trained_on() -> None:
    for name in ("own_direct", "reply_length", "question_text", "agreement_of_4", "mmlu_linear", "reasoning_domain"):
        assert " was trained on " in part_note(name)
    assert "rows, of which" in part_note("reply_length")
    assert parts_of(["once", CASCADE, "cascade(by=reply_length,threshold=0.2)"]) == [part_note("reply_length")]


def test_strategies_without_trained_parts_have_none() -> None:
    assert part_names("best_of_n(n=4,by=likelihood)") == []
    assert {name for name in names() if part_names(name)} <= {
        *("cascade", "difficulty_gate", "route", "budget_forcing", "budget_memory", "odar")
    }


@pytest.mark.parametrize(("calls", "way"), [(1.0, "the first model is accepted"), (2.0, "no model before the last")])
def test_a_cascade_that_accepts_or_refuses_everything_is_no_gate(calls: float, way: str) -> None:
    own = read_evidence("own")
    question = np.arange(20)
    played = GatedPlay(CASCADE, {"weak": str(own.arms[0]), "strong": str(own.arms[1])}, question, np.full(20, calls))
    assert any(f"no gate here: {way}" in note for note in trained_notes(own, [played]))
    mixed = replace(played, calls=np.resize([1.0, 2.0], 20))
    assert not any("no gate here" in note for note in trained_notes(own, [mixed]))


def test_a_plan_says_what_its_trained_parts_were_trained_on_and_whether_they_decide(tmp_path: Path) -> None:
    asked = {"strategies": [CASCADE], "routes": ["api"]}
    problem = posed(workload(recorded_in(tmp_path), quality=asked))
    assert problem.quality is not None
    told = list(strategy_notes(problem.quality, problem.space.plays, problem.space.options))
    assert any(note.startswith(part_note("reply_length")) and "; here" in note for note in told)
    assert not list(strategy_notes(problem.quality, problem.space.plays, ()))


def test_a_gateway_says_it_of_the_plan_that_it_serves(tmp_path: Path) -> None:
    alone = single_service_config("echo", "")
    assert planned_notes(alone) == []
    document = json.loads(GOLDEN.read_text())
    for each in document["classes"]:
        each["strategy"] = CASCADE
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(document))
    assert planned_notes(msgspec.structs.replace(alone, plan=str(plan))) == [part_note("reply_length")]
