"""/v1/messages over chat: Anthropic's blocks become turns, its events are made of chat's, errors have its shape.

Fields, events and reasons as documented at docs.claude.com/en/api/messages and messages-streaming (2023-06-01).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from comptroller.gateway.conversation import text_of
from comptroller.gateway.events import UpstreamEvent
from comptroller.gateway.formats import MessagesRequest
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.sse import encode_named_event

Json = dict[str, Any]
encode = msgspec.json.encode

PATH = "/v1/messages"
STOPS = {"length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use", "content_filter": "refusal"}
"""A chat's finish_reason -> stop_reason; every other is end_turn."""
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
EFFORTS = ((4096, "low"), (16384, "medium"), (2**31, "high"))
"""Most tokens of a thinking budget -> reasoning_effort, the nearest that a chat has. At twice them a budget of 8,000
would be a low effort."""
KINDS = {
    **{400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"},
    **{413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error"},
}
"""Status -> type of an error; others are api_error from 500 on, else invalid_request_error."""


def messages_as_chat(request: MessagesRequest) -> Json:
    """The body of a chat that asks the same.

    Raises:
        GatewayError: a block needs what a chat has not; names it.
    """
    turns: list[Json] = []
    if request.system:
        turns.append({"role": "system", "content": _text(request.system, "system")})
    for at, message in enumerate(request.messages):
        turns += _turns(message.role, message.content, f"messages[{at}]")
    body: Json = {"model": request.model, "messages": turns, "max_tokens": request.max_tokens}
    for name in ("temperature", "top_p", "top_k", "stream", "service_tier"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if request.stop_sequences:
        body["stop"] = request.stop_sequences
    if request.metadata and isinstance(request.metadata.get("user_id"), str):
        body["user"] = request.metadata["user_id"]
    if request.thinking and request.thinking.get("type") == "enabled":
        budget = request.thinking.get("budget_tokens")
        most = budget if isinstance(budget, int) else EFFORTS[1][0]
        body["reasoning_effort"] = next(effort for tokens, effort in EFFORTS if most <= tokens)
    _require_no_edits(request.context_management or {})
    body |= _output_config(request.output_config or {})
    if request.tools:
        body["tools"] = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(request.tools)]
    if request.tool_choice:
        body |= _choice(request.tool_choice)
    return body


def _require_no_edits(asked: Json) -> None:
    """Refuses edits of the context but that which takes thoughts out, for a chat never gets them back."""
    edits = asked.get("edits") or []
    for at, edit in enumerate(edits if isinstance(edits, list) else [edits]):
        if not isinstance(edit, dict) or not str(edit.get("type")).startswith("clear_thinking_"):
            where = f"context_management.edits[{at}]"
            raise _refusal(where, "clear_thinking alone; this service is sent the context as it is")


def _output_config(asked: Json) -> Json:
    """Effort and format of an answer in a chat's words."""
    for name in asked:
        if name not in ("effort", "format"):
            raise _refusal(f"output_config.{name}", "effort and format are read")
    effort, form = asked.get("effort"), asked.get("format")
    body: Json = {"reasoning_effort": effort} if effort else {}
    if form is None:
        return body
    if not isinstance(form, dict) or form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise _refusal("output_config.format", "a json_schema with its schema")
    named = {"name": "answer", "schema": form["schema"], "strict": True}
    return body | {"response_format": {"type": "json_schema", "json_schema": named}}


def native_request(raw: Json) -> Json:
    """A request as it came, for a service that speaks these words itself: all of it was checked."""
    return {name: value for name, value in raw.items() if name != "comptroller" and value is not None}


def _refusal(where: str, allowed: str) -> GatewayError:
    return GatewayError(400, f"{where}: {allowed}", "invalid_value", where)


def _text(content: str | list[Json], where: str) -> str:
    """The text of blocks. Chat has no field for the hint `cache_control`: services cache by themselves."""
    if isinstance(content, str):
        return content
    for at, block in enumerate(content):
        if block.get("type") != "text" or not isinstance(block.get("text"), str):
            raise _refusal(f"{where}[{at}]", "only blocks of text")
    return "\n\n".join(block["text"] for block in content)


def _turns(role: str, content: str | list[Json], where: str) -> list[Json]:
    """The turns of one message: what tools gave comes first, as turns of their own."""
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    results: list[Json] = []
    parts: list[Json] = []
    calls: list[Json] = []
    for at, block in enumerate(content):
        place, kind = f"{where}.content[{at}]", block.get("type")
        if kind == "tool_result" and role == "user" and isinstance(block.get("tool_use_id"), str):
            results.append(_result(block, place))
        elif kind == "tool_use" and role == "assistant" and isinstance(block.get("name"), str):
            function = {"name": block["name"], "arguments": encode(block.get("input") or {}).decode()}
            calls.append({"id": str(block.get("id", "")), "type": "function", "function": function})
        elif kind not in ("thinking", "redacted_thinking") or role != "assistant":
            parts.append(_part(block, place))
    said: Json = {
        "role": role,
        "content": parts if any(part["type"] != "text" for part in parts) else _paragraphs(parts),
    }
    if calls:
        said |= {"tool_calls": calls, "content": said["content"] or None}
    return [*results, *([said] if parts or calls else [])]


def _paragraphs(parts: list[Json]) -> str:
    return "\n\n".join(part["text"] for part in parts)


def _result(block: Json, where: str) -> Json:
    given = block.get("content")
    if given is not None and not isinstance(given, str | list):
        raise _refusal(f"{where}.content", "text or blocks")
    said = text_of(given) if isinstance(given, list) else given or ""
    return {"role": "tool", "tool_call_id": block["tool_use_id"], "content": said}


def _part(block: Json, where: str) -> Json:
    if block.get("type") == "text" and isinstance(block.get("text"), str):
        return {"type": "text", "text": block["text"]}
    source = block.get("source")
    if block.get("type") == "image" and isinstance(source, dict):
        if source.get("type") == "url" and isinstance(source.get("url"), str):
            return {"type": "image_url", "image_url": {"url": source["url"]}}
        if source.get("type") == "base64" and isinstance(source.get("data"), str):
            url = f"data:{source.get('media_type', 'image/png')};base64,{source['data']}"
            return {"type": "image_url", "image_url": {"url": url}}
    raise _refusal(where, "text, image, tool_use, tool_result or thinking, each in its role")


def _tool(tool: Json, where: str) -> Json:
    if tool.get("type", "custom") != "custom" or not isinstance(tool.get("name"), str):
        raise GatewayError(400, f"{where}: only tools of the client, with a name", "unsupported", where)
    function = {"name": tool["name"], "parameters": tool.get("input_schema") or {"type": "object"}}
    if tool.get("description"):
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _choice(choice: Json) -> Json:
    kind = choice.get("type")
    alone = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    if kind == "tool" and isinstance(choice.get("name"), str):
        return alone | {"tool_choice": {"type": "function", "function": {"name": choice["name"]}}}
    if kind not in CHOICES:
        raise _refusal("tool_choice.type", "auto, any, none, or tool with a name")
    return alone | {"tool_choice": CHOICES[kind]}


def messages_error(problem: GatewayError) -> bytes:
    """A problem in Anthropic's shape.

    >>> messages_error(GatewayError(404, "no model x"))
    b'{"type":"error","error":{"type":"not_found_error","message":"no model x"}}'
    """
    kind = KINDS.get(problem.status, "api_error" if problem.status >= 500 else KINDS[400])
    said = problem.document["error"]
    message = str(said.get("message") or problem) if isinstance(said, dict) else str(said)
    return encode({"type": "error", "error": {"type": kind, "message": message}})


class MessagesShape:
    """The shape of /v1/messages. Blocks follow each other; the usage is told at the end, for it is known then."""

    translates = True

    def __init__(self, request: MessagesRequest) -> None:
        self._model, self._id = request.model, f"msg_{time.time_ns():x}"
        self._blocks: list[str] = []
        self._tools: dict[int, int] = {}
        self._open = self._begun = False
        self._stop: str | None = None
        self._sequence: str | None = None

    def _message(self, content: list[Json], usage: Json) -> Json:
        about = {"id": self._id, "type": "message", "role": "assistant", "model": self._model}
        return about | {"content": content, "stop_reason": self._stop, "stop_sequence": None, "usage": usage}

    def whole(self, reply: Json) -> Json:
        """A chat's reply as a message; a message itself, where the service speaks so."""
        if native := reply.get("native"):
            kept = {name: native.get(name) for name in ("content", "stop_reason", "stop_sequence", "usage")}
            return self._message([], {}) | {"id": native.get("id") or self._id} | kept
        choice = reply["choices"][0]
        message = choice["message"]
        thought = message.get("reasoning_content") or message.get("reasoning")
        blocks: list[Json] = [_thinking(thought)] if isinstance(thought, str) and thought else []
        if words := text_of(message.get("content")) or str(message.get("refusal") or ""):
            blocks.append({"type": "text", "text": words})
        calls = message.get("tool_calls")
        blocks += [_use(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        self._stop = STOPS.get(str(choice.get("finish_reason")), "end_turn")
        return self._message(blocks, _usage(reply.get("usage")))

    def events(self, pieces: list[UpstreamEvent]) -> bytes:
        """What events of a chat are as events of a message."""
        out = [] if self._begun or pieces[0].chunk.native else [self._beginning()]
        for piece in pieces:
            if piece.chunk.native:
                out += self._native(piece.chunk.native)
                continue
            for choice in piece.chunk.choices[:1]:
                if choice.finish_reason:
                    self._stop = STOPS.get(choice.finish_reason, "end_turn")
                if choice.delta is None:
                    continue
                if thought := choice.delta.reasoning_content or choice.delta.reasoning:
                    out += self._grow("thinking", _thinking(""), {"type": "thinking_delta", "thinking": thought})
                if words := text_of(choice.delta.content) or choice.delta.refusal:
                    out += self._grow("text", {"type": "text", "text": ""}, {"type": "text_delta", "text": words})
                for call in choice.delta.tool_calls or ():
                    out += self._call(call)
        return b"".join(out)

    def _native(self, event: Json) -> Iterator[bytes]:
        """An event of a service that speaks so, but for the end, which tells the cost as well."""
        kind = str(event.get("type"))
        self._begun = True
        if kind == "message_start" and isinstance(event.get("message"), dict):
            event = event | {"message": event["message"] | {"model": self._model}}
        if kind == "message_delta":
            delta = event["delta"] if isinstance(event.get("delta"), dict) else {}
            self._stop, self._sequence = delta.get("stop_reason"), delta.get("stop_sequence")
        elif kind != "message_stop":
            yield encode_named_event(kind, encode(event))

    def _beginning(self) -> bytes:
        self._begun = True
        return _event("message_start", message=self._message([], {"input_tokens": 0, "output_tokens": 0}))

    def _grow(self, kind: str, empty: Json, delta: Json) -> Iterator[bytes]:
        """Adds to the block that is open, or closes it and begins one of another kind."""
        if not self._open or self._blocks[-1] != kind:
            yield from self._begin(kind, empty)
        yield _event("content_block_delta", index=len(self._blocks) - 1, delta=delta)

    def _begin(self, kind: str, empty: Json) -> Iterator[bytes]:
        yield from self._close()
        self._blocks.append(kind)
        self._open = True
        yield _event("content_block_start", index=len(self._blocks) - 1, content_block=empty)

    def _close(self) -> Iterator[bytes]:
        if self._open:
            yield _event("content_block_stop", index=len(self._blocks) - 1)
        self._open = False

    def _call(self, call: Json) -> Iterator[bytes]:
        function, index = call.get("function"), call.get("index")
        if not isinstance(function, dict):
            return
        index = index if type(index) is int else len(self._tools)
        if index not in self._tools:
            self._tools[index] = len(self._blocks)
            empty = {"type": "tool_use", "id": str(call.get("id") or ""), "name": str(function.get("name") or "")}
            yield from self._begin(f"tool {index}", empty | {"input": {}})
        if words := function.get("arguments"):
            delta = {"type": "input_json_delta", "partial_json": str(words)}
            yield _event("content_block_delta", index=self._tools[index], delta=delta)

    def end(self, usage: Json | None, told: Json) -> bytes:
        """The end of the last block, the reason and usage, with what it cost."""
        out = [self._beginning()] if not self._begun else []
        out += self._close()
        delta = {"stop_reason": self._stop or "end_turn", "stop_sequence": self._sequence}
        out += [_event("message_delta", delta=delta, usage=_usage(usage), comptroller=told), _event("message_stop")]
        return b"".join(out)

    def failed(self, problem: GatewayError) -> bytes:
        """The error as an event, after which nothing comes."""
        return encode_named_event("error", messages_error(problem))


def _event(kind: str, **about: Any) -> bytes:
    return encode_named_event(kind, encode({"type": kind, **about}))


def _thinking(words: str) -> Json:
    return {"type": "thinking", "thinking": words, "signature": ""}


def _use(call: Json) -> Json:
    function = call.get("function")
    about = function if isinstance(function, dict) else {}
    try:
        given = msgspec.json.decode(str(about.get("arguments") or "{}"))
    except msgspec.DecodeError:
        given = {"arguments": about.get("arguments")}
    return {"type": "tool_use", "id": str(call.get("id") or ""), "name": str(about.get("name") or ""), "input": given}


def _usage(usage: Json | None) -> Json:
    """Usage in Anthropic's words, in which input is what was neither read from a cache nor written to it; null where
    it is unknown."""
    if usage is None:
        return {"input_tokens": None, "output_tokens": None}
    about = usage.get("prompt_tokens_details") or {}
    cached = about.get("cached_tokens") or usage.get("cache_read_input_tokens") or 0
    written = about.get("cache_write_tokens") or usage.get("cache_creation_input_tokens") or 0
    return {
        "input_tokens": max(0, usage.get("prompt_tokens", 0) - cached - written),
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
        "output_tokens": usage.get("completion_tokens", 0),
    }
