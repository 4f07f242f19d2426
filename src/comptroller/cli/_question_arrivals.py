"""Recorded questions that `comptroller simulate` lets arrive."""

from __future__ import annotations

from pathlib import Path

from comptroller.cli._evidence_options import DEFAULT_SAMPLES, records_of
from comptroller.errors import InputError
from comptroller.planning.simulation import QuestionArrivals
from comptroller.strategies.protocol import QuestionBudget
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService
from comptroller.strategies.spelling import parse
from comptroller.strategies.study import SOLVERS
from comptroller.work.laws.caps import flag_truncated


def question_arrivals(strategy: str, evidence: str, model: str, budget: str) -> QuestionArrivals | None:
    """The recorded questions and how they are solved, where they are asked for."""
    if not strategy and not evidence:
        return None
    if not evidence or not strategy:
        raise InputError("--strategy and --evidence go together: how questions are solved, and which")
    records = records_of(Path(evidence), DEFAULT_SAMPLES, 0)
    if not model and len(records.arms) > 1:
        raise InputError(f"--model: whose replies? recorded: {', '.join(map(str, records.arms))}")
    service = RecordedService(records.find(model) if model else records.arms[0])
    roles: dict[str, RecordedService | ModelledChecker] = {
        "checker": ModelledChecker(),
        **dict.fromkeys(SOLVERS, service),
    }
    return QuestionArrivals(
        parse(strategy), EvidenceReplay(flag_truncated(records), roles), QuestionBudget.parse(budget)
    )
