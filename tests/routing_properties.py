"""What every routing policy owes, whatever it goes by: each check raises AssertionError where a policy breaks it."""

from __future__ import annotations

from collections import deque
from math import ceil
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from comptroller.serving.policies.view import (
    ACTIVE,
    CAPACITY,
    COLUMNS,
    KV,
    MATCH,
    PENDING,
    QUEUED,
    RESERVED,
    WEIGHT,
    Ranks,
    RouterState,
    View,
)

DECLARED = {"kv": KV, "match": MATCH}
"""What a policy has to declare in NEEDS -> the column that is kept for it."""
ROUNDS = 200
"""Views that are drawn for a check: an error in one view of twenty is missed once in 28,000 runs."""


class Call(NamedTuple):
    """What policies read of a request."""

    id: int
    prompt: int
    predicted: int
    session: int = -1
    priority: float = 0.0
    fair_start: float = 0.0
    tenant: int = 0
    adapter: int = 0
    counter: float = 0.0
    epoch: int = 0


class Case(NamedTuple):
    """What a policy is asked."""

    view: View
    ranks: Ranks
    call: Call
    router: RouterState


def drawn(rng: np.random.Generator, sessions: bool = True) -> Case:
    """Any view of up to eight replicas, no two numbers in it alike, some of them allowed."""
    count = int(rng.integers(1, 9))
    view = rng.uniform(0.0, 100.0, (count, COLUMNS))
    view[:, [CAPACITY, WEIGHT]] += 1.0
    ranks = np.flatnonzero(rng.random(count) < 0.7)
    call = Call(int(rng.integers(0, 1000)), int(rng.integers(1, 5000)), int(rng.integers(0, 5000)))
    if sessions and rng.random() < 0.5:
        call = call._replace(session=int(rng.integers(0, 1 << 62)))
    if sessions:
        call = call._replace(tenant=int(rng.integers(0, 40)), adapter=int(rng.integers(0, 40)))
    router = RouterState(int(rng.integers(0, 50)), int(rng.integers(0, 9)), 1.25, 0.5)
    return Case(view, ranks if ranks.size else np.arange(count), call, router)


def chooses_what_it_may(policy: ModuleType) -> None:
    """One of the ranks it was given, the same one every time, and the view stays as it was."""
    rng = np.random.default_rng(1)
    for _ in range(ROUNDS):
        case = drawn(rng)
        before = case.view.copy()
        chosen = policy.choose(*case)
        assert chosen in case.ranks, "the choice is a rank that may take the call"
        assert policy.choose(*case) == chosen, "the same view and the same draws give the same choice"
        np.testing.assert_array_equal(case.view, before)


def looks_at_nothing_else(policy: ModuleType) -> None:
    """Rows of ranks that may not be chosen decide nothing, nor columns that it has not said it needs."""
    rng = np.random.default_rng(2)
    needs = getattr(policy, "NEEDS", ())
    blind = [column for need, column in DECLARED.items() if need not in needs]
    blind += [] if hasattr(policy, "CAPACITY") else [CAPACITY]
    for _ in range(ROUNDS):
        case = drawn(rng)
        other = case.view.copy()
        hidden = np.setdiff1d(np.arange(len(other)), case.ranks)
        other[hidden] = rng.uniform(1.0, 1e4, (hidden.size, COLUMNS))
        other[:, blind] = np.nan
        assert policy.choose(other, *case[1:]) == policy.choose(*case)


def needs_what_it_declares(policy: ModuleType) -> None:
    """Whatever is kept for it decides somewhere."""
    for need in getattr(policy, "NEEDS", ()):
        if need in DECLARED:
            rng = np.random.default_rng(3)
            cases = [drawn(rng) for _ in range(ROUNDS)]
            moved = [case.view.copy() for case in cases]
            for view in moved:
                view[:, DECLARED[need]] = view[::-1, DECLARED[need]]
            pairs = zip(cases, moved, strict=True)
            assert any(policy.choose(view, *case[1:]) != policy.choose(*case) for case, view in pairs), need


def compares(policy: ModuleType) -> bool:
    """Whether it goes by the view alone: it neither draws nor takes turns, for calls without a session."""
    rng = np.random.default_rng(4)
    for _ in range(ROUNDS):
        case = drawn(rng, sessions=False)
        turned = case.router._replace(turn=case.router.turn + 1, seed=case.router.seed + 1)
        other = case._replace(call=case.call._replace(id=case.call.id + 1), router=turned)
        if policy.choose(*case) != policy.choose(*other):
            return False
    return True


def does_not_go_by_numbers(policy: ModuleType) -> None:
    """Replicas in another order: one that compares chooses the same replica, another still one that it may."""
    rng = np.random.default_rng(5)
    same = compares(policy)
    for _ in range(ROUNDS):
        case = drawn(rng, sessions=False)
        order = rng.permutation(len(case.view))
        every = np.arange(len(order))
        first = policy.choose(case.view, every, *case[2:])
        second = policy.choose(case.view[order], every, *case[2:])
        assert second in every
        assert not same or order[second] == first, "numbers of replicas decide nothing"


def prefers_the_better(policy: ModuleType) -> None:
    """One that compares takes an idle replica with the whole prompt cached before busy ones without it."""
    if not compares(policy):
        return
    rng = np.random.default_rng(6)
    for _ in range(ROUNDS):
        case = drawn(rng, sessions=False)
        best = int(rng.choice(case.ranks))
        case.view[:, [ACTIVE, QUEUED, PENDING, RESERVED, KV]] += 1.0
        case.view[:, MATCH] = 0.0
        case.view[best] = [0, 0, 0, 0, 0, 200.0, 200.0, case.call.prompt]
        assert policy.choose(*case) == best


def served(policy: ModuleType, count: int, sessions: bool, replicas: int = 6) -> tuple[np.ndarray[Any, Any], float]:
    """Calls by replica in a run that keeps its view; the most that one had over its bound at any time.

    sessions: whether all calls belong to one session.
    """
    view = np.zeros((replicas, COLUMNS))
    view[:, CAPACITY], view[:, WEIGHT] = 1e5, 1.0
    rng, ranks = np.random.default_rng(7), np.arange(replicas)
    going: deque[tuple[int, Call]] = deque()
    calls, over = np.zeros(replicas), 0.0
    for number in range(count):
        call = Call(
            number, int(rng.integers(1, 3000)), int(rng.integers(1, 500)), 5 if sessions else number, tenant=number
        )
        limit = ceil(1.25 * (view[:, ACTIVE].sum() + 1) / replicas)
        rank = policy.choose(view, ranks, call, RouterState(number, 0, 1.25, 1.0))
        columns = np.array([1, 1, call.prompt, call.prompt + call.predicted, call.prompt, 0, 0, 0])
        view[rank] += columns
        over = max(over, view[rank, ACTIVE] - limit)
        calls[rank] += 1
        going.append((rank, call))
        if len(going) > 8 * replicas:
            rank, call = going.popleft()
            view[rank] -= [1, 1, call.prompt, call.prompt + call.predicted, call.prompt, 0, 0, 0]
    return calls, over


def starves_nobody(policy: ModuleType) -> None:
    """Of many different calls to replicas that are alike, none has a third more or less than its share.

    The noise of 3,000 random draws over six replicas is 4 % (one standard deviation).
    """
    calls, _ = served(policy, 3000, sessions=False)
    assert calls.min() > 0.67 * calls.mean() and calls.max() < 1.33 * calls.mean(), calls


def bounds_what_begins_alike(policy: ModuleType) -> None:
    """One that takes prompts which begin alike for a session keeps to the bound where all of them do."""
    if "opening" in getattr(policy, "NEEDS", ()):
        calls, over = served(policy, 1000, sessions=True)
        assert over <= 0, calls


PROPERTIES = (
    chooses_what_it_may, looks_at_nothing_else, needs_what_it_declares, does_not_go_by_numbers, prefers_the_better,
    starves_nobody, bounds_what_begins_alike,
)  # fmt: skip
