"""What is said of trained parts on other evidence: sample, base rate, what lies outside of it, gates that are none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.strategies import routers, success_prediction
from comptroller.strategies.part_notes import is_router, part_names, part_note
from comptroller.strategies.protocol import StrategyQuestion
from comptroller.strategies.rules.budget_forcing import BudgetForcingStrategy
from comptroller.strategies.rules.cascade import CascadeStrategy
from comptroller.strategies.rules.difficulty_gate import DifficultyGateStrategy
from comptroller.strategies.rules.route import RouteStrategy
from comptroller.strategies.spelling import parse
from comptroller.strategies.success_prediction import text_signals
from comptroller.work.evidence import SOLVER, Evidence, Floats, Ints

RARELY = 0.01
"""Stages beside one way, in the mean of a question's deals, that are no gate: truncated samples in a row. With 0.02 a
gate that lets one deal in 50 pass counts as none."""


@dataclass(frozen=True)
class GatedPlay:
    """What a strategy did. strategy: as it is written.  models: role -> recorded model, as written.  question: numbers
    in the evidence.  calls: each time that one of them was asked."""

    strategy: str
    models: Mapping[str, str]
    question: Ints
    calls: Floats


TEXT_SIGNALS = frozenset(text_signals(""))
"""Signals that a question's text has; the others are of replies."""


def trained_notes(evidence: Evidence, played: Sequence[GatedPlay]) -> Iterator[str]:
    """What the trained parts of strategies were trained on and where this evidence differs, and gates that decide
    nothing."""
    users: dict[str, list[GatedPlay]] = {}
    for one in played:
        for name in part_names(one.strategy):
            users.setdefault(name, []).append(one)
    for name, using in users.items():
        question = np.unique(np.concatenate([one.question for one in using]))
        models = {model for one in using for model in one.models.values()}
        if is_router(name):
            yield from _router_notes(evidence, name, question)
        else:
            yield from _predictor_notes(evidence, name, question, models)
    yield from _one_way_notes(evidence, played)


def _router_notes(evidence: Evidence, name: str, question: Ints) -> Iterator[str]:
    part = routers.router(name)
    if part.about.get("data") == evidence.source:
        yield f"in sample: the trained part {name} was trained on {evidence.source}"
    else:
        yield part_note(name)
    if isinstance(part.scorer, routers.DomainScorer):
        yield from _domain_notes(evidence, name, question, part.scorer.tasks.tolist())


def _domain_notes(evidence: Evidence, name: str, question: Ints, known: Collection[str]) -> Iterator[str]:
    """How many questions are of domains that a part was not trained on, where its domains are known."""
    other = sum(evidence.items[number].task not in known for number in question.tolist())
    if known and other:
        yield f"{name}: {other:,} of {len(question):,} questions are of domains that it was not trained on"


def _predictor_notes(evidence: Evidence, name: str, question: Ints, models: Iterable[str]) -> Iterator[str]:
    part = success_prediction.success_predictor(name)
    if part.about.get("data") == evidence.source:
        yield f"in sample: the trained part {name} was trained on {evidence.source}"
        return
    rows = _solver_rows(evidence, question, models)
    score = evidence.rows.score[rows]
    here = f"; here {np.nanmean(score):.0%} are right" if np.isfinite(score).any() else ""
    yield part_note(name) + here
    yield from _domain_notes(evidence, name, question, part.about.get("tasks", ()))
    texts = set(part.signals) <= TEXT_SIGNALS
    known = _text_table(evidence, question) if texts else _reply_table(evidence, rows)
    beyond = part.beyond(known)
    if beyond:
        share = np.mean(np.any(list(beyond.values()), axis=0))
        kind = "questions" if texts else "replies"
        yield f"{name}: {share:.0%} of the {kind} lie outside of its training ({', '.join(beyond)})"


def _solver_rows(evidence: Evidence, question: Ints, models: Iterable[str]) -> Ints:
    """Rows of the solver's replies of models to questions."""
    rows, named = evidence.rows, set(models)
    arms = [number for number, arm in enumerate(evidence.arms) if str(arm) in named]
    return np.flatnonzero(np.isin(rows.arm, arms) & np.isin(rows.question, question) & (rows.role == SOLVER))


def _text_table(evidence: Evidence, question: Ints) -> dict[str, Floats]:
    """Signals of the questions that have texts."""
    texts = [evidence.items[number].text for number in question.tolist() if evidence.items[number].text]
    table = [text_signals(text) for text in texts]
    return {name: np.array([row[name] for row in table]) for name in TEXT_SIGNALS if table}


def _reply_table(evidence: Evidence, rows: Ints) -> dict[str, Floats]:
    """Signals of single replies whose range is not bounded by what they are: NaN where not recorded."""
    made = evidence.rows.output_tokens[rows] + np.nan_to_num(evidence.rows.reasoning_tokens[rows])
    logs = evidence.logprobs
    table = {"log_tokens": np.log1p(made)}
    if logs is not None:
        table["likelihood"] = np.array([np.nan if logs[row] is None else np.mean(logs[row]) for row in rows.tolist()])
    return table


def _one_way_notes(evidence: Evidence, played: Sequence[GatedPlay]) -> Iterator[str]:
    """Gates that send every question the same way, by the way."""
    same: dict[str, list[str]] = {}
    for one in played:
        ways = _ways(evidence, one)
        if len(ways) == 1 and all(ways) and len(one.question) > 1:
            same.setdefault(ways.pop(), []).append(one.strategy)
    for way, spelled_alike in same.items():
        yield f"no gate here: {way} for every question under {', '.join(dict.fromkeys(spelled_alike))}"


def _ways(evidence: Evidence, one: GatedPlay) -> set[str]:
    """The ways that a gated strategy sends questions; none where it has no gate, or its parameter alone decides."""
    strategy = parse(one.strategy)
    if isinstance(strategy, CascadeStrategy):
        stages, last = one.calls / strategy.samples, len(strategy.roles)
        ends = {1: "the first model is accepted", last: "no model before the last is accepted"}
        return {
            next((ends[end] for end in ends if abs(mean - end) <= RARELY), "") for mean in np.unique(stages).tolist()
        }
    questions = (evidence.items[number] for number in one.question.tolist())
    if isinstance(strategy, DifficultyGateStrategy) and not strategy.judge:
        return {"the fast way" if strategy.is_easy(item.text) else "the slow way" for item in questions}
    if isinstance(strategy, RouteStrategy) and 0 < strategy.spend < 1:
        asked = (StrategyQuestion(item.id, item.text, task=item.task) for item in questions)
        return {f"the role {strategy.following(question, {})}" for question in asked}
    if isinstance(strategy, BudgetForcingStrategy) and strategy.by:
        asked = (StrategyQuestion(item.id, item.text, task=item.task) for item in questions)
        return {f"the effort {strategy.effort(question) or 'by default'}" for question in asked}
    return set()
