"""Policies: one file each, in `routing`, `batching`, `scheduling`, `scaling`, `spot`, `power` and `pools`.

The folder registers. A file holds one function: `choose`, `budget`, `rank`, `wish`, `place` or `cap`. The engine
compiles it; the gateway, and the engine without numba, run it as it is. A user's own is named by the path to its file
or by a dotted path; what numba cannot compile is called back as Python. Scaling, spot, power and pools are decided
between events, in Python.

A routing policy says in NEEDS what is kept for it alone: `kv`, tokens of cache in use; `match`, cached tokens of the
prompt; `opening`, that in a gateway a call without a session has the number of how its prompt begins. Whatever else it
declares no gateway knows, and none runs it.

Policies say in NEEDS which columns of a trace they read, `tenant`, `priority` or `adapter`; a trace without them is
refused. A scheduling policy that needs `counter` is asked anew at every admission, of the first call of each tenant
(`call.counter` is the service that it has had, prompt and output tokens by INPUT_WEIGHT and OUTPUT_WEIGHT); one with
PREEMPTS sets aside running calls of lower priority. A gateway's queues run the others (`gateway/admission_order.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from comptroller.own_code import PlugInRegistry

KINDS = {
    "routing": "choose", "batching": "budget", "scheduling": "rank", "scaling": "wish", "spot": "place", "power": "cap",
    "pools": "choose",
}  # fmt: skip
"""Kind of policy -> the function its files define."""


REGISTRIES = {kind: PlugInRegistry(f"{__name__}.{kind}", f"{kind} policy", name) for kind, name in KINDS.items()}


def names(kind: str) -> tuple[str, ...]:
    """Ids of the policies of a kind that ship, in the order of their numbers.

    >>> names("scheduling")[1]
    'fcfs'
    """
    return REGISTRIES[kind].names()


def module(kind: str, name: str) -> ModuleType:
    """The file of a policy: by its id, by a path or by a dotted path.

    Raises:
        UnknownIdError: there is no such policy.
        InputError: it lacks the function of its kind.
    """
    return REGISTRIES[kind].module(name)


def decision(kind: str, name: str) -> Callable[..., Any]:
    """The function of a policy."""
    function: Callable[..., Any] = getattr(module(kind, name), KINDS[kind])
    return function


def needs(kind: str, name: str, what: str) -> bool:
    """Whether a policy declares that it needs something (`kv`, `match`, `opening`)."""
    return what in getattr(module(kind, name), "NEEDS", ())
