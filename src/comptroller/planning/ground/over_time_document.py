"""What a plan says of a fleet over time: the choice, the best fixed fleet, what was tried and why it lost."""

from __future__ import annotations

from comptroller.planning.ground.day_document import DocumentPart


class SpotShareDocument(DocumentPart):
    """Spot of a fleet. policy: who places replicas.  share: of the target that they may be.  extra: how many more are
    kept."""

    policy: str
    share: float
    extra: int


class FleetTrialDocument(DocumentPart):
    """A choice and what it came to, by part that was played.

    policy, fill: who scales, and the share of what a replica takes that it fills; `none` is a fleet as it is.  first:
    replicas at the start.  spot: None where all is on demand.  power: who sets clocks and limits, empty for nobody.
    within: shares of the calls within all objectives.  usd, j, gco2e, replica_h: dollars, joules, grams and
    replica-hours.  over_s: seconds that rows were above their budget.  lost: why it
    was not chosen, empty for the choice.
    """

    name: str
    policy: str
    fill: float
    first: int
    spot: SpotShareDocument | None = None
    power: str = ""
    within: tuple[float, ...]
    usd: tuple[float, ...]
    j: tuple[float, ...]
    gco2e: tuple[float, ...]
    replica_h: tuple[float, ...]
    over_s: tuple[float, ...] = ()
    lost: str = ""


class FleetSaving(DocumentPart):
    """Share of an opponent's dollars, joules or grams that the choice does without on the part that nobody saw, with
    the interval of blocks of its time drawn anew. against: the opponent.  mean: of that part.  level: of the interval
    from low to high.  blocks: so many."""

    against: str
    mean: float
    low: float
    high: float
    level: float
    blocks: int


class UnseenPart(DocumentPart):
    """What the choice, the best fixed fleet, and the best fixed fleet with spot or power came to on the last part."""

    chosen: FleetTrialDocument
    fixed: FleetTrialDocument | None
    fixed_aided: FleetTrialDocument | None


class OverTimeDocument(DocumentPart):
    """The fleet that a trace begins with, who scales it, and with what, as it was chosen.

    trace: its file.  parts: so many, the last unseen.  start_up_s: until a started replica takes calls.
    objective: what was minimised.  share: of the calls within the objectives in every part.  odds: that a further part
    like those is held.  runner_up: the second, with why it lost.  savings: against fixed fleets, on the unseen part.
    grid: by whose hours grams are booked, empty for the mean of the site.  grid_note: what was taken for granted in
    reading them, empty for nothing.
    """

    trace: str
    objective: str
    share: float
    parts: int
    start_up_s: float
    odds: float
    chosen: FleetTrialDocument
    runner_up: FleetTrialDocument | None
    fixed: FleetTrialDocument | None
    fixed_aided: FleetTrialDocument | None
    unseen: UnseenPart
    savings: tuple[FleetSaving, ...]
    trials: tuple[FleetTrialDocument, ...]
    grid: str = ""
    grid_note: str = ""
