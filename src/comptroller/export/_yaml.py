"""Block YAML of plain documents. Scalars are written as JSON, of which YAML 1.2 is a superset."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""Words that YAML 1.1 reads as a truth value or as nothing."""


def document(value: Mapping[str, object], says: Sequence[str] = ()) -> str:
    """A document below its comment.

    >>> print(document({"a": [{"b": 1, "c": "x"}], "d": {}}, ["why"]), end="")
    # why
    a:
      - b: 1
        c: "x"
    d: {}
    """
    return "".join(f"{line}\n" for line in (*(f"# {text}".rstrip() for text in says), *_lines(value)))


def _lines(value: object) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _entry(f"{_key(str(key))}:", item)
    elif isinstance(value, list | tuple) and value:
        for item in value:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    """A key, in quotes where YAML 1.1, which many tools still read, takes the bare word for something else.

    >>> _key("image"), _key("no"), _key("app.kubernetes.io/name")
    ('image', '"no"', 'app.kubernetes.io/name')
    """
    plain = PLAIN.fullmatch(name) and name.lower() not in WORDS
    return name if plain else json.dumps(name, ensure_ascii=False)


def _entry(key: str, item: object) -> Iterator[str]:
    if isinstance(item, str) and item.strip() and _reads_well(item):
        yield f"{key} |"
        yield from (f"  {line}" for line in item.splitlines())
    elif isinstance(item, Mapping | list | tuple) and item:
        yield key
        yield from (f"  {line}" for line in _lines(item))
    else:
        yield f"{key} {json.dumps(item, ensure_ascii=False)}"


def _reads_well(text: str) -> bool:
    """Whether a text is lines, each ended, that a literal block keeps as they are."""
    return "\n" in text and text == text.strip() + "\n" and all(map(str.isprintable, text.split("\n")))
