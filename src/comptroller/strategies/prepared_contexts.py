"""What a strategy prepares of a context before its questions come, once for all of them.

A strategy that prepares has a property `offline`: the strategy that is run on the context, whose reply its questions
continue (`StrategyQuestion.prepared`). What it costs is shared by the questions that are asked on the context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.drive import FinishedRun, StrategyDriver, play
from comptroller.strategies.protocol import UNLIMITED, Ask, Strategy, StrategyQuestion
from comptroller.strategies.recorded_service import RecordedReply
from comptroller.strategies.replay import EvidenceReplay, PreparedContext


def offline_of(strategy: object) -> Strategy | None:
    """The strategy that prepares a context for another, None where it prepares nothing.

    >>> from comptroller.strategies.spelling import parse
    >>> offline_of(parse("once")) is None, type(offline_of(parse("sleep_time"))).__name__
    (True, 'ContextNotesStrategy')
    """
    prepares: Strategy | None = getattr(strategy, "offline", None)
    return prepares


def prepared_context(strategy: Strategy, replay: EvidenceReplay, number: int) -> PreparedContext | None:
    """What is prepared of a question's context; None where the strategy prepares nothing. Each context is played once.

    Raises:
        UnsupportedError: the question has no context, or nothing that was prepared of it is recorded.
    """
    offline = offline_of(strategy)
    if offline is None:
        return None
    item, evidence = replay.evidence.items[number], replay.evidence
    if not item.context:
        raise UnsupportedError(f"{evidence.source or 'evidence'}: question {item.id} has no context to prepare")
    place = evidence.item(item.context)
    if (offline, place) not in replay.prepared:
        world = replay.world(place)
        text = StrategyQuestion(item.context, context=evidence.items[place].text)
        drive = StrategyDriver(offline, text, UNLIMITED, np.random.default_rng([replay.seed or 0, place]))
        run = play(drive, world)
        replay.prepared[offline, place] = PreparedContext(run.answer.reply, run.cost, world.records)
    return replay.prepared[offline, place]


def prepared_question(
    replay: EvidenceReplay, number: int, made: PreparedContext | None
) -> tuple[StrategyQuestion, Mapping[Ask, RecordedReply]]:
    """The question with what was prepared of its context, and the replies that it may go on from."""
    question = replay.questions[number]
    return (question, {}) if made is None else (replace(question, prepared=made.reply), made.records)


def questions_on_contexts(replay: EvidenceReplay, questions: Sequence[int]) -> Counter[str]:
    """How many of the questions are asked on each context."""
    return Counter(replay.evidence.items[number].context for number in questions)


def with_share(run: FinishedRun, made: PreparedContext | None, questions: int) -> FinishedRun:
    """The run with its share of what was prepared, one of so many questions on the context."""
    return run if made is None else replace(run, beforehand=_part(made.cost, 1 / questions))


def _part(cost: Cost, share: float) -> Cost:
    """A share of every amount of a cost."""
    amounts: dict[str, Any] = {
        item.name: getattr(cost, item.name) * share for item in fields(Cost) if item.name != "tokens"
    }
    tokens = TokenCounts(*(getattr(cost.tokens, kind.name) * share for kind in fields(TokenCounts)))
    return Cost(**amounts, tokens=tokens)
