"""Block YAML of plain documents. Scalars are written as JSON, of which YAML 1.2 is a superset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence


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
            yield from _entry(f"{key}:", item)
    elif isinstance(value, list | tuple) and value:
        for item in value:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield json.dumps(value, ensure_ascii=False)


def _entry(key: str, item: object) -> Iterator[str]:
    if isinstance(item, str) and _reads_well(item):
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
