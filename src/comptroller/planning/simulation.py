"""A plan under a trace: its fleet serves every request, and the plan's objectives judge what came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from comptroller.costs.timing import Calibration
from comptroller.errors import InputError, Unsupported
from comptroller.planning.fleet import Sender, calls_of, fleet_of
from comptroller.planning.plan import Latency, Plan, Service
from comptroller.planning.planner import shipped
from comptroller.serving.engine import simulate
from comptroller.serving.outcome import Outcome
from comptroller.serving.world import Place, Play, Solved, Thinking, solve
from comptroller.strategies.protocol import UNLIMITED, Budget, Strategy
from comptroller.strategies.replay import Replay
from comptroller.strategies.results import uses
from comptroller.work.call import Calls
from comptroller.work.trace import Trace

Floats = npt.NDArray[np.float64]

QUANTITIES = ("queue_s", "ttft_s", "tpot_s", "e2e_s")
"""Latencies of a request, as `Outcome` names them."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a trace is replayed.

    scale: times as fast as it was.  routing, batching, scheduling: a policy by its id, the path to its file or its
    dotted path; the plan's own if empty.  samples: points of the time series over the span of the arrivals (0:
    none).  seed: of the shares that services take, of random policies, and of the questions drawn.
    """

    scale: float = 1.0
    routing: str = ""
    batching: str = ""
    scheduling: str = ""
    samples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"scale is {self.scale:g}; it must be a finite number above 0")
        if self.samples < 0:
            raise InputError(f"samples is {self.samples}; it must be at least 0")


@dataclass(frozen=True, eq=False)
class Questions:
    """What arrives in place of the trace's own lengths: recorded questions, each solved by a strategy on a budget."""

    strategy: Strategy
    replay: Replay
    budget: Budget = UNLIMITED


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
    """What came of a trace on a plan's fleet. `trace` is as replayed: scaled already.

    asked: one row per call; of a trace its requests, of questions what their strategy asked.  solved: what came of
    the questions.
    """

    plan: Plan
    trace: Trace
    conditions: Conditions
    asked: Calls
    outcome: Outcome
    solved: Solved | None = None

    @property
    def routing(self) -> str:
        """The policy that placed the requests."""
        return self.outcome.fleet.policies.routing

    @cached_property
    def calls(self) -> Calls:
        """One row per call: the call record, with what is predicted for it."""
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
    questions: Questions | None = None,
) -> Simulation:
    """Replay a trace on the fleet of a plan, request by request; or solve questions that arrive as its requests do.

    Prefixes are cached if the trace names prefix blocks. A request beyond the engine's context is refused, as the
    engine would, and counted.

    Raises:
        InputError: an unknown policy, pools that do not pair up, or requests that cannot be simulated.
        Unsupported: part of the plan is bought from an API, no known link joins the pools of a split service, or a
            strategy asks for what is not recorded.
    """
    if plan.offers or not plan.services:
        bought = ", ".join(offer.id for offer in plan.offers) or "all tokens"
        raise Unsupported(
            f"plan {plan.name!r} buys from an API ({bought}); only a plan's own fleet is simulated"
        )
    how = conditions or Conditions()
    replayed = trace.scaled(how.scale) if how.scale != 1 else trace
    blocks = replayed.blocks.tokens if replayed.blocks else 0
    fleet = fleet_of(plan.services, calibration or shipped(), blocks)
    own = {name: getattr(how, name) for name in ("routing", "batching", "scheduling") if getattr(how, name)}
    fleet = replace(fleet, policies=replace(fleet.policies, **own, seed=how.seed))
    rng = np.random.default_rng(how.seed)
    sample_s = float(replayed.arrival_s[-1] / how.samples) if how.samples else 0.0
    if questions:
        # What is asked about a question begins with it, whatever the trace says of prefixes.
        block = math.lcm(*(replica.table.kv_block_tokens for _, replica in fleet.replicas()))
        fleet = replace(fleet, prefix_block_tokens=block)
        solved = solve(fleet, thinking(questions, replayed, plan.services, rng), sample_s)
        return Simulation(plan, replayed, how, solved.calls, solved.outcome, solved)
    asked = calls_of(plan.services, replayed, rng)
    return Simulation(plan, replayed, how, asked, simulate(fleet, asked, sample_s))


def thinking(
    questions: Questions, trace: Trace, services: Sequence[Service], rng: np.random.Generator
) -> Thinking:
    """A recorded question for every arrival of a trace: each once, in an order drawn, before any comes again."""
    known = questions.replay.covered(uses(questions.strategy))
    if not known.size:
        raise Unsupported("no question has replies of every model and role, so there is nothing to solve")
    rounds = [rng.permutation(known) for _ in range(-(-len(trace) // known.size))]
    chosen = np.concatenate(rounds)[: len(trace)]
    seed = int(rng.integers(1 << 32))
    play = Play(questions.strategy, questions.replay, _place(services, rng))
    return Thinking((play,), trace.arrival_s, chosen, questions.budget, seed)


def _place(services: Sequence[Service], rng: np.random.Generator) -> Place:
    """Where a strategy's call goes: as the plan sends its size."""
    if len(services) == 1:
        return lambda number, role, prompt, output: 1
    sender = Sender(services)
    return lambda number, role, prompt, output: 1 + int(sender.services([prompt], [output], rng)[0])
