"""The facts that travel with a plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

from comptroller.facts.library import FactLibrary
from comptroller.facts.reader import FactEntry, folder
from comptroller.planning.ground.plan_document import ServiceDocument


def facts_of(services: Iterable[ServiceDocument], library: FactLibrary) -> Iterator[FactEntry]:
    """The facts that the ids in services stand for, each once, by kind and id."""
    names: set[tuple[str, str]] = set()
    for deployment in (service.deployment for service in services):
        recipe = deployment.recipe
        names |= {("models", deployment.model), ("engines", deployment.engine.id), ("sites", deployment.site)}
        names |= {("accelerators", pool.accelerator) for pool in deployment.pools}
        names |= {("formats", name) for name in (recipe.weights, recipe.experts, recipe.activations, recipe.kv)}
    for kind, name in sorted(names):
        yield library.entry(kind, name)


@lru_cache(maxsize=1)
def facts_digest() -> tuple[str, str]:
    """SHA-256 of all shipped facts, and of the calibration files among them."""
    digests = []
    for kinds in (("accelerators", "engines", "formats", "models", "sites"), ("calibration",)):
        sha = hashlib.sha256()
        for kind in kinds:
            for path in sorted(folder(kind).glob("*.toml")):
                sha.update(path.name.encode() + path.read_bytes())
        digests.append(sha.hexdigest())
    return digests[0], digests[1]
