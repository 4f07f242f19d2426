"""/v1/responses over chat: its items become turns, its events are made of chat's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from comptroller.gateway.conversation import text_of
from comptroller.gateway.events import UpstreamEvent
from comptroller.gateway.formats import ResponsesRequest
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.sse import encode_named_event

Json = dict[str, Any]
encode = msgspec.json.encode

REFUSED = {
    "previous_response_id": "responses are not stored; send the whole conversation as input",
    "background": "every response is waited for",
    "conversation": "conversations are not stored; send the whole conversation as input",
    "prompt": "prompts are not stored; send the text",
}
PASSED = ("temperature", "top_p", "parallel_tool_calls", "user", "metadata", "seed", "prompt_cache_key")
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""A chat's finish_reason -> why a response is not complete."""
PARTS = {"input_text": "text", "output_text": "text", "text": "text"}


def as_chat(request: ResponsesRequest, raw: Json) -> Json:
    """The body of a chat that asks the same.

    Raises:
        GatewayError: a field needs what a chat has not; names it.
    """
    for name, why in REFUSED.items():
        if raw.get(name):
            raise GatewayError(400, f"{name}: {why}", "unsupported", name)
    turns: list[Json] = [{"role": "system", "content": request.instructions}] if request.instructions else []
    items = [{"role": "user", "content": request.input}] if isinstance(request.input, str) else request.input
    for at, item in enumerate(items):
        _add(turns, item, f"input[{at}]")
    body: Json = {"model": request.model, "messages": turns}
    body |= {name: raw[name] for name in PASSED if raw.get(name) is not None}
    if request.max_output_tokens:
        body["max_tokens"] = request.max_output_tokens
    if request.stream:
        body["stream"] = True
    if request.reasoning and request.reasoning.get("effort"):
        body["reasoning_effort"] = request.reasoning["effort"]
    if request.tools:
        body["tools"] = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(request.tools)]
    if request.tool_choice is not None:
        body["tool_choice"] = _choice(request.tool_choice)
    if request.text and (asked := request.text.get("format")):
        body["response_format"] = _format(asked)
    return body


def _add(turns: list[Json], item: Json, where: str) -> None:
    """One input item as a turn."""
    kind = item.get("type", "message")
    if kind == "message" and item.get("role") in ("user", "assistant", "system", "developer"):
        turns.append({"role": item["role"], "content": _content(item.get("content"), where)})
    elif kind == "function_call" and {"call_id", "name"} <= item.keys():
        function = {"name": item["name"], "arguments": item.get("arguments", "")}
        call = {"id": item["call_id"], "type": "function", "function": function}
        if turns and turns[-1].get("tool_calls"):
            turns[-1]["tool_calls"].append(call)
        else:
            turns.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind == "function_call_output" and "call_id" in item:
        turns.append({"role": "tool", "tool_call_id": item["call_id"], "content": _output_text(item.get("output"))})
    elif kind != "reasoning":  # what a model thought before is not shown to it again
        raise GatewayError(
            400, f"{where}: a message with a role, a function_call or a function_call_output", "invalid_value", where
        )  # fmt: skip


def _output_text(output: Any) -> str:
    """What a tool gave: text, or parts of it; anything else as JSON."""
    if output is None or isinstance(output, str):
        return output or ""
    return text_of(output) or encode(output).decode()


def _content(content: Any, where: str) -> Any:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise GatewayError(400, f"{where}.content: text, or parts with a type", "invalid_value", f"{where}.content")
    return [_part(part, f"{where}.content[{at}]") for at, part in enumerate(content)]


def _part(part: Json, where: str) -> Json:
    if isinstance(part.get("type"), str) and part["type"] in PARTS:
        return {"type": "text", "text": str(part.get("text", ""))}
    if part.get("type") == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    raise GatewayError(400, f"{where}: input_text or input_image with an image_url", "invalid_value", where)


def _tool(tool: Json, where: str) -> Json:
    if tool.get("type") != "function" or not tool.get("name") or not isinstance(tool["name"], str):
        raise GatewayError(400, f"{where}: only tools of type function, with a name", "unsupported", where)
    return {"type": "function", "function": {name: tool[name] for name in tool if name != "type"}}


def _choice(choice: str | Json) -> str | Json:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name", "")}}
    return choice


def _format(asked: Any) -> Json:
    if not isinstance(asked, dict) or "type" not in asked:
        raise GatewayError(400, "text.format: a type is missing", "invalid_value", "text.format")
    if asked["type"] != "json_schema":
        return {"type": asked["type"]}
    return {"type": "json_schema", "json_schema": {name: asked[name] for name in asked if name != "type"}}


class ResponsesShape:
    """The shape of /v1/responses."""

    def __init__(self, request: ResponsesRequest) -> None:
        self._request = request
        self._id, self._item = f"resp_{time.time_ns():x}", f"msg_{time.time_ns():x}"
        self._number = 0
        self._text = ""
        self._calls: dict[int, Json] = {}
        self._status, self._why = "completed", ""

    def _document(self, status: str, output: list[Json], usage: Json | None) -> Json:
        asked = self._request
        return {
            "id": self._id,
            "object": "response",
            "created_at": int(self._id[5:], 16) // 10**9,
            "status": status,
            "model": asked.model,
            "output": output,
            "error": None,
            "incomplete_details": {"reason": self._why} if status == "incomplete" else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "usage": usage,
        }

    def _output(self) -> list[Json]:
        """The items said so far."""
        part = {"type": "output_text", "text": self._text, "annotations": []}
        said = {"id": self._item, "type": "message", "role": "assistant", "status": self._status}
        text = [said | {"content": [part]}] if self._text or not self._calls else []
        return [*text, *(self._call(at) for at in sorted(self._calls))]

    def _call(self, at: int) -> Json:
        call = self._calls[at]
        return {"id": f"fc_{self._id}_{at}", "type": "function_call", "status": "completed", **call}

    def whole(self, reply: Json) -> Json:
        """A chat's reply as a response."""
        choice = reply["choices"][0]
        self._text = text_of(choice["message"].get("content"))
        self._take(choice["message"].get("tool_calls") or ())
        self._ends(choice.get("finish_reason"))
        return self._document(self._status, self._output(), _usage(reply.get("usage")))

    def _take(self, calls: Any) -> Iterator[None]:
        for at, call in enumerate(calls if isinstance(calls, list | tuple) else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                continue
            index = call.get("index")
            place = index if type(index) is int else at
            item = self._calls.setdefault(place, {"call_id": "", "name": "", "arguments": ""})
            item["call_id"] = str(call.get("id") or item["call_id"])
            item["name"] += str(function.get("name") or "")
            item["arguments"] += str(function.get("arguments") or "")
        return iter(())

    def _ends(self, finish: str | None) -> None:
        if finish in INCOMPLETE:
            self._status, self._why = "incomplete", INCOMPLETE[finish]

    def _event(self, kind: str, **about: Any) -> bytes:
        document = {"type": kind, "sequence_number": self._number, **about}
        self._number += 1
        return encode_named_event(kind, encode(document))

    def events(self, pieces: list[UpstreamEvent]) -> bytes:
        """What events of a chat are as events of a response."""
        out = self._opening() if not self._number else b""
        for piece in pieces:
            for choice in piece.chunk.choices[:1]:
                self._ends(choice.finish_reason)
                if choice.delta is None:
                    continue
                self._take(choice.delta.tool_calls or ())
                if words := text_of(choice.delta.content):
                    out += self._words(words)
        return out

    def _opening(self) -> bytes:
        begun = self._document("in_progress", [], None)
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def _words(self, words: str) -> bytes:
        out, where = b"", {"item_id": self._item, "output_index": 0, "content_index": 0}
        if not self._text:
            item = {"id": self._item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
            out += self._event("response.output_item.added", output_index=0, item=item)
            part = {"type": "output_text", "text": "", "annotations": []}
            out += self._event("response.content_part.added", **where, part=part)
        self._text += words
        return out + self._event("response.output_text.delta", **where, delta=words, logprobs=[])

    def end(self, usage: Json | None, told: Json) -> bytes:
        """All items as they are now, then the response with usage and cost."""
        out = self._opening() if not self._number else b""
        for at, item in enumerate(self._output()):
            out += self._closing(at, item)
        final = self._document(self._status, self._output(), _usage(usage)) | {"comptroller": told}
        return out + self._event(f"response.{self._status}", response=final)

    def _closing(self, at: int, item: Json) -> bytes:
        out = b""
        if item["type"] == "message":
            where = {"item_id": self._item, "output_index": at, "content_index": 0}
            part = item["content"][0]
            if part["text"]:
                out += self._event("response.output_text.done", **where, text=part["text"], logprobs=[])
                out += self._event("response.content_part.done", **where, part=part)
        else:
            begun = item | {"status": "in_progress", "arguments": ""}
            out += self._event("response.output_item.added", output_index=at, item=begun)
            where = {"item_id": item["id"], "output_index": at}
            out += self._event("response.function_call_arguments.delta", **where, delta=item["arguments"])
            out += self._event(
                "response.function_call_arguments.done", **where, arguments=item["arguments"], name=item["name"]
            )
        return out + self._event("response.output_item.done", output_index=at, item=item)

    def failed(self, problem: GatewayError) -> bytes:
        """The response as failed, with the reason."""
        out = self._opening() if not self._number else b""
        error = {"code": "server_error", "message": str(problem)}
        failed = self._document("failed", self._output(), None) | {"error": error}
        return out + self._event("response.failed", response=failed)


def _usage(usage: Json | None) -> Json | None:
    """Usage in the words of /v1/responses."""
    if usage is None:
        return None
    prompt, output = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoned = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoned},
        "total_tokens": prompt + output,
    }
