"""Strategies on a fleet: the same answers as in replay, calls created and cut while it runs, books that balance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comptroller.costs.inference_units import TokenPrice
from comptroller.errors import InputError, UnsupportedError
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.ticks import linear
from comptroller.serving.world import ELSEWHERE, QuestionStream, QuestionStreamOutcome, SimulatedStrategy, solve
from comptroller.strategies.protocol import UNLIMITED, QuestionBudget
from comptroller.strategies.recorded_roles import uses
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker
from comptroller.strategies.replay import RecordedService as Recorded
from comptroller.strategies.results import replay_strategy
from comptroller.strategies.spelling import parse
from comptroller.work.evidence_readers import read_evidence

EVIDENCE = read_evidence("own")
FLEET = SimulatedFleet.uniform(linear(max_batch=16), 2)
CHECK_S = 0.2


def replay() -> EvidenceReplay:
    roles = dict.fromkeys(("solver", "verifier", "reviser"), Recorded(EVIDENCE.arms[0]))
    return EvidenceReplay(EVIDENCE, {"checker": ModelledChecker(seconds=CHECK_S), **roles})


def solved(
    strategy: str,
    count: int = 120,
    rate_per_s: float = 40.0,
    fleet: SimulatedFleet = FLEET,
    budget: QuestionBudget = UNLIMITED,
) -> QuestionStreamOutcome:
    question = replay().covered(uses(parse(strategy)))[:count]
    arrival_s = np.random.default_rng(0).exponential(1 / rate_per_s, question.size).cumsum()
    return solve(fleet, QuestionStream((SimulatedStrategy(parse(strategy), replay()),), arrival_s, question, budget))


@pytest.mark.parametrize(
    "strategy", ["once", "sample_and_vote(n=5)", "sequential_revision(rounds=2)", "stop_on_success(cap=4)"]
)
def test_a_fleet_without_hurry_answers_as_replay_does(strategy: str) -> None:
    """Who answers is the evidence in both worlds; only the clock differs."""
    asked = parse(strategy)
    questions = replay().covered(uses(asked))[:40]
    expected = replay_strategy(asked, replay(), questions)
    found = solve(FLEET, QuestionStream((SimulatedStrategy(asked, replay()),), np.arange(40.0) * 100, questions))
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(np.bincount(found.calls["request"], minlength=40), expected.calls)
    assert found.calls["input_tokens"].sum() == expected.column("input_tokens").sum()
    assert found.calls["output_tokens"].sum() == expected.column("output_tokens").sum()
    assert (found.answer_s > 0).all()
    assert found.outcome.counts()["stop"] == len(found.calls)


def test_the_books_of_all_calls_are_the_fleet_s() -> None:
    found = solved("sample_and_vote(n=4)")
    outcome = found.outcome
    total = outcome.request_j.sum() + outcome.waste_j.sum() + outcome.idle_j.sum()
    assert total == pytest.approx(outcome.meter_j, rel=1e-9)
    rows = outcome.calls(found.calls)
    assert rows["last_s"].max() == pytest.approx(outcome.horizon_s)
    assert set(rows.text("role")) == {"solver"} and set(rows.text("strategy")) == {"sample_and_vote(n=4)"}
    assert (np.bincount(rows["request"]) == 4).all()


def test_a_follow_up_starts_when_what_it_follows_has_ended() -> None:
    found = solved("sequential_revision(rounds=2)", count=60)
    rows = found.outcome.calls(found.calls)
    follows = rows["parent"] >= 0
    assert 100 < follows.sum() <= 2 * 60, "two rounds each, but nothing goes on from a truncated reply"
    gap_s = rows["arrival_s"][follows] - rows["last_s"][rows["parent"][follows]]
    np.testing.assert_allclose(gap_s, 0.0, atol=1e-9)


def test_checks_take_their_time_and_no_tokens() -> None:
    rows = (found := solved("stop_on_success(cap=4)")).outcome.calls(found.calls)
    checks = rows.text("role") == "checker"
    assert checks.any() and not rows["output_tokens"][checks].any()
    np.testing.assert_allclose((rows["last_s"] - rows["arrival_s"])[checks], CHECK_S, rtol=1e-9)


def test_what_is_not_needed_any_more_is_cut_and_paid_for() -> None:
    found = solved("adaptive_consistency(cap=16, width=8)", rate_per_s=4.0)
    cut = np.array(found.outcome.finish) == "cancelled"
    made = found.outcome.requests.generated
    assert cut.any() and (made[cut] <= found.calls["output_tokens"][cut]).all()
    assert (found.outcome.requests.usd[cut & (made > 0)] > 0).all()
    assert np.isfinite(found.answer_s).all()


def test_a_budget_in_seconds_ends_a_run_at_that_moment() -> None:
    crowded = SimulatedFleet.uniform(linear(max_batch=4), 1)
    free = solved("sample_and_vote(n=8)", fleet=crowded)
    bounded = solved("sample_and_vote(n=8)", fleet=crowded, budget=QuestionBudget(s=1.0))
    assert free.answer_s.max() > 3.0
    assert bounded.answer_s.max() < 1.0 + 0.2, "the step under way is finished"
    assert bounded.outcome.horizon_s < free.outcome.horizon_s
    assert bounded.score.sum() < free.score.sum()


def test_later_samples_of_a_question_find_its_prompt_cached() -> None:
    cached = SimulatedFleet(
        (SimulatedService("all", (SimulatedReplica(linear(max_batch=16)),)),), prefix_block_tokens=16
    )
    found = solved("stop_on_success(cap=4)", fleet=cached, rate_per_s=2.0)
    solver = found.calls["input_tokens"] > 0
    request, hits = found.calls["request"][solver], found.outcome.requests.cached[solver]
    first = np.isin(np.arange(request.size), np.unique(request, return_index=True)[1])
    assert not hits[first].any() and (hits[~first] > 0).all() and (~first).sum() > 100


def test_a_policy_called_back_solves_alike(tmp_path: Path) -> None:
    """A policy that cannot be compiled: the same strategy, caches and clock."""
    path = tmp_path / "plainest.py"
    path.write_text("def choose(view, ranks, call, router):\n    import math; return ranks[0]\n")
    first = tmp_path / "first.py"
    first.write_text("def choose(view, ranks, call, router):\n    return ranks[0]\n")
    found = []
    for policy in (path, first):
        fleet = SimulatedFleet(FLEET.services, ServingPolicies(routing=str(policy)), prefix_block_tokens=16)
        found.append(solved("stop_on_success(cap=3)", count=20, fleet=fleet))
    np.testing.assert_array_equal(found[0].answer_s, found[1].answer_s)
    np.testing.assert_array_equal(found[0].outcome.requests.cached, found[1].outcome.requests.cached)
    assert found[0].outcome.requests.cached.any()


def test_calls_go_where_they_are_placed() -> None:
    two = SimulatedFleet(
        (
            SimulatedService("solves", (SimulatedReplica(linear()),)),
            SimulatedService("checks", (SimulatedReplica(linear()),)),
        )
    )
    asked = parse("generative_verification(s=2, v=1)")
    questions = replay().covered(uses(asked))[:20]
    play = SimulatedStrategy(asked, replay(), lambda number, role, prompt, output: 1 + (role == "verifier"))
    found = solve(two, QuestionStream((play,), np.arange(20.0), questions))
    rank = found.outcome.requests.prompt_rank
    assert np.array_equal(rank == 1, found.calls.text("role") == "verifier")
    assert set(found.calls.text("service")) == {"solves", "checks"}


def test_calls_to_elsewhere_take_what_the_record_says() -> None:
    asked = parse("sequential_revision(rounds=1)")
    questions = replay().covered(uses(asked))[:20]
    play = SimulatedStrategy(
        asked, replay(), lambda number, role, prompt, output: ELSEWHERE if role == "reviser" else 0
    )
    found = solve(FLEET, QuestionStream((play,), np.arange(20.0), questions))
    rows = found.outcome.calls(found.calls)
    away = rows.text("role") == "reviser"
    seconds = EVIDENCE.rows.latency_s
    assert away.any() and not rows["input_tokens"][away].any()
    assert np.isin(np.round((rows["last_s"] - rows["arrival_s"])[away], 6), np.round(seconds, 6)).all()
    roles = dict.fromkeys(("solver", "reviser"), Recorded(EVIDENCE.arms[0], price=TokenPrice(1.0, 1.0)))
    play = SimulatedStrategy(asked, EvidenceReplay(EVIDENCE, roles), lambda number, role, prompt, output: ELSEWHERE)
    spend = solve(FLEET, QuestionStream((play,), np.arange(20.0), questions, QuestionBudget(usd=1.0)))
    assert len(spend.calls) == 20, "the first call spends the budget, at the record's price"


def test_what_is_not_recorded_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="are recorded"):
        solved("sample_and_vote(n=500)", count=2)
    with pytest.raises(InputError, match="as many arrivals as questions"):
        QuestionStream((SimulatedStrategy(parse("once"), replay()),), np.zeros(2), np.zeros(3, int))
