"""Numba where it is installed, plain Python where it is not; no other module asks which."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

numba: Any
try:
    import numba
except ImportError:
    numba = None
if numba is not None and numba.config.DISABLE_JIT:
    numba = None

COMPILED = numba is not None
"""Whether the kernel is compiled. Without numba, and under NUMBA_DISABLE_JIT=1, its functions run as plain Python."""

# Nothing here allocates, so nothing need be counted: reference counts were half the running time.
_OUTER = {"error_model": "numpy", "_nrt": False}
_INNER = {**_OUTER, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled for use inside other compiled functions."""
    if not COMPILED:
        return function
    compiled = numba.njit(**_INNER)(function)
    resolve = compiled.get_call_template

    def without_literals(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        # Or every function would be compiled again for each constant that is passed to it.
        return resolve(tuple(numba.types.unliteral(item) for item in arguments), keywords)

    compiled.get_call_template = without_literals
    finished: Callable[..., Any] = compiled
    return finished


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a part of its few callers, in which it is compiled: a call would cost more than it does."""
    if not COMPILED:
        return function
    compiled: Callable[..., Any] = numba.njit(inline="always", **_INNER)(function)
    return compiled


def entry(function: Callable[..., Any], sources: Iterable[Path]) -> Callable[..., Any]:
    """The function compiled for calls from Python and kept on disk.

    Numba looks only at the file that holds the function to see whether a kept copy is stale; this one is
    kept in a folder named after the content of all the sources it is made from.
    """
    if not COMPILED:
        return function
    place = cache_folder(sources)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(place)
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, nogil=True, **_OUTER)(function)
    finally:
        numba.config.CACHE_DIR = before
    return compiled


def stand_in(function: Callable[..., Any], compiled: Callable[..., Any]) -> None:
    """In compiled code, use another function of three arguments for this one."""
    if not COMPILED:
        return

    def choose(first: Any, second: Any, third: Any) -> Callable[..., Any]:
        return compiled

    numba.extending.overload(function, strict=False)(choose)


def _versions() -> str:
    """What compiled code depends on beside its sources."""
    return f"{numba.__version__ if COMPILED else ''} {sys.implementation.cache_tag}"


def cache_folder(sources: Iterable[Path], versions: str = "") -> Path:
    """Where code compiled from these sources by this numba and Python is kept: another version compiles anew, and does
    not take what lies there for its own."""
    digest = hashlib.sha256((versions or _versions()).encode())
    for path in sorted(sources):
        digest.update(path.name.encode() + path.read_bytes())
    home = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "comptroller" / digest.hexdigest()[:16]
