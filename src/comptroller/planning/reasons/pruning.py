"""What a search drops by exact bounds: how many ways and deployments, and for one of each what replaces it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from comptroller.planning.ground.plan_document import PrunedChoices
from comptroller.planning.solve.fleet_search import FleetSearch, Goal, columns_of, undominated_columns
from comptroller.planning.solve.mix import MixProblem
from comptroller.planning.solve.search import JointSearch, JointSolution, describe_way

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LATE = "misses the objectives"
REPLACED = "another deployment does as well"
BOUND = "a fleet without it is known to be cheaper"
BOUND_WAY = "a plan without it is known to be cheaper"
WAY = "another way does as well"


def dropped_deployments(search: FleetSearch, goal: Goal) -> tuple[PrunedChoices, ...]:
    """The deployments that a plan for requests need not look at."""
    mix = search.mix(goal, np.ones(len(search.table.candidates), bool))
    useful = np.flatnonzero(np.isfinite(mix.load).any(axis=0))
    left = useful[undominated_columns(columns_of(mix, useful))]
    known = left[search.survivors(columns_of(mix, left), goal)]
    beyond = np.setdiff1d(left, known)
    dear = PrunedChoices(reason=BOUND, count=beyond.size, example=_label(search, beyond)) if beyond.size else None
    found = (_late(search, useful), *_replaced_deployments(search, mix, useful, left), dear)
    return tuple(each for each in found if each)


def dropped_jointly(joint: JointSearch, goal: Goal, best: JointSolution) -> tuple[PrunedChoices, ...]:
    """The ways, and the deployments of every arm, that a plan for questions need not look at."""
    found: list[PrunedChoices | None] = [*_ways(joint, goal), *_beyond(joint, goal, best)]
    for arm, search in joint.ground.searches.items():
        rent, sizes = joint.rent(arm, goal), joint.ground.sizes[arm]
        mix = search.mix(goal, np.ones(len(search.table.candidates), bool))
        if rent is None:
            found.append(_late(search, np.zeros(0, np.int64)))
            continue
        rows = np.flatnonzero(np.isin(sizes.keys(search.table.load.requests), rent.buckets))
        useful = np.flatnonzero(np.isfinite(mix.load[rows]).all(axis=0))
        found += [_late(search, useful), *_replaced_deployments(search, rows_of(mix, rows), useful, rent.candidates)]
    return sum_by_reason([each for each in found if each])


def _beyond(joint: JointSearch, goal: Goal, best: JointSolution) -> Iterator[PrunedChoices]:
    """Ways and deployments that no plan as cheap as the best can hold, by the bound of `joint_bound`."""
    ways, deployments = joint.beyond(goal, best.objective)
    if ways.size:
        yield PrunedChoices(reason=BOUND_WAY, count=ways.size, example=describe_way(joint, int(ways[0])))
    count = sum(rows.size for rows in deployments.values())
    if count:
        arm = next(arm for arm, rows in deployments.items() if rows.size)
        yield PrunedChoices(reason=BOUND, count=count, example=_label(joint.ground.searches[arm], deployments[arm]))


def sum_by_reason(found: list[PrunedChoices]) -> tuple[PrunedChoices, ...]:
    """Counts of a reason together, with the first example."""
    first = {each.reason: each for each in reversed(found)}
    counts = {reason: sum(each.count for each in found if each.reason == reason) for reason in first}
    return tuple(
        first[reason].model_copy(update={"count": counts[reason]})
        for reason in dict.fromkeys(each.reason for each in found)
    )


def rows_of(mix: MixProblem, rows: Ints) -> MixProblem:
    """A mix of some slices only."""
    energy = None if mix.energy is None else mix.energy[rows]
    return MixProblem(mix.load[rows], mix.price, tuple(x[rows] for x in mix.also), energy, mix.limits, spare=mix.spare)


def _late(search: FleetSearch, useful: Ints) -> PrunedChoices | None:
    """Deployments that carry nothing within the objectives."""
    gone = np.setdiff1d(np.arange(len(search.table.candidates)), useful)
    if not gone.size:
        return None
    return PrunedChoices(reason=LATE, count=gone.size, example=_label(search, gone))


def _label(search: FleetSearch, rows: Ints) -> str:
    """The first of some deployments in one line."""
    return search.table.candidates[int(rows[0])].label


def _replaced_deployments(search: FleetSearch, mix: MixProblem, useful: Ints, left: Ints) -> Iterator[PrunedChoices]:
    """Deployments that another replaces."""
    gone = np.setdiff1d(useful, left)
    if gone.size:
        values = _values(mix)
        by = left[(values[:, left] <= values[:, [gone[0]]] * (1 + 1e-9)).all(axis=0)]
        example = f"{_label(search, gone)}: {_label(search, by)} carries as much for no more"
        yield PrunedChoices(reason=REPLACED, count=gone.size, example=example)


def _values(mix: MixProblem) -> Floats:
    """All that must be no more in what replaces a column: price, load, energy, and use of any limit."""
    energy = np.zeros(mix.load.shape) if mix.energy is None else mix.energy
    limits = [limit.weights[None, :] for limit in mix.limits]
    return np.concatenate([mix.price[None, :], mix.load, *mix.also, energy, *limits])


def _ways(joint: JointSearch, goal: Goal) -> Iterator[PrunedChoices]:
    """Ways that others replace, in every class of questions; the example tells of the weightiest."""
    open_, left = joint.tried(goal)
    gone = np.setdiff1d(open_, left)
    if gone.size:
        row, tasks = int(joint.ground.weight.argmax()), joint.ground.choices.tasks
        by = next(way for way in left.tolist() if joint.replaces(way, int(gone[0]), row))
        where = f" of {tasks[row]}" if tasks[row] else ""
        example = f"{describe_way(joint, int(gone[0]))}: {describe_way(joint, by)} solves as much{where} for no more"
        yield PrunedChoices(reason=WAY, count=gone.size, example=example)
