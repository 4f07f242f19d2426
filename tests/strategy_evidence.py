"""Evidence drawn from a seed, with greedy replies, samples, verdicts and revisions; synthetic and only for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comptroller.costs.inference_units import TokenPrice
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService, ServicePace
from comptroller.work.evidence import REVISER, SOLVER, VERIFIER, Evidence, RecordedModel, RecordedQuestion, columns

ARMS = (RecordedModel("small"), RecordedModel("large"))
PRICE = TokenPrice(1e-6, 4e-6)


def drawn(seed=0, questions=6, samples=16, logprobs=True, verdicts=2):
    rng = np.random.default_rng(seed)
    rows, logs = [], []

    def add(**row):
        output = float(rng.integers(5, 60))
        row = {"parent": -1, "role": SOLVER, "sample": 0, "temperature": 1.0, "judgement": np.nan, **row}
        row |= {"input_tokens": 20.0, "output_tokens": output, "reasoning_tokens": float(rng.integers(0, 9))}
        row |= {"answer": None, "score": np.nan, **row, "content": "text", "finish": "stop"}
        row["usd"] = float(PRICE.usd(20.0, row["output_tokens"] + row["reasoning_tokens"]))
        rows.append(row)
        logs.append(-rng.random(3).astype(np.float32))
        return len(rows) - 1

    def solved(question, arm, **more):
        right = rng.random() < 0.2 + 0.3 * arm + 0.06 * question
        answer = "a" if right else str(rng.choice(list("bcd")))
        return add(question=question, arm=arm, answer=answer, score=float(right), **more)

    for question in range(questions):
        for arm in range(2):
            solved(question, arm, temperature=0.0, judgement=float(rng.random()))
            tops = [solved(question, arm, sample=n, judgement=int(rng.integers(0, 9)) / 8) for n in range(samples)]
            for top in tops:
                for n in range(verdicts):
                    yes = float(rng.random() < 0.5)
                    verdict = add(question=question, arm=arm, role=VERIFIER, parent=top, sample=n, judgement=yes)
                    told = solved(question, arm, role=REVISER, parent=verdict)
                    add(question=question, arm=arm, role=VERIFIER, parent=told, judgement=1 - yes)
                first = solved(question, arm, role=REVISER, parent=top)
                solved(question, arm, role=REVISER, parent=first)
    table = {name: np.array([row[name] for row in rows]) for name in rows[0] if name not in ("answer", "content")}
    table |= {name: np.array([row[name] for row in rows], object) for name in ("answer", "content")}
    items = tuple(RecordedQuestion(f"q{number}", f"question {number}?") for number in range(questions))
    kept = tuple(logs) if logprobs else None
    return Evidence(items, ARMS, columns(len(rows), **table), kept, "drawn")


def scrambled(evidence):
    """The same replies, every score turned round."""
    return replace(evidence, rows=replace(evidence.rows, score=1 - evidence.rows.score))


def bound(evidence, checker=None, pace=None, seed=None, price=None):
    small, large = (RecordedService(arm, pace=pace or ServicePace(0.5, 0.001, 0.01), price=price) for arm in ARMS)
    roles = {"solver": small, "weak": small, "strong": large, "verifier": small, "reviser": small}
    roles |= {"checker": checker or ModelledChecker()}
    return EvidenceReplay(evidence, roles, seed)
