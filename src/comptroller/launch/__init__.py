"""The command that starts a deployment, one file per engine; the file's stem is the engine's id."""

from __future__ import annotations

import shlex
from importlib import import_module, resources
from types import ModuleType

from comptroller.costs.deployment import ModelReplica
from comptroller.errors import UnknownIdError, UnsupportedError
from comptroller.facts.accelerator import Accelerator


def engines() -> list[str]:
    """Engines that can be launched, sorted."""
    folder = resources.files(__name__)
    return sorted(x.name[:-3] for x in folder.iterdir() if x.name.endswith(".py") and x.name != "__init__.py")


def command(replica: ModelReplica, context_tokens: int) -> str:
    """A shell line that starts one replica with the plan's settings.

    context_tokens: the longest request, input and output, that it must hold.

    Raises:
        UnknownIdError: no file for the engine.
    """
    words = _file(replica.engine.launched_as).words(replica, context_tokens)
    return shlex.join(str(word) for word in words)


def image(engine: str, device: Accelerator) -> str:
    """The engine's own container image for a device's family, or for its vendor.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine publishes no image for the device that we know of.
    """
    images: dict[str, str] = getattr(_file(engine), "IMAGES", {})
    container = images.get(device.family, images.get(device.vendor))
    if container is None:
        known = ", ".join(sorted(images)) or "none"
        raise UnsupportedError(f"no container image of {engine} is known for {device.id}; known: {known}")
    return container


def spread(engine: str, nodes: int) -> str:
    """What the command of a replica over several nodes adds, in shell: $RANK of a node, $LEADER is the first's address.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine is not known to span nodes by itself.
    """
    flags: str | None = getattr(_file(engine), "SPREAD", None)
    if flags is None:
        raise UnsupportedError(
            f"{engine}: how a replica spans {nodes} nodes is not known; use one node's devices, or vllm"
        )
    return flags.format(nodes=nodes)


def _file(engine: str) -> ModuleType:
    if engine not in engines():
        raise UnknownIdError("engine", engine, engines())
    return import_module(f"{__name__}.{engine}")
