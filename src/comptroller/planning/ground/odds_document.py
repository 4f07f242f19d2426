"""How far the choice of a plan depends on step times that were predicted, in the Plan document; and the load that it is
for."""

from __future__ import annotations

from comptroller.planning.ground.day_document import DocumentPart


class PlannedLoad(DocumentPart):
    """What a plan of requests is for: rate, mean lengths, and the longest request, prompt and answer together."""

    requests_per_s: float
    mean_input_tokens: float
    mean_output_tokens: float
    longest_tokens: int


class BreakEvenFactor(DocumentPart):
    """How slow the steps of what was chosen may be until the best without it costs no more.

    axis, value: what was chosen.  factor: of its step times as predicted; `None` where none up to the range of the
    search does it.  beyond: what is the cheapest then.
    """

    axis: str
    value: str
    factor: float | None
    beyond: str
    sentence: str


class StepMeasurement(DocumentPart):
    """Step times that could be measured before choosing. saves_usd_per_h: expected, by a better choice."""

    what: str
    how: str
    saves_usd_per_h: float


class ChoiceOdds(DocumentPart):
    """The choice in draws of what steps truly take, with every fleet rented anew for the same requests.

    stands: share of draws in which no rival costs less.  rivals: how many there were.  next: what is worth measuring,
    best first.  rests_on: what the draws are.
    """

    draws: int
    rivals: int
    stands: float
    break_evens: tuple[BreakEvenFactor, ...]
    next: tuple[StepMeasurement, ...]
    rests_on: str
    sentence: str


class UntimedCaution(DocumentPart):
    """Accelerators that nobody timed and whose steps the choice takes at the upper end of their interval.

    factor: of their step times as predicted, by accelerator, the largest under any engine.  saves_per_h: what the
    choice at their predicted speed would cost less in the steady state, in the objective, 0 where it is the same.
    fleet: that choice.
    """

    factor: dict[str, float]
    saves_per_h: float
    fleet: str
    sentence: str
