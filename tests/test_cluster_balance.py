"""Services over nodes: every balancer against the optimum of small cases, and what none of them may do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array

from comptroller.cluster.balance_case import BalanceCase, BalanceSearch
from comptroller.cluster.balancing import BALANCERS, annealing, greedy, seeded_genetic, tabu
from comptroller.errors import InputError
from comptroller.highs import MixedIntegerProgram, solve


def case(seed: int, nodes: int = 3, services: int = 8, load: float = 0.6) -> BalanceCase:
    rng = np.random.default_rng(seed)
    demand = rng.gamma(4, 0.25, (services, 2)) * load * nodes / services
    return BalanceCase(
        rng.uniform(0.8, 1.2, (nodes, 2)), demand, rng.uniform(1, 9, services), rng.integers(nodes, size=services)
    )


def least_cost(of: BalanceCase) -> float:
    """Cost of the cheapest moves without overload, by the integer program; inf where there are none."""
    services, nodes, resources = *of.shares.shape[:2], of.shares.shape[2]
    cost = np.where(np.arange(nodes)[None] == of.at[:, None], 0.0, of.move_cost[:, None]).ravel()
    one = np.kron(np.eye(services), np.ones(nodes))
    room = np.zeros((nodes * resources, services * nodes))
    for service, node, resource in np.ndindex(of.shares.shape):
        room[node * resources + resource, service * nodes + node] = of.shares[service, node, resource]
    program = MixedIntegerProgram(
        cost, csc_array(np.vstack([one, room])), np.append(np.ones(services), np.full(len(room), -np.inf)),
        np.ones(services + len(room)), np.ones(len(cost)), np.ones(len(cost), bool),
    )  # fmt: skip
    return solve(program).objective


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("name", BALANCERS.names())
def test_no_balancer_beats_the_optimum_or_adds_overload(name: str, seed: int) -> None:
    of = case(seed)
    at = BALANCERS.module(name).assignment(of, np.random.default_rng(seed))
    over, cost = of.value(at)
    assert over <= of.value(of.at)[0] + 1e-9
    if over == 0:
        assert cost >= least_cost(of) - 1e-6
    if of.value(of.at)[0] == 0:
        assert cost == 0, "what has no overload is left alone"


def test_searches_find_the_optimum_of_most_small_cases() -> None:
    cases = [of for seed in range(40) if (of := case(seed)).value(of.at)[0] > 0 and np.isfinite(least_cost(of))]
    assert len(cases) >= 12
    for search, share in ((tabu, 0.8), (annealing, 0.7), (seeded_genetic, 0.8)):
        values = [of.value(search.assignment(of, np.random.default_rng(1))) for of in cases]
        met = [value[0] == 0 and value[1] <= least_cost(of) + 1e-6 for value, of in zip(values, cases, strict=True)]
        assert np.mean(met) >= share, search.__name__


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_a_search_with_seeds_is_no_worse_than_its_seeds(seed: int) -> None:
    of = case(seed, nodes=5, services=20)
    seeds_rng = np.random.default_rng(2)
    best = min(of.value(search.assignment(of, seeds_rng)) for search in (greedy, annealing, tabu))
    found = of.value(seeded_genetic.assignment(of, np.random.default_rng(2)))
    assert found[0] <= best[0] + 1e-9 and (found[0] < best[0] - 1e-9 or found[1] <= best[1] + 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_effects_of_a_move_are_what_the_case_says_of_it(seed: int) -> None:
    of = case(seed, load=0.9)
    search, rng = BalanceSearch(of), np.random.default_rng(seed)
    for _ in range(12):
        service, node = int(rng.integers(len(of.at))), int(rng.integers(len(of.capacity)))
        over, cost = search.effects(service)
        before = of.overload(search.at), of.cost(search.at)
        search.move(service, node)
        after = of.overload(search.at), of.cost(search.at)
        assert after[0] - before[0] == pytest.approx(over[node], abs=1e-9)
        assert after[1] - before[1] == pytest.approx(cost[node], abs=1e-9)
        assert search.value == pytest.approx(of.value(search.at), abs=1e-9)


def test_a_case_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="lies on no node; allowed: 0 to 1"):
        BalanceCase(np.ones((2, 1)), np.ones((1, 1)), np.ones(1), np.array([2]))
    with pytest.raises(InputError, match="costs of moves have to be above 0"):
        BalanceCase(np.ones((2, 1)), np.ones((1, 1)), np.zeros(1), np.array([0]))
