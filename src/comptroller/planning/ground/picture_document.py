"""What the pictures of a plan show besides: what it was chosen against, and one draw of its arrivals."""

from __future__ import annotations

from typing import Literal

from comptroller.planning.ground.day_document import DocumentPart
from comptroller.planning.ground.service_document import Known, PredictedFigure


class AcceleratorChoice(DocumentPart):
    """The cheapest fleet of one kind of accelerator alone, in the objective per hour.

    objective_per_h: with the 80 % interval of draws of step times, where dollars are minimised.  simulated: whether the
    fleet held in simulation; if not, it is the steady state's, and a fleet that holds costs as much at least.
    """

    accelerator: str
    objective_per_h: PredictedFigure
    fleet: str
    simulated: bool


class LatencySpread(DocumentPart):
    """How a latency is spread over the requests of a draw: its value, in seconds, at every quantile."""

    quantity: Literal["ttft_s", "tpot_s", "e2e_s"]
    quantiles: tuple[float, ...]
    seconds: tuple[Known, ...]


class ArrivalDrawDocument(DocumentPart):
    """One draw of the arrivals on the plan's fleet, as it was simulated, after the warm-up; energy at the meter.

    requests: that were counted.  All others are means per request: prompt_j, answer_j: joules of reading prompts and of
    writing answers.  waste_j: of computing tokens again and of waiting for swaps.  idle_j, idle_usd: of what waits for
    work, shared among the requests.  usd: of all that is rented.
    """

    requests: int
    spreads: tuple[LatencySpread, ...]
    prompt_tokens: float
    answer_tokens: float
    device_s: float
    prompt_j: float
    answer_j: float
    waste_j: float
    idle_j: float
    usd: float
    idle_usd: float
    gco2e: float
