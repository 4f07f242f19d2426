"""Engines behind the door, one file each; the folder is the registry.

A file defines one class, its stem in capitals and `Backend`: `openai.py` holds `OpenaiBackend`. A user's own is named
by a dotted path or a path to a file, `mine.py:Mine`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any, Protocol

from comptroller.costs.carbon import CallEnergy
from comptroller.errors import InputError, UnknownIdError
from comptroller.gateway.config import ServiceConfig
from comptroller.own_code import own_module, registry_stems

Json = dict[str, Any]


class GatewayBackend(Protocol):
    """One replica of a service, spoken to in the body and events of OpenAI's API."""

    def __init__(self, name: str, config: ServiceConfig, url: str) -> None: ...

    @staticmethod
    def filled(config: ServiceConfig) -> ServiceConfig:
        """The configuration with what holds of this engine whatever it says."""
        ...

    async def start(self) -> None:
        """Makes it ready.

        Raises:
            InputError: it cannot be; names the fix.
        """
        ...

    async def stop(self) -> None:
        """Lets go of everything it holds."""
        ...

    async def send(self, path: str, body: Json) -> Json:
        """A whole reply; path: "chat/completions", "completions" or "embeddings".

        Raises:
            UpstreamError: it refused, broke off or was not there.
        """
        ...

    def stream(self, path: str, body: Json) -> AsyncIterator[list[bytes]]:
        """The data of a reply's events, as they come. Closing the iterator stops the generation.

        Raises:
            UpstreamError: it refused, broke off or was not there.
        """
        ...

    def meter(self) -> CallEnergyMeter:
        """Reads the joules of a call that begins now."""
        ...


class CallEnergyMeter(Protocol):
    """Reads the joules of one call."""

    def end(self, timings: Json | None) -> CallEnergy:
        """Joules of the call, which just ended; timings: as llama.cpp tells them."""
        ...


class NullEnergyMeter:
    """Nothing is known."""

    def end(self, timings: Json | None) -> CallEnergy:
        """Unknown joules."""
        return CallEnergy()


def names() -> tuple[str, ...]:
    """Ids of the backends that ship.

    >>> {"echo", "embedded", "openai"} <= set(names())
    True
    """
    return registry_stems(sys.modules[__name__])


def backend(name: str) -> type[GatewayBackend]:
    """The class of an id, a dotted path or a file.

    Raises:
        UnknownIdError: there is no such backend.
        InputError: it holds no class of that name.
    """
    if name in names():
        module: Any = import_module(f"{__name__}.{name}")
        what = name.capitalize() + "Backend"
    else:
        where, _, what = name.rpartition(":")
        module = own_module(where)
        if module is None:
            raise UnknownIdError("backend", name, names())
    kind = getattr(module, what, None)
    if kind is None or not all(hasattr(kind, part) for part in ("filled", "start", "stop", "send", "stream", "meter")):
        raise InputError(f"backend {name}: no class {what} with filled, start, stop, send, stream and meter")
    checked: type[GatewayBackend] = kind
    return checked
