"""The services of a joint plan: its fleets at the calls that its strategies send them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lcm

import numpy as np
import numpy.typing as npt

from comptroller.costs.capacity import SlicedLoad
from comptroller.costs.operating import OperatingPoint
from comptroller.planning import search as single
from comptroller.planning.document import PlanningProblem, service
from comptroller.planning.joint import JointSolution
from comptroller.planning.joint_ground import CallBuckets
from comptroller.planning.joint_planner import JointProblem
from comptroller.planning.plan import ServiceDocument
from comptroller.planning.search import FleetSearch
from comptroller.work.demand import TrafficDemand
from comptroller.work.lengths import RequestSizeTable

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ModelServices:
    """The own services of one arm: what stands in the plan, where each operates, its row, and its calls per second."""

    problem: PlanningProblem
    fleet: single.Fleet
    services: tuple[ServiceDocument, ...]
    states: tuple[OperatingPoint, ...]
    calls_per_s: Floats

    @property
    def residence_s(self) -> float:
        """The longest mean time of a call on one of the services."""
        return max(
            s.ttft_s.value + s.tpot_s.value * s.output_tokens_per_s / max(s.rate_per_s, 1e-12) for s in self.services
        )


SHARING = "bounded_hash"
"""Routing where calls on a question find each other's cache: a question's calls go to one replica while that is not far
busier than the others, as the gateway sends them."""


def model_services(problem: JointProblem, best: JointSolution) -> dict[int, ModelServices]:
    """The own services of every arm, at the calls they get."""
    found = {arm: _of_arm(problem, best, arm) for arm in best.fleets}
    if not shared_block_tokens(problem, best):
        return found
    return {arm: replace(each, services=tuple(map(_sharing, each.services))) for arm, each in found.items()}


def shared_block_tokens(problem: JointProblem, best: JointSolution) -> int:
    """Tokens of the prefix blocks that calls of the plan share on its fleets; 0 where none are found."""
    blocks = [
        problem.joint.ground.sizes[arm].block_tokens
        for arm, rented in best.fleets.items()
        if cached_share(problem, arm, rented.calls_per_s) > 0
    ]
    return lcm(*blocks) if blocks else 0


def cached_share(problem: JointProblem, arm: int, calls_per_s: Floats) -> float:
    """Share of the prompt tokens of an arm's calls, (buckets, candidates), that is found in a cache."""
    ground = problem.joint.ground
    requests, table = ground.sizes[arm].load.requests, ground.searches[arm].table
    keeps = np.array([candidate.replica.prefix_block_tokens > 0 for candidate in table.candidates])
    calls = calls_per_s[ground.sizes[arm].keys(requests)]
    found = (calls[:, keeps].sum(axis=1) * requests.cached_tokens).sum()
    return float(found / max((calls.sum(axis=1) * requests.input_tokens).sum(), 1e-12))


def _sharing(one: ServiceDocument) -> ServiceDocument:
    policies = tuple((kind, SHARING if kind == "routing" else name) for kind, name in one.deployment.policies)
    return one.model_copy(update={"deployment": one.deployment.model_copy(update={"policies": policies})})


def _of_arm(problem: JointProblem, best: JointSolution, arm: int) -> ModelServices:
    """The services of an arm's fleet, at the calls they get."""
    ground, fleet = problem.joint.ground, best.fleets[arm]
    search, sizes = ground.searches[arm], ground.sizes[arm]
    requests = sizes.load.requests
    calls = fleet.calls_per_s[sizes.keys(requests)] / problem.goal.demand
    rate = calls.sum(axis=1)
    load = SlicedLoad(requests, np.maximum(rate, 1e-12), problem.cv)
    loaded = FleetSearch(replace(search.table, load=load))
    per_s, column = search.table.best(problem.goal.targets)
    share = np.where(rate[:, None] > 1e-9, calls / np.maximum(rate, 1e-12)[:, None], 0.0)
    asked = PlanningProblem(problem.workload, _demand(sizes, rate), problem.goal, loaded, problem.rejected)
    whole = single.Fleet(fleet.units, share, best.objective, 0, column, per_s)
    rows = np.flatnonzero(fleet.units)
    found = [service(asked, whole, int(row)) for row in rows]
    return ModelServices(asked, whole, tuple(s for s, _ in found), tuple(s for _, s in found), calls.sum(axis=0)[rows])


def _demand(sizes: CallBuckets, rate: Floats) -> TrafficDemand:
    requests, total = sizes.load.requests, float(rate.sum())
    longest = np.full(len(rate), sizes.longest_tokens)
    points = RequestSizeTable(requests.input_tokens, requests.output_tokens, rate / total, longest, np.zeros(len(rate)))
    return TrafficDemand(total, total, total, 1.0, 1.0, points)
