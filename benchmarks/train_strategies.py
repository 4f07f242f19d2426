"""Trains the small parts that ship with strategies and writes them to `src/comptroller/strategies/trained`.

    python benchmarks/train_strategies.py

question_text: the chance that a weak model answers, from the text of the question alone (RouteLLM's MMLU outcomes).
reply_length: the chance that a reply of GPT-5 mini is right, from its length (pricing_reversal: AIME, GPQA and
LiveMathBench). One model only: over several at once, length tells the models apart and not right from wrong.

From our own evidence, which ships with the package:
own_direct, own_steps (if recorded): the chance that the small model succeeds at an effort, from the question's text.
agreement_of_4: the chance that the vote of four samples is right, from their likelihood, length and agreement.

Quality is cross-fitted over questions, five folds.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from comptroller.strategies.learned import TRAINED, reply_signals, text_signals
from comptroller.strategies.protocol import Ask
from comptroller.strategies.replay import Replay, Service
from comptroller.strategies.training import Outcomes, train
from comptroller.strategies.votes import vote
from comptroller.work.evidence import Arm, Evidence
from comptroller.work.evidence_readers import read_evidence

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "evidence"
CHEAP = "gpt-5-mini"
SEED = 0
FORMAT, SAMPLES, EACH = "Q8_0", 16, 4


def about(data: str, source: str) -> dict[str, object]:
    command = "python benchmarks/train_strategies.py"
    return {"data": data, "source": source, "command": command, "seed": SEED, "folds": 5}


def question_text() -> None:
    table = pq.read_table(DATA / "routellm_mmlu.parquet").to_pydict()
    rows = [text_signals(prompt) for prompt in table["prompt"]]
    outcomes = Outcomes.of(rows, table["weak_correct"], table["prompt"])
    part = train(
        outcomes, about("routellm_mmlu.parquet", "RouteLLM, Apache-2.0"), np.random.default_rng(SEED)
    )
    part.save(TRAINED / "question_text.json")
    print("question_text", part.measured)


def reply_length() -> None:
    table = pq.read_table(DATA / "pricing_reversal.parquet").to_pandas()
    table = table[table.task.isin(["aime", "gpqa", "livemathbench"]) & (table.model == CHEAP)]
    tokens = table.completion_tokens.to_numpy(float)
    rows = [{"log_tokens": float(np.log1p(count))} for count in tokens]
    group = (table.task + ":" + table.question.astype(str)).to_numpy()
    outcomes = Outcomes.of(rows, table.score.to_numpy() >= 0.5, group)
    part = train(
        outcomes, about("pricing_reversal.parquet", "pricing-reversal, MIT"), np.random.default_rng(SEED)
    )
    part.save(TRAINED / "reply_length.json")
    print("reply_length", part.measured)


def own() -> None:
    evidence = read_evidence("own")
    if not isinstance(evidence, Evidence):
        raise SystemExit("own evidence holds replies")
    told = about(evidence.source, "benchmarks/make_evidence.py")
    counts = evidence.counts()
    for number, arm in enumerate(evidence.arms):
        if arm.format == FORMAT:
            asked = np.flatnonzero(counts.n[:, number] > 0)
            signals = [text_signals(evidence.items[at].text) for at in asked]
            table = np.array([list(row.values()) for row in signals])
            n, wins = counts.n[asked, number].astype(float), counts.correct[asked, number]
            outcomes = Outcomes(tuple(signals[0]), table, wins, n, asked)
            save(f"own_{arm.effort}", outcomes, told)
            if arm.effort == "direct":
                agreement(evidence, arm, asked, told)


def agreement(evidence: Evidence, arm: Arm, asked: npt.NDArray[np.int64], told: dict[str, object]) -> None:
    replay = Replay(evidence, {"solver": Service(arm)})
    rows, right, group = [], [], []
    for number in asked.tolist():
        world = replay.world(number)
        drawn = [world.reply(ask, 0.0) for ask in Ask().times(SAMPLES)]
        for start in range(0, SAMPLES, EACH):
            some = drawn[start : start + EACH]
            rows.append(reply_signals(some))
            right.append(world.score(vote(some)) >= 0.5)
            group.append(number)
    save("agreement_of_4", Outcomes.of(rows, right, group), told)


def save(name: str, outcomes: Outcomes, told: dict[str, object]) -> None:
    part = train(outcomes, told, np.random.default_rng(SEED))
    part.save(TRAINED / f"{name}.json")
    print(name, part.measured)


if __name__ == "__main__":
    TRAINED.mkdir(exist_ok=True)
    question_text()
    reply_length()
    own()
