"""Whole replies of a service, whose shape is somebody else's: what there must be, and what they say."""

from __future__ import annotations

from typing import Any

from comptroller.gateway.problems import UpstreamError

Json = dict[str, Any]

WORDS = ("content", "refusal", "reasoning_content", "reasoning", "tool_calls", "function_call", "audio")
"""Fields of a message that hold tokens."""


def require_reply(path: str, reply: Json, service: str) -> None:
    """Holds a reply against the least that its endpoint has; all else is passed on as it is.

    Raises:
        UpstreamError: it is an error with status 200, or has no answer where one must be.
    """
    if reply.get("error"):
        said = reply["error"] if isinstance(reply["error"], dict) else {"message": str(reply["error"])}
        message = str(said.get("message", "no reason"))[:200]
        raise UpstreamError(502, f"{service} answered 200 with an error: {message}", billable=True, again=False)
    if path == "embeddings":
        right, what = isinstance(reply.get("data"), list), "data"
    else:
        choices, part = reply.get("choices"), "message" if path == "chat/completions" else "text"
        right = isinstance(choices, list) and bool(choices) and all(_choice(item, part) for item in choices)
        what = f"choices with a {part}"
    if not right:
        raise UpstreamError(502, f"{service} answered without {what}", billable=True, again=False)


def _choice(item: Any, part: str) -> bool:
    kind = dict if part == "message" else str
    return isinstance(item, dict) and isinstance(item.get(part), kind)


def choices_of(reply: Json) -> list[Json]:
    """The choices of a reply; none where it has none."""
    choices = reply.get("choices")
    return [item for item in choices if isinstance(item, dict)] if isinstance(choices, list) else []


def says_something(choice: Json) -> bool:
    """Whether a choice holds at least a token.

    >>> says_something({"message": {"content": ""}}), says_something({"message": {"tool_calls": [{}]}})
    (False, True)
    """
    message = choice.get("message")
    return bool(choice.get("text")) or (isinstance(message, dict) and any(message.get(name) for name in WORDS))
