"""Trains the small parts that ship with strategies and writes them to `src/comptroller/strategies/trained`.

    python benchmarks/train_strategies.py

question_text: the chance that a weak model answers, from the text of the question alone (RouteLLM's MMLU outcomes).
reply_length: the chance that a reply of GPT-5 mini is right, from its length (pricing_reversal: AIME, GPQA and
LiveMathBench). One model only: over several at once, length tells the models apart and not right from wrong.

Routers, on what is recorded of their models (`comptroller fit routers` trains them for yours):
mmlu_win, mmlu_linear, mmlu_nearest, mmlu_domain: Mixtral-8x7B or GPT-4, from RouteLLM's MMLU outcomes.
open_linear: five open models from 7B to 51B, from LLMRouter's outcomes; cost is declared, in parameters.
reasoning_domain: seven models at their dollars on AIME, GPQA and LiveMathBench (pricing_reversal).

From our own evidence, which ships with the package:
own_direct, own_steps (if recorded): the chance that the small model succeeds at an effort, from the question's text.
agreement_of_4: the chance that the vote of four samples is right, from their likelihood, length and agreement.

Quality is cross-fitted over questions, five folds.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from comptroller.strategies.gate_training import question_outcomes, reply_outcomes
from comptroller.strategies.router_training import TRAINERS
from comptroller.strategies.router_training import train as train_router
from comptroller.strategies.routing import RoutingOutcomes as Answers
from comptroller.strategies.routing import outcomes
from comptroller.strategies.success_prediction import TRAINED, text_signals
from comptroller.strategies.training import TrainingOutcomes, train
from comptroller.work.evidence import Evidence, RecordedModel
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.evidence_readers.routellm import STRONG, WEAK

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "evidence"
PRICES, HARD = "pricing_reversal.parquet", ("aime", "gpqa", "livemathbench")
CHEAP, CAPPED = "gpt-5-mini", "MiniMax-M2.5"
OPEN = {
    "qwen2.5-7b-instruct": 7.0,
    "llama-3.1-8b-instruct": 8.0,
    "gemma-2-9b-it": 9.0,
    "llama-3.3-nemotron-super-49b-v1": 49.0,
    "llama-3.1-nemotron-51b-instruct": 51.0,
}
"""Billions of parameters, as in the names."""
SEED = 0
FORMAT, EACH = "Q8_0", 4


def about(data: str, source: str) -> dict[str, object]:
    command = "python benchmarks/train_strategies.py"
    return {"data": data, "source": source, "command": command, "seed": SEED, "folds": 5}


def question_text() -> None:
    table = pq.read_table(DATA / "routellm_mmlu.parquet").to_pydict()
    rows = [text_signals(prompt) for prompt in table["prompt"]]
    learnt = TrainingOutcomes.of(rows, table["weak_correct"], table["prompt"])
    part = train(learnt, about("routellm_mmlu.parquet", "RouteLLM, Apache-2.0"), np.random.default_rng(SEED))
    part.save(TRAINED / "question_text.json")
    print("question_text", part.measured)


def reply_length() -> None:
    table = [row for row in pq.read_table(DATA / PRICES).to_pylist() if row["task"] in HARD and row["model"] == CHEAP]
    rows = [{"log_tokens": float(np.log1p(row["completion_tokens"]))} for row in table]
    learnt = TrainingOutcomes.of(
        rows, [row["score"] >= 0.5 for row in table], [f"{row['task']}:{row['question']}" for row in table]
    )
    part = train(learnt, about("pricing_reversal.parquet", "pricing-reversal, MIT"), np.random.default_rng(SEED))
    part.save(TRAINED / "reply_length.json")
    print("reply_length", part.measured)


def routers() -> None:
    mmlu = outcomes(replies("routellm_mmlu.parquet"), [RecordedModel(WEAK), RecordedModel(STRONG)])
    for kind in TRAINERS:
        route(f"mmlu_{kind}", kind, mmlu, "RouteLLM, Apache-2.0")
    open_models = [RecordedModel(name) for name in OPEN]
    known = outcomes(replies("llmrouter_nine_models.parquet"), open_models, list(OPEN.values()))
    route("open_linear", "linear", known, "LLMRouter, MIT; cost: billions of parameters")
    prices = replies(PRICES)
    hard = [number for number, item in enumerate(prices.items) if item.task in HARD]
    arms = [arm for arm in prices.arms if arm.model != CAPPED]
    route("reasoning_domain", "domain", outcomes(prices, arms, among=hard), "pricing-reversal, MIT")


def replies(name: str) -> Evidence:
    found = read_evidence(DATA / name)
    if not isinstance(found, Evidence):
        raise SystemExit(f"{name} holds replies")
    return found


def route(name: str, kind: str, known: Answers, source: str) -> None:
    told = about(known.source, source)
    made = train_router(kind, known, told, np.random.default_rng(SEED)).router
    made.save(TRAINED / f"{name}.npz")
    print(name, made.measured)


def own() -> None:
    evidence = read_evidence("own")
    if not isinstance(evidence, Evidence):
        raise SystemExit("own evidence holds replies")
    told = about(evidence.source, "benchmarks/make_evidence.py")
    for arm in evidence.arms:
        if arm.format == FORMAT:
            save(f"own_{arm.effort}", question_outcomes(evidence, arm), told)
            if arm.effort == "direct":
                save("agreement_of_4", reply_outcomes(evidence, arm, EACH), told)


def save(name: str, learnt: TrainingOutcomes, told: dict[str, object]) -> None:
    part = train(learnt, told, np.random.default_rng(SEED))
    part.save(TRAINED / f"{name}.json")
    print(name, part.measured)


if __name__ == "__main__":
    TRAINED.mkdir(exist_ok=True)
    question_text()
    reply_length()
    routers()
    own()
