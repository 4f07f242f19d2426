"""Recorded questions that `comptroller simulate` lets arrive: its options, and what they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._evidence_options import (
    DEFAULT_SAMPLES,
    NEVER_WRONG,
    ColumnTexts,
    Rates,
    Rewards,
    RoleTexts,
    evidence_map,
    modelled_judges,
    named_pairs,
    records_of,
    roles_of,
)
from comptroller.cli._output import say
from comptroller.errors import InputError
from comptroller.planning.question_arrivals import QuestionArrivals, gate_notes
from comptroller.serving.world import QuestionStreamOutcome
from comptroller.strategies.bindings import BESIDE_SOLVERS, bindings
from comptroller.strategies.protocol import QuestionBudget
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.spelling import parse
from comptroller.work.evidence import Evidence, RecordedModel
from comptroller.work.evidence_pool import solvers
from comptroller.work.laws.caps import flag_truncated

HowSolved = Annotated[
    list[str] | None,
    typer.Option(
        help="Let recorded questions arrive instead, each solved like this, as best_of_n(n=8); again for others to "
        "compare on the same questions.",
        show_default=False,
    ),
]
Recorded = Annotated[
    str, typer.Option(help="The recorded questions: a file, or evidence that ships by name.", show_default=False)
]
Whose = Annotated[str, typer.Option(help="Whose replies, where one model plays every role.", show_default=False)]
Served = Annotated[
    list[str] | None,
    typer.Option(
        help="Which of the plan's models plays a recorded one, NAME=MODEL, where the names differ; again for others.",
        show_default=False,
    ),
]
AskedQuestions = tuple[QuestionArrivals, ...]
"""The same questions for each strategy; none where requests arrive."""
Lead = Annotated[
    float,
    typer.Option(
        help="Seconds before its first question from which a context is known and may be prepared.",
        show_default="from the start",
    ),
]
Limits = Annotated[str, typer.Option(help="Per question, as '2000 tokens, 30 s'.", show_default=False)]


def question_arrivals(
    strategy: HowSolved = None,
    evidence: Recorded = "",
    named_columns: ColumnTexts = None,
    model: Whose = "",
    role: RoleTexts = None,
    served: Served = None,
    budget: Limits = "",
    checker: Rates = NEVER_WRONG,
    reward: Rewards = "",
    lead: Lead = inf,
) -> AskedQuestions:
    """The recorded questions and how they are solved, by each strategy, where they are asked for."""
    if not strategy and not evidence:
        if role or served or model or named_columns or reward or checker != NEVER_WRONG or lead != inf:
            options = "--model, --role, --served, --map, --checker, --reward and --lead"
            raise InputError(f"{options} go with --strategy and --evidence")
        return ()
    if not evidence or not strategy:
        raise InputError("--strategy and --evidence go together: how questions are solved, and which")
    records = records_of(Path(evidence), DEFAULT_SAMPLES, 0, evidence_map(named_columns))
    played = {name: RecordedService(arm) for name, arm in _players(records, model, role or []).items()}
    replay = EvidenceReplay(flag_truncated(records), {**modelled_judges(checker, reward).roles, **played})
    pairs = named_pairs("served", "NAME=MODEL", served or [])
    if not lead >= 0:
        raise InputError(f"--lead {lead:g}: seconds before its first question a context is known, from 0 up")
    strategies, within = [parse(one) for one in dict.fromkeys(strategy)], QuestionBudget.parse(budget)
    return tuple(QuestionArrivals(one, replay, within, pairs, lead, strategies) for one in strategies)


def simulation_choices(
    routing: Sequence[str] | None, questions: AskedQuestions
) -> list[tuple[str, QuestionArrivals | None]]:
    """Routing policy, the plan's own where it is empty, and questions of each simulation.

    Raises:
        InputError: several policies and several strategies.
    """
    names = list(dict.fromkeys(routing or [""]))
    if len(names) > 1 and len(questions) > 1:
        raise InputError("--routing and --strategy: several of both; name one of either")
    return [(name, one) for name in names for one in questions or (None,)]


def say_gates(questions: AskedQuestions, solved: Sequence[QuestionStreamOutcome | None]) -> None:
    """What there is to know of the trained parts of strategies whose questions were simulated."""
    notes = [gate_notes(one, outcome) for one, outcome in zip(questions, solved, strict=False) if outcome]
    for note in dict.fromkeys(chain.from_iterable(notes)):
        say(note)


def _players(records: Evidence, model: str, texts: list[str]) -> dict[str, RecordedModel]:
    """Who plays each role, of texts ROLE=MODEL: the roles as named, and one model all others.

    Raises:
        InputError: a model and a role that solves are both named, or neither where several models solve.
    """
    roles = roles_of(records, texts)
    solve = set(roles) - BESIDE_SOLVERS
    if solve and model:
        raise InputError("--model and --role: one model plays every role, or each role has its own; --role solver=NAME")
    arms = [records.find(model)] if model else [records.arms[arm] for arm in solvers(records)]
    if not solve and len(arms) != 1:
        raise InputError(f"--model: whose replies? recorded: {', '.join(map(str, arms))}")
    return bindings(records, roles, arms)[0]
