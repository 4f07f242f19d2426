"""Runs of strategies as evidence: every reply a row with its role and what it goes on from, to be replayed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from comptroller.strategies.drive import FinishedRun
from comptroller.strategies.protocol import Ask, Reply
from comptroller.strategies.replay import RECORDED
from comptroller.work.evidence import SOLVER, STEP, Evidence
from comptroller.work.evidence_rows import RawEvidence, evidence_of_rows

ONE = "recorded"
"""Model of replies whose role names none."""


def evidence_of_runs(
    runs: Sequence[FinishedRun], models: Mapping[str, str] | None = None, source: str = "runs"
) -> Evidence:
    """Evidence of runs on different questions. models: by role, where it is not `ONE`.

    Raises:
        RecordError: a question is there twice with different texts.
    """
    rows = [row for run in runs for row in _rows(run, models or {})]
    columns = {name: [cells[name] for cells in rows] for name in rows[0]}
    return evidence_of_rows(RawEvidence(range(1, len(rows) + 1), columns, source), Path(source))


def _rows(run: FinishedRun, models: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    names: dict[Ask, str] = {}
    question = run.question
    context = question.context or (None if question.prepared is None else "context")
    if question.prepared is not None:
        yield _row(question.prepared, names, models, context or "") | {"text": question.context}
    elif context:
        yield _row(Reply(Ask("sleeper"), "failed"), {}, models, context) | {"text": context}
    for reply in sorted(run.replies, key=lambda reply: run.order[reply.ask]):
        about = {"text": question.content, "context": context}
        yield _row(reply, names, models, question.id) | about


def _row(reply: Reply, names: dict[Ask, str], models: Mapping[str, str], question: str) -> dict[str, Any]:
    ask, tokens = reply.ask, reply.cost.tokens
    names[ask] = f"{question}/{len(names)}"
    return {
        "id": names[ask],
        "parent": names[ask.after.ask] if ask.after else None,
        "question": question,
        "text": None,
        "context": None,
        "model": models.get(ask.role, ONE),
        "effort": ask.effort or None,
        "role": RECORDED.get(ask.role, STEP if ask.stop else SOLVER),
        "temperature": 0.0 if ask.sampling.temperature == 0 else 1.0,
        "answer": reply.answer,
        "content": reply.content,
        "finish": reply.finish,
        "score": 1.0,
        "judgement": None if isnan(reply.score) else reply.score,
        "logprobs": None if reply.logprobs is None else list(reply.logprobs),
        "input_tokens": float(tokens.input + tokens.cached),
        "output_tokens": float(tokens.output),
        "reasoning_tokens": float(tokens.reasoning),
        "usd": float(reply.cost.usd),
        "latency_s": reply.done_s - reply.started_s,
    }
