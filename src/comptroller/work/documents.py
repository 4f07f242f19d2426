"""JSON objects of a file: one per line, or one document that is a list of objects or a single one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from comptroller.errors import FactError, RecordError
from comptroller.work.tabular import open_text

Object = dict[str, Any]

SHOWN = 5
"""Bad lines that an error names, about as many as a terminal shows in full; their number is stated. Twice as many make
the message twice as long."""

DIGEST_DIGITS = 12
"""Hexadecimal digits of a digest, 48 bits: among a million different prompts two share one with a chance of 0.2 %. They
then count as one question. At twice this the chance is nil and ids are twice as long; recorded ids would change."""


def objects(path: Path) -> tuple[list[int], list[Object]]:
    """The number of each object (its line, or its place in the list, from 1), and the objects.

    Raises:
        FactError: the file is not text in UTF-8.
        RecordError: a line is not a JSON object; names the first of them.
    """
    try:
        with open_text(path) as text:
            content = text.read()
    except (UnicodeDecodeError, EOFError) as error:
        raise FactError(path.name, "file", f"not text in UTF-8: {error}") from error
    listed = _document(content)
    if listed is not None:
        numbered = list(enumerate(listed, 1))
    else:
        lines = enumerate(content.splitlines(), 1)
        numbered = [(number, _object(line)) for number, line in lines if line.strip()]
    wrong = [(number, "not a JSON object") for number, parsed in numbered if not isinstance(parsed, dict)]
    if wrong:
        raise RecordError(path.name, wrong[:SHOWN], len(wrong))
    return [number for number, _ in numbered], [parsed for _, parsed in numbered]


def only_object(path: Path) -> Object:
    """The object that a file is.

    Raises:
        FactError: it is no object, or several.
        RecordError: as `objects`.
    """
    _, found = objects(path)
    if len(found) != 1:
        raise FactError(path.name, "file", f"{len(found)} JSON objects", "one")
    return found[0]


def _document(content: str) -> list[Any] | None:
    """The elements of a file that is one document, None if it is not."""
    parsed = _object(content)
    return parsed if isinstance(parsed, list) else [parsed] if isinstance(parsed, dict) else None


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def inside(value: Any, *path: str | int) -> Any:
    """The value at a path of keys and list indices; None if it does not exist.

    >>> inside({"usage": {"cost": [1, 2]}}, "usage", "cost", 1), inside({}, "usage", "cost")
    (2, None)
    """
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def unpack_json(value: Any) -> Any:
    """The value, or the object or list that its text encodes as JSON; exports often nest JSON in text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        inner = _object(value)
        return value if inner is None else inner
    return value


def digest(value: Any) -> str:
    """The first `DIGEST_DIGITS` of the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]


def last_message_text(messages: Any) -> str:
    """The text of the last message of a conversation, or the prompt itself if it is text; empty if there is none."""
    if isinstance(messages, str):
        return messages
    content = inside(messages, -1, "content")
    if isinstance(content, list):
        return "\n".join(str(inside(part, "text") or "") for part in content).strip()
    return content if isinstance(content, str) else ""
