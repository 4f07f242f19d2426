"""A plan under a trace: its fleet serves every request, and the plan's objectives judge what came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError, UnsupportedError
from comptroller.planning.ground.plan_calibration import calibration_of_plan
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import CacheTierDocument, LatencyDocument, ServiceDocument
from comptroller.planning.prove.simulated_fleet import calls_of, fleet_of
from comptroller.planning.question_arrivals import QuestionArrivals, question_arrivals_of
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet, SimulatedReplica
from comptroller.serving.jobs import fleet_for_trace, require_columns
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.world import QuestionStreamOutcome, solve
from comptroller.strategies.results import ResultViews
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace

Floats = npt.NDArray[np.float64]

QUANTITIES = ("queue_s", "ttft_s", "tpot_s", "e2e_s")
"""Latencies of a request, as `EngineOutcome` names them."""


@dataclass(frozen=True, slots=True)
class ReplicaMemorySettings:
    """What replicas hold beside their cache. swap_gb: of the host's memory that a rank's preempted sequences may take
    (0: they are computed again).  chunk_tokens, chunk_s: swapping moves so many tokens a call, each of which takes so
    long beside its bytes.  beside: caches cross the host link beside the steps.  adapter_slots: adapters in the device
    at once (0: all).  adapter_load_s: seconds that fetching one takes.
    """

    swap_gb: float = 0.0
    chunk_tokens: int = 0
    chunk_s: float = 0.0
    beside: bool = False
    adapter_slots: int = 0
    adapter_load_s: float = 0.0

    def of(self, replica: SimulatedReplica) -> SimulatedReplica:
        """The replica with these settings; those of swapping only where anything is swapped."""
        if not self.swap_gb >= 0:
            raise InputError(f"--swap {self.swap_gb:g} GB: allowed: from 0")
        tokens = int(self.swap_gb * 1e9 / replica.table.kv_bytes_per_token)
        return replace(
            replica, swap_tokens=tokens, swap_chunk_tokens=self.chunk_tokens, swap_chunk_s=self.chunk_s,
            swap_beside=self.beside, adapter_slots=self.adapter_slots, adapter_load_s=self.adapter_load_s,
        )  # fmt: skip

    def of_fleet(self, fleet: SimulatedFleet) -> SimulatedFleet:
        """The fleet, all its replicas so."""
        services = [replace(one, replicas=tuple(map(self.of, one.replicas))) for one in fleet.services]
        return replace(fleet, services=tuple(services))


@dataclass(frozen=True, slots=True)
class TraceReplaySettings:
    """How a trace is replayed.

    scale: times as fast as it was.  routing, batching, scheduling: a policy by its id, the path to its file or its
    dotted path; the plan's own if empty.  samples: points of the time series over the span of the arrivals (0:
    none).  seed: of the shares that services take, of random policies, and of the questions drawn.  cache_tiers: in
    place of the plan's.  memory: what replicas hold beside their cache, in place of nothing.
    """

    scale: float = 1.0
    routing: str = ""
    batching: str = ""
    scheduling: str = ""
    samples: int = 0
    seed: int = 0
    cache_tiers: tuple[CacheTierDocument, ...] | None = None
    memory: ReplicaMemorySettings | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"scale is {self.scale:g}; it must be a finite number above 0")
        if self.samples < 0:
            raise InputError(f"samples is {self.samples}; it must be at least 0")


@dataclass(frozen=True, slots=True)
class ObjectiveAttainment:
    """An objective under simulation: the quantile that came out (infinite if requests never got there), the share
    of all requests within the limit, and whether the quantile holds it."""

    objective: LatencyDocument
    seen_s: float
    share: float

    @property
    def holds(self) -> bool:
        """Whether the quantile is within the objective."""
        return self.seen_s <= self.objective.most_s


@dataclass(frozen=True, eq=False)
class PlanSimulation(ResultViews):
    """What came of a trace on a plan's fleet. `trace` is as replayed: scaled already.

    asked: one row per call; of a trace its requests, of questions what their strategy asked.  solved: what came of
    the questions.
    """

    plan: Plan
    trace: RequestTrace
    conditions: TraceReplaySettings
    asked: CallTable
    outcome: EngineOutcome
    solved: QuestionStreamOutcome | None = None

    @property
    def routing(self) -> str:
        """The policy that placed the requests."""
        return self.outcome.fleet.policies.routing

    @cached_property
    def calls(self) -> CallTable:
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

    def attained(self) -> tuple[ObjectiveAttainment, ...]:
        """Every objective of the plan with what came of it."""
        return tuple(self._attained(entry) for entry in self.plan.latency)

    def _attained(self, entry: LatencyDocument) -> ObjectiveAttainment:
        values: Floats = getattr(self.outcome, entry.quantity)
        if entry.quantity == "tpot_s":
            # A single output token has no time per output token, so it can neither keep nor miss the objective.
            values = values[~(self.outcome.done & ~np.isfinite(values))]
        late = np.where(np.isfinite(values), values, np.inf)
        if not late.size:
            return ObjectiveAttainment(entry, math.nan, math.nan)
        seen = float(np.quantile(late, entry.quantile, method="higher"))
        return ObjectiveAttainment(entry, seen, float((late <= entry.most_s).mean()))


def simulate_plan(
    plan: Plan,
    trace: RequestTrace,
    conditions: TraceReplaySettings | None = None,
    calibration: TimingCalibration | None = None,
    questions: QuestionArrivals | None = None,
) -> PlanSimulation:
    """Replay a trace on the fleet of a plan, request by request; or solve questions that arrive as its requests do.

    Prefixes are cached if the trace names prefix blocks. A request beyond the engine's context is refused, as the
    engine would, and counted.

    Raises:
        InputError: an unknown policy, one that needs a column which the trace lacks, pools that do not pair up, or
            requests that cannot be simulated.
        UnsupportedError: part of the plan is bought from an API, no known link joins the pools of a split service, a
            strategy asks for what is not recorded, or no service serves the model of a role.

    arrival_s and latencies are in seconds, lengths in tokens.

    >>> from comptroller.planning.planner import plan
    >>> from comptroller.work.workload import parse
    >>> document = {"name": "chat", "models": ["llama_3_1_8b"], "rate_per_s": 5}
    >>> document |= {"lengths": {"input": {"fixed": 300}, "output": {"fixed": 50}}}
    >>> allow = {"accelerators": ["l40s"], "sites": ["us_neocloud"], "engines": ["vllm"], "formats": ["bf16"]}
    >>> chosen = plan(parse({**document, "allow": allow}), quick=True)
    >>> trace = RequestTrace(np.array([0.0, 1.0, 2.0]), np.full(3, 300), np.full(3, 50), source="three")
    >>> outcome = simulate_plan(chosen, trace)
    >>> len(outcome.calls), outcome.attainment
    (3, 1.0)
    """
    if plan.offers or not plan.services:
        bought = ", ".join(offer.id for offer in plan.offers) or "all tokens"
        raise UnsupportedError(f"plan {plan.name!r} buys from an API ({bought}); only a plan's own fleet is simulated")
    how = conditions or TraceReplaySettings()
    replayed = trace.scaled(how.scale) if how.scale != 1 else trace
    blocks = replayed.blocks.tokens if replayed.blocks else 0
    services = _with_tiers(plan.services, how.cache_tiers, blocks)
    fleet = fleet_of(services, calibration_of_plan(plan, calibration), plan.library, blocks)
    fleet = how.memory.of_fleet(fleet) if how.memory else fleet
    own = {name: getattr(how, name) for name in ("routing", "batching", "scheduling") if getattr(how, name)}
    fleet = replace(fleet, policies=replace(fleet.policies, **own, seed=how.seed))
    if questions:
        require_columns(fleet.policies.scheduling, "a stream of questions", None)
    else:
        fleet = fleet_for_trace(fleet, replayed)
    rng = np.random.default_rng(how.seed)
    sample_s = float(replayed.arrival_s[-1] / how.samples) if how.samples else 0.0
    if questions:
        # What is asked about a question begins with it, whatever the trace says of prefixes.
        block = math.lcm(*(replica.table.kv_block_tokens for _, replica in fleet.replicas()))
        fleet = replace(fleet, prefix_block_tokens=block)
        solved = solve(fleet, question_arrivals_of(questions, replayed, plan.services, rng), sample_s)
        return PlanSimulation(plan, replayed, how, solved.calls, solved.outcome, solved)
    asked = calls_of(plan.services, replayed, rng)
    return PlanSimulation(plan, replayed, how, asked, simulate(fleet, asked, sample_s))


def _with_tiers(
    services: Sequence[ServiceDocument], tiers: tuple[CacheTierDocument, ...] | None, block_tokens: int
) -> tuple[ServiceDocument, ...]:
    """The services with other cache tiers, where some are given.

    Raises:
        InputError: the trace names no prefix blocks, which alone lie in tiers.
    """
    if tiers is None:
        return tuple(services)
    if tiers and not block_tokens:
        raise InputError("cache tiers keep prefix blocks, which the trace does not name; name them by columns.blocks")
    return tuple(
        one.model_copy(update={"deployment": one.deployment.model_copy(update={"cache_tiers": tiers})})
        for one in services
    )
