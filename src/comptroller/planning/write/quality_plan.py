"""From a joint optimum to the Plan document: classes and strategies, fleets and offers, and the reasons around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from comptroller import __version__
from comptroller.planning.ground.executor import side_by_side
from comptroller.planning.ground.plan_document import (
    InputDigests,
    LatencyDocument,
    OfferService,
    Plan,
    PlanTotals,
    QuestionClassDocument,
    RoleShareDocument,
)
from comptroller.planning.offer.call_buckets import RoutedOption
from comptroller.planning.offer.intervals import RelativeInterval, ReplicaIntervals
from comptroller.planning.offer.question_offer import JointProblem, modelling_notes
from comptroller.planning.prove.services import ModelServices, model_services
from comptroller.planning.reasons.pruning import dropped_jointly
from comptroller.planning.reasons.runners_up import NeighbouringSolutions, describe_solution, figure
from comptroller.planning.reasons.shadow_prices import constraints, shadow_price
from comptroller.planning.risk.draws import RiskSimulation
from comptroller.planning.risk.question_draws import LEAST, RESAMPLES
from comptroller.planning.solve.fleet_search import Goal
from comptroller.planning.solve.search import JointSearch, JointSolution
from comptroller.planning.write.plan import (
    QUEUEING,
    CostBasis,
    VerificationResult,
    borrowed_efficiency_notes,
    facts_digest,
    latency_of,
    rejected_choices,
    tightened_objective_notes,
    totals_of,
)
from comptroller.planning.write.quality import quality_document, with_draws
from comptroller.quantities import short
from comptroller.strategies.replay import recorded_price

Floats = npt.NDArray[np.float64]


def joint_document(problem: JointProblem, best: JointSolution, verified: VerificationResult | None) -> Plan:
    """What was found, what it rests on, and what would change it."""
    joint, goal = problem.joint, problem.goal
    held = model_services(problem, best)
    offers = tuple(_offers(problem, best))
    facts, fitted = facts_digest()
    around = NeighbouringSolutions.of(joint, goal, best)
    drawn = RiskSimulation.of(problem, (best, *around.rivals))

    def line(solution: JointSolution) -> str:
        return describe_solution(joint, solution)

    return Plan(
        schema_version=1,
        comptroller=__version__,
        name=problem.workload.name,
        objective=problem.workload.objective.value,
        seed=problem.workload.seed,
        digests=InputDigests(workload=problem.workload.digest, facts=facts, calibration=fitted),
        classes=tuple(_classes(problem, best, held)),
        services=tuple(s for each in held.values() for s in each.services),
        offers=offers,
        quality=quality_document(problem, around, drawn),
        totals=with_draws(_totals(problem, best, held, offers), drawn),
        latency=_latency(goal, held, verified),
        queueing=QUEUEING,
        verification=verified.document if verified else None,
        shadow_prices=tuple(side_by_side(partial(shadow_price, joint, goal, best, c, line) for c in constraints(goal))),
        runners_up=tuple(told for told, _ in around.runners_up),
        frontier=tuple(told for told, _ in around.frontier),
        candidates=len(joint.ground.ways) + sum(len(s.table.candidates) for s in joint.ground.searches.values()),
        considered=len(joint.ground.choices.options),
        pruned=(*rejected_choices(problem.rejected), *dropped_jointly(joint, goal, best)),
        notes=(*_notes(problem, best, held, verified), *_assumption_notes(problem, best, drawn)),
    )


def _offers(problem: JointProblem, best: JointSolution) -> Iterator[OfferService]:
    """What is bought from each API."""
    ground = problem.joint.ground
    evidence = ground.choices.evidence
    bought: dict[int, Floats] = {}
    for way, gets in _options_in_use(problem.joint, best):
        asked = way.option.asked
        per = gets[ground.choices.task] / np.bincount(ground.choices.task)[ground.choices.task]
        for arm in (a for a, route in way.routes.items() if route == "api"):
            mine = asked.arm == arm
            each = per[asked.question[mine]] * ground.rate_per_s
            columns = (np.ones(mine.sum()), asked.input_tokens[mine], asked.output_tokens[mine], asked.usd[mine])
            bought[arm] = bought.get(arm, np.zeros(4)) + np.array([each @ np.nan_to_num(c) for c in columns])
    for arm, (calls, inputs, outputs, usd) in sorted(bought.items()):
        price = recorded_price(evidence, arm)
        yield OfferService(
            id=_offer_id(str(evidence.arms[arm])),
            model=str(evidence.arms[arm]),
            usd_per_h=short(usd * 3600.0),
            calls_per_s=short(calls),
            input_tokens_per_s=short(inputs),
            output_tokens_per_s=short(outputs),
            usd_per_million=None if price is None else (short(price.input * 1e6), short(price.output * 1e6)),
            source=f"dollars as recorded in {evidence.source}",
        )


def _offer_id(arm: str) -> str:
    return f"api.{arm.replace(' ', '.')}"


def _options_in_use(joint: JointSearch, best: JointSolution) -> Iterator[tuple[RoutedOption, Floats]]:
    """The ways in use, with the share of all traffic that each class sends there."""
    for number in np.flatnonzero(best.share.sum(axis=0) > LEAST):
        yield joint.ground.ways[number], joint.ground.weight * best.share[:, number]


def _classes(
    problem: JointProblem, best: JointSolution, held: Mapping[int, ModelServices]
) -> Iterator[QuestionClassDocument]:
    joint = problem.joint
    ground, rng = joint.ground, np.random.default_rng(problem.workload.seed)
    for number, task in enumerate(ground.choices.tasks):
        of_task = np.flatnonzero(ground.choices.task == number)
        for place in np.flatnonzero(best.share[number] > LEAST):
            way = ground.ways[place]
            scores = way.option.score[of_task]
            drawn = scores[rng.integers(0, len(scores), (RESAMPLES, len(scores)))].mean(axis=1)
            yield QuestionClassDocument(
                name=task or "all",
                share=short(ground.weight[number] * best.share[number, place]),
                strategy=way.option.strategy,
                roles={role: _shares(problem, arm, way.routes[arm], held) for role, arm in way.option.roles.items()},
                solved=figure(float(scores.mean()), drawn),
                usd_per_question=short(joint.usd[number, place]) if "api" in way.routes.values() else 0.0,
            )


def _shares(
    problem: JointProblem, arm: int, route: str, held: Mapping[int, ModelServices]
) -> tuple[RoleShareDocument, ...]:
    if route == "api":
        return (RoleShareDocument(service=_offer_id(str(problem.joint.ground.choices.evidence.arms[arm])), share=1.0),)
    mine = held[arm]
    total = float(mine.calls_per_s.sum())
    return tuple(
        RoleShareDocument(service=s.id, share=short(calls / total))
        for s, calls in zip(mine.services, mine.calls_per_s.tolist(), strict=True)
    )


def _totals(
    problem: JointProblem, best: JointSolution, held: Mapping[int, ModelServices], offers: tuple[OfferService, ...]
) -> PlanTotals:
    """Totals per question; watts and emissions are unknown where anything is bought from an API."""
    joint = problem.joint
    ground = joint.ground
    services = [s for each in held.values() for s in each.services]
    tokens = np.array([_tokens_per_question(problem, best, name) for name in ("input_tokens", "output_tokens")])
    bill = CostBasis(
        requests_per_s=ground.rate_per_s,
        input_tokens_per_s=tokens[0] * ground.rate_per_s,
        output_tokens_per_s=tokens[1] * ground.rate_per_s,
        bought_usd_per_h=sum(offer.usd_per_h for offer in offers),
        metered=not offers,
    )
    return totals_of(services, bill, RelativeInterval(1.0, 1.0))


def _tokens_per_question(problem: JointProblem, best: JointSolution, name: str) -> float:
    ground = problem.joint.ground
    total = 0.0
    for way, gets in _options_in_use(problem.joint, best):
        values = np.bincount(way.option.asked.question, getattr(way.option.asked, name), len(ground.choices.task))
        counts = np.bincount(ground.choices.task)
        total += float((gets[ground.choices.task] / counts[ground.choices.task]) @ np.nan_to_num(values))
    return total


def _latency(
    goal: Goal, held: Mapping[int, ModelServices], verified: VerificationResult | None
) -> tuple[LatencyDocument, ...]:
    states = [state for each in held.values() for state in each.states]
    rows = [
        each.problem.search.table.candidates[row].replica
        for each in held.values()
        for row in np.flatnonzero(each.fleet.units)
    ]
    return latency_of(goal, states, verified, [ReplicaIntervals.of(replica) for replica in rows]) if states else ()


def _notes(
    problem: JointProblem, best: JointSolution, held: Mapping[int, ModelServices], verified: VerificationResult | None
) -> Iterator[str]:
    joint = problem.joint
    ground = joint.ground
    numbers = {id(option): number for number, option in enumerate(ground.choices.options)}
    used = {numbers[id(way.option)]: float(gets.sum()) for way, gets in _options_in_use(joint, best)}
    yield from modelling_notes(problem.quality, ground.choices, used)
    yield (f"recorded: scores and tokens of {len(ground.choices.task):,} questions in {ground.choices.evidence.source}")
    if held and verified is None:
        yield "steady state: percentiles come from the queueing approximation, not from a simulation"
        yield "samples of one question reach a fleet together, which the steady state takes for independent arrivals"
    if any("api" in way.routes.values() for way, _ in _options_in_use(joint, best)):
        yield "joules and emissions of an API are not known, so the totals have none"
    yield from tightened_objective_notes(problem.goal)
    for each in held.values():
        yield from borrowed_efficiency_notes(each.problem, each.fleet)


def _assumption_notes(problem: JointProblem, best: JointSolution, drawn: RiskSimulation) -> Iterator[str]:
    """What the intervals take as it is."""
    if any("api" in way.routes.values() for way, _ in _options_in_use(problem.joint, best)):
        yield "intervals take the recorded dollars of APIs as they are: the record has no dates to see them change"
    if drawn.chances.demand.known:
        yield "intervals take the demand as given: a trace, or uncertainty.demand, would give it a range"
