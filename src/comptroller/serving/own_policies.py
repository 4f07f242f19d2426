"""A user's own policy as the kernel calls it: by a number, so that the kernel is not compiled again for it.

The number is the address of a C function. Numba compiles the policy to one; where it cannot, the function calls back
into Python. Where the kernel is not compiled, the number names a Python function.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from comptroller.serving.jit import COMPILED, numba
from comptroller.serving.plain_memory import function_number
from comptroller.serving.policies import decision, names
from comptroller.serving.policies.view import COLUMNS
from comptroller.serving.state import CLOCK, REQUEST

if COMPILED:
    from comptroller.serving.pointers import pointer

Function = Callable[..., Any]

_KEPT: list[Any] = []
"""C functions, kept for as long as the process lives: engines know them by their addresses alone."""

_FAILURES: dict[int, BaseException] = {}
"""By thread, the first error of a policy that C called back: no exception passes through C."""


class _PolicySignature(NamedTuple):
    """How a policy becomes a function of so many numbers: for numba to compile, called back from C, or not compiled."""

    arguments: int
    compiled: Callable[[Function], Function]
    called_back: Callable[[Function], Function]
    uncompiled: Callable[[Function], Function]


def policy_number(kind: str, name: str) -> int:
    """What the kernel knows a policy by: its place among those that ship, else the number of its function."""
    if name in names(kind):
        return names(kind).index(name)
    return _own_number(kind, name, decision(kind, name))


# Without bound: an engine may call a function by its number for as long as the process lives. A file that has changed
# has another function.
@cache
def _own_number(kind: str, name: str, policy: Function) -> int:
    signature = _SIGNATURES[kind]
    if not COMPILED:
        return function_number(signature.uncompiled(policy))
    errors = numba.core.errors
    try:
        declared = numba.cfunc(numba.float64(*[numba.int64] * signature.arguments))
        return int(_keep(declared(signature.compiled(numba.njit(policy)))).address)
    except (errors.NumbaError, errors.UnsupportedBytecodeError) as error:
        why = str(error).strip().splitlines()[-1]
        print(f"{kind} policy {name} cannot be compiled and runs as plain Python: {why}", file=sys.stderr, flush=True)
    prototype = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_int64] * signature.arguments)
    called_back = _keep(prototype(_without_errors(signature.called_back(policy))))
    return int(ctypes.cast(called_back, ctypes.c_void_p).value or 0)


def raise_failure() -> None:
    """Raise the error that a policy raised when this thread's kernel called it back."""
    if _FAILURES and (failure := _FAILURES.pop(threading.get_ident(), None)):
        raise failure


def _keep(function: Any) -> Any:
    _KEPT.append(function)
    return function


def _without_errors(function: Function) -> Function:
    def called_by_c(*numbers: int) -> float:
        try:
            return float(function(*numbers))
        except BaseException as error:  # noqa: BLE001 - any error at all is raised once the kernel has returned
            _FAILURES.setdefault(threading.get_ident(), error)
            return -1.0

    return called_by_c


def _compiled_choose(choose: Function) -> Function:
    def at(view: int, ranks: int, count: int, call: int, router: int) -> Any:
        clock = numba.carray(pointer(router), 1, CLOCK)[0]
        seen = numba.carray(pointer(view), (COLUMNS, clock.ranks), np.float64).T
        allowed = numba.carray(pointer(ranks), count, np.int64)
        return choose(seen, allowed, numba.carray(pointer(call), 1, REQUEST)[0], clock)

    return at


def _called_back_choose(choose: Function) -> Function:
    def at(view: int, ranks: int, count: int, call: int, router: int) -> Any:
        clock = _record_at(router, CLOCK)
        seen = _array_at(view, np.dtype(np.float64), COLUMNS * clock.ranks).reshape(COLUMNS, -1).T
        return choose(seen, _array_at(ranks, np.dtype(np.int64), count), _record_at(call, REQUEST), clock)

    return at


def _uncompiled_choose(choose: Function) -> Function:
    def at(view: Any, ranks: Any, count: int, call: Any, router: Any) -> Any:
        return choose(view, ranks, call, router)

    return at


def _packed_budget(budget: Function) -> Function:
    """Prompt tokens and whether decodes run beside them, as one number."""

    def packed(decoding: int, chunk: int) -> Any:
        tokens, mixes = budget(decoding, chunk)
        return 2 * int(tokens) + int(mixes)

    return packed


def _compiled_rank(rank: Function) -> Function:
    def at(call: int) -> Any:
        return rank(numba.carray(pointer(call), 1, REQUEST)[0])

    return at


def _called_back_rank(rank: Function) -> Function:
    def at(call: int) -> Any:
        return rank(_record_at(call, REQUEST))

    return at


def _uncompiled_rank(rank: Function) -> Function:
    return rank


def _array_at(address: int, dtype: np.dtype[Any], count: int) -> Any:
    memory = (ctypes.c_char * (dtype.itemsize * count)).from_address(address)
    return np.frombuffer(memoryview(memory), dtype)


def _record_at(address: int, dtype: np.dtype[Any]) -> SimpleNamespace:
    """The fields of a record, as Python's own numbers."""
    return SimpleNamespace(**dict(zip(dtype.names or (), _array_at(address, dtype, 1)[0].item(), strict=True)))


_SIGNATURES = {
    "routing": _PolicySignature(5, _compiled_choose, _called_back_choose, _uncompiled_choose),
    "batching": _PolicySignature(2, _packed_budget, _packed_budget, _packed_budget),
    "scheduling": _PolicySignature(1, _compiled_rank, _called_back_rank, _uncompiled_rank),
}
