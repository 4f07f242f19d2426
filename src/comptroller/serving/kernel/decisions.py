"""The policies compiled into the kernel. It takes numbers, not functions, or it would be compiled once per function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comptroller.serving.jit import jit
from comptroller.serving.kernel import own
from comptroller.serving.policies import KINDS, decision, names


def _dispatcher(kind: str, arguments: str) -> Callable[..., Any]:
    """A function of (which, *arguments) that calls the policy of that number, or what stands at that address."""
    space: dict[str, Any] = {"own": getattr(own, kind)}
    lines = [f"def {KINDS[kind]}(which, {arguments}):"]
    for index, name in enumerate(names(kind)):
        space[name] = jit(decision(kind, name))
        lines += [f"    if which == {index}:", f"        return {name}({arguments})"]
    exec("\n".join([*lines, f"    return own(which, {arguments})"]), space)
    return jit(space[KINDS[kind]])


choose = _dispatcher("routing", "view, ranks, call, router")
budget = _dispatcher("batching", "decoding, chunk")
rank_key = _dispatcher("scheduling", "call")
