"""Engines behind the door, one file each; the folder is the registry.

A file defines one class, named as the file in capitals: `openai.py` holds `Openai`. A user's own is named by a dotted
path or a path to a file, `mine.py:Mine`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from comptroller.costs.carbon import Energy
from comptroller.errors import InputError, UnknownId
from comptroller.gateway.config import ServiceConfig
from comptroller.strategies.spelling import located

Json = dict[str, Any]


class Backend(Protocol):
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

    def meter(self) -> Meter:
        """Reads the joules of a call that begins now."""
        ...


class Meter(Protocol):
    """Reads the joules of one call."""

    def end(self, timings: Json | None) -> Energy:
        """Joules of the call, which just ended; timings: as llama.cpp tells them."""
        ...


class NoMeter:
    """Nothing is known."""

    def end(self, timings: Json | None) -> Energy:
        """Unknown joules."""
        return Energy()


def names() -> tuple[str, ...]:
    """Ids of the backends that ship.

    >>> names()
    ('echo', 'embedded', 'openai')
    """
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def backend(name: str) -> type[Backend]:
    """The class of an id, a dotted path or a file.

    Raises:
        UnknownId: there is no such backend.
        InputError: it holds no class of that name.
    """
    if name in names():
        module: Any = import_module(f"{__name__}.{name}")
        what = name.capitalize()
    else:
        where, _, what = name.rpartition(":")
        module = located(where)
        if module is None:
            raise UnknownId("backend", name, names())
    kind = getattr(module, what, None)
    if kind is None or not all(
        hasattr(kind, part) for part in ("filled", "start", "stop", "send", "stream", "meter")
    ):
        raise InputError(f"backend {name}: no class {what} with filled, start, stop, send, stream and meter")
    found: type[Backend] = kind
    return found
