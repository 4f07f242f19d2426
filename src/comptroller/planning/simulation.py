"""A plan under a trace: its fleet serves every request, and the plan's objectives judge what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from comptroller.costs.timing import Calibration
from comptroller.errors import InputError
from comptroller.planning.fleet import calls_of, fleet_of
from comptroller.planning.plan import Latency, Plan
from comptroller.planning.planner import shipped
from comptroller.serving.engine import simulate
from comptroller.serving.outcome import Outcome
from comptroller.work.call import Calls
from comptroller.work.trace import Trace

Floats = npt.NDArray[np.float64]

QUANTITIES = ("queue_s", "ttft_s", "tpot_s", "e2e_s")
"""Latencies of a request, as `Outcome` names them."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a trace is replayed.

    scale: times as fast as it was.  routing: id of a policy; the plan's own if empty.  samples: points of the
    time series over the span of the arrivals (0: none).  seed: of the shares that services take.
    """

    scale: float = 1.0
    routing: str = ""
    samples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"scale is {self.scale:g}; it must be a finite number above 0")
        if self.samples < 0:
            raise InputError(f"samples is {self.samples}; it must be at least 0")


@dataclass(frozen=True, slots=True)
class Attained:
    """An objective under simulation: the quantile that came out (infinite if requests never got there), the share
    of all requests within the limit, and whether the quantile holds it."""

    objective: Latency
    seen_s: float
    share: float

    @property
    def holds(self) -> bool:
        """Whether the quantile is within the objective."""
        return self.seen_s <= self.objective.most_s


@dataclass(frozen=True, eq=False)
class Simulation:
    """What came of a trace on a plan's fleet. `trace` is as replayed: scaled already."""

    plan: Plan
    trace: Trace
    conditions: Conditions
    asked: Calls
    outcome: Outcome

    @property
    def routing(self) -> str:
        """The policy that placed the requests."""
        return self.outcome.fleet.policies.routing

    @cached_property
    def calls(self) -> Calls:
        """One row per request: the call record, with what is predicted for it."""
        return self.outcome.calls(self.asked)

    @cached_property
    def limits_s(self) -> dict[str, float]:
        """The plan's objectives as limits of single requests, by quantity."""
        return {entry.quantity: entry.most_s for entry in self.plan.latency}

    @cached_property
    def within(self) -> npt.NDArray[np.bool_]:
        """Which requests were done within all the limits."""
        return np.asarray(self.outcome.met(**self.limits_s) > 0)

    @property
    def attainment(self) -> float:
        """Share of all requests done within all the limits; refused ones count as missed."""
        return float(self.within.mean())

    @property
    def goodput_per_s(self) -> float:
        """Requests done within the limits, per second of the span that was simulated."""
        return float(self.within.sum() / self.outcome.horizon_s)

    def attained(self) -> tuple[Attained, ...]:
        """Every objective of the plan with what came of it."""
        return tuple(self._attained(entry) for entry in self.plan.latency)

    def _attained(self, entry: Latency) -> Attained:
        values: Floats = getattr(self.outcome, entry.quantity)
        if entry.quantity == "tpot_s":
            # A single output token has no time per output token, so it can neither keep nor miss the objective.
            values = values[~(self.outcome.done & ~np.isfinite(values))]
        late = np.where(np.isfinite(values), values, np.inf)
        if not late.size:
            return Attained(entry, math.nan, math.nan)
        seen = float(np.quantile(late, entry.quantile, method="higher"))
        return Attained(entry, seen, float((late <= entry.most_s).mean()))


def simulate_plan(
    plan: Plan,
    trace: Trace,
    conditions: Conditions | None = None,
    calibration: Calibration | None = None,
) -> Simulation:
    """Replay a trace on the fleet of a plan, request by request.

    Prefixes are cached if the trace names prefix blocks. A request beyond the engine's context is refused, as the
    engine would, and counted.

    Raises:
        InputError: an unknown policy, pools that do not pair up, or requests that cannot be simulated.
        Unsupported: no known link joins the pools of a split service.
    """
    how = conditions or Conditions()
    replayed = trace.scaled(how.scale) if how.scale != 1 else trace
    blocks = replayed.blocks.tokens if replayed.blocks else 0
    fleet = fleet_of(plan.services, calibration or shipped(), blocks)
    if how.routing:
        fleet = replace(fleet, policies=replace(fleet.policies, routing=how.routing, seed=how.seed))
    asked = calls_of(plan.services, replayed, np.random.default_rng(how.seed))
    sample_s = replayed.arrival_s[-1] / how.samples if how.samples else 0.0
    return Simulation(plan, replayed, how, asked, simulate(fleet, asked, float(sample_s)))
