"""Recorded depth-first searches and searches over programs: how they are read and replayed, and what was published."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from comptroller.errors import RecordError, UnsupportedError
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.results import replay_strategy
from comptroller.strategies.spelling import parse
from comptroller.work.evidence import STEP, VERIFIER, Evidence
from comptroller.work.evidence_readers import read_evidence
from strategy_worlds import DrawnWorld, run

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "agents"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"no measured data at {DATA}")
STATES = """puzzle,search,order,total_step,env_step,depth,letters_right,words_right,sure,maybe,impossible
1,dfs_prune,0,0,1,1,0.2,0.1,1,2,0
1,dfs_prune,1,1,2,2,0.2,0.1,0,2,1
1,dfs_prune,2,2,2,2,0.36,0.3,4,2,0
1,dfs_prune,3,3,3,3,0.5,0.5,4,2,0
1,dfs_prune,4,4,1,1,0.2,0.2,4,2,0
"""


def states(tmp_path: Path, text: str = STATES) -> Evidence:
    file = tmp_path / "crosswords.csv"
    file.write_text(text, encoding="utf-8")
    found = read_evidence(file)
    assert isinstance(found, Evidence)
    return found


def replay_of(evidence: Evidence, arm: int = 0) -> EvidenceReplay:
    service = RecordedService(evidence.arms[arm])
    return EvidenceReplay(evidence, {"solver": service, "step": service})


def test_a_deeper_state_goes_on_from_the_one_before_and_what_is_pruned_from_nothing(tmp_path: Path) -> None:
    rows = states(tmp_path).rows
    said = np.flatnonzero(rows.finish == "stop")
    above = {rows.content[row]: None if rows.parent[row] < 0 else rows.content[rows.parent[row]] for row in said}
    assert above == {"state 0": None, "state 1": "state 0", "state 2": "state 0", "state 3": "state 2", "state 4": None}
    judged = {rows.content[row]: rows.judgement[row] for row in said}
    assert judged["state 1"] == 0.0 and judged["state 2"] == pytest.approx(0.5)
    refused = rows.parent[np.flatnonzero(rows.finish == "refused")]
    ends = {None if row < 0 else rows.content[row] for row in refused}
    assert ends == {None, "state 0", "state 2", "state 3"}, "nothing was looked for behind a pruned state or the last"
    assert set(rows.role.tolist()) == {STEP}


def test_the_recorded_search_is_walked_in_its_order_to_its_deepest_state(tmp_path: Path) -> None:
    evidence = states(tmp_path)
    found = replay_strategy(parse("depth_first(by=score,ends=never,branch=3,steps=5)"), replay_of(evidence))
    assert found.score.tolist() == [0.5]
    with pytest.raises(UnsupportedError, match="never continued"):
        replay_strategy(parse("depth_first(by=score,ends=never,branch=3,steps=5,prune=-1.0)"), replay_of(evidence))


def test_a_depth_that_skips_a_state_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="depth is 4 after a state of depth 1"):
        states(tmp_path, STATES.replace("1,dfs_prune,1,1,2,2,", "1,dfs_prune,1,1,4,4,"))


@pytest.mark.parametrize("seed", range(5))
def test_depth_first_visits_no_more_than_it_may_and_goes_down_first(seed: int) -> None:
    played = run(parse("depth_first(by=score,ends=never,branch=2,steps=6,prune=-1.0,depth=3)"), DrawnWorld(seed))
    waves = [played.replies[place : place + 2] for place in range(0, len(played.replies), 2)]
    assert all(wave[0].ask.after is wave[1].ask.after for wave in waves)
    assert len(waves) <= 6
    second = {reply.ask for reply in waves[0]}
    assert waves[1][0].ask.after is not None and waves[1][0].ask.after.ask in second


@needs_data
def test_pruning_is_worth_what_was_published() -> None:
    """Tree of Thoughts, ablations: words right 60 % with pruning and 41.5 % without, on 20 puzzles (14 here)."""
    evidence = read_evidence(DATA / "tree_crosswords.csv")
    assert isinstance(evidence, Evidence)
    arms = [arm.effort for arm in evidence.arms]
    shares = {}
    for effort, prune in (("dfs_prune", 0.0), ("dfs_no_prune", -1.0)):
        search = parse(f"depth_first(by=score,ends=never,branch=15,prune={prune})")
        shares[effort] = replay_strategy(search, replay_of(evidence, arms.index(effort))).mean("score")
    assert shares["dfs_prune"] == pytest.approx(0.6, abs=0.08)
    assert shares["dfs_no_prune"] == pytest.approx(0.415, abs=0.08)


@needs_data
def test_own_tests_are_verdicts_on_programs() -> None:
    evidence = read_evidence(DATA / "code_search.csv")
    assert isinstance(evidence, Evidence)
    rows = evidence.rows
    verdicts = np.flatnonzero(rows.role == VERIFIER)
    passed, solved = rows.judgement[verdicts] == 1.0, rows.score[rows.parent[verdicts]] == 1.0
    assert solved[passed].mean() > solved[~passed].mean()
    weak, strong = (RecordedService(arm) for arm in evidence.arms if arm.effort == "mcts_8x5")
    roles = {"weak": weak, "strong": strong, "verifier": weak, "solver": strong}
    both = replay_strategy(parse("verdict_cascade(checker=verifier,accept=1.0)"), EvidenceReplay(evidence, roles))
    alone = replay_strategy(parse("once(greedy=false)"), EvidenceReplay(evidence, {"solver": weak}))
    assert both.mean("score") > alone.mean("score")
