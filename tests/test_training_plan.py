"""`comptroller plan` for a workload of training: the answer, its reasons, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command_ends import ends
from comptroller.errors import FactError, InfeasibleError, InputError, UnsupportedError
from comptroller.report.training_page import training_page
from comptroller.training.document import load_training, parse_training
from comptroller.training.plan_document import TrainingPlan, read_training_plan
from comptroller.training.planner import plan_training

EXAMPLE = Path(__file__).parents[1] / "examples" / "training.toml"
GOLDEN = Path(__file__).parent / "golden" / "training.json"


def document(**changes: Any) -> dict[str, Any]:
    """A small run: one kind of device, one site, three counts."""
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "devices": [32, 64, 128]}
    run = {"model": "llama_3_1_8b", "tokens": 1e11, "seq": 8192, "global_batch": 256, "allow": allow}
    return {"name": "small", "training": {**run, **changes}}


@pytest.fixture(scope="module")
def example() -> TrainingPlan:
    return plan_training(load_training(EXAMPLE))


def test_the_example_gives_the_golden_plan(example: TrainingPlan) -> None:
    golden = TrainingPlan.model_validate_json(GOLDEN.read_text(encoding="utf-8"))
    kept = ("accelerator", "site", "devices", "precision", "layout", "term")
    assert {name: getattr(example.run, name) for name in kept} == {name: getattr(golden.run, name) for name in kept}
    assert example.run.usd.value == pytest.approx(golden.run.usd.value, rel=1e-4)
    assert [rival.run.accelerator for rival in example.rivals] == [rival.run.accelerator for rival in golden.rivals]


def test_the_plan_keeps_its_deadline_and_every_rival_loses(example: TrainingPlan) -> None:
    assert example.run.wall_s.value <= 21 * 86400
    late = [rival for rival in example.rivals if "late" in rival.why]
    assert all(rival.run.usd.value > example.run.usd.value or rival in late for rival in example.rivals)
    assert example.run.memory_bytes["total"] <= example.run.memory_limit_bytes
    assert 0 < example.run.mfu <= example.run.hfu < 1
    low, high = example.run.wall_s.low, example.run.wall_s.high
    assert low is not None and high is not None and low < example.run.wall_s.value < high


def test_a_shadow_price_comes_true_when_it_is_planned_again() -> None:
    tight = plan_training(parse_training(document(deadline={"max": 1.2, "unit": "days"})))
    price = next(one for one in tight.shadow_prices if one.limit == "deadline")
    loose = document(deadline={"max": price.at / 3600 * 1.0001, "unit": "h"})
    again = plan_training(parse_training(loose))
    assert again.run.usd.value - tight.run.usd.value == pytest.approx(price.difference)
    assert again.run.devices < tight.run.devices


def test_a_deadline_that_no_count_meets_tells_the_least_time_and_what_binds() -> None:
    with pytest.raises(InfeasibleError) as caught:
        plan_training(parse_training(document(deadline={"max": 1, "unit": "h"})))
    assert "the least time is" in str(caught.value) and "at most 128" in str(caught.value)


def test_a_budget_below_the_least_cost_is_told() -> None:
    with pytest.raises(InfeasibleError, match="the least is"):
        plan_training(parse_training(document(budget={"max": 10, "unit": "USD"})))


def test_a_stated_layout_is_kept_or_refused_by_its_number() -> None:
    kept = plan_training(parse_training(document(layout={"tp": 4, "pp": 2, "chunks": 4, "micro_batch": 1})))
    assert (kept.run.layout.tp, kept.run.layout.pp, kept.run.layout.chunks) == (4, 2, 4)
    with pytest.raises(InputError, match=r"tp = 5 does not divide the 32 heads .*nearest that does: 4"):
        plan_training(parse_training(document(layout={"tp": 5})))


def test_a_target_loss_is_turned_into_tokens_and_an_unreachable_one_refused() -> None:
    asked = document(target_loss=2.2)
    del asked["training"]["tokens"]
    found = plan_training(parse_training(asked))
    assert 5e10 < found.tokens < 1e13 and "fit a law of your own" in found.tokens_source
    asked["training"]["target_loss"] = 1.8
    with pytest.raises(UnsupportedError, match="any number of tokens"):
        plan_training(parse_training(asked))


def test_more_faults_mean_more_checkpoints_and_less_goodput() -> None:
    calm = plan_training(parse_training(document())).run.checkpoints
    rough = plan_training(parse_training(document(faults={"device_hours": 500.0}))).run.checkpoints
    assert rough.interval_s < calm.interval_s and rough.goodput < calm.goodput


def test_faults_of_the_document_are_told_together() -> None:
    with pytest.raises(FactError) as caught:
        parse_training({"name": "x", "training": {"model": "llama_3_1_8b", "globalbatch": 4, "tokens": -1}})
    text = str(caught.value)
    assert "global_batch" in text and "training.tokens" in text
    both = document(target_loss=2.0)
    with pytest.raises(FactError, match="state one of them"):
        parse_training(both)
    with pytest.raises(FactError, match="was not measured"):
        parse_training(document(program="megatron"))


def test_what_cannot_be_had_is_refused_with_its_reason() -> None:
    allow = {
        "accelerators": ["a100_80_sxm", "h100_sxm"],
        "sites": ["us_neocloud"],
        "devices": [8],
        "precisions": ["fp8"],
    }
    found = plan_training(parse_training(document(allow=allow, tokens=1e9)))
    assert found.run.accelerator == "h100_sxm"
    assert any("a100_80_sxm in fp8" in reason for reason in found.refused)


def test_the_command_prints_writes_and_exits_as_other_plans_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.toml"
    text = EXAMPLE.read_text(encoding="utf-8")
    allowed = 'accelerators = ["h100_sxm"]\ndevices = [256]'
    file.write_text(text.replace('accelerators = ["a100_80_sxm", "h100_sxm", "b200_sxm"]', allowed), encoding="utf-8")
    out = tmp_path / "plan.json"
    assert not ends(["plan", str(file), "--out", str(out)])
    shown = capsys.readouterr().out
    assert "h100_sxm" in shown and "MFU" in shown
    assert "By number of devices" in training_page(read_training_plan(out))
    assert not ends(["plan", str(file), "--json"])
    assert json.loads(capsys.readouterr().out)["kind"] == "training"
    assert ends(["plan", str(file), "--rate", "5"]) == 2
    assert "other options are of serving" in capsys.readouterr().err
