"""Drawn trees of steps: they follow what they are drawn from, every search sees the same, the fleet answers alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.ticks import linear
from comptroller.serving.world import QuestionStream, SimulatedStrategy, solve
from comptroller.strategies.modelled_reward import ModelledReward
from comptroller.strategies.results import runs
from comptroller.strategies.spelling import parse
from comptroller.strategies.steps import cache_use
from comptroller_lab.drawn_trees import DrawnTrees, TreeLaw, right_share

LAW = TreeLaw((3, 4, 6), 0.15, ModelledReward(right=(0.9, 0.8, 0.4), wrong=(0.6, 0.2, 0.1)), even=4.0, step_tokens=20.0)
ETS = "ets(width=8,depth=9,by=score,cost=4)"
REBASE = "rebase(width=8,depth=9,by=score)"


def test_single_paths_are_right_as_often_as_the_law_says() -> None:
    score = [score for score, _ in runs(parse("rebase(width=1,depth=9,by=score)"), DrawnTrees(LAW, 1500), range(1500))]
    share = right_share(LAW.steps, LAW.wrong, LAW.even)
    assert np.mean(score) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 1500))


def test_a_reward_that_knows_the_truth_solves_more_than_one_that_guesses() -> None:
    sure, blind = (replace(LAW, reward=ModelledReward(right=(1.0,), wrong=(wrong,))) for wrong in (0.0, 1.0))
    shares = [
        np.mean([score for score, _ in runs(parse(REBASE), DrawnTrees(law, 80), range(80))]) for law in (sure, blind)
    ]
    assert shares[0] > shares[1] + 0.1


def test_every_search_sees_the_same_tree_again() -> None:
    trees = DrawnTrees(LAW, 3, seed=5)
    first, again = (runs(parse(ETS), trees, [2])[0][1] for _ in range(2))
    assert [reply.content for reply in first.replies] == [reply.content for reply in again.replies]
    by_text = {reply.content: (reply.score, reply.answer) for reply in runs(parse(REBASE), trees, [2])[0][1].replies}
    common = [reply for reply in first.replies if reply.content in by_text]
    assert common and all(by_text[reply.content] == (reply.score, reply.answer) for reply in common)


def test_ets_holds_less_than_rebase_for_as_many_tokens() -> None:
    use = {}
    for text in (ETS, REBASE):
        rows = runs(parse(text), DrawnTrees(LAW, 20), range(20))
        use[text] = np.mean([cache_use(run).nodes for _, run in rows])
    assert use[ETS] < 0.9 * use[REBASE]


def test_a_fleet_answers_as_replay_does_and_finds_prefixes_cached() -> None:
    trees = DrawnTrees(LAW, 12)
    expected = [score for score, _ in runs(parse(REBASE), trees, range(12))]
    fleet = SimulatedFleet.uniform(linear(max_batch=16), 1)
    play = SimulatedStrategy(parse(REBASE), trees)
    found = solve(replace(fleet, prefix_block_tokens=16), QuestionStream((play,), np.arange(12.0) * 1e5, np.arange(12)))
    assert found.score.tolist() == expected
    assert found.outcome.requests.cached.sum() > 0.5 * found.calls["input_tokens"].sum()
