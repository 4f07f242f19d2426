"""What of a plan is uncertain, in the Plan document: the sources, the choice's optimism, the next measurement."""

from __future__ import annotations

from comptroller.planning.ground.day_document import DocumentPart


class SelectionOptimism(DocumentPart):
    """By how much a share solved flatters, because the choice was made on the same questions.

    solved: by task, the empty name for all; what a choice made on a resample of the questions solves there less
    what it solves on all of them, the mean over resamples.  resamples: that were chosen on.  short: of these, that
    cannot reach the targets and were chosen on for the most that they support.  closed: resamples on which the
    limits leave no choice, which count for nothing.
    """

    solved: dict[str, float]
    resamples: int
    short: int
    closed: int = 0


class RiskSource(DocumentPart):
    """One thing that is not known. usd_per_h: 80 % interval of the plan's cost when it alone varies.

    share: of the variance of cost, among those of all sources when each varies alone.  rests_on: what its draws are.
    """

    name: str
    usd_per_h: tuple[float, float]
    share: float
    rests_on: str


class NextMeasurement(DocumentPart):
    """Something that could be measured before the plan is carried out.

    saves_usd_per_h: expected value for the choice among the plan and its rivals; `None` where the plan does not
    minimise dollars.  usd_per_h, solved: width of the plan's 80 % interval now, and expected after it.
    """

    what: str
    how: str
    saves_usd_per_h: float | None
    usd_per_h: tuple[float, float]
    solved: tuple[float, float]
    sentence: str


class RiskDocument(DocumentPart):
    """A plan's cost and quality with everything uncertain drawn together.

    chance_held: share of draws in which every target, less the optimism, and the budget hold.  rivals: plans that it
    was compared with.  stands: share of draws in which none of them loses less.  regret_usd_per_h: by how much the one
    that loses least in the mean does so, 0 where that is the plan; better: that one.  usd_per_point: what a point of
    solved questions that is missed counts for, in dollars per hour.  priced_by: where that comes from.
    verdict: what it comes to, in words.
    """

    draws: int
    chance_held: float
    sources: tuple[RiskSource, ...]
    rivals: int
    stands: float
    regret_usd_per_h: float
    usd_per_point: float
    priced_by: str
    better: str
    verdict: str
    next: tuple[NextMeasurement, ...]
