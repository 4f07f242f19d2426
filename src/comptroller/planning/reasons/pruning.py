"""What a search drops by exact bounds: how many options and deployments, and for one of each what replaces it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from comptroller.planning.ground.nouns import Fleet, Goal, Ints, Market
from comptroller.planning.ground.plan_document import PrunedChoices
from comptroller.planning.offer.deployments import RejectionTally
from comptroller.planning.offer.market import DeploymentOffers, replacement_values, undominated_columns
from comptroller.planning.solve.search import PlanSearch, describe_option

LATE = "misses the objectives"
REPLACED = "another deployment does as well"
BOUND = "a fleet without it is known to be cheaper"
BOUND_OPTION = "a plan without it is known to be cheaper"
OPTION = "another way does as well"


def pruned_choices(search: PlanSearch, goal: Goal, best: Fleet) -> tuple[PrunedChoices, ...]:
    """The options, and the deployments of every model, that a plan need not look at."""
    entries: list[PrunedChoices | None] = list(_options(search, goal))
    for model, offers in search.space.offers.items():
        entries += _deployments(search, goal, model, offers)
    entries += _beyond(search, goal, best)
    return sum_by_reason([entry for entry in entries if entry])


def _deployments(
    search: PlanSearch, goal: Goal, model: int, offers: DeploymentOffers
) -> Iterator[PrunedChoices | None]:
    whole, used = offers.market(goal), search.used(model)
    market = replace(whole, load=whole.load[:, used], added_j=whole.added_j[used], added_usd=whole.added_usd[used])
    useful = np.flatnonzero(market.fits.all(axis=0))
    yield _late(offers, useful)
    if len(useful):
        some = market.only(useful)
        yield from _replaced_deployments(offers, market, useful, useful[undominated_columns(some, goal)], goal)


def _beyond(search: PlanSearch, goal: Goal, best: Fleet) -> Iterator[PrunedChoices]:
    """Options and deployments that no plan as cheap as the best can hold, by the bound of `solve.bound`."""
    options, deployments = search.beyond(goal, best.objective)
    if options.size:
        example = describe_option(search.space, int(options[0]))
        yield PrunedChoices(reason=BOUND_OPTION, count=options.size, example=example)
    count = sum(rows.size for rows in deployments.values())
    if count:
        model = next(model for model, rows in deployments.items() if rows.size)
        example = _label(search.space.offers[model], deployments[model])
        yield PrunedChoices(reason=BOUND, count=count, example=example)


def sum_by_reason(entries: list[PrunedChoices]) -> tuple[PrunedChoices, ...]:
    """Counts of a reason together, with the first example."""
    first = {entry.reason: entry for entry in reversed(entries)}
    counts = {reason: sum(entry.count for entry in entries if entry.reason == reason) for reason in first}
    return tuple(
        first[reason].model_copy(update={"count": counts[reason]})
        for reason in dict.fromkeys(entry.reason for entry in entries)
    )


def _late(offers: DeploymentOffers, useful: Ints) -> PrunedChoices | None:
    """Deployments that carry nothing within the objectives."""
    gone = np.setdiff1d(np.arange(len(offers.deployments)), useful)
    return PrunedChoices(reason=LATE, count=gone.size, example=_label(offers, gone)) if gone.size else None


def _label(offers: DeploymentOffers, rows: Ints) -> str:
    """The first of some deployments in one line."""
    return offers.deployments[int(rows[0])].label


def _replaced_deployments(
    offers: DeploymentOffers, market: Market, useful: Ints, left: Ints, goal: Goal
) -> Iterator[PrunedChoices]:
    """Deployments that another replaces."""
    gone = np.setdiff1d(useful, left)
    if gone.size:
        values = replacement_values(market, goal.objective)
        by = left[(values[:, left] <= values[:, [gone[0]]] * (1 + 1e-9)).all(axis=0)]
        example = f"{_label(offers, gone)}: {_label(offers, by)} carries as much for no more"
        yield PrunedChoices(reason=REPLACED, count=gone.size, example=example)


def _options(search: PlanSearch, goal: Goal) -> Iterator[PrunedChoices]:
    """Options that others replace, in every class of questions; the example tells of the weightiest."""
    opened, left = search.tried(goal)
    gone = np.setdiff1d(opened, left)
    if gone.size:
        space, number = search.space, int(search.space.weight.argmax())
        by = next(option for option in left.tolist() if search.replaces(option, int(gone[0]), number))
        where = f" of {space.plays.tasks[number]}" if space.plays.tasks[number] else ""
        names = describe_option(space, int(gone[0])), describe_option(space, by)
        example = f"{names[0]}: {names[1]} solves as much{where} for no more"
        yield PrunedChoices(reason=OPTION, count=gone.size, example=example)


def rejected_choices(rejected: RejectionTally) -> tuple[PrunedChoices, ...]:
    """What fell out before the search, by reason."""
    return tuple(
        PrunedChoices(reason=reason, count=count, example=rejected.example[reason])
        for reason, count in sorted(rejected.count.items())
    )
