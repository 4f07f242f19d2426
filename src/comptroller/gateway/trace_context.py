"""W3C Trace Context: the caller's trace goes on at the services that are called for it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

TRACEPARENT, TRACESTATE, REQUEST_ID = "traceparent", "tracestate", "x-request-id"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ID = re.compile(r"[\x21-\x7e]{1,128}")
MOST_STATE = 512
"""Characters of `tracestate` that are passed on, as many as the recommendation asks for; a longer one is left out."""

TRACE: ContextVar[Mapping[str, str]] = ContextVar("comptroller_trace", default=MappingProxyType({}))
"""Headers of the trace that the request under way belongs to; tasks made for it inherit them."""


def trace_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What services get of a request's trace: its id, with a span of our own as the parent; nothing where it has none.

    Source: W3C Trace Context, level 1, 3.2 and 4.2.

    >>> given = trace_headers({"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"})["traceparent"]
    >>> given[:36] == "00-" + "a" * 32 + "-", given[36:52] == "b" * 16, given[52:]
    (True, False, '-01')
    """
    found = _PARENT.fullmatch(headers.get(TRACEPARENT, ""))
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]) or not int(found[2], 16):
        return {}
    if not int(found[3], 16):
        return {}
    made = {TRACEPARENT: f"00-{found[2]}-{secrets.token_hex(8)}-{found[4]}"}
    state = headers.get(TRACESTATE, "")
    return made | ({TRACESTATE: state} if state and len(state) <= MOST_STATE and state.isprintable() else {})


def request_id(headers: Mapping[str, str], own: int) -> str:
    """The caller's id of a request, where it is one; else ours.

    >>> request_id({"x-request-id": "job-7"}, 12), request_id({"x-request-id": "a b"}, 12)
    ('job-7', '12')
    """
    given = headers.get(REQUEST_ID, "")
    return given if _ID.fullmatch(given) else str(own)
