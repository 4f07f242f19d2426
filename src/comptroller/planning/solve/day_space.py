"""From a posed quality target to the traffic of a day: its ways, and every term that their models are served at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.timing import TimingCalibration
from comptroller.errors import FactError, InfeasibleError
from comptroller.planning.offer.call_buckets import Kinds
from comptroller.planning.offer.day_market import DeploymentMarket, LoadMapping, asked_of, on_offer, table_with
from comptroller.planning.offer.deployments import RejectionTally, enumerate_candidates
from comptroller.planning.offer.question_offer import JointProblem, space_of_arm
from comptroller.planning.solve.day_freedoms import QuestionDaySpace, freedoms
from comptroller.planning.solve.fleet_search import FleetSearch
from comptroller.planning.solve.hours import DayDemand
from comptroller.planning.solve.joint_hours import least
from comptroller.planning.solve.program import ModelMarket, QuestionTraffic
from comptroller.planning.solve.program_blocks import Array, Indices
from comptroller.planning.solve.prune import undominated_ways
from comptroller.planning.solve.search import JointSearch, Keep
from comptroller.work.hours import DeferrableWork, WorkloadDay

FEW = (240, 8)
"""Shares to choose in an hour, and columns to rent, that are all kept; of more, those that count (measured)."""

QUANTILES = (0.25, 0.5, 0.75, 1.0)
"""Of the day's load: where whole fleets are sought."""

USED = 1e-7
"""Shares and units above this count as used."""


def choice(problem: JointProblem, hours: WorkloadDay, calibration: TimingCalibration) -> QuestionDaySpace:
    """Every way and every term that may stand in a cheapest day; of many, those that count.

    Raises:
        FactError: work names a model that is not recorded or that no devices serve; the trace leaves out an hour.
        InfeasibleError: as `least`.
    """
    ground, goal = problem.joint.ground, problem.goal
    works = _by_arm(problem, hours)
    asked = asked_of(problem.workload, hours, goal, ground.rate_per_s)
    offers = {
        arm: _model_deployment_market(problem, hours, arm, works, (asked, calibration)) for arm in ground.searches
    }
    offers = {arm: each for arm, each in offers.items() if len(each.rows)}
    ways = _ways(problem.joint, offers)
    names = {arm: tuple(work.name for work in works.get(arm, ())) for arm in offers}
    traffic = _traffic(problem, ways, offers, names)
    whole = QuestionDaySpace(problem, traffic, asked, ways, offers)
    columns = sum(len(each.rows) for each in offers.values())
    return whole if traffic.score.size <= FEW[0] and columns <= FEW[1] else _pruned_space(whole)


def _by_arm(problem: JointProblem, hours: WorkloadDay) -> dict[int, list[DeferrableWork]]:
    """Work with tokens of its own, by the arm whose model does it."""
    ground, found = problem.joint.ground, dict[int, list[DeferrableWork]]()
    arms = ground.choices.evidence.arms
    served = {arm: str(arms[arm]) for arm in ground.searches}
    for work in (work for work in hours.deferrable if work.model is not None):
        named = [a for a, who in served.items() if who == work.model]
        named = named or [a for a in served if arms[a].model == work.model]
        if len(named) != 1:
            recorded = work.model in {*map(str, arms), *(arm.model for arm in arms)}
            problem_ = "is recorded more than once" if named else "is served by no devices that are allowed"
            raise FactError(
                problem.workload.name,
                f"hours.deferrable.model of {work.name!r}",
                f"{work.model!r} {problem_ if recorded else 'is not recorded'}",
                "one of those served: " + (", ".join(served.values()) or "none"),
            )
        found.setdefault(named[0], []).append(work)
    return found


def _model_deployment_market(
    problem: JointProblem,
    hours: WorkloadDay,
    arm: int,
    works: Mapping[int, Sequence[DeferrableWork]],
    rest: tuple[DayDemand, TimingCalibration],
) -> DeploymentMarket:
    """All that an arm may be served by, at every term: one load for each bucket of its calls, then its works."""
    ground, goal, (asked, calibration) = problem.joint.ground, problem.goal, rest
    search, sizes, mine = ground.searches[arm], ground.sizes[arm], works.get(arm, ())
    if mine or hours.spot is not None:
        who = search.table.candidates[0].replica.model
        space = space_of_arm(who, ground.choices.evidence.arms[arm], problem.workload)
        candidates = list(enumerate_candidates(space, RejectionTally()))
        search = FleetSearch(table_with(candidates, sizes.load, mine, goal, calibration))
    rates, buckets = search.table.load.rate_per_s, np.flatnonzero(problem.joint.calls[arm].any(axis=(0, 1)))
    place = {key: row for row, key in enumerate(sizes.keys(sizes.load.requests).tolist())}
    rows = np.array([*(place[bucket] for bucket in buckets), *range(len(place), len(rates))], np.int64)
    into = np.zeros((len(rows), len(rates)))
    into[np.arange(len(rows)), rows] = 1.0 / (rates[rows] * goal.demand)
    stay = np.zeros(into.shape)
    stay[: len(buckets), : len(place)] = sizes.load.weight
    stay[np.arange(len(buckets), len(rows)), rows[len(buckets) :]] = 1.0
    return on_offer(search, LoadMapping(into, into, stay), asked, goal, hours)


def _ways(joint: JointSearch, offers: Mapping[int, DeploymentMarket]) -> Indices:
    """Ways whose own arms are on offer, and that no other replaces."""
    own = [frozenset(a for a, route in way.routes.items() if route == "own") for way in joint.ground.ways]
    left = np.array([number for number, arms in enumerate(own) if arms <= set(offers)], np.int64)
    return undominated_ways(own, joint.score, joint.usd, joint.calls, left)


def _traffic(
    problem: JointProblem, ways: Indices, offers: Mapping[int, DeploymentMarket], works: Mapping[int, tuple[str, ...]]
) -> QuestionTraffic:
    joint, goal = problem.joint, problem.goal
    tasks, arms = joint.ground.choices.tasks, {}
    for arm, offered in offers.items():
        buckets = np.flatnonzero(joint.calls[arm].any(axis=(0, 1)))
        arms[arm] = ModelMarket(offered.market, joint.calls[arm][:, ways][:, :, buckets], works[arm])
    return QuestionTraffic(
        rate_per_s=joint.ground.rate_per_s,
        demand=goal.demand,
        weight=joint.ground.weight,
        score=joint.score[:, ways],
        usd=joint.usd[:, ways],
        quality=tuple((tasks.index(task) if task else None, share) for task, share in goal.quality),
        arms=arms,
    )


def _pruned_space(whole: QuestionDaySpace) -> QuestionDaySpace:
    """Ways and columns of the cheapest days of fractional units, and of the cheapest plans of each term alone."""
    ways = np.zeros(len(whole.ways), np.bool_)
    rows = {arm: np.zeros(len(each.rows), np.bool_) for arm, each in whole.offers.items()}
    bound, steps = np.inf, list(freedoms(whole))
    for step in steps:
        try:
            bound, posed, values = least(step.traffic, step.asked)
        except InfeasibleError:
            if step is steps[-1]:
                raise
            continue
        ways |= (values[posed.share] > USED).any(axis=(0, 1))
        if posed.later.size:
            ways |= (values[posed.later] > USED).any(axis=(0, 1))
        for arm, each in posed.arms.items():
            rows[arm] |= (values[each.units] > USED).any(axis=0)
    for share, units in _plans(whole):
        ways |= share[:, whole.ways].any(axis=0)
        for arm, used in units.items():
            rows[arm] |= np.isin(whole.offers[arm].rows, np.flatnonzero(used))
    some = np.flatnonzero(ways)
    offers = {arm: each.only(np.flatnonzero(rows[arm])) for arm, each in whole.offers.items()}
    arms = {
        arm: replace(each, market=offers[arm].market, calls=each.calls[:, some])
        for arm, each in whole.traffic.arms.items()
    }
    old = whole.traffic
    traffic = replace(old, score=old.score[:, some], usd=old.usd[:, some], arms=arms)
    return replace(whole, traffic=traffic, ways=whole.ways[some], offers=offers, least=bound)


def _plans(whole: QuestionDaySpace) -> Iterator[tuple[Array, Mapping[int, npt.NDArray[np.bool_]]]]:
    """Shares, and units by arm, of the cheapest plans of each term alone at several loads: whole units."""
    ground, load = whole.problem.joint.ground, whole.asked.load
    searches = {arm: offered.search for arm, offered in whole.offers.items()}
    joint = JointSearch(replace(ground, searches=searches))
    goal = replace(whole.problem.goal, limits=())
    for term in dict.fromkeys(term for offered in whole.offers.values() for term in offered.terms):
        for factor in dict.fromkeys(np.quantile(load[load > 0], QUANTILES).tolist()):
            try:
                found = joint.solve(replace(goal, demand=goal.demand * factor), _at(term))
            except InfeasibleError:
                continue
            yield found.share, {arm: fleet.units > 0 for arm, fleet in found.fleets.items()}


def _at(term: str) -> Keep:
    def keep(kinds: Kinds) -> bool:
        return term in kinds.get("term", frozenset((term,)))

    return keep
