"""What a plan rests on and leaves out, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from comptroller.planning.ground.nouns import Fleet, Goal
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.offer.space import ENGINES
from comptroller.planning.prove.proof_document import VerificationResult
from comptroller.planning.prove.services import ModelServices
from comptroller.planning.reasons.marketplaces import marketplace_notes
from comptroller.planning.risk.draws import RiskSimulation
from comptroller.planning.solve.infeasible import target_name
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.write.classes import options_in_use
from comptroller.planning.write.deployment_notes import deployment_notes
from comptroller.planning.write.lever_notes import prefix_notes, tier_notes
from comptroller.planning.write.strategy_notes import strategy_notes
from comptroller.work.demand import recorded_trace


def notes_of(
    problem: PlanningProblem,
    best: Fleet,
    own: Mapping[int, ModelServices],
    drawn: RiskSimulation | None,
    verified: VerificationResult | None,
) -> Iterator[str]:
    """All that a reader of the plan has to know besides its figures."""
    simulated = verified is not None
    if drawn is None:
        yield from _request_notes(problem, simulated)
    else:
        yield from _question_notes(problem, best, bool(own) and not simulated)
    if problem.workload.trace:
        yield from recorded_trace(problem.workload).notes
    yield from tightened_objective_notes(problem.goal)
    if own:
        yield from _choice_notes(problem, best, verified)
    for model in own.values():
        yield from deployment_notes(problem, model)
    if drawn is not None:
        yield from _assumption_notes(problem, best, drawn)


def reason_notes(problem: PlanningProblem) -> Iterator[str]:
    """Notes that are reasons, and told with them: what was left out and would save."""
    yield from marketplace_notes(problem)


def _request_notes(problem: PlanningProblem, simulated: bool) -> Iterator[str]:
    yield from problem.workload.assumptions
    yield _host_note(problem)
    if not simulated:
        yield "percentiles come from the queueing approximation, not from a simulation"
    if not problem.workload.allow.engines:
        yield f"engines: {', '.join(ENGINES)}; allow.engines widens the choice"
    if not problem.workload.allow.formats:
        yield "formats: the checkpoint's own and near-lossless ones; allow.formats widens the choice"
    yield from prefix_notes(problem.workload, traffic_of(problem.workload))
    yield from tier_notes(problem.workload, traffic_of(problem.workload))
    if dropped := traffic_of(problem.workload).dropped:
        yield f"{dropped} bad rows of the trace were dropped"


def _host_note(problem: PlanningProblem) -> str:
    """What of TTFT passes outside of the engine's queue and steps."""
    ready = [timer for offers in problem.space.offers.values() for timer in offers.table.ready]
    served = {timer.replica.engine.id: timer.serving.host_s for timer in ready}
    each = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in sorted(served.items()))
    return f"TTFT holds what measured servers took around the engine, a fixed time among it ({each})"


def _question_notes(problem: PlanningProblem, best: Fleet, unverified: bool) -> Iterator[str]:
    quality, plays = problem.quality, problem.space.plays
    assert quality is not None
    options = [option for option, _ in options_in_use(problem, best)]
    yield from strategy_notes(quality, plays, options)
    counted = any(np.isfinite(option.play.calls.output_tokens).any() for option in options)
    what = "tokens" if counted else "dollars"
    yield f"recorded: scores and {what} of {len(plays.task):,} questions in {plays.source}"
    if unverified:
        yield "steady state: percentiles come from the queueing approximation, not from a simulation"
        yield "samples of one question reach a fleet together, which the steady state takes for independent arrivals"
    if any("api" in option.routes.values() for option in options):
        yield "joules and emissions of an API are not known, so the totals have none"


def _choice_notes(problem: PlanningProblem, best: Fleet, verified: VerificationResult | None) -> Iterator[str]:
    """What decided beside cost and latency: use, growth of the queue, certainty, kinds, and where the search ended."""
    goal = problem.goal
    if goal.most_use < 1:
        why = (
            "the workload's most_use" if problem.workload.most_use else "no latency objective says how full they may be"
        )
        yield f"replicas are at most {goal.most_use:.0%} busy in the steady state: {why}"
    if goal.price_of_kinds(2) > 0 and verified is not None:
        yield (
            f"each further kind of deployment counts for ${goal.kind_usd_per_h:.2f}/h in the choice, "
            f"and not in the bill (kind_usd_per_h)"
        )
    if verified is None:
        return
    if not goal.targets:
        shown = verified.seen[0]
        yield (
            f"the queue does not grow in simulation: TTFT p95 is {shown.upper_s:.3g} s in the last quarter of a draw, "
            f"and may be {shown.target.most_s:.3g} s by the first"
        )
    told = verified.document
    if told.mean_usd_per_h is not None:
        usd = told.steady_usd_per_h + told.added_usd_per_h
        yield (
            f"that {told.confidence:.0%} of further draws hold, and not half of them, costs "
            f"${usd - told.mean_usd_per_h:.2f}/h of the ${usd:.2f} (confidence)"
        )
    if not told.complete:
        below = max(1 - told.steady_usd_per_h / (told.steady_usd_per_h + told.added_usd_per_h), 0.0)
        yield (
            f"the search stopped before all that may be cheaper was simulated; no fleet costs less by more than "
            f"{below:.0%}, as the steady state bounds it"
        )


def tightened_objective_notes(goal: Goal) -> Iterator[str]:
    """Objectives that the fleet is sized for more tightly than they were asked."""
    for target in (target for target in goal.targets if target.aim < 1):
        yield (
            f"sized for {target_name(target)} {target.sized_s * 1e3:.4g} ms in the steady state, so that "
            f"{target.most_s * 1e3:g} ms hold in simulation: fleets for more demand alone did not"
        )


def _assumption_notes(problem: PlanningProblem, best: Fleet, drawn: RiskSimulation) -> Iterator[str]:
    """What the intervals take as it is."""
    if any("api" in option.routes.values() for option, _ in options_in_use(problem, best)):
        yield "intervals take the recorded dollars of APIs as they are: the record has no dates to see them change"
    if drawn.chances.demand.known:
        yield "intervals take the demand as given: a trace, or uncertainty.demand, would give it a range"
