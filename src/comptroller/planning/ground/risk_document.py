"""What of a plan is uncertain, in the Plan document: the sources, the choice's optimism, the next measurement."""

from __future__ import annotations

from comptroller.planning.ground.day_document import DocumentPart


class SelectionOptimism(DocumentPart):
    """By how much a share solved flatters, because the choice was made on the same questions.

    solved: by task, the empty name for all; what the choice solves on its own questions less what choices made without
    each part of them solve of that part.  resamples: choices that were made so.  short: of a plan of earlier versions,
    resamples that could not reach the targets.  closed: of such a plan, resamples that had no choice.
    """

    solved: dict[str, float]
    resamples: int
    short: int = 0
    closed: int = 0


class SupportedWays(DocumentPart):
    """One freedom of ways, on questions that choices were not made on.

    ways: how freely ways may differ between classes, in words.  solved: share solved in the mean.  holds: share solved
    with the confidence asked for in a further set of as many questions, 0.5 where none was.  usd_per_h: the objective
    per hour there, in the steady state of full units.  aim: share that it has to solve on the questions it is chosen
    on; `None` with the most that it supports, where the target is out of its reach.
    """

    ways: str
    solved: float
    holds: float
    usd_per_h: float
    aim: float | None


class ChoiceSupport(DocumentPart):
    """What the evidence supports: how freely ways may differ between classes, and what is to be aimed at.

    ways: taken, in words.  aim: share to solve on the evidence so that the target holds on other questions.
    solved: share of other questions that is solved.  deviation: its standard deviation in a further set of as many.
    own_weight: what a class shows of its own counts for beside way and class.  questions: of the evidence.
    folds: parts that choices were made without.  tried: every freedom.  sentence: it in words.  needed: questions with
    which a target that does not hold would, `None` where it holds or no number would.
    """

    ways: str
    aim: float
    solved: float
    deviation: float
    own_weight: float
    questions: int
    folds: int
    tried: tuple[SupportedWays, ...]
    sentence: str
    needed: int | None = None


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
