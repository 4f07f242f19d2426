"""A user's own policy as the kernel calls it, by the number that `own_policies` gives it."""

from __future__ import annotations

from typing import Any

from comptroller.serving.jit import COMPILED, jit
from comptroller.serving.policies.view import Ranks, View

if COMPILED:
    from comptroller.serving.pointers import address_of, call_at
else:
    from comptroller.serving.plain_memory import address_of, call_at


@jit
def routing(which: int, view: View, ranks: Ranks, call: Any, router: Any) -> int:
    """The rank that a policy chooses. One that it may not choose is a fault, reported when the kernel returns."""
    arguments = address_of(view), address_of(ranks), ranks.size, address_of(call), address_of(router)
    chosen = int(call_at(which, arguments))
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
