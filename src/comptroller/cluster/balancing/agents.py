"""Decentralised agents: a node with overload offers services to a few nodes, which answer for themselves alone.

Source: MASB (Sliwko, arXiv 2509.22704): node agents, brokers that pass on a few candidates, scores of an allocation,
and offers that a node has to take where none takes them of its own will. What a node scores is ours: the room it has
left after it, in its scarcest resource.
"""

from __future__ import annotations

import numpy as np

from comptroller.cluster.balance_case import EXACT, BalanceCase, BalanceSearch, Floats, Ints

CANDIDATES = 5
"""Nodes that a broker names for an offer. At twice as many the agents see most of a small cluster."""
ROUNDS = 12
"""Rounds of offers; in the benchmark none was open after eight."""


def assignment(case: BalanceCase, rng: np.random.Generator) -> Ints:
    """Rounds in which each node with overload offers services, cheapest for what they free first."""
    search = BalanceSearch(case)
    for _ in range(ROUNDS):
        nodes = rng.permutation(np.flatnonzero(search.over > EXACT))
        if not len(nodes):
            break
        for node in nodes:
            _offers(search, int(node), rng)
    return search.at


def _offers(search: BalanceSearch, node: int, rng: np.random.Generator) -> None:
    """Offer services of a node until it has no overload, or all were offered once."""
    case = search.case
    own = np.flatnonzero(search.at == node)
    scarce = int(search.load[node].argmax())
    order = own[np.argsort(case.move_cost[own] / np.maximum(case.shares[own, node, scarce], EXACT), kind="stable")]
    for service in order:
        if search.over[node] <= EXACT:
            return
        others = np.setdiff1d(np.arange(len(case.capacity)), [node])
        asked = rng.choice(others, min(CANDIDATES, len(others)), replace=False)
        room = _room(search, int(service), asked)
        if room.max() >= 0:
            search.move(int(service), int(asked[room.argmax()]))


def _room(search: BalanceSearch, service: int, asked: Ints) -> Floats:
    """Share that each node would have left in its scarcest resource; below 0 where it would be overloaded."""
    return np.asarray(1 - (search.load[asked] + search.case.shares[service, asked]).max(axis=1))
