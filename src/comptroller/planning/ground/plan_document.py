"""The Plan document: what was chosen, what it costs, why, and what would change it. Versioned JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from comptroller.errors import FactError
from comptroller.facts.document_faults import fact_error
from comptroller.facts.library import FactLibrary
from comptroller.facts.reader import FactEntry
from comptroller.planning.ground.day_document import DayPlan, DocumentPart
from comptroller.planning.ground.odds_document import ChoiceOdds, PlannedLoad, UntimedCaution
from comptroller.planning.ground.over_time_document import OverTimeDocument
from comptroller.planning.ground.picture_document import AcceleratorChoice, ArrivalDrawDocument
from comptroller.planning.ground.risk_document import ChoiceSupport, RiskDocument, SelectionOptimism
from comptroller.planning.ground.service_document import Known, LatencyDocument, PredictedFigure, ServiceDocument
from comptroller.result_views import ResultViews

SCHEMA_VERSION = 1

CALIBRATION = "calibration"
"""Kind of the entry among a plan's facts that is a user's own calibration."""

Objective = Literal["usd", "j", "gco2e"]


class RoleShareDocument(DocumentPart):
    """A service's share of a role."""

    service: str
    share: float


class QuestionClassDocument(DocumentPart):
    """A class of questions: its strategy, and which services play the strategy's roles.

    share: of all traffic. A class that is split over strategies stands once for each.  solved, usd_per_question:
    of its questions under that strategy, with a quality target; dollars are those paid to APIs.
    """

    name: str
    share: float
    strategy: str
    roles: dict[str, tuple[RoleShareDocument, ...]]
    solved: PredictedFigure | None = None
    usd_per_question: float | None = None


class OfferService(DocumentPart):
    """Tokens bought from an API, the other kind of service.

    usd_per_million: of input and of output tokens; `None` where the recorded dollars follow no such price.
    """

    id: str
    model: str
    usd_per_h: float
    calls_per_s: float
    input_tokens_per_s: Known
    output_tokens_per_s: Known
    usd_per_million: tuple[float, float] | None
    source: str


class QualityDocument(DocumentPart):
    """What a plan solves beside its target, on the evidence.

    confidence: asked for, of the targets to hold.  predicted: less the optimism of having chosen on the same questions,
    with the 80 % interval of resampled ones.  chance_met: that every target holds, so, in a further set of as many
    questions.  held_out: what choices made without each part of the questions solve of it.  support: which freedom of
    ways the evidence supports.  next_dollar: what one more per hour buys, in words.  greedy: share solved, and dollars
    per hour bought, by one answer of each recorded model.  risk: everything uncertain drawn together.
    """

    target: float
    each: dict[str, float]
    confidence: float | None
    predicted: PredictedFigure
    chance_met: float
    held_out: float | None
    next_dollar: str
    usd_per_solved: PredictedFigure
    questions: int
    evidence: str
    greedy: dict[str, tuple[float, float | None]]
    optimism: SelectionOptimism | None = None
    support: ChoiceSupport | None = None
    risk: RiskDocument | None = None


class PlanTotals(DocumentPart):
    """Cost of the whole plan."""

    usd_per_h: PredictedFigure
    usd_per_request: PredictedFigure
    usd_per_million_tokens: PredictedFigure
    usd_per_million_output_tokens: PredictedFigure
    w: PredictedFigure
    j_per_request: PredictedFigure
    gco2e_per_h: PredictedFigure
    gco2e_per_request: PredictedFigure
    devices: int
    requests_per_s: float


class ApiPriceDocument(DocumentPart):
    """What an API asks for a model of the plan, in dollars per million tokens.

    usd_per_million_tokens: over prompts and answers together, at the workload's mean lengths.  since: the first day of
    the price; `None` where only one is listed.
    """

    service: str
    model: str
    usd_per_million_input: float
    usd_per_million_output: float
    usd_per_million_tokens: float
    since: str | None
    source: str


class TokenPriceDocument(DocumentPart):
    """Dollars per million tokens, prompts and answers together, of the fleet and of APIs of the same models.

    mean_requests_per_s: of the trace, or of the day whose busiest hour is known; else the rate to size for.
    full use: every replica as full as the objectives let it be in steady state; mean_use: the mean's share of it.
    priced_on: the day of the latest rental price of the fleet, on which the APIs' prices are looked up.
    left_out: what the fleet's rent does not hold.
    """

    mean_requests_per_s: float
    usd_per_million_at_mean_use: float
    usd_per_million_at_full_use: float
    mean_use: float
    priced_on: str
    apis: tuple[ApiPriceDocument, ...]
    left_out: tuple[str, ...]


class BreakpointDocument(DocumentPart):
    """The next value of a constraint at which the optimum changes, and by how much per hour.

    change_per_h: objective after minus before (negative saves); `None` where the move is infeasible.  per_unit: the
    same for each unit of the constraint, where the optimum changes at once and evenly as far as `value`.
    """

    value: float
    change_per_h: float | None
    fleet: str
    per_unit: float | None = None


class ShadowPrice(DocumentPart):
    """What a constraint is worth: the next breakpoint on either side.

    relaxed, tightened: `None` if nothing changes within the range that was searched (`searched`).
    """

    constraint: str
    unit: str
    value: float
    relaxed: BreakpointDocument | None
    tightened: BreakpointDocument | None
    searched: tuple[float, float]
    sentence: str


class RunnerUp(DocumentPart):
    """The best plan without the chosen value of one axis, and why it lost.

    chance_cheaper: that it is truly cheaper, in draws of what steps take; `None` for questions, whose `quality` draws
    more, and where dollars are not what is minimised.
    """

    axis: str
    without: str
    choice: str
    objective_per_h: float | None
    excess: float | None
    reason: str
    chance_cheaper: float | None = None


class PrunedChoices(DocumentPart):
    """Choices that fell out before the search or were dropped by exact bounds, by reason, with one example."""

    reason: str
    count: int
    example: str


class FrontierPoint(DocumentPart):
    """A point of the trade of cost against latency: the cheapest plan at a tighter or looser objective."""

    constraint: str
    value: float
    usd_per_h: float
    fleet: str


class RehearsalRound(DocumentPart):
    """One fleet that was simulated, and what the draws showed.

    sized_for: how many times the demand it carries in the steady state.  upper_s: upper bound of each objective's
    quantile in a further draw, in the order of the plan's `latency`; without objectives the p95 of TTFT in the last
    quarter of a draw.
    """

    sized_for: float
    usd_per_h: float
    fleet: str
    upper_s: tuple[float, ...]
    holds: bool


class VerificationDocument(DocumentPart):
    """The simulation behind a plan: the steady-state answer, and what queueing added to it.

    confidence: that in a further draw of the arrivals, as long as these, an objective's quantile lies within its bound.
    rounds: the answer of the steady state, by price the fleet that came nearest to holding, the chosen one last.
    mean_usd_per_h: what would do if the mean of draws had to hold, and not a further one.  complete: whether all was
    tried that might be cheaper; if not, nothing costs less than `steady_usd_per_h`.
    """

    draws: int
    requests_per_draw: int
    confidence: float
    steady_usd_per_h: float
    added_usd_per_h: float
    rounds: tuple[RehearsalRound, ...]
    mean_usd_per_h: float | None = None
    complete: bool = True


class InputDigests(DocumentPart):
    """SHA-256 of what the plan was made from."""

    workload: str
    facts: str
    calibration: str


class Plan(ResultViews, DocumentPart):
    """The answer to a workload. The same input gives the same bytes.

    load: what a plan of requests is for.  odds: of its choice.  untimed: what the choice took slower than predicted.
    accelerators: the best of each kind alone, by price.  drawn: one of the simulated draws, request by request.
    over_time: who scales the fleet on a trace, and with what.
    facts: what the ids in its services stand for, whatever the catalogue holds when the plan is read; and the
    calibration of a user's own that priced it, if one did.
    """

    schema_version: Literal[1]
    comptroller: str
    name: str
    objective: Objective
    seed: int
    digests: InputDigests
    classes: tuple[QuestionClassDocument, ...]
    load: PlannedLoad | None = None
    services: tuple[ServiceDocument, ...]
    offers: tuple[OfferService, ...] = ()
    quality: QualityDocument | None = None
    hours: DayPlan | None = None
    totals: PlanTotals
    prices: TokenPriceDocument | None = None
    latency: tuple[LatencyDocument, ...]
    queueing: str
    verification: VerificationDocument | None
    shadow_prices: tuple[ShadowPrice, ...]
    runners_up: tuple[RunnerUp, ...]
    odds: ChoiceOdds | None = None
    untimed: UntimedCaution | None = None
    frontier: tuple[FrontierPoint, ...]
    accelerators: tuple[AcceleratorChoice, ...] = ()
    drawn: ArrivalDrawDocument | None = None
    over_time: OverTimeDocument | None = None
    candidates: int
    considered: int
    pruned: tuple[PrunedChoices, ...]
    notes: tuple[str, ...]
    facts: tuple[FactEntry, ...] = ()

    @property
    def library(self) -> FactLibrary:
        """The facts that came with it, and no others; the catalogue's for a plan that was written without."""
        return FactLibrary(self.facts, complete=bool(self.facts))

    def to_json(self) -> str:
        """The whole document, two-space indented, ending in a newline."""
        return self.model_dump_json(indent=2) + "\n"


def load_plan(path: Path | str) -> Plan:
    """A plan from its JSON file.

    Raises:
        FactError: not readable, not a plan, or of another schema version.

    >>> load_plan("nowhere.json")
    Traceback (most recent call last):
    ...
    comptroller.errors.FactError: nowhere.json: file: [Errno 2] No such file or directory: 'nowhere.json'
    """
    path = Path(path)
    try:
        return Plan.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FactError(str(path), "file", str(error)) from error
    except ValidationError as error:
        raise fact_error(error, path.name, Plan, f"a plan of schema version {SCHEMA_VERSION}") from error
