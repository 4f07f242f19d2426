"""Recorded models taken for one, trees in which a step was changed on purpose, and rewards drawn where a tree ends."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.errors import InputError, UnsupportedError
from comptroller.strategies.protocol import UNLIMITED
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService
from comptroller.strategies.results import runs
from comptroller.strategies.spelling import parse
from comptroller.strategies.step_support import within_record
from comptroller.strategies.study import ReplayConditions, study
from comptroller.work.arrow import write_columns
from comptroller.work.evidence import STEP, VERIFIER, Evidence, RecordedAskKey
from comptroller.work.evidence_pool import POOL, pool_of
from comptroller.work.evidence_readers import read_evidence

QUESTIONS = 12


def step_file(tmp_path: Path) -> Path:
    """Of each question a solution of three steps and the same with its second, or first, step changed; then solutions
    of two writers, of whom the second is right. The judge prefers what is right."""
    rows: list[dict[str, Any]] = []

    def solution(sort: str, item: str, group: str, writer: str, wrong: int | None, scores: list[float]) -> None:
        for number, score in enumerate(scores, 1):
            rows.append({
                "set": sort, "item": item, "group": group, "step": number, "steps": len(scores), "generator": writer,
                "answer_right": None, "solution_right": sort == "perturbed-original" or writer == "B",
                "first_wrong_step": wrong, "human_rating": None, "judge": score, "judge_redundant": 0.5,
            })  # fmt: skip

    for number in range(QUESTIONS):
        group, path = str(number), [0.9, 0.8 + number / 100, 0.7]
        solution("perturbed", f"{number}a", group, "W, one step changed: random number", 1, [path[0], 0.1, 0.2])
        solution("perturbed", f"{number}b", group, "W, one step changed: swap steps", None, [0.3, 0.2, 0.1])
        solution("perturbed-original", f"{number}", group, "W", None, path)
        solution("natural", f"{number}A", group, "A", 1, [0.2, 0.3])
        solution("natural", f"{number}B", group, "B", None, [0.8, 0.9])
    file = tmp_path / "steps.parquet"
    write_columns(file, {name: [row[name] for row in rows] for name in rows[0]}, {})
    return file


def evidence_of(tmp_path: Path) -> Evidence:
    read = read_evidence(step_file(tmp_path))
    assert isinstance(read, Evidence)
    return read


def replay_of(evidence: Evidence, name: str, reward: Any, seed: int | None = None) -> EvidenceReplay:
    who = RecordedService(evidence.find(name))
    return EvidenceReplay(evidence, {"solver": who, "step": who, "reward": reward}, seed)


def questions_of(evidence: Evidence, task: str) -> list[int]:
    return [number for number, item in enumerate(evidence.items) if item.task == task]


def test_changed_solutions_leave_the_path_of_the_untouched_one_at_their_first_wrong_step(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    rows, asked = evidence.rows, questions_of(evidence, "perturbed")
    assert len(asked) == QUESTIONS and [str(arm) for arm in evidence.arms] == ["W", "judge", "A", "B"]
    first = evidence.at(RecordedAskKey(asked[0], 0, STEP))
    said = [row for row in first.tolist() if rows.finish[row] != "refused"]
    assert sorted(rows.score[said].tolist()) == [0.0, 1.0], "a changed first step, and one that two have in common"
    second = evidence.at(RecordedAskKey(asked[0], 0, STEP, next(row for row in said if rows.score[row] == 1.0)))
    said = [row for row in second.tolist() if rows.finish[row] != "refused"]
    assert sorted(rows.score[said].tolist()) == [0.0, 1.0]
    assert (rows.role == VERIFIER).sum() == (rows.role == STEP).sum() - (rows.finish == "refused").sum()


def test_a_search_gets_all_that_goes_on_from_a_step_in_any_order_and_then_no_more(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    judge = RecordedService(evidence.find("judge"))
    asked = questions_of(evidence, "perturbed")
    wide = runs(parse("beam_search(width=8,keep=4,pick=best)"), replay_of(evidence, "W", judge), asked)
    assert [score for score, _ in wide] == [1.0] * QUESTIONS
    one = parse("rebase(width=1)")

    def share(seed: int | None) -> float:
        return float(np.mean([score for score, _ in runs(one, replay_of(evidence, "W", judge, seed), asked)]))

    assert np.mean([share(seed) for seed in range(20)]) == pytest.approx(0.25, abs=0.08), "two ways on at two steps"
    assert 0.0 < share(None) < 1.0


def test_a_pool_holds_the_solutions_of_its_members_and_is_dealt_in_any_order(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    together = pool_of(evidence, [evidence.find("A"), evidence.find("B"), evidence.find("judge")])
    rows, arm = together.rows, together.arm(together.find(POOL))
    assert len(together) == len(evidence) and not np.isin(rows.arm, [2, 3]).any()
    assert (rows.arm[rows.role == VERIFIER] == 1).all(), "who solves nothing is in no pool"
    order = np.lexsort((rows.sample, rows.parent, rows.arm, rows.question))
    ends = rows.finish[order][(rows.arm == arm)[order] & (rows.parent < 0)[order]].reshape(QUESTIONS, 4)
    assert (ends == ["stop", "stop", "refused", "refused"]).all()
    again = rows.parent[(rows.role == STEP) & (rows.parent >= 0)]
    assert (rows.question[again] == rows.question[(rows.role == STEP) & (rows.parent >= 0)]).all()
    judge, asked = RecordedService(together.find("judge")), questions_of(together, "natural")
    chosen = runs(parse("dvts(width=2,branch=1,pick=best)"), replay_of(together, POOL, judge), asked)
    assert [score for score, _ in chosen] == [1.0] * QUESTIONS
    with pytest.raises(InputError, match="two or more"):
        pool_of(evidence, [evidence.find("A"), evidence.find("judge")])


def test_a_pool_of_models_votes_and_has_no_greedy_reply() -> None:
    own = read_evidence("own")
    assert isinstance(own, Evidence)
    together = pool_of(own, own.arms)
    found = study(together, [parse("sample_and_vote(n=4)")], ReplayConditions(arms=together.arms[-1:], deals=4))
    alone = study(own, [parse("sample_and_vote(n=4)")], ReplayConditions(deals=4))
    assert [one.strategy for one in found.settings] == ["once(greedy=False)", "sample_and_vote(n=4)"]
    lone = [one.score.value for one in alone.settings if one.strategy == "sample_and_vote(n=4)"]
    assert min(lone) - 0.05 < found.settings[-1].score.value < max(lone) + 0.05


def test_a_reward_model_alone_stands_beside_every_model_that_solves(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    search = [parse("rebase(width=4)")]
    found = study(evidence, search, ReplayConditions(roles={"reward": evidence.find("judge")}, tasks=("natural",)))
    assert [one.models for one in found.settings] == [{"solver": name, "reward": "judge"} for name in ("A", "B")]
    assert found.over == "calls", "a judge's calls make no model strong"
    chosen = ReplayConditions(roles={"reward": evidence.find("judge")}, arms=(evidence.find("B"),))
    assert {one.solver for one in study(evidence, search, chosen).settings} == {"B"}


def test_questions_whose_answers_nobody_judged_are_told_by_task(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    blank = np.array([evidence.items[number].task == "natural" for number in evidence.rows.question])
    rows = replace(evidence.rows, score=np.where(blank, np.nan, evidence.rows.score))
    roles = {"reward": evidence.find("judge")}
    found = study(replace(evidence, rows=rows), [parse("rebase(width=4)")], ReplayConditions(roles=roles))
    assert (
        f"no share solved where answers have no score, as on {QUESTIONS} questions of natural; --task names the others"
        in (found.notes)
    )


@pytest.mark.parametrize("name", ["A", "W"])
def test_who_scored_nothing_is_refused_as_reward_with_the_names_of_those_who_did(tmp_path: Path, name: str) -> None:
    evidence = evidence_of(tmp_path)
    with pytest.raises(UnsupportedError, match=rf"{name} has scored no step .* one of judge"):
        study(evidence, [parse("rebase(width=4)")], ReplayConditions(roles={"reward": evidence.find(name)}))
    with pytest.raises(UnsupportedError, match="one of judge"):
        study(evidence, [parse("rebase(width=4)")], ReplayConditions())


def pruned(tmp_path: Path) -> Evidence:
    """Puzzles of two first steps, the wrong one first, of which the right one alone was continued."""
    lines = ["puzzle,numbers,depth,node,parent,left,answer,value,chosen,legal,reachable,correct"]
    for puzzle in range(20):
        first = f"{puzzle},1 2 {puzzle},0"
        lines += [
            f"{first},0,-1,9 {puzzle},False,0.001,False,True,False,",
            f"{first},1,-1,2 4,False,60.0,True,True,True,",
        ]
        lines += [f"{puzzle},1 2 {puzzle},1,2,1,,True,60.0,True,True,True,True"]
    file = tmp_path / "tree.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    read = read_evidence(file)
    assert isinstance(read, Evidence)
    return read


def test_drawn_rewards_are_refused_where_their_errors_lead_out_of_the_record(tmp_path: Path) -> None:
    evidence, search = pruned(tmp_path), parse("beam_search(width=4,keep=1,pick=best)")
    orders = [replay_of(evidence, "gpt-4", ModelledChecker(0.5, 0.5), seed) for seed in range(8)]
    kept, refused = within_record(orders, [search], range(20), UNLIMITED)
    (why,) = refused.values()
    ends = [int(part) for part in re.findall(r"solved is (\d+)% to (\d+)%", why)[0]]
    assert len(kept) == 20 and ends[0] < 60 and ends[1] > 95, "the right step is there, but what of the wrong one?"
    sure = [replay_of(evidence, "gpt-4", ModelledChecker(1.0, 0.0), seed) for seed in range(8)]
    assert within_record(sure, [search], range(20), UNLIMITED) == (set(range(20)), {})
    with pytest.raises(UnsupportedError, match=r"never continued in the record, on .* Rewards are drawn on trees"):
        study(evidence, [search], ReplayConditions(reward=ModelledChecker(0.5, 0.5), deals=8))


def test_the_command_pools_and_says_what_a_pool_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["replay", "rebase(width=2)", "--evidence", str(step_file(tmp_path)), "--role", "reward=judge", "--pool"]
    for more, code, said in (
        (["--task", "natural"], 0, "pool > judge"),
        (["--model", "A", "--model", "B"], 0, "pool > judge"),
        (["--model", "A"], 2, "two or more models"),
        (["--model", "nobody"], 2, "none is recorded"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*asked, *more])
        told = capsys.readouterr()
        assert int(ended.value.code or 0) == code and said in told.out + told.err, more
        assert "Traceback" not in told.err
