"""From a chosen fleet to the Plan document: services, totals, and the reasons around it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from comptroller import __version__
from comptroller.costs.capacity import SlicedLoad
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.money import carbon_g
from comptroller.costs.operating import OperatingPoint, operating_point
from comptroller.errors import InfeasibleError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.reader import folder
from comptroller.planning.candidates import Deployment, RejectionTally, with_batch
from comptroller.planning.executor import side_by_side
from comptroller.planning.frontier import frontier
from comptroller.planning.intervals import RelativeInterval, ReplicaIntervals, unmeasured_error
from comptroller.planning.launch import command
from comptroller.planning.plan import (
    DeploymentDocument,
    EngineDocument,
    InputDigests,
    LatencyDocument,
    Plan,
    PlanTotals,
    PoolDocument,
    PriceDocument,
    PrunedChoices,
    QuestionClassDocument,
    RecipeDocument,
    RoleShareDocument,
    ServiceDocument,
    SliceDocument,
    VerificationDocument,
)
from comptroller.planning.pruning import dropped_deployments
from comptroller.planning.rivals import runners_up
from comptroller.planning.search import Fleet, FleetSearch, Goal
from comptroller.planning.shadow import constraints, shadow_price
from comptroller.planning.verify import SimulatedQuantile
from comptroller.quantities import short
from comptroller.serving.jit import COMPILED
from comptroller.work.demand import TrafficDemand
from comptroller.work.workload import Workload

ENGINES = ("vllm", "sglang")
"""Engines tried when the workload names none: the open ones that serve on more than one vendor's devices."""

QUEUEING = "Allen-Cunneen wait with an exponential tail for prefill; normal quantile of the batch for decode"


@dataclass(frozen=True, slots=True)
class PlanningProblem:
    """A workload translated for the search: what is asked, and the table of all that could serve it."""

    workload: Workload
    asked: TrafficDemand
    goal: Goal
    search: FleetSearch
    rejected: RejectionTally


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The rounds of simulation and what the last one showed."""

    document: VerificationDocument
    seen: tuple[SimulatedQuantile, ...]


@lru_cache(maxsize=1)
def facts_digest() -> tuple[str, str]:
    """SHA-256 of all shipped facts, and of the calibration files among them."""
    digests = []
    for kinds in (("accelerators", "engines", "formats", "models", "sites"), ("calibration",)):
        sha = hashlib.sha256()
        for kind in kinds:
            for path in sorted(folder(kind).glob("*.toml")):
                sha.update(path.name.encode() + path.read_bytes())
        digests.append(sha.hexdigest())
    return digests[0], digests[1]


def describe(search: FleetSearch, units: npt.NDArray[np.int64]) -> str:
    """A fleet in one line: replicas x model on devices, layout, formats, site."""
    parts = []
    for row in np.flatnonzero(units):
        replicas = round(units[row] * search.unit.replicas[row])
        parts.append(f"{replicas}x [{search.table.candidates[row].label}]")
    return " + ".join(parts)


def document(problem: PlanningProblem, best: Fleet, verified: VerificationResult | None) -> Plan:
    """The plan of a fleet: services, totals, and the re-solved reasons around it."""
    search, goal = problem.search, problem.goal
    services, states = [], []
    for row in np.flatnonzero(best.units):
        found, state = service(problem, best, int(row))
        services.append(found)
        states.append(state)
    spreads = _spreads(problem, best)

    def line(fleet: Fleet) -> str:
        return describe(search, fleet.units)

    facts, calibration = facts_digest()
    prices = side_by_side(partial(shadow_price, search, goal, best, c, line) for c in constraints(goal))
    return Plan(
        schema_version=1,
        comptroller=__version__,
        name=problem.workload.name,
        objective=problem.workload.objective.value,
        seed=problem.workload.seed,
        digests=InputDigests(workload=problem.workload.digest, facts=facts, calibration=calibration),
        classes=(_class(problem, services),),
        services=tuple(services),
        totals=totals_of(services, CostBasis.of(problem.asked), _price_spread(problem, best)),
        latency=latency_of(goal, states, verified, spreads),
        queueing=QUEUEING,
        verification=verified.document if verified else None,
        shadow_prices=tuple(prices),
        runners_up=runners_up(search, goal, best, line),
        frontier=frontier(search, goal, line),
        candidates=len(search.table.candidates),
        considered=best.considered,
        pruned=(*rejected_choices(problem.rejected), *dropped_deployments(search, goal)),
        notes=(*_notes(problem, verified), *tightened_objective_notes(goal), *borrowed_efficiency_notes(problem, best)),
    )


def service(problem: PlanningProblem, best: Fleet, row: int) -> tuple[ServiceDocument, OperatingPoint]:
    """One candidate of the fleet as a service, and where it operates."""
    search, load = problem.search, problem.search.table.load
    share = best.share[:, row]
    replicas = round(best.units[row] * search.unit.replicas[row])
    cap = int(search.table.cap[row, best.column[row]])
    candidate = with_batch(search.table.candidates[row], cap)
    rate = share * load.rate_per_s
    served = share > 1e-9
    part = load.requests.only(served)
    each = SlicedLoad(part, rate[served] / replicas, load.arrival_cv)
    state = operating_point(search.table.ready[row], each, problem.goal.targets, candidate.site.pue)
    carried = rate[served] / best.rate_per_s[row, served]
    output = float((rate * load.requests.output_tokens).sum())
    watts, spreads = state.w * replicas, ReplicaIntervals.of(candidate.replica)
    grams = float(carbon_g(watts * 3600.0, candidate.site.grid_gco2e_per_j))
    slices = tuple(
        SliceDocument(
            input_tokens=short(load.requests.input_tokens[i]),
            output_tokens=short(load.requests.output_tokens[i]),
            rate_per_s=short(load.rate_per_s[i]),
            share=short(share[i]),
            capacity_per_replica_per_s=short(best.rate_per_s[row, i]),
        )
        for i in np.flatnonzero(served)
    )
    found = ServiceDocument(
        id=candidate.id,
        deployment=_deployment(candidate, replicas, int(problem.asked.longest_tokens)),
        price=PriceDocument(
            provider=candidate.offer.provider,
            instance=candidate.offer.instance,
            term=candidate.offer.term,
            usd_per_device_h=short(candidate.offer.usd_per_s * 3600.0),
            since=candidate.offer.since.isoformat(),
        ),
        usd_per_h=short(search.unit.usd_per_h[row] * best.units[row]),
        rate_per_s=short(rate.sum()),
        utilisation=short(carried.sum() / replicas),
        batch=short(state.batch),
        kv_capacity_tokens=candidate.memory.kv_capacity_tokens,
        ttft_s=spreads.ttft.around(state.ttft_s),
        tpot_s=spreads.tpot.around(state.tpot_s),
        output_tokens_per_s=short(output),
        w=spreads.w.around(watts),
        gco2e_per_h=short(grams),
        slices=slices,
        launch=command(candidate.replica, int(problem.asked.longest_tokens)),
    )
    return found, state


def _deployment(candidate: Deployment, replicas: int, context_tokens: int) -> DeploymentDocument:
    replica: ModelReplica = candidate.replica
    recipe, engine, layout = replica.recipe, replica.engine, replica.layout
    return DeploymentDocument(
        model=replica.model.id,
        recipe=RecipeDocument(
            weights=recipe.weights, experts=recipe.experts, activations=recipe.activations, kv=recipe.kv
        ),
        engine=EngineDocument(
            id=engine.id,
            version=engine.version,
            max_batch=engine.max_batch,
            chunk_tokens=engine.chunk_tokens,
            memory_fraction=short(engine.memory_fraction),
            context_tokens=context_tokens,
        ),
        pools=(
            PoolDocument(
                phase="mixed",
                accelerator=replica.device.id,
                tp=layout.tp,
                pp=layout.pp,
                dp=layout.dp,
                ep=layout.ep,
                replicas=replicas,
            ),
        ),
        policies=(("batching", "chunked"), ("routing", "least_request"), ("scheduling", "fcfs")),
        site=candidate.site.id,
    )


def _class(problem: PlanningProblem, services: Sequence[ServiceDocument]) -> QuestionClassDocument:
    total = sum(service.rate_per_s for service in services)
    shares = tuple(RoleShareDocument(service=s.id, share=short(s.rate_per_s / total)) for s in services)
    return QuestionClassDocument(name="all", share=1.0, strategy="once", roles={"solver": shares})


def _spreads(problem: PlanningProblem, best: Fleet) -> list[ReplicaIntervals]:
    table = problem.search.table
    return [ReplicaIntervals.of(table.candidates[row].replica) for row in np.flatnonzero(best.units)]


def _price_spread(problem: PlanningProblem, best: Fleet) -> RelativeInterval:
    """The same demand if steps took as long as the ends of their interval: fleets are re-solved for it."""
    search, goal = problem.search, problem.goal
    steps = RelativeInterval.widest(x.tpot for x in _spreads(problem, best))
    price = search.unit.usd_per_h

    def ratio(factor: float) -> float:
        try:
            fleet = search.solve(replace(goal, demand=goal.demand * factor))
        except InfeasibleError:
            return float("nan")
        return float(price @ fleet.units) / float(price @ best.units)

    return RelativeInterval(ratio(steps.low), ratio(steps.high))


@dataclass(frozen=True, slots=True)
class CostBasis:
    """What a plan's cost is spread over.

    requests_per_s: of requests, or of questions.  bought_usd_per_h: paid for tokens of APIs, beside the rent.
    metered: whether all that is consumed has a known power.
    """

    requests_per_s: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    bought_usd_per_h: float = 0.0
    metered: bool = True

    @classmethod
    def of(cls, asked: TrafficDemand) -> CostBasis:
        """The bill of a demand for requests."""
        rate = asked.rate_per_s
        return cls(rate, rate * asked.mean_input_tokens, rate * asked.mean_output_tokens)


def totals_of(services: Sequence[ServiceDocument], bill: CostBasis, price: RelativeInterval) -> PlanTotals:
    """Dollars, watts and grams of all services, per hour, request and token."""
    usd = sum(service.usd_per_h for service in services) + bill.bought_usd_per_h
    watts = sum(service.w.value for service in services) if bill.metered else float("nan")
    grams = sum(service.gco2e_per_h for service in services) if bill.metered else float("nan")
    requests_h = bill.requests_per_s * 3600.0
    output_h = bill.output_tokens_per_s * 3600.0
    tokens_h = output_h + bill.input_tokens_per_s * 3600.0
    power = RelativeInterval(*(sum(getattr(s.w, end) or 0.0 for s in services) / watts for end in ("low", "high")))
    return PlanTotals(
        usd_per_h=price.around(usd),
        usd_per_request=price.around(usd / requests_h),
        usd_per_million_tokens=price.around(usd / tokens_h * 1e6),
        usd_per_million_output_tokens=price.around(usd / output_h * 1e6),
        w=power.around(watts),
        j_per_request=power.around(watts * 3600.0 / requests_h),
        gco2e_per_h=power.around(grams),
        gco2e_per_request=power.around(grams / requests_h),
        devices=sum(p.replicas * p.tp * p.pp * p.dp for service in services for p in service.deployment.pools),
        requests_per_s=short(bill.requests_per_s),
    )


def rejected_choices(rejected: RejectionTally) -> tuple[PrunedChoices, ...]:
    """What fell out before the search, by reason."""
    return tuple(
        PrunedChoices(reason=reason, count=count, example=rejected.example[reason])
        for reason, count in sorted(rejected.count.items())
    )


def latency_of(
    goal: Goal,
    states: Sequence[OperatingPoint],
    verified: VerificationResult | None,
    spreads: Sequence[ReplicaIntervals],
) -> tuple[LatencyDocument, ...]:
    """Every latency objective beside its prediction."""
    steady = [max(state.tails_s[number] for state in states) for number in range(len(goal.targets))]
    return tuple(
        LatencyDocument(
            quantity=target.quantity,
            quantile=target.quantile,
            predicted_s=RelativeInterval.widest(x.latency(target.quantity) for x in spreads).around(
                verified.seen[number].mean_s if verified else steady[number]
            ),
            steady_s=short(steady[number]),
            most_s=short(target.most_s),
            status="simulated" if verified else "unverified",
        )
        for number, target in enumerate(goal.targets)
    )


def _notes(problem: PlanningProblem, verified: VerificationResult | None) -> tuple[str, ...]:
    notes = [_host_note(problem)]
    if not verified:
        missing = "" if COMPILED else "; comptroller[sim] adds it"
        notes.append(f"percentiles come from the queueing approximation, not from a simulation{missing}")
    if not problem.workload.allow.engines:
        notes.append(f"engines: {', '.join(ENGINES)}; allow.engines widens the choice")
    if not problem.workload.allow.formats:
        notes.append("formats: the checkpoint's own and near-lossless ones; allow.formats widens the choice")
    if problem.asked.dropped:
        notes.append(f"{problem.asked.dropped} bad rows of the trace were dropped")
    return tuple(notes)


def tightened_objective_notes(goal: Goal) -> Iterator[str]:
    """Objectives that the fleet is sized for more tightly than they were asked."""
    for target in (target for target in goal.targets if target.aim < 1):
        name = f"{target.quantity[:-2].upper()} p{target.quantile * 100:g}"
        yield (
            f"sized for {name} {target.sized_s * 1e3:.4g} ms in the steady state, so that {target.most_s * 1e3:g} ms "
            f"hold in simulation: fleets for more demand alone did not"
        )


def borrowed_efficiency_notes(problem: PlanningProblem, best: Fleet) -> Iterator[str]:
    """Devices of the plan whose efficiency is borrowed from other families."""
    chosen = [problem.search.table.candidates[row].replica for row in np.flatnonzero(best.units)]
    for device, engine in dict.fromkeys((x.device.id, x.engine.id) for x in chosen):
        if unmeasured_error(accelerator(device), engine):
            yield (
                f"{device}: no kernel of its family was timed; its efficiency is pooled from other families "
                f"and its intervals are wider for it; measure it before you rely on the choice"
            )


def _host_note(problem: PlanningProblem) -> str:
    """What of TTFT passes outside of the engine's queue and steps."""
    served = {ready.replica.engine.id: ready.serving.host_s for ready in problem.search.table.ready}
    each = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in sorted(served.items()))
    return f"TTFT holds what measured servers took around the engine, a fixed time among it ({each})"
