"""What a plan says of the hours of a day."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class DocumentPart(BaseModel):
    """A part of a plan: frozen, no unknown fields; NaN is written as null."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class RentedReplicas(DocumentPart):
    """Replicas of one candidate in an hour; usd: what they cost in it."""

    service: str
    accelerator: str
    site: str
    term: str
    replicas: int
    devices: int
    usd: float


class ApiPurchase(DocumentPart):
    """What an hour buys from the API of a model, in calls per second and dollars."""

    model: str
    calls_per_s: float
    usd: float


class HourTrial(DocumentPart):
    """What simulating an hour's fleet at the hour's rate showed.

    sized_for: demand that it is sized for, over the hour's.  upper_s: upper bounds of the objectives' quantiles, in
    their order, None where some request never got there; without objectives the TTFT p95 of the last
    quarter.  holds: all are within their objectives, or the queue does not grow.
    """

    sized_for: float
    upper_s: tuple[float | None, ...]
    holds: bool


class HourDocument(DocumentPart):
    """One hour of the day. done: requests or questions of each work done in it.  w: mean watts at the meter.

    solved: share of the questions answered in it.  strategies: shares of them by strategy and who plays it.
    w, gco2e: None where an API does a part, whose joules nobody tells.  tried: where it was simulated.
    """

    hour: int
    load_per_s: float
    rented: tuple[RentedReplicas, ...]
    done: dict[str, float]
    usd: float
    w: float | None
    gco2e: float | None
    bought: tuple[ApiPurchase, ...] = ()
    solved: float | None = None
    strategies: dict[str, float] = {}
    tried: HourTrial | None = None


class FreedomStep(DocumentPart):
    """What the day costs with one more freedom than the step before; the first is today's habit, a peak fleet."""

    name: str
    objective_per_day: float
    usd_per_day: float
    gco2e_per_day: float | None


class DeadlineAlternative(DocumentPart):
    """What the day costs more with another deadline; `change_per_day` is None where there is no such day."""

    hours: int
    change_per_day: float | None


class DeferrableWorkDocument(DocumentPart):
    """Work that may wait. chosen: share of it that is done.  moved: share of that not done in the hour of its
    release.  mean_wait_h: of all that is done.  saves: share of the interactive work it spares.  later, earlier:
    what an hour more, or less, changes.
    """

    name: str
    requests_per_day: float
    deadline_h: int
    chosen: float
    moved: float
    mean_wait_h: float
    saves: float | None
    later: DeadlineAlternative | None
    earlier: DeadlineAlternative | None


class DayPlan(DocumentPart):
    """A day by the hour. least_per_day: no day of the candidates that were kept costs less in the objective; of a
    plan for questions, no day of all that is allowed.

    steps: from a peak fleet held all day to this one.  joules and grams: None where an API does a part.
    """

    usd_per_day: float
    j_per_day: float | None
    gco2e_per_day: float | None
    least_per_day: float
    hours: tuple[HourDocument, ...]
    steps: tuple[FreedomStep, ...]
    works: tuple[DeferrableWorkDocument, ...]
    notes: tuple[str, ...]
