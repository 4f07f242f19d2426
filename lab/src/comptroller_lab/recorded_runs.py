"""Runs of strategies as evidence: every reply a row with its role and what it goes on from, to be replayed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.strategies.bindings import SOLVERS
from comptroller.strategies.drive import FinishedRun, StrategyDriver, play
from comptroller.strategies.prepared_contexts import prepared_context, prepared_question
from comptroller.strategies.protocol import UNLIMITED, Ask, Reply, Strategy
from comptroller.strategies.recorded_roles import RECORDED
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.work.evidence import SOLVER, STEP, Evidence
from comptroller.work.evidence_rows import RawEvidence, evidence_of_rows

ONE = "recorded"
"""Model of replies whose role names none."""
ROLES = (*SOLVERS, "reward", "checker", "weak", "strong", "fast", "slow", "draft", "target")
"""Roles that are bound in a replay of runs."""


def evidence_of_runs(
    runs: Sequence[FinishedRun], models: Mapping[str, str] | None = None, source: str = "runs"
) -> Evidence:
    """Evidence of runs on different questions. models: by role, where it is not `ONE`.

    Raises:
        RecordError: a question is there twice with different texts.
    """
    rows = [row for run in runs for row in _rows(run, models or {})]
    contexts = {run.question.context for run in runs if run.question.context and run.question.prepared is None}
    rows = [*(_bare(context) for context in sorted(contexts)), *rows]
    columns = {name: [cells[name] for cells in rows] for name in rows[0]}
    return evidence_of_rows(RawEvidence(range(1, len(rows) + 1), columns, source), Path(source))


def _rows(run: FinishedRun, models: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    names: dict[Ask, str] = {}
    question = run.question
    context = question.context or (None if question.prepared is None else "context")
    if question.prepared is not None:
        yield _row(question.prepared, names, models, context or "") | {"text": question.context}
    for reply in sorted(run.replies, key=lambda reply: run.order[reply.ask]):
        about = {"text": question.content, "context": context}
        yield _row(reply, names, models, question.id) | about


def _bare(context: str) -> dict[str, Any]:
    """A row of a context of which nothing was prepared: its text."""
    return _row(Reply(Ask("sleeper"), "failed"), {}, {}, context) | {"text": context}


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


def replay_of_runs(strategy: Strategy, runs: Sequence[FinishedRun]) -> tuple[EvidenceReplay, dict[str, FinishedRun]]:
    """The runs of a strategy as evidence, and the strategy replayed on it, by the question's id.

    Seeds of the replay are those of `drawn_replies.drawn_run`: the number at the end of the question's id.
    """
    models = {role: role for role in getattr(strategy, "roles", ())}
    evidence = evidence_of_runs(runs, models)
    arms = {arm.model: arm for arm in evidence.arms}
    services = {role: RecordedService(arms.get(models.get(role, ONE), evidence.arms[0])) for role in ROLES}
    replay = EvidenceReplay(evidence, services)
    asked, found = {run.question.id for run in runs}, {}
    for number, item in enumerate(replay.evidence.items):
        if item.id in asked:
            made = prepared_context(strategy, replay, number)
            question, known = prepared_question(replay, number, made)
            drive = StrategyDriver(strategy, question, UNLIMITED, np.random.default_rng([0, int(item.id[1:])]))
            found[item.id] = play(drive, replay.world(number, known))
    return replay, found
