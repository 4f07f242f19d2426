"""Data made by difficulty and old data mixed in: laws found again, the best mix against a solver, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from comptroller.errors import FactError, RecordError, UnsupportedError
from comptroller.training.document import load_training, parse_training
from comptroller.training.planner import plan_training
from comptroller.work.difficulty_budget import DifficultyLaw, DifficultyRuns, difficulty_finding, fit_difficulty_law

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("easy", "medium", "hard")
LAW = DifficultyLaw({"easy": 0.12, "medium": 0.35, "hard": 1.0}, 0.6, 2.0, 0.02, 0.45)
COSTS = {"easy": 1.0, "medium": 5.0, "hard": 60.0}


def runs(count: int, noise: float, seed: int = 1) -> DifficultyRuns:
    rng = np.random.default_rng(seed)
    counts = np.round(10 ** rng.uniform([1.5, 1.2, 0.8], [3.3, 2.8, 2.2], (count, 3)))
    error = LAW.error(counts) * np.exp(rng.normal(0.0, noise, count))
    return DifficultyRuns(NAMES, counts, np.asarray(error))


def test_a_law_is_found_again_and_predicts_dearer_runs() -> None:
    found = difficulty_finding(runs(60, 0.02), "hard", COSTS)
    assert found.law.weights["easy"] == pytest.approx(0.12, abs=0.03)
    assert found.law.rho == pytest.approx(0.6, abs=0.1) and found.law.beta == pytest.approx(0.45, abs=0.1)
    assert found.mean < 0.05 and found.reach > 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.05, 2.0), min_size=2, max_size=2), st.floats(0.2, 0.9), st.floats(1.5, 100.0))
def test_no_other_mix_of_the_budget_has_less_error(worths: list[float], rho: float, cost: float) -> None:
    law = DifficultyLaw({"easy": worths[0], "medium": worths[1], "hard": 1.0}, rho, 1.0, 0.0, 0.5)
    costs = {"easy": 1.0, "medium": cost, "hard": 10 * cost}
    found = np.array(list(law.best_counts(costs, 1000.0).values()))
    prices = np.array(list(costs.values()))
    assert float(found @ prices) == pytest.approx(1000.0)

    def loss(logs: np.ndarray) -> float:
        shares = np.exp(logs - logs.max())
        return -float(np.log(law.effective(1000.0 * shares / shares.sum() / prices)))

    least = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10}).fun
    assert float(np.log(law.effective(found))) >= -least - 1e-6


def test_too_little_evidence_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="12 runs at least, there are 8"):
        fit_difficulty_law(runs(8, 0.0), "hard")
    same = runs(20, 0.0)
    same.counts[:, 0] = 5.0
    with pytest.raises(UnsupportedError, match="every run has as many examples of easy"):
        fit_difficulty_law(same, "hard")
    with pytest.raises(UnsupportedError, match="no column count_harder"):
        fit_difficulty_law(runs(20, 0.0), "harder")


def document(**changes: Any) -> dict[str, Any]:
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "devices": [8]}
    run = {"model": "llama_3_1_8b", "tokens": 1e9, "seq": 4096, "global_batch": 64, "allow": allow}
    return {"name": "continued", "training": {**run, **changes}}


GENERATION = {
    "file": "generation.csv", "target": "hard", "budget": 300.0,
    "costs": {"easy": 0.02, "medium": 0.1, "hard": 1.5},
}  # fmt: skip


def test_a_plan_says_how_many_examples_to_make_and_what_old_data_does() -> None:
    plan = plan_training(load_training(EXAMPLES / "continued.toml"))
    assert plan.generation is not None and plan.replay is not None
    spent = sum(GENERATION["costs"][name] * count for name, count in plan.generation.counts.items())  # type: ignore[index]
    assert spent == pytest.approx(300.0) and plan.generation.error < plan.generation.target_only_error
    assert plan.generation.saving > 1
    assert plan.replay.old_tokens == pytest.approx(0.1 * plan.tokens)
    assert plan.replay.old_loss_change < 0 < plan.replay.new_loss_change
    assert any("data to generate" in note for note in plan.notes) and any("replay" in note for note in plan.notes)


def test_a_target_loss_is_of_new_data() -> None:
    alone = parse_training({"name": "x", "training": {**without_tokens(document()), "target_loss": 2.3}})
    mixed = document(replay={"share": 0.25, "file": "replay.csv"})
    mixed["training"] = {**without_tokens(mixed), "target_loss": 2.3}
    found = plan_training(parse_training(mixed, EXAMPLES / "workload.toml")).tokens
    assert found == pytest.approx(plan_training(alone).tokens / 0.75)


def without_tokens(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given["training"].items() if key != "tokens"}


@pytest.mark.parametrize(
    ("changes", "fault", "why"),
    [
        ({"generation": {**GENERATION, "file": "none.csv"}}, FactError, "no such file"),
        ({"generation": {**GENERATION, "costs": {"easy": 1.0, "hard": 2.0}}}, FactError, "costs"),
        ({"generation": {**GENERATION, "budget": 1e9}}, UnsupportedError, "supports .* at most"),
        ({"generation": {**GENERATION, "file": "replay.csv"}}, RecordError, "count_NAME"),
        ({"replay": {"share": 0.8, "file": "replay.csv"}}, UnsupportedError, "from 0 to 0.5 were measured"),
        ({"replay": {"share": 0.1, "file": "generation.csv"}}, RecordError, "columns: share"),
        ({"replay": {"share": 0.1, "file": "none.csv"}}, FactError, "no such file"),
    ],
)
def test_what_evidence_does_not_support_is_refused(changes: dict[str, Any], fault: type[Exception], why: str) -> None:
    with pytest.raises(fault, match=why):
        plan_training(parse_training(document(**changes), EXAMPLES / "workload.toml"))
