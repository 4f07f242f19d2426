"""Controllers of reinforcement learning: prompts by weight, rollouts by price, at one mean."""

from __future__ import annotations

import json

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.errors import UnsupportedError
from comptroller.training.difficulty_groups import DifficultyGroups
from comptroller.training.prompt_weights import EXPLORED, PromptWeights
from comptroller.training.rollout_findings import RolloutQuery, rollout_findings
from comptroller.training.rollout_price import (
    RolloutPrice,
    neutral_counts,
    rollout_options,
    square_root_counts,
    variance_value,
)
from comptroller.training.rollout_replay import MARGINAL, RULES, SQUARE_ROOT, UNIFORM, RolloutReplay
from comptroller.work.evidence import EvidenceCounts, RecordedModel, RecordedQuestion


def samples(n: int = 400, models: int = 1) -> EvidenceCounts:
    """A third of the questions nearly solved, a third even, a third hard; later models are better."""
    rate = np.repeat([0.04, 0.5, 0.97], 20)
    rates = np.stack([np.clip(rate * (1 + 0.5 * model), 0, 0.99) for model in range(models)], axis=1)
    right = np.random.default_rng(1).binomial(n, rates).astype(float)
    items = tuple(RecordedQuestion(f"q{i}") for i in range(len(rate)))
    arms = tuple(RecordedModel(f"m{model}") for model in range(models))
    return EvidenceCounts(items, arms, np.full(right.shape, n), right, "made")


@pytest.fixture(scope="module")
def replayed() -> RolloutReplay:
    return RolloutReplay(samples(), 8, 0)


def test_a_groups_loss_is_debiased_and_does_not_depend_on_how_many_prompts_it_has() -> None:
    once, often = PromptWeights(2), PromptWeights(2)
    once.note(np.array([0.8, 0.2]))
    for _ in range(50):
        often.note(np.array([0.8, 0.2]))
    assert once.scores == pytest.approx([0.8, 0.2]) and often.scores == pytest.approx([0.8, 0.2])
    assert once.shares(np.array([True, True])) == pytest.approx(often.shares(np.array([True, True])))


def test_harder_groups_are_drawn_more_and_every_group_is_tried() -> None:
    weights = PromptWeights(3)
    weights.note(np.array([0.9, 0.5, 0.0]))
    share = weights.shares(np.array([True, True, True]))
    assert share[0] > share[1] > share[2] >= EXPLORED / 3 and share.sum() == pytest.approx(1)
    assert weights.shares(np.array([True, False, True]))[1] == 0


def test_a_prompt_changes_its_group_only_beyond_the_edge() -> None:
    groups = DifficultyGroups(1)
    for solved in (True, False, True, False):
        groups.note(np.array([0]), np.array([solved]))
    middle = int(groups.group[0])
    groups.note(np.array([0]), np.array([True]))  # 3 of 5: at the edge of 0.6, not beyond it
    assert 0 < middle < 4 and groups.group[0] == middle


def test_the_square_root_rule_is_the_least_variance_at_its_mean() -> None:
    variance, shares = np.array([0.25, 0.09, 0.01]), np.array([0.2, 0.3, 0.5])
    best = square_root_counts(variance, shares, 8.0)
    assert shares @ best == pytest.approx(8.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = best * np.exp(rng.normal(0, 0.2, 3))
        other *= 8.0 / (shares @ other)
        assert (shares * variance / other).sum() >= (shares * variance / best).sum() - 1e-12


def test_whole_counts_use_the_mean_up_and_follow_the_square_root() -> None:
    variance, group, options = np.array([0.25, 0.04]), np.repeat([0, 1], 50), rollout_options(8, 100)
    counts, price = neutral_counts(variance_value(variance, options), group, options, 8.0)
    assert counts.mean() == pytest.approx(8.0, abs=0.05)
    wanted = square_root_counts(variance, np.array([0.5, 0.5]), 8.0)
    assert [counts[group == i].mean() for i in range(2)] == pytest.approx(wanted, abs=1)
    assert price == pytest.approx((0.5 * (np.sqrt(variance)).sum() / 8.0) ** 2, rel=0.15)


def test_the_price_finds_the_mean_by_itself() -> None:
    variance, shares, options = np.array([0.25, 0.04]), np.array([0.5, 0.5]), rollout_options(8, 100)
    price = RolloutPrice(8.0, 1.0)
    for _ in range(200):
        price.move(float(shares @ price.counts(variance_value(variance, options), options)))
    assert float(shares @ price.counts(variance_value(variance, options), options)) == pytest.approx(8.0, abs=1)


def test_each_rule_is_best_at_its_own_aim_on_samples_left_out_and_costs_no_more(replayed: RolloutReplay) -> None:
    outcomes = replayed.play(0).outcomes
    assert all(outcomes[rule].mean <= 8.0 + 1e-9 for rule in RULES)
    assert outcomes[SQUARE_ROOT].variance == min(outcomes[rule].variance for rule in RULES)
    assert outcomes[MARGINAL].coverage == max(outcomes[rule].coverage for rule in RULES)
    assert outcomes[SQUARE_ROOT].variance < 0.95 * outcomes[UNIFORM].variance
    assert outcomes[MARGINAL].coverage > outcomes[UNIFORM].coverage + 0.01


def test_prompts_follow_the_loss_as_the_model_learns() -> None:
    found = rollout_findings(samples(models=2), RolloutQuery(8, replays=3))
    weak, strong = found.prompts
    assert weak.model == "m0" and weak.drawn[0] > weak.present[0]
    assert strong.present[0] <= weak.present[0]


def test_too_few_samples_and_unknown_models_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="a smaller --at"):
        RolloutReplay(samples(), 200, 0)
    with pytest.raises(UnsupportedError, match="there are m0"):
        rollout_findings(samples(), RolloutQuery(8, ("gpt",)))


def test_the_command_replays_own_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    arm = ["--model", "SmolLM2-135M-Instruct Q8_0 steps"]
    words = ["fit", "rollouts", "own", "--at", "4", "--draws", "20", "--json", *arm]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["questions"] == 60 and {one["rule"] for one in found["rules"]} == set(RULES)
    for bad in (["--at", "4", "--at", "8"], ["--html", "x.html"]):
        with pytest.raises(SystemExit) as ended:
            main(["fit", "rollouts", "own", *bad])
        assert ended.value.code == 2
