"""One budget for training and answers: the marginal dollar is alike across stages, and every decision is worth it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.errors import FactError, InfeasibleError
from comptroller.training.lifetime_document import load_lifetime, parse_lifetime
from comptroller.training.lifetime_model import LifetimeModel
from comptroller.training.lifetime_plan_document import LifetimePlan
from comptroller.training.lifetime_planner import plan_lifetime
from comptroller.training.lifetime_search import LifetimeFreedom, LifetimeSearch, optimal_tokens

EXAMPLE = Path(__file__).parents[1] / "examples" / "lifetime.toml"


def document(**changes: Any) -> dict[str, Any]:
    """One class, one format, no samples: parameters against tokens against answers."""
    kind = {
        "name": "A", "share": 1.0, "answer_tokens": 500.0,
        "solved": [{"loss": 2.3, "share": 0.4}, {"loss": 2.0, "share": 0.7}],
    }  # fmt: skip
    life = {
        "questions": 1e8, "budget": {"max": 1e6, "unit": "USD"}, "accelerator": "h100_sxm", "site": "us_neocloud",
        "mfu": 0.4, "serving": {"params": 8e9, "usd_per_m_tokens": {"bf16": 0.3}}, "classes": [kind],
    }  # fmt: skip
    return {"name": "small", "lifetime": {**life, **changes}}


def best(**changes: Any) -> Any:
    model = LifetimeModel(parse_lifetime(document(**changes)))
    return LifetimeSearch(model, LifetimeFreedom(tuple(model.training_ways()))).best()


@pytest.fixture(scope="module")
def example() -> LifetimePlan:
    return plan_lifetime(load_lifetime(EXAMPLE))


def test_the_marginal_dollar_is_alike_in_all_that_moves_freely(example: LifetimePlan) -> None:
    free = [one.solved_per_musd for one in example.marginals if not one.step]
    assert len(free) == 3 and max(free) < 1.01 * min(free)
    assert example.price == pytest.approx(free[0], rel=0.05)
    steps = [one.solved_per_musd for one in example.marginals if one.step]
    assert steps and max(steps) <= 1.02 * max(free)


def test_every_decision_is_worth_it_and_the_money_is_used_up(example: LifetimePlan) -> None:
    assert example.usd == pytest.approx(2e6, rel=1e-4)
    assert sum(example.stages.values()) == pytest.approx(example.usd, rel=1e-4)
    assert len(example.rivals) >= 4
    assert all(rival.solved <= example.solved + 1e-9 for rival in example.rivals)


def test_without_answers_the_optimum_is_chinchillas() -> None:
    """Hardly any questions: all money is training, and least loss for compute is the law's own optimum."""
    found = best(questions=1.0)
    model = LifetimeModel(parse_lifetime(document(questions=1.0)))
    assert found.tokens == pytest.approx(float(optimal_tokens(model, np.array([found.params]))[0]), rel=0.02)
    params, tokens = model.law.optimum(1e6 / model.usd_per_flop)
    assert (found.params, found.tokens) == (
        pytest.approx(float(params), rel=0.02),
        pytest.approx(float(tokens), rel=0.02),
    )


def test_more_answers_mean_a_smaller_model_trained_longer() -> None:
    few, many = best(questions=1e7), best(questions=1e9)
    assert many.params < few.params and many.tokens / many.params > few.tokens / few.params
    assert many.solved < few.solved


def test_the_share_of_a_budget_costs_that_budget() -> None:
    found = best()
    back = best(budget=None, solved=found.solved)
    assert back.usd == pytest.approx(1e6, rel=2e-3)


def test_repeated_text_is_worth_less_and_a_teacher_bounds_its_student() -> None:
    plain, scarce = best(), best(text_tokens=5e10)
    assert scarce.solved < plain.solved
    taught = best(distillation={"params": 7e10, "worth": 4.0, "loss": 1.9})
    assert taught.solved >= plain.solved and taught.loss >= 1.9
    assert best(distillation={"params": 7e10, "worth": 1.0, "loss": 2.5}).way.distilled is False


def test_fewer_bits_are_chosen_where_their_loss_is_worth_their_price() -> None:
    prices = {"params": 8e9, "usd_per_m_tokens": {"bf16": 0.3, "q4_0": 0.15}}
    assert best(serving={**prices, "loss_added": {"q4_0": 0.0}}).way.format == "q4_0"
    assert best(serving={**prices, "loss_added": {"q4_0": 0.5}}).way.format == "bf16"


def test_bad_input_is_told_by_its_field() -> None:
    with pytest.raises(FactError, match=r"add up to 0\.5"):
        parse_lifetime(document(classes=[{**document()["lifetime"]["classes"][0], "share": 0.5}]))
    with pytest.raises(FactError, match="state one"):
        parse_lifetime(document(solved=0.5))
    with pytest.raises(FactError, match="no price of 16"):
        parse_lifetime(document(serving={"params": 8e9, "usd_per_m_tokens": {"q4_0": 0.1}}))
    rising = {"solved": [{"loss": 2.0, "share": 0.4}, {"loss": 2.3, "share": 0.7}]}
    with pytest.raises(FactError, match="lower loss"):
        parse_lifetime(document(classes=[{**document()["lifetime"]["classes"][0], **rising}]))
    with pytest.raises(FactError) as caught:
        parse_lifetime(document(accelerator="h1000_sxm", site="us_neo", questions=-1.0))
    assert all(name in str(caught.value) for name in ("lifetime.accelerator", "lifetime.site", "lifetime.questions"))
    with pytest.raises(FactError, match="no losses of 'llama_9' are known"):
        parse_lifetime(document(serving={"params": 8e9, "usd_per_m_tokens": {"bf16": 0.3}, "like": "llama_9"}))
    with pytest.raises(InfeasibleError, match="the least is"):
        best(budget={"max": 1.0, "unit": "USD"})
    with pytest.raises(InfeasibleError, match="the most is"):
        best(budget=None, solved=0.9999)


def test_the_command_prints_writes_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "life.toml", tmp_path / "life.html"
    text = EXAMPLE.read_text(encoding="utf-8")
    file.write_text(text[: text.index("[lifetime.qat]")], encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(file), "--json", "--html", str(page)])
    assert not ended.value.code and json.loads(capsys.readouterr().out)["kind"] == "lifetime"
    assert "What the next dollar buys" in page.read_text(encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(file), "--rate", "5"])
    assert ended.value.code == 2 and "workload of lifetime" in capsys.readouterr().err
