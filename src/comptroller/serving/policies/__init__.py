"""Policies: one file each, in `routing`, `batching` and `scheduling`; the folder is the registry.

Each file holds one decision twice: `choose` (or `budget`, `rank`) in the form the compiled engine takes, and
`plain`, what it means in plain Python, which the twin executes. A conformance suite holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from comptroller.errors import UnknownId
from comptroller.serving.jit import jit

KINDS = {"routing": "choose", "batching": "budget", "scheduling": "rank"}
"""Kind of policy -> the function its files define for the engine."""


@lru_cache(maxsize=8)
def names(kind: str) -> tuple[str, ...]:
    """Ids of the policies of a kind, in the order of their numbers."""
    folder = Path(__file__).parent / kind
    return tuple(sorted(path.stem for path in folder.glob("[a-z]*.py")))


def number(kind: str, name: str) -> int:
    """The number of a policy.

    Raises:
        UnknownId: no file carries the name.

    >>> names("scheduling")[number("scheduling", "fcfs")]
    'fcfs'
    """
    if name not in names(kind):
        raise UnknownId(f"{kind} policy", name, names(kind))
    return names(kind).index(name)


@lru_cache(maxsize=64)
def module(kind: str, name: str) -> ModuleType:
    """The file of a policy."""
    return import_module(f"{__name__}.{kind}.{names(kind)[number(kind, name)]}")


def needs(kind: str, name: str, what: str) -> bool:
    """Whether a policy reads something that is costly to keep current (`kv`, `match`)."""
    return what in getattr(module(kind, name), "NEEDS", ())


def dispatcher(kind: str, arguments: str) -> Callable[..., Any]:
    """A function of (which, *arguments) that calls the policy of that number; compiled kernels take numbers,
    not functions, or they would be compiled once per function."""
    function = KINDS[kind]
    space: dict[str, Any] = {}
    lines = [f"def {function}(which, {arguments}):"]
    for index, name in enumerate(names(kind)):
        space[name] = jit(getattr(module(kind, name), function))
        lines += [f"    if which == {index}:", f"        return {name}({arguments})"]
    lines[-2] = "    if True:"
    exec("\n".join(lines), space)
    return jit(space[function])
