"""What marketplaces would save: the steady state with their offers beside those that a company can rent from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from comptroller.costs.deployment import ModelReplica
from comptroller.errors import InfeasibleError
from comptroller.facts.site import EVERYBODY, AcceleratorOffer, Site
from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.offer.deployments import DeploymentSpace, RejectionTally, enumerate_deployments
from comptroller.planning.offer.evaluation import DeploymentTable, build_table
from comptroller.planning.offer.market import DeploymentOffers, with_capacities
from comptroller.planning.reasons.proof_reader import STEADY
from comptroller.planning.solve.day_space import deployment_space
from comptroller.planning.solve.description import describe_fleet
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import PlanSearch

LEAST_SAVED = 1e-6
"""Share of the cost below which nothing is saved: a thousand times the gap that programs are solved to."""


def marketplace_notes(problem: PlanningProblem) -> Iterator[str]:
    """What the marketplaces that a plan leaves out would save, both fleets sized in the steady state; nothing where the
    workload says whom to rent from, where something else than dollars is least, or where they save nothing."""
    allow, goal = problem.workload.allow, problem.goal.asked
    if allow.kinds or allow.providers or goal.objective != "usd":
        return
    added = {model: _with_marketplaces(problem, model) for model in problem.space.offers}
    if not any(len(table.candidates) for table in added.values()):
        return
    offers = {m: DeploymentOffers(of.table.beside(added[m])) for m, of in problem.space.offers.items()}
    search = PlanSearch(problem.space.offering(offers))
    wider = with_capacities(goal, (item for of in offers.values() for item in of.deployments))
    try:
        now, then = problem.search.solve(goal), search.solve(wider)
    except InfeasibleError:
        return
    saved = now.objective - then.objective
    if saved > LEAST_SAVED * now.objective:
        yield (
            f"marketplaces ({', '.join(_sellers(offers, then))}) would save ${saved:.2f} of ${now.objective:.2f}/h: "
            f"{describe_fleet(search, then)}; machines of other people, at the price of one day (allow.kinds; {STEADY})"
        )


def _with_marketplaces(problem: PlanningProblem, model: int) -> DeploymentTable:
    """The deployments of one model that only marketplaces add: known replicas at their prices, and devices that nobody
    else rents out."""
    table, space = problem.space.offers[model].table, deployment_space(problem, model)
    distinct = {id(item.replica): row for row, item in reversed(list(enumerate(table.candidates)))}
    offers = _OffersOfMarketplaces(space)
    found = [
        (row, replace(table.candidates[row], site=place, offer=offer))
        for row in distinct.values()
        for place, offer in offers.of(table.candidates[row].replica)
    ]
    priced = table.priced([row for row, _ in found], [item for _, item in found])
    devices = {item.replica.device.id for item in table.candidates}
    lacking = tuple(device for device in space.accelerators if device.id not in devices)
    fresh = list(
        enumerate_deployments(replace(space, accelerators=lacking, sellers=EVERYBODY), RejectionTally())
        if lacking
        else ()
    )
    targets = problem.goal.targets
    return priced.beside(build_table(fresh, table.load, targets, problem.steps, RejectionTally()))


class _OffersOfMarketplaces:
    """What marketplaces ask for replicas, looked up once for each device and number of them."""

    def __init__(self, space: DeploymentSpace) -> None:
        self._space = space
        self._known: dict[tuple[str, int], list[tuple[Site, AcceleratorOffer]]] = {}

    def of(self, replica: ModelReplica) -> list[tuple[Site, AcceleratorOffer]]:
        """The offers of marketplaces that no other undercuts."""
        space, count = self._space, replica.layout.devices
        key = replica.device.id, count
        if key not in self._known:
            self._known[key] = [
                (place, offer)
                for place in space.sites
                for term in space.terms
                for offer in place.offers_for(replica.device, term, count, space.on, EVERYBODY)
                if place.kind_of(offer.provider) == "marketplace"
            ]
        return self._known[key]


def _sellers(offers: dict[int, DeploymentOffers], fleet: Fleet) -> tuple[str, ...]:
    """The marketplaces that a fleet rents from."""
    rented = [offers[model].deployments[row] for model, units in fleet.units.items() for row in units[0].nonzero()[0]]
    markets = {item.offer.provider for item in rented if item.site.kind_of(item.offer.provider) == "marketplace"}
    return tuple(sorted(markets))
