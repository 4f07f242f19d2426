"""Recorded trees and scored steps: how they are read, replayed and refused, and the published outcome of the search."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.errors import ComptrollerError, UnsupportedError
from comptroller.strategies.modelled_reward import ModelledReward, recorded_reward
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService
from comptroller.strategies.results import runs
from comptroller.strategies.rules.beam_search import BeamSearchStrategy
from comptroller.strategies.spelling import parse
from comptroller.strategies.study import ReplayConditions, study
from comptroller.work.arrow import write_columns
from comptroller.work.evidence import STEP, VERIFIER, Evidence
from comptroller.work.evidence_readers import read_evidence

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "agents"
HEAD = "puzzle,numbers,depth,node,parent,left,answer,value,chosen,legal,reachable,correct"
TREE = f"""{HEAD}
7,1 2 4 7,0,0,-1,2 4 7,False,60.0,True,True,True,
7,1 2 4 7,0,1,-1,1 2 28,False,0.003,True,True,False,
7,1 2 4 7,0,2,-1,9 9,False,30.0,False,False,False,
7,1 2 4 7,1,3,0,,True,60.0,True,True,True,True
7,1 2 4 7,1,4,1,,True,1.002,True,False,False,False
"""


def tree(tmp_path: Path, text: str = TREE) -> Evidence:
    file = tmp_path / "tree.csv"
    file.write_text(text, encoding="utf-8")
    read = read_evidence(file)
    assert isinstance(read, Evidence)
    return read


def replay_of(evidence: Evidence, **judges: ModelledChecker) -> EvidenceReplay:
    service = RecordedService(evidence.arms[0])
    return EvidenceReplay(evidence, {"solver": service, "step": service, **judges})


def test_nodes_are_steps_with_their_value_and_truth_and_every_list_of_proposals_ends(tmp_path: Path) -> None:
    rows = tree(tmp_path).rows
    said = rows.finish != "refused"
    assert set(rows.role.tolist()) == {STEP} and said.sum() == 5 and (~said).sum() == 3
    assert sorted(rows.judgement[said].round(4).tolist()) == [0.0, 0.0167, 0.5, 1.0, 1.0]
    ends = [number for number in np.flatnonzero(said) if rows.answer[number] is not None]
    assert {rows.answer[number]: rows.score[number] for number in ends} == {"node 3": 1.0, "node 4": 0.0}
    assert [rows.content[rows.parent[number]] for number in ends] == ["2 4 7", "1 2 28"]


def test_a_search_reads_the_tree_and_gets_no_more_than_was_proposed(tmp_path: Path) -> None:
    replay = replay_of(tree(tmp_path))
    ((score, run),) = runs(parse("beam_search(width=4,keep=1,by=score)"), replay, [0])
    assert score == 1.0 and run.answer.answer == "node 3"
    assert sum(reply.finish == "refused" for reply in run.replies) == 1 + 3


def test_a_step_that_was_never_continued_is_a_gap_and_leaves_the_question_out(tmp_path: Path) -> None:
    evidence = tree(tmp_path, TREE + TREE.partition("\n")[2].replace("7,1 2 4 7", "8,1 1 1 1").replace("30.0", "59.0"))
    text = "beam_search(width=8,keep=2,by=score,pick=best,depth=3)"
    gapped = tree(tmp_path, TREE.replace("30.0", "59.0").replace("0.003", "0.001"))
    with pytest.raises(UnsupportedError, match="the step was never continued in the record"):
        runs(parse(text), replay_of(gapped), [0])
    one = study(evidence, [parse("beam_search(width=8,keep=1,by=score)")], ReplayConditions())
    assert [len(item.results.question) for item in one.settings] == [2]
    other = TREE.partition("\n")[2].replace("7,1 2 4 7", "8,1 1 1 1").replace("30.0", "59.0")
    mixed = tree(tmp_path, TREE.replace("0.003", "40.0") + other)
    two = study(mixed, [parse(text)], ReplayConditions())
    assert [len(item.results.question) for item in two.settings] == [1]
    assert any(note.startswith("1 questions left out") for note in two.notes)


def test_every_deal_keeps_the_order_of_proposed_steps_and_deals_those_that_were_sampled(tmp_path: Path) -> None:
    evidence, text = tree(tmp_path), "rebase(width=1,depth=1,by=score)"
    kept = {runs(parse(text), replay_of(evidence).dealt_by(seed), [0])[0][1].answer.content for seed in range(8)}
    sampled = replace(evidence, rows=replace(evidence.rows, temperature=np.ones(len(evidence))))
    dealt = {runs(parse(text), replay_of(sampled).dealt_by(seed), [0])[0][1].answer.content for seed in range(8)}
    assert len(kept) == 1 and kept < dealt


def test_steps_without_an_end_are_no_answer_whatever_their_truth(tmp_path: Path) -> None:
    ((score, run),) = runs(parse("rebase(width=1,depth=1,by=score)"), replay_of(tree(tmp_path)), [0])
    assert run.answer.content == "2 4 7" and score == 0.0


def test_the_error_of_the_reward_is_a_parameter(tmp_path: Path) -> None:
    evidence, text = tree(tmp_path), "beam_search(width=8,keep=1,pick=best)"
    never, always = ModelledChecker(1.0, 0.0), ModelledChecker(0.0, 1.0)
    shares = [runs(parse(text), replay_of(evidence, reward=reward), [0])[0][0] for reward in (never, always)]
    assert shares == [1.0, 0.0]
    with pytest.raises(UnsupportedError, match="nothing plays the role 'reward'"):
        runs(parse(text), replay_of(evidence), [0])


FAULTS = (("60.0", "high"), (",True,True,True,\n", ",True,True,perhaps,\n"), ("7,1 2 4 7,1,3,0", "7,1 2 4 7,1,3,99"))


@pytest.mark.parametrize(("old", "new"), FAULTS)
def test_a_tree_that_does_not_hold_together_is_refused(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ComptrollerError):
        tree(tmp_path, TREE.replace(old, new))


def scored(tmp_path: Path, solutions: int = 40) -> Evidence:
    """Solutions of three steps, every other one wrong from its second step on; a model that scores 0.9 and 0.2."""
    steps = [(item, step) for item in range(solutions) for step in (1, 2, 3)]
    wrong = [item % 2 == 1 for item, _ in steps]
    file = tmp_path / "steps.parquet"
    write_columns(file, {
        "set": ["natural"] * len(steps), "item": [str(item) for item, _ in steps],
        "group": [str(item // 4) for item, _ in steps], "step": [step for _, step in steps], "steps": [3] * len(steps),
        "generator": ["writer"] * len(steps), "answer_right": [not bad for bad in wrong],
        "solution_right": [not bad for bad in wrong], "first_wrong_step": [2 if bad else None for bad in wrong],
        "human_rating": [None] * len(steps),
        "judge": [0.2 if bad and step > 1 else 0.9 for bad, (_, step) in zip(wrong, steps, strict=True)],
        "judge_redundant": [0.5] * len(steps),
    }, {})  # fmt: skip
    read = read_evidence(file)
    assert isinstance(read, Evidence)
    return read


def test_scored_steps_are_chains_with_verdicts(tmp_path: Path) -> None:
    evidence = scored(tmp_path)
    rows = evidence.rows
    steps, verdicts = (rows.role == STEP) & (rows.finish != "refused"), rows.role == VERIFIER
    assert steps.sum() == verdicts.sum() == 120 and (rows.parent[steps] >= 0).sum() == 80
    assert rows.score[steps].mean() == pytest.approx((60 + 20) / 120)
    assert [str(arm) for arm in evidence.arms] == ["writer", "judge"]
    assert set(rows.judgement[verdicts].tolist()) == {0.2, 0.9}


def test_a_recorded_reward_model_errs_as_recorded(tmp_path: Path) -> None:
    evidence = scored(tmp_path)
    reward = recorded_reward(evidence, "judge")
    assert (len(reward.right), len(reward.wrong), reward.auc) == (80, 40, 1.0)
    rng = np.random.default_rng(0)
    assert {reward.judged(True, rng) for _ in range(9)} == {0.9} and {reward.judged(False, rng) for _ in range(9)} == {
        0.2
    }
    with pytest.raises(UnsupportedError, match="at least 30 of each"):
        recorded_reward(scored(tmp_path, 20), "judge")
    with pytest.raises(ComptrollerError):
        ModelledReward(right=(), wrong=(0.1,))


def published() -> tuple[Evidence, dict[str, bool]]:
    """The recorded trees, and whether each puzzle was solved by one of the five answers; skipped where absent."""
    paths = [DATA / name for name in ("tree24_nodes.csv", "tree24_runs.csv")]
    if not all(path.exists() for path in paths):
        pytest.skip("the recorded trees are not beside the project")
    evidence = read_evidence(paths[0])
    assert isinstance(evidence, Evidence)
    with paths[1].open(encoding="utf-8") as file:
        solved = {row["puzzle"]: row["solved"] == "True" for row in csv.DictReader(file) if "tree" in row["method"]}
    return evidence, solved


def test_beam_search_as_wide_as_the_recorded_one_solves_what_it_solved() -> None:
    evidence, solved = published()
    replay, search = replay_of(evidence), BeamSearchStrategy(width=200, depth=4, by="score", pick="best", keep=5)
    rows, agreed, left_out = evidence.rows, 0, 0
    for number, item in enumerate(evidence.items):
        try:
            ((_, run),) = runs(search, replay, [number])
        except UnsupportedError:
            left_out += 1
            continue
        right = set(rows.answer[(rows.question == number) & (rows.score == 1.0)].tolist()) - {None}
        found = [reply.answer for reply in run.replies if reply.answer is not None]
        agreed += bool(right & set(found)) == solved[item.id]
    assert left_out <= 1 and agreed == len(evidence.items) - left_out


def test_the_command_replays_trees_and_tells_what_a_reward_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree(tmp_path)
    scored(tmp_path)
    asked = [
        "replay",
        "beam_search(width=8,keep=1,pick=best)",
        "--evidence",
        str(tmp_path / "tree.csv"),
        "--deals",
        "2",
    ]
    assert told(asked, capsys)[0] == 2, "nobody scores the steps"
    code, text = told([*asked, "--reward", f"{tmp_path / 'steps.parquet'}:judge"], capsys)
    assert code == 0 and "80 right and 40 wrong" in text and "100 %" in text.replace("100%", "100 %")
    assert told([*asked, "--reward", "0.9,0.2"], capsys)[0] == 0
    for wrong in ("0.9", "a,b", "1.5,0", f"{tmp_path / 'steps.parquet'}:nobody", "nothing.csv:judge"):
        code, text = told([*asked, "--reward", wrong], capsys)
        assert code == 2 and "Traceback" not in text, wrong


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command and all it says."""
    try:
        main(arguments)
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out + said.err
