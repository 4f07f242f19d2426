"""JSON objects of a file: one a line, or one document that is a list of them or a single one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from comptroller.errors import FactError, RecordError
from comptroller.work.tabular import open_text

Object = dict[str, Any]
SHOWN = 5


def objects(path: Path) -> tuple[list[int], list[Object]]:
    """Where each object stands (its line, or its place in the list, from 1) and the objects.

    Raises:
        FactError: the file is not text in UTF-8.
        RecordError: a line is not a JSON object; names the first of them.
    """
    try:
        with open_text(path) as text:
            whole = text.read()
    except (UnicodeDecodeError, EOFError) as error:
        raise FactError(path.name, "file", f"not text in UTF-8: {error}") from error
    listed = _document(whole)
    if listed is not None:
        numbered = list(enumerate(listed, 1))
    else:
        lines = enumerate(whole.splitlines(), 1)
        numbered = [(number, _object(line)) for number, line in lines if line.strip()]
    wrong = [(number, "not a JSON object") for number, found in numbered if not isinstance(found, dict)]
    if wrong:
        raise RecordError(path.name, wrong[:SHOWN], len(wrong))
    return [number for number, _ in numbered], [found for _, found in numbered]


def _document(whole: str) -> list[Any] | None:
    """The elements of a file that is one document, None if it is not."""
    found = _object(whole)
    return found if isinstance(found, list) else [found] if isinstance(found, dict) else None


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def inside(found: Any, *path: str | int) -> Any:
    """What stands at a path of keys and places, None where there is nothing.

    >>> inside({"usage": {"cost": [1, 2]}}, "usage", "cost", 1), inside({}, "usage", "cost")
    (2, None)
    """
    for step in path:
        if isinstance(found, dict) and isinstance(step, str):
            found = found.get(step)
        elif isinstance(found, list) and isinstance(step, int) and -len(found) <= step < len(found):
            found = found[step]
        else:
            return None
    return found


def unpack_json(found: Any) -> Any:
    """The value itself, or what its text holds if that is JSON; exports often pack one in the other."""
    if isinstance(found, str) and found[:1] in ("{", "["):
        inner = _object(found)
        return found if inner is None else inner
    return found


def digest(found: Any) -> str:
    """Twelve hexadecimal digits that tell JSON values apart; the same for the same value."""
    text = json.dumps(found, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def last_message_text(messages: Any) -> str:
    """The text of the last message of a conversation, or of a prompt; empty where there is none."""
    if isinstance(messages, str):
        return messages
    content = inside(messages, -1, "content")
    if isinstance(content, list):
        return "\n".join(str(inside(part, "text") or "") for part in content).strip()
    return content if isinstance(content, str) else ""
