"""Planners that may choose less than the joint planner, on its choice space, and what their choices cost elsewhere.

All find what to aim at by the same cross-fitting (`risk.confidence`), so that each is as well tuned to its evidence as
the joint plan is; they differ in which ways, and in which freedom of ways, they choose from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Demand, Fleet, Goal, Option
from comptroller.planning.ground.strategy_plays import OptionCalls, StrategyPlay
from comptroller.planning.ground.way_families import cascade_way, router_way, single_model
from comptroller.planning.ground.way_freedom import WayFreedom
from comptroller.planning.offer.choices import ChoiceSpace
from comptroller.planning.risk.confidence import with_supported_ways
from comptroller.planning.risk.cross_fit import DOUBT
from comptroller.planning.solve.case import OptionTable, ProgramCase
from comptroller.planning.solve.cheapest import optimum
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import PlanSearch
from comptroller.strategies.router_training import held_out
from comptroller.strategies.routing import outcomes

Floats = npt.NDArray[np.float64]

SPENDS = tuple(np.linspace(0.05, 0.95, 19).round(2).tolist())
"""Shares of calls of the dear model that a router is set to: steps of a twentieth."""

ROUNDING = 1e-6
"""Of a share solved, below the most that there is."""


@dataclass(frozen=True)
class FairPlanner:
    """A planner. freedoms: of ways.  may: whether it may answer by an option.  doubt: standard errors that more freedom
    has to be cheaper by."""

    freedoms: tuple[WayFreedom, ...]
    may: Callable[[Option], bool]
    doubt: float = DOUBT

    def plan(self, problem: PlanningProblem) -> tuple[PlanningProblem, Fleet]:
        """The choice on a problem's questions; a target beyond all that they support is lowered to that.

        Raises:
            InfeasibleError: there is none.
        """
        space = problem.space
        options = tuple(option for option in space.options if self.may(option))
        if not options:
            raise InfeasibleError("no such way is recorded")
        some = replace(problem, search=PlanSearch(replace(space, options=options)))
        (_, least), *others = some.goal.quality
        most = some.search.most_solved("", replace(some.goal, ways=self.freedoms[-1])) - ROUNDING
        some = replace(some, goal=replace(some.goal, quality=(("", min(least, most)), *others)))
        asked = with_supported_ways(some, self.freedoms, self.doubt)
        return asked, asked.search.solve(asked.goal)


def any_way(option: Option) -> bool:
    """Every strategy, by anybody."""
    return True


PLANNERS: Mapping[str, FairPlanner] = {
    "joint": FairPlanner(tuple(WayFreedom), any_way),
    "one way for all": FairPlanner((WayFreedom.ONE_WAY,), any_way),
    "one way per task": FairPlanner((WayFreedom.WAY_EACH,), any_way),
    "best single model": FairPlanner((WayFreedom.ONE_WAY,), single_model),
    "a router (RouteLLM)": FairPlanner((WayFreedom.ONE_WAY,), router_way),
    "a cascade (FrugalGPT)": FairPlanner((WayFreedom.ONE_WAY,), cascade_way),
}


def priced(search: PlanSearch, goal: Goal, share: Floats) -> tuple[float, float]:
    """Dollars per hour and share solved of shares, (classes, options), fleets sized anew for the questions that count.

    Units are chosen anew, and with them which calls own devices serve and which an API: a plan that fills its devices
    to the brim on its own questions buys the few calls more that others take, where that is cheaper than one more unit.

    Raises:
        InfeasibleError: nothing that may be rented carries it.
    """
    space, table = search.space, search.table
    markets = {
        model: space.market(model, goal, np.ones(len(offers.deployments), bool), search.used(model))
        for model, offers in space.offers.items()
        if len(search.used(model))
    }
    served = {model: market for model, market in markets.items() if market is not None}
    lost = [table.calls[model].any(axis=(0, 2)) for model in markets if model not in served]
    parts = _answered_parts(space, share, ~np.any([np.zeros(share.shape[1], bool), *lost], axis=0))
    task, ways = np.array([part.task for part in parts])[:, None], np.array([part.ways for part in parts])
    calls = {model: table.calls[model][task, ways][:, :, search.used(model)] for model in served}
    asked = {model: of_model for model, of_model in calls.items() if of_model.any()}
    demand = Demand(
        space.rate_per_s * goal.sizing, tuple(part.name for part in parts), np.array([part.weight for part in parts])
    )
    alone = replace(goal, demand=1.0, most_use=1.0, quality=(), ways=WayFreedom.MIX_EACH)
    options = OptionTable(table.score[task, ways], np.nan_to_num(table.usd[task, ways]) / goal.sizing, asked)
    best = optimum(ProgramCase(demand, options, {model: served[model] for model in asked}, alone))
    if best is None:
        raise InfeasibleError("nothing that may be rented carries it")
    return best.objective, float(space.weight @ (share * table.score).sum(axis=1))


@dataclass(frozen=True)
class AnsweredPart:
    """Questions of a class (its number) that are answered alike. weight: their part of all.  ways: options that do so,
    by other routes; the first again where other parts have more."""

    name: str
    task: int
    weight: float
    ways: tuple[int, ...]


def _answered_parts(space: ChoiceSpace, share: Floats, served: npt.NDArray[np.bool_]) -> list[AnsweredPart]:
    """The parts of every class that one play answers, by whichever routes.

    Raises:
        InfeasibleError: none of a part's routes is served.
    """
    plays = np.array([id(option.play) for option in space.options])
    parts = []
    for task, of_class in enumerate(share):
        for play in dict.fromkeys(plays[of_class > 0].tolist()):
            ways = np.flatnonzero((plays == play) & served).tolist()
            if not ways:
                raise InfeasibleError("nothing that may be rented meets the objectives")
            weight = float(space.weight[task] * of_class[plays == play].sum())
            parts.append(AnsweredPart(f"{space.plays.tasks[task]}/{len(parts)}", task, weight, tuple(ways)))
    most = max(len(part.ways) for part in parts)
    return [replace(part, ways=part.ways + part.ways[:1] * (most - len(part.ways))) for part in parts]


def with_router(problem: PlanningProblem, kind: str) -> PlanningProblem:
    """The problem with ways that a router chooses by, trained for each fifth of the questions on the others.

    Two models, one answer each. Questions of the half that is judged are among those trained on, five parts apart: the
    router is better off than one that knew the choosing half alone.
    """
    space = problem.space
    evidence = space.plays.evidence
    assert evidence is not None
    once = {option.play.models[0]: option for option in space.options if option.play.name == "once"}
    by_cost = sorted(once, key=lambda model: float(np.nanmean(once[model].usd(space.questions))))
    known = outcomes(evidence, [space.plays.models[model] for model in by_cost])
    place = {question.id: row for row, question in enumerate(known.questions)}
    expected = held_out(kind, known, np.random.default_rng(0))
    names = [evidence.items[number].id for number in space.plays.question.tolist()]
    gain = np.array([expected[place[name], 1] - expected[place[name], 0] for name in names])
    plays, options = [], []
    for spend in SPENDS:
        strong = gain > np.quantile(gain, 1.0 - spend)
        play = _routed_play(f"route(spend={spend:g},by={kind})", by_cost, [once[m].play for m in by_cost], strong)
        plays.append(play)
        axes = {"strategy": frozenset(("route",)), "model": frozenset(map(str, by_cost)), "route": frozenset(("api",))}
        options.append(Option(play, dict.fromkeys(by_cost, "api"), axes))
    found = replace(space.plays, plays=(*space.plays.plays, *plays))
    return replace(problem, search=PlanSearch(replace(space, plays=found, options=(*space.options, *options))))


def _routed_play(
    strategy: str, models: list[int], once: list[StrategyPlay], strong: npt.NDArray[np.bool_]
) -> StrategyPlay:
    calls = OptionCalls.together(
        [once[0].calls.only(~strong[once[0].calls.question]), once[1].calls.only(strong[once[1].calls.question])]
    )
    roles = {"weak": models[0], "strong": models[1]}
    return StrategyPlay(strategy, roles, roles, np.where(strong, once[1].score, once[0].score), calls)
