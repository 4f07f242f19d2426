"""What the pictures of a plan need beside its other figures: the best of every kind of accelerator, and one draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.ground.picture_document import AcceleratorChoice, ArrivalDrawDocument, LatencySpread
from comptroller.planning.ground.service_document import PredictedFigure
from comptroller.planning.prove.arrivals import WARM_UP, DrawnOutcome
from comptroller.planning.prove.fleet_search import FleetSearch
from comptroller.planning.prove.proof_document import VerificationResult
from comptroller.planning.reasons.explain import keep_only, known_values
from comptroller.planning.risk.fleet_odds import FleetOdds, OddsFleet
from comptroller.planning.solve.description import describe_fleet
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.quantities import short

QUANTILES = (0.01, *(round(0.05 * step, 2) for step in range(1, 19)), 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.999)
"""Where the spread of a latency is told: every twentieth, and closer where objectives stand. Twice as many lie closer
than a line is wide."""

SIMULATED_KINDS, WITHIN = 2, 2.0
"""Kinds of accelerators that are simulated for the picture where the proof knows no fleet of theirs that holds, and of
those that cost at most so many times the plan in the steady state: each takes 4 s of CPU where the whole plan takes 25.
Twice as dear ones lose whatever a simulation shows, and take longest."""


def picture_figures(problem: PlanningProblem, best: Fleet, verified: VerificationResult | None) -> Mapping[str, object]:
    """The fields `accelerators` and `drawn` of a plan; empty where nothing is rented."""
    if not best.units:
        return {}
    kinds = tuple(_accelerators(problem, best, None if verified is None else verified.search))
    return {"accelerators": kinds, "drawn": None if verified is None else _draw_figures(problem, best, verified.search)}


def _accelerators(problem: PlanningProblem, best: Fleet, proofs: FleetSearch | None) -> Iterator[AcceleratorChoice]:
    """The best fleet of every kind of accelerator alone, the cheapest first; kinds that cannot serve are left out."""
    steady = {name: fleet for name in known_values(problem)["accelerator"] if (fleet := _steady(problem, name))}
    order = sorted(steady, key=lambda name: (steady[name].objective, name))
    near = [name for name in order if steady[name].objective <= WITHIN * best.objective]
    proven = dict(_proven_fleets(problem, order, near, proofs)) if proofs else {}
    odds = _odds(problem, {**steady, **proven}, proven)
    for name, fleet in sorted({**steady, **proven}.items(), key=lambda one: (one[1].objective, one[0])):
        value = short(fleet.objective)
        yield AcceleratorChoice(
            accelerator=name,
            objective_per_h=odds.get(name, PredictedFigure(value=value)),
            fleet=describe_fleet(problem.search, fleet),
            simulated=name in proven,
        )


def _steady(problem: PlanningProblem, accelerator: str) -> Fleet | None:
    try:
        return problem.search.solve(problem.goal.asked, keep_only("accelerator", accelerator))
    except InfeasibleError:
        return None


def _proven_fleets(
    problem: PlanningProblem, order: list[str], near: list[str], proofs: FleetSearch
) -> Iterator[tuple[str, Fleet]]:
    """The cheapest that holds: of what was simulated already, or, of requests, of what is simulated for the nearest."""
    goal, left = problem.goal.asked, SIMULATED_KINDS if problem.quality is None else 0
    for name in order:
        keep = keep_only("accelerator", name)
        found = proofs.cheapest_known(goal, keep)
        if found is None and left and name in near:
            left -= 1
            try:
                found = proofs.solve(goal, keep)
            except InfeasibleError:
                continue
        if found is not None:
            yield name, found


def _odds(
    problem: PlanningProblem, fleets: Mapping[str, Fleet], proven: Mapping[str, Fleet]
) -> dict[str, PredictedFigure]:
    """The 80 % interval of each in draws of step times; none for questions, or where dollars are not minimised."""
    if problem.quality is not None or problem.goal.objective != "usd":
        return {}
    drawn = FleetOdds(problem, [OddsFleet(fleet, name in proven) for name, fleet in fleets.items()]).drawn
    figures = {}
    for (name, fleet), costs in zip(fleets.items(), drawn, strict=True):
        low, high = np.quantile(costs, (0.1, 0.9), method="higher")
        ends = (short(float(end)) if np.isfinite(end) else None for end in (low, high))
        figures[name] = PredictedFigure(value=short(fleet.objective), **dict(zip(("low", "high"), ends, strict=True)))
    return figures


def _draw_figures(problem: PlanningProblem, best: Fleet, proofs: FleetSearch) -> ArrivalDrawDocument:
    draw = proofs.stage.first_draw(best, problem.goal)
    outcome, count = draw.outcome, len(draw.arrival_s)
    asked, made = outcome.jobs.prompt, outcome.requests
    usd, used = outcome.meter_usd, float(made.usd.sum())

    def each(total: float) -> float:
        return short(float(total) / count)

    return ArrivalDrawDocument(
        requests=count,
        spreads=tuple(_spreads(draw)),
        prompt_tokens=each(asked.sum()),
        answer_tokens=each(made.generated.sum()),
        device_s=each(made.device_s.sum()),
        prompt_j=each(made.j_prefill.sum()),
        answer_j=each(made.j_decode.sum()),
        waste_j=each(outcome.waste_j.sum()),
        idle_j=each(outcome.idle_j.sum()),
        usd=each(usd),
        idle_usd=each(usd - used),
        gco2e=each(outcome.meter_gco2e),
    )


def _spreads(draw: DrawnOutcome) -> Iterator[LatencySpread]:
    """Of what arrived after the warm-up; what never came to an end counts as infinitely late."""
    span_s = max(float(draw.arrival_s[-1] - draw.arrival_s[0]), 1e-9)
    counted = (draw.arrival_s - draw.arrival_s[0]) / span_s >= WARM_UP
    for quantity in ("ttft_s", "tpot_s", "e2e_s"):
        values = draw.read(quantity, counted)
        values = values[np.isfinite(values)]
        if values.size:
            at = np.quantile(values, QUANTILES)
            yield LatencySpread(quantity=quantity, quantiles=QUANTILES, seconds=tuple(short(x) for x in at.tolist()))
