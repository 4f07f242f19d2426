"""From how many queries on a context what is prepared of it pays: on recorded contexts, with an interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt

from comptroller.costs.inference_units import sleep_break_even
from comptroller.errors import UnsupportedError
from comptroller.strategies.drive import MEASURES, StrategyDriver, play
from comptroller.strategies.prepared_contexts import offline_of, prepared_context, prepared_question
from comptroller.strategies.protocol import UNLIMITED, Strategy
from comptroller.strategies.replay import EvidenceReplay, PreparedContext
from comptroller.strategies.spelling import spell

Floats = npt.NDArray[np.float64]

DRAWS = 2000
"""Resamples of contexts behind an interval, as many as of questions."""
UNITS = {"tokens": "tokens", "usd": "dollars"}
"""Amount in which a break-even is told -> what it is called."""


@dataclass(frozen=True, slots=True)
class SleepBreakEven:
    """Means by context, of shape (contexts,). notes: amount of what is prepared.  bare, noted: of a query without it
    and with it."""

    notes: Floats
    bare: Floats
    noted: Floats

    def queries(self, premium: float = 1.0) -> float:
        """Queries a context from which the notes pay; infinite where they save nothing.

        premium: price of an amount while a query waits over that in idle hours.

        >>> SleepBreakEven(np.array([300.0]), np.array([100.0]), np.array([40.0])).queries()
        5.0
        """
        return sleep_break_even(float(self.notes.mean()), float((self.bare - self.noted).mean()), premium)

    def interval(self, rng: np.random.Generator) -> tuple[float, float]:
        """95 % interval, contexts resampled; infinite above where a resample saves nothing."""
        drawn = rng.integers(len(self.notes), size=(DRAWS, len(self.notes)))
        saved = (self.bare - self.noted)[drawn].mean(axis=1)
        with np.errstate(divide="ignore"):
            values = np.sort(np.where(saved > 0, self.notes[drawn].mean(axis=1) / saved, np.inf))
        return float(values[round(0.025 * (DRAWS - 1))]), float(values[round(0.975 * (DRAWS - 1))])

    def of(self, contexts: Sequence[int]) -> SleepBreakEven:
        """The same of some of the contexts."""
        return SleepBreakEven(*(values[np.asarray(contexts, int)] for values in (self.notes, self.bare, self.noted)))


def recorded_break_even(
    strategy: Strategy, replay: EvidenceReplay, questions: Sequence[int], amount: str
) -> SleepBreakEven:
    """Break-even of a strategy that prepares contexts. amount: one of `MEASURES`.

    Raises:
        UnsupportedError: replies without notes, or with them, are not recorded of a question.
    """
    by_context: dict[str, list[tuple[float, float, float]]] = {}
    for number in questions:
        made = prepared_context(strategy, replay, number)
        assert made is not None
        spent = [_amount(strategy, replay, number, known, amount) for known in (None, made)]
        row = (MEASURES[amount](made.cost), spent[0], spent[1])
        by_context.setdefault(replay.evidence.items[number].context, []).append(row)
    means = np.array([np.mean(rows, axis=0) for rows in by_context.values()])
    return SleepBreakEven(means[:, 0], means[:, 1], means[:, 2])


def _amount(
    strategy: Strategy, replay: EvidenceReplay, number: int, made: PreparedContext | None, amount: str
) -> float:
    """What a question takes, without what was prepared."""
    question, known = prepared_question(replay, number, made)
    rng = np.random.default_rng([replay.seed or 0, number])
    run = play(StrategyDriver(strategy, question, UNLIMITED, rng), replay.world_of(strategy, number, known))
    return MEASURES[amount](run.cost)


def sleep_notes(
    questions: Mapping[EvidenceReplay, Iterable[int]], strategies: Iterable[Strategy], seed: int
) -> Iterator[str]:
    """What is told of strategies that prepare contexts. questions: of each replay."""
    for replay, chosen in questions.items():
        for strategy in strategies:
            yield from _notes_of(strategy, replay, sorted(chosen), seed)


def _notes_of(strategy: Strategy, replay: EvidenceReplay, questions: Sequence[int], seed: int) -> Iterator[str]:
    """From how many queries on the notes of a context pay, in tokens and in dollars, where both are recorded."""
    if offline_of(strategy) is None:
        return
    for amount, unit in UNITS.items():
        try:
            found = recorded_break_even(strategy, replay, questions, amount)
        except UnsupportedError:
            return
        if not isfinite(float(found.notes.sum() + found.bare.sum())):
            continue
        low, high = found.interval(np.random.default_rng(seed))
        queries = found.queries()
        told = f"from {queries:.2f} queries a context [{low:.2f}, {high:.2f}]" if isfinite(queries) else "never"
        yield (
            f"{spell(strategy)}: in {unit}, notes pay {told} ({len(found.notes)} contexts); where idle hours cost a "
            "tenth, from a tenth of it"
        )
