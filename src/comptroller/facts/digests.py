"""Digests of the facts that ship with the package, by which a plan says what it was made from."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from comptroller.facts.reader import folder


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
