"""A user's own policy in the engine: compiled by itself and called by its address, so that nothing else is compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.serving.jit import jit, numba
from comptroller.serving.pointers import address_of, call_at, pointer
from comptroller.serving.policies import decision, names
from comptroller.serving.policies.view import COLUMNS, Ranks, View
from comptroller.serving.state import CLOCK, REQUEST


@jit
def routing(which: int, view: View, ranks: Ranks, call: Any, router: Any) -> int:
    """The rank a policy chooses; one that it may not choose is a fault, told when the kernel returns."""
    places = address_of(view), address_of(ranks), ranks.size, address_of(call), address_of(router)
    chosen = int(call_at(which, places))
    for rank in ranks:
        if rank == chosen:
            return chosen
    router.fault = 1
    return int(ranks[0])


@jit
def batching(which: int, decoding: int, chunk: int) -> tuple[int, bool]:
    """Prompt tokens and whether decodes run beside them, which come packed in one number."""
    packed = int(call_at(which, (decoding, chunk)))
    return max(0, packed >> 1), packed & 1 == 1


@jit
def scheduling(which: int, call: Any) -> float:
    """Who goes first."""
    return float(call_at(which, (address_of(call),)))


def _routing(choose: Any) -> Callable[..., Any]:
    def at(view: int, ranks: int, count: int, call: int, router: int) -> Any:
        clock = numba.carray(pointer(router), 1, CLOCK)[0]
        seen = numba.carray(pointer(view), (COLUMNS, clock.ranks), np.float64).T
        may = numba.carray(pointer(ranks), count, np.int64)
        return choose(seen, may, numba.carray(pointer(call), 1, REQUEST)[0], clock)

    return at


def _batching(budget: Any) -> Callable[..., Any]:
    def at(decoding: int, chunk: int) -> Any:
        tokens, mixes = budget(decoding, chunk)
        return 2 * int(tokens) + int(mixes)

    return at


def _scheduling(rank: Any) -> Callable[..., Any]:
    def at(call: int) -> Any:
        return rank(numba.carray(pointer(call), 1, REQUEST)[0])

    return at


_FORMS = {"routing": (_routing, 5), "batching": (_batching, 2), "scheduling": (_scheduling, 1)}
"""How a policy is made a function of so many whole numbers."""


@lru_cache(maxsize=64)
def _compile_policy(kind: str, name: str) -> Any:
    (form, count), errors = _FORMS[kind], numba.core.errors
    try:
        return numba.cfunc(numba.float64(*[numba.int64] * count))(form(numba.njit(decision(kind, name))))
    except (errors.NumbaError, errors.UnsupportedBytecodeError) as error:
        why = str(error).strip().splitlines()[-1]
        raise UnsupportedError(f"{kind} policy {name} cannot be compiled, so only the twin runs it: {why}") from error


def number(kind: str, name: str) -> int:
    """What the kernel knows a policy by: its place among those that ship, else its address.

    Raises:
        UnsupportedError: numba cannot compile it.
    """
    return names(kind).index(name) if name in names(kind) else int(_compile_policy(kind, name).address)
