"""Recorded searches replayed: crosswords with pruning and without, programs with own tests, trees by rewards.

`python benchmarks/recorded_searches.py` writes results/recorded_searches.{json,md}. Needs the data beside the project.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.strategies.deals import expected_replay
from comptroller.strategies.modelled_reward import recorded_reward
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService
from comptroller.strategies.replay_intervals import estimate
from comptroller.strategies.spelling import parse
from comptroller.strategies.study import ReplayConditions, study
from comptroller.work.evidence import STEP, Evidence
from comptroller.work.evidence_pool import pool_of, solvers
from comptroller.work.evidence_readers import read_evidence
from record import table, write
from served import ROOT

DATA = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data")) / "agents"
TASK = "mr-math"
CHOICE = "dvts(width=2,branch=1,depth=64,by={},pick=best)"
"""Two recorded solutions to their ends, of which the one whose last step scores higher is taken."""


CHANGED = "perturbed"
JUDGES = ("math_shepherd_7b", "reasoneval_llemma_34b")
TREE_SEARCHES = [
    parse(text)
    for text in (
        "rebase(width=1,depth=64)", "beam_search(width=8,keep=4,depth=64)", "dvts(width=8,branch=4,depth=64)",
        "rebase(width=8,depth=64)", "ets(width=8,depth=64)", "dora(width=8,depth=64)", "hyper(width=8,depth=64)",
        "particle_filtering(width=8,depth=64)", "best_first(expansions=40)", "depth_first(depth=64)", "mcts(rounds=40)",
    )
]  # fmt: skip
"""The first takes one way by chance."""
DEALS = 8
"""Orders in which the ways on are asked for: one alone differs by 4 points, the mean of so many by 1.5."""


def evidence(name: str) -> Evidence:
    """The replies of a file."""
    found = read_evidence(DATA / name)
    assert isinstance(found, Evidence)
    return found


def shown(results: Any) -> tuple[float, float, float]:
    """The mean score and its interval, questions resampled."""
    solved = estimate(results.score, np.random.default_rng(0))
    return solved.value, solved.low, solved.high


def crosswords() -> dict[str, tuple[float, float, float]]:
    """Words right by depth-first search, each setting on the record of its own search."""
    records, found = evidence("tree_crosswords.csv"), {}
    for effort, prune in (("dfs_prune", 0.0), ("dfs_no_prune", -1.0)):
        who = next(RecordedService(arm) for arm in records.arms if arm.effort == effort)
        search = f"depth_first(by=score,ends=never,branch=15,prune={prune})"
        replay = EvidenceReplay(records, {"solver": who, "step": who})
        found[search] = shown(expected_replay(parse(search), replay, replay.covered(("step",)).tolist()))
    return found


def programs() -> dict[str, tuple[float, float, float]]:
    """Programs solved: each search alone, and the dearer model where the cheaper one's own tests fail."""
    records = evidence("code_search.csv")
    services = {str(arm): RecordedService(arm) for arm in records.arms}
    weak, strong = services["gpt-3.5-turbo mcts_8x5"], services["gpt-4 mcts_8x5"]
    roles = {"weak": weak, "strong": strong, "verifier": weak, "solver": strong}
    both = EvidenceReplay(records, roles | {"other": services["gpt-3.5-turbo dfs_8"]})
    asked = both.covered(("verifier",)).tolist()
    once, found = parse("once(greedy=false)"), {}
    for name, who in services.items():
        found[name] = shown(expected_replay(once, EvidenceReplay(records, {"solver": who}), asked))
    cascade = expected_replay(parse("verdict_cascade(checker=verifier,accept=1.0)"), both, asked)
    found["gpt-3.5-turbo, then gpt-4 where own tests fail"] = shown(cascade)
    found["asked gpt-4"] = (float(cascade.mean("strong_calls")), np.nan, np.nan)
    found["tasks"] = (float(len(asked)), np.nan, np.nan)
    return found


def one_generator(records: Evidence) -> Evidence:
    """The steps of all generators as those of one, so that a question has several solutions."""
    return pool_of(records, [records.arms[arm] for arm in solvers(records)])


def chosen(records: Evidence, questions: Sequence[int], judge: Any, by: str = "reward") -> Any:
    """Results of taking the better of two solutions by a judge."""
    who = RecordedService(records.arms[-1])
    roles = {"solver": who, "step": who, **({"reward": judge} if judge else {})}
    return expected_replay(parse(CHOICE.format(by)), EvidenceReplay(records, roles, 0), questions)


def of_rewards() -> tuple[list[list[str]], dict[str, Any]]:
    """Share right of two solutions chosen by each reward model: as recorded, and by its error on other questions."""
    records = one_generator(evidence("step_rewards.parquet"))
    rows, last = records.rows, len(records.arms) - 1
    starts = (rows.arm == last) & (rows.parent < 0) & (rows.role == STEP) & (rows.finish != "refused")
    count = np.bincount(rows.question[starts], minlength=len(records.items))
    tasks = np.array([item.task == TASK for item in records.items])
    names = [str(arm) for number, arm in enumerate(records.arms[:-1]) if (rows.arm == number).any()]
    order = np.random.default_rng(0).permutation(np.flatnonzero(tasks & (count >= 2)))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    table_rows, figures = [], dict[str, Any](questions=len(order))
    for name in names:
        seen, told = [], []
        for fit, judged in (halves, halves[::-1]):
            who = RecordedService(records.find(name))
            kept = np.isin(rows.question, fit)
            seen.append(chosen(records, judged.tolist(), who).score)
            error = recorded_reward(records.only(kept), name)
            told.append(chosen(records, judged.tolist(), error).score)
        recorded, modelled = float(np.concatenate(seen).mean()), float(np.concatenate(told).mean())
        auc = recorded_reward(records, name, (TASK,)).auc
        figures[name] = {"auc": auc, "recorded": recorded, "modelled": modelled}
        table_rows.append([name, f"{auc:.1%}", f"{recorded:.1%}", f"{modelled:.1%}"])
    for name, judge in (("without error", ModelledChecker()), ("by chance", ModelledChecker(0.5, 0.5))):
        share = chosen(records, order.tolist(), judge).mean("score")
        figures[name] = {"recorded": share}
        table_rows.append([name, "–", f"{share:.1%}", "–"])
    return table_rows, figures


def on_trees() -> tuple[list[list[str]], dict[str, Any]]:
    """Share right of every search over steps on trees of changed solutions, by who scores the steps."""
    records = evidence("step_rewards.parquet")
    rows = records.rows
    asked = np.random.default_rng(0).permutation([n for n, item in enumerate(records.items) if item.task == CHANGED])
    halves = asked[: len(asked) // 2], asked[len(asked) // 2 :]
    shares: dict[str, dict[str, float]] = {}
    for name in JUDGES:
        roles = {"reward": records.find(name)}
        for setting in study(records, TREE_SEARCHES, ReplayConditions(roles, tasks=(CHANGED,), deals=DEALS)).settings:
            shares.setdefault(setting.strategy, {})[name] = setting.score.value
        for fit, judged in (halves, halves[::-1]):
            error = recorded_reward(records.only(np.isin(rows.question, fit)), name)
            of = records.only(np.isin(rows.question, judged))
            for setting in study(of, TREE_SEARCHES, ReplayConditions(reward=error, deals=DEALS)).settings:
                share = setting.score.value * len(judged) / len(asked)
                told = shares[setting.strategy]
                told[f"{name}, drawn"] = told.get(f"{name}, drawn", 0.0) + share
    sure = ReplayConditions(reward=ModelledChecker(), tasks=(CHANGED,), deals=DEALS)
    for setting in study(records, TREE_SEARCHES, sure).settings:
        shares[setting.strategy]["without error"] = setting.score.value
    table_rows = [[f"`{name}`", *(f"{share:.1%}" for share in of.values())] for name, of in shares.items()]
    return table_rows, {"questions": len(asked), "shares": shares}


def main() -> int:
    """Replays and writes."""
    if not DATA.exists():
        print(f"recorded_searches: no data at {DATA}; COMPTROLLER_DATA names the data folder", file=sys.stderr)
        return 2
    words, solved = crosswords(), programs()
    rewards, figures = of_rewards()
    searched, trees = on_trees()
    heads = ["", "share", "95 %"]
    rows = [[f"`{name}`", f"{mean:.1%}", f"{low:.1%} to {high:.1%}"] for name, (mean, low, high) in words.items()]
    more = [[name, f"{mean:.1%}", "" if np.isnan(low) else f"{low:.1%} to {high:.1%}"]
            for name, (mean, low, high) in solved.items() if name != "tasks"]  # fmt: skip
    text = "\n\n".join((
        f"# Recorded searches\n\n{(__doc__ or '').partition(chr(10))[0]}",
        "Words of mini crosswords that are right, 14 puzzles; published on 20: 60 % with pruning, 41.5 % without "
        "(arXiv 2305.10601).", table(heads, rows),
        "HumanEval, tasks whose first program failed its own tests (LATS, arXiv 2310.04406; published on all tasks: "
        f"83.8 % with GPT-3.5, 92.7 % with GPT-4); the same {solved['tasks'][0]:.0f} for all.", table(heads, more),
        f"The better of two recorded solutions by the score of its last step, {figures['questions']} questions of "
        f"{TASK}; modelled: with the error of the reward model on the other half of the questions "
        "(`--reward EVIDENCE:MODEL`). So few questions have two solutions that no figure below differs from chance (an "
        "interval is 40 points wide).",
        table(["reward model", "right above wrong", "right, its own scores", "right, its error drawn"], rewards),
        f"Search over the steps of {trees['questions']} questions whose solutions were changed at one step, each a "
        "tree of right and wrong ways on, all recorded to their ends (`comptroller replay ... --evidence "
        f"step_rewards.parquet --task {CHANGED} --role reward=NAME`), means over {DEALS} deals; drawn: with the error "
        "of the reward model on the other half of the questions, each step by itself.",
        table(["search", *next(iter(trees["shares"].values()))], searched),
    ))  # fmt: skip
    found = {"crosswords": words, "programs": solved, "rewards": figures, "trees": trees}
    write("recorded_searches", found, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
