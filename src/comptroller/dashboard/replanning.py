"""A workload planned again with changes: at once from the fleets that were simulated, or whole, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from comptroller.dashboard.questions import WhatIfBase, WhatIfQuestion
from comptroller.errors import InfeasibleError
from comptroller.planning.ground.executor import PlanProgress
from comptroller.planning.ground.nouns import Fleet, Goal
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.space import targets_of
from comptroller.planning.planner import PlanDepth, ProvenProblem, plan_in_parts, proven_problem
from comptroller.planning.prove.pool_answer import cheapest_in_pool, priced_usd_per_h, uses_only
from comptroller.planning.solve.description import describe_fleet
from comptroller.planning.solve.infeasible import target_name
from comptroller.work.workload import Workload

GRAMS_PER_TON = 1e6


@dataclass(frozen=True, slots=True)
class WhatIfAnswer:
    """What a question costs, beside the plan as it stands.

    told: where the answer is from, in words.  final: whether nothing better is to be found by searching on.
    latency: by objective, what was seen and what was asked, in seconds; empty where nothing was simulated.
    """

    fleet: str
    usd_per_h: float
    carbon_usd_per_h: float
    kg_co2e_per_h: float
    latency: tuple[tuple[str, float, float], ...]
    told: str
    final: bool

    @property
    def total_usd_per_h(self) -> float:
        """Dollars with the price of carbon."""
        return self.usd_per_h + self.carbon_usd_per_h


class WhatIfPlanner:
    """A workload that was planned and proven once, and answers what-ifs about it.

    Raises:
        ComptrollerError: the workload cannot be planned; says why.
    """

    def __init__(self, workload: Workload, progress: PlanProgress) -> None:
        self.workload = workload
        self.proven: ProvenProblem = proven_problem(workload, progress)
        self.standing = self._answer(self.proven.fleet, WhatIfQuestion(), self._seen(self.proven.problem.goal), "")

    @property
    def base(self) -> WhatIfBase:
        """What the workload asks."""
        problem = self.proven.problem
        goal, quality = problem.goal.asked, self.workload.quality
        prices: dict[str, float] = {}
        for offers in problem.space.offers.values():
            for one in offers.deployments:
                name, usd = one.replica.device.id, one.offer.usd_per_s * 3600.0
                prices[name] = min(usd, prices.get(name, usd))
        return WhatIfBase(
            self.workload.name,
            float(problem.space.rate_per_s),
            {target_name(target): target.most_s for target in goal.targets},
            None if quality is None else quality.solve.least,
            dict(sorted(prices.items())),
        )

    def at_once(self, asked: WhatIfQuestion) -> WhatIfAnswer:
        """The answer of what is known: of the fleets that were simulated, or of the steady state for other work.

        Raises:
            InfeasibleError: nothing that is known holds it.
        """
        return self._of_steady_state(asked) if asked.needs_simulation else self._of_pool(asked)

    def _of_pool(self, asked: WhatIfQuestion) -> WhatIfAnswer:
        verified = self.proven.verified
        if verified is None:
            return self._of_steady_state(asked)
        goal, stage = self._goal(asked), verified.search.stage
        found = cheapest_in_pool(stage, goal, self._cost(asked))
        if found is None:
            raise InfeasibleError(f"none of the {len(stage.pool)} fleets that were simulated holds this; searching on")
        seen = tuple((target_name(one.target), one.upper_s, one.target.most_s) for one in found.seen if goal.targets)
        told = f"the cheapest of {len(stage.pool)} fleets that were simulated, proven as the plan was"
        if asked.changes_nothing:
            told = "the plan as it stands"
        return self._answer(found.fleet, asked, seen, told)

    def _of_steady_state(self, asked: WhatIfQuestion) -> WhatIfAnswer:
        search, goal = self.proven.problem.search, self._goal(asked)
        rate = self.proven.problem.space.rate_per_s
        goal = replace(goal, demand=(asked.rate_per_s or rate) / rate)
        if asked.solve is not None:
            goal = replace(goal, quality=(("", asked.solve), *goal.quality[1:]))
        kept = asked.accelerators

        def keep(axes: Mapping[str, frozenset[str]]) -> bool:
            return kept is None or axes.get("accelerator", frozenset()) <= kept

        fleet = search.solve(goal, keep)
        return self._answer(fleet, asked, (), "of the steady state, not simulated yet")

    def _goal(self, asked: WhatIfQuestion) -> Goal:
        """The goal with its objectives moved."""
        goal = self.proven.problem.goal.asked
        targets = (replace(t, most_s=asked.latency_s.get(target_name(t), t.most_s)) for t in goal.targets)
        return replace(goal, targets=tuple(targets), demand=1.0)

    def _cost(self, asked: WhatIfQuestion) -> Callable[[Fleet], float]:
        """What fleets are ranked by: dollars at the prices asked with those of carbon, or joules or grams."""
        problem = self.proven.problem
        budget = dict(problem.goal.limits).get("budget", np.inf)

        def cost(fleet: Fleet) -> float:
            if asked.accelerators is not None and not uses_only(problem, fleet, asked.accelerators):
                return np.inf
            usd = priced_usd_per_h(problem, fleet, asked.usd_per_device_h)
            if usd > budget:
                return np.inf
            if problem.goal.objective != "usd":
                return fleet.objective
            return (
                usd + _grams(fleet) / GRAMS_PER_TON * asked.carbon_usd_per_t + problem.goal.price_of_kinds(fleet.kinds)
            )

        return cost

    def _seen(self, goal: Goal) -> tuple[tuple[str, float, float], ...]:
        found = self.proven.verified
        if found is None or not goal.targets:
            return ()
        return tuple((target_name(one.target), one.upper_s, one.target.most_s) for one in found.seen)

    def _answer(
        self, fleet: Fleet, asked: WhatIfQuestion, seen: tuple[tuple[str, float, float], ...], told: str
    ) -> WhatIfAnswer:
        problem, grams = self.proven.problem, _grams(fleet)
        return WhatIfAnswer(
            fleet=describe_fleet(problem.search, fleet),
            usd_per_h=priced_usd_per_h(problem, fleet, asked.usd_per_device_h),
            carbon_usd_per_h=grams / GRAMS_PER_TON * asked.carbon_usd_per_t,
            kg_co2e_per_h=grams / 1e3,
            latency=seen,
            told=told,
            final=asked.changes_nothing,
        )

    def searched(self, asked: WhatIfQuestion, progress: PlanProgress) -> Iterator[WhatIfAnswer]:
        """The changed workload planned and proven anew.

        Raises:
            ComptrollerError: nothing holds it; says why.
        """
        for part in plan_in_parts(self.changed(asked), progress=progress, depth=PlanDepth.ANSWER):
            yield answer_of_plan(part, asked)

    def changed(self, asked: WhatIfQuestion) -> Workload:
        """The workload with what is asked in place of what it says.

        Raises:
            FactError: offers at stated prices are not allowed.
        """
        given, update = self.workload, dict[str, object]()
        if asked.rate_per_s is not None:
            update |= _rate_update(given, asked.rate_per_s, float(self.proven.problem.space.rate_per_s))
        if asked.latency_s:
            update["objectives"] = _objectives(given, asked.latency_s)
        if asked.solve is not None and given.quality is not None:
            solve = given.quality.solve.model_copy(update={"min": asked.solve, "unit": "1"})
            update["quality"] = given.quality.model_copy(update={"solve": solve})
        if asked.accelerators is not None:
            update["allow"] = given.allow.model_copy(update={"accelerators": tuple(sorted(asked.accelerators))})
        made = given.model_copy(update=update)
        return made.at_prices(asked.usd_per_device_h) if asked.usd_per_device_h else made


def answer_of_plan(plan: Plan, asked: WhatIfQuestion) -> WhatIfAnswer:
    """A plan as an answer."""
    grams = plan.totals.gco2e_per_h.value
    rounds = plan.verification.rounds[-1].upper_s if plan.verification and plan.latency else ()
    seen = tuple(
        (f"{entry.quantity.removesuffix('_s').upper()} p{entry.quantile * 100:g}", upper_s, entry.most_s)
        for entry, upper_s in zip(plan.latency, rounds, strict=False)
    )
    fleet = " + ".join(
        f"{pool.replicas}x {one.deployment.model} on {pool.tp * pool.pp * pool.dp}x {pool.accelerator} "
        f"{one.deployment.engine.id} @ {one.deployment.site}"
        for one in plan.services
        for pool in one.deployment.pools
    )
    told = "searched and proven anew"
    if asked.carbon_usd_per_t:
        told += "; the search weighs rent alone, the price of carbon is added to what it found"
    return WhatIfAnswer(
        fleet or " + ".join(offer.model for offer in plan.offers),
        plan.totals.usd_per_h.value,
        grams / GRAMS_PER_TON * asked.carbon_usd_per_t,
        grams / 1e3,
        seen,
        told,
        True,
    )


def _grams(fleet: Fleet) -> float:
    """gCO2e per hour."""
    return float(np.sum(fleet.total["gco2e"]))


def _rate_update(given: Workload, rate_per_s: float, before_per_s: float) -> dict[str, object]:
    if given.trace is None:
        return {"rate_per_s": rate_per_s}
    if given.scale is None and given.rate_per_s is not None:
        return {"rate_per_s": given.rate_per_s * rate_per_s / before_per_s}
    return {"scale": (given.scale or 1.0) * rate_per_s / before_per_s}


def _objectives(given: Workload, latency_s: Mapping[str, float]) -> object:
    """The workload's objectives with other bounds, in seconds."""
    update = {}
    for target in targets_of(given):
        if (most_s := latency_s.get(target_name(target))) is not None:
            name = target.quantity.removesuffix("_s")
            update[name] = getattr(given.objectives, name).model_copy(update={"max": most_s, "unit": "s"})
    return given.objectives.model_copy(update=update)
