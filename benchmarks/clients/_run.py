"""Runs what a client library can do against a gateway, and prints a line of JSON for each.

Called as `python CLIENT.py URL KEY` with an address such as http://127.0.0.1:8080 and a key of the gateway.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

TEXT = "Grüße aus 東京 🙂 und Köln"
"""What the service answers."""
USAGE = (11, 6)
"""Tokens of the prompt and of the answer, as it reports them."""
CITY = "Köln"
"""Argument of the tool that it calls."""
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def require(right: bool, what: Any) -> None:
    """Raises an error that tells what there was instead."""
    if not right:
        raise ValueError(f"not as expected: {what!r}"[:300])


def run(package: str, features: Mapping[str, Callable[[], str | None]]) -> None:
    """Tries each feature. A feature may return a note; what it raises is why it does not work."""
    print(json.dumps({"package": package, "version": version(package)}), flush=True)
    for name, work in features.items():
        try:
            told: dict[str, Any] = {"ok": True, "note": work() or ""}
        except Exception as error:  # noqa: BLE001 -- whatever a library raises is its result
            told = {"ok": False, "note": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps({"feature": name, **told}), flush=True)


def address() -> tuple[str, str]:
    """URL and key of the gateway."""
    return sys.argv[1], sys.argv[2]
