"""The command that starts a deployment, one file per engine; the file's stem is the engine's id."""

from __future__ import annotations

import shlex
from importlib import import_module, resources

from comptroller.costs.deployment import Replica
from comptroller.errors import UnknownId


def engines() -> list[str]:
    """Engines that can be launched, sorted."""
    folder = resources.files(__name__)
    return sorted(x.name[:-3] for x in folder.iterdir() if x.name.endswith(".py") and x.name != "__init__.py")


def command(replica: Replica, context_tokens: int) -> str:
    """A shell line that starts one replica with the plan's settings.

    context_tokens: the longest request, input and output, that it must hold.

    Raises:
        UnknownId: no file for the engine.
    """
    if replica.engine.id not in engines():
        raise UnknownId("engine", replica.engine.id, engines())
    words = import_module(f"{__name__}.{replica.engine.id}").words(replica, context_tokens)
    return shlex.join(str(word) for word in words)
