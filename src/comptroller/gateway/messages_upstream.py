"""A chat as a request of Anthropic's Messages API, and its replies and events as those of a chat.

Fields as documented at docs.claude.com/en/api/messages and in the types of its SDK (2.14). What that API has not is
refused by name; a seed and the key of a cache, which are hints, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from comptroller.gateway.conversation import most_tokens, text_of
from comptroller.gateway.problems import UpstreamError

Json = dict[str, Any]

HINTS = frozenset({"seed", "prompt_cache_key", "stream_options", "n", "native", "logprobs", "parallel_tool_calls"})
"""Fields that are left out: hints, and what is read elsewhere."""
SAME = ("model", "temperature", "top_p", "top_k", "stream", "thinking")
FINISHES = {
    **{"max_tokens": "length", "model_context_window_exceeded": "length"},
    **{"tool_use": "tool_calls", "refusal": "content_filter"},
}
"""stop_reason -> a chat's finish_reason; every other is stop."""
CHOICES = {"auto": "auto", "required": "any", "none": "none"}
TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
EFFORTS = ("low", "medium", "high", "xhigh", "max")


def refusal(name: str, allowed: str) -> UpstreamError:
    """A request that the API cannot have."""
    return UpstreamError(400, f"{name}: {allowed}", again=False)


def messages_request(body: Json, longest: int) -> Json:
    """The request of a chat; one that came as the API's own goes on as it came, under the model and the cap of here.
    longest: tokens where the chat says none, for the API needs a number.

    Raises:
        UpstreamError: a field has no meaning there; names it.
    """
    most = most_tokens(body) or longest
    if not body.get("messages"):
        raise refusal("messages", "needed there")
    head = {name: body[name] for name in SAME if name in body} | {"max_tokens": most}
    if body.get("native"):
        native: Json = body["native"]
        return native | {name: head[name] for name in ("model", "max_tokens", "stream") if name in head}
    made = head | _turns(body["messages"])
    for name, value in body.items():
        if name in made or name in ("messages", "max_completion_tokens") or name in HINTS or not value:
            continue
        if name not in _FIELDS:
            raise refusal(name, "Anthropic's API has no such field")
        for field, part in _FIELDS[name](value).items():
            made[field] = made[field] | part if field in made else part
    if body.get("logprobs"):
        raise refusal("logprobs", "Anthropic's API tells none")
    if body.get("tools") and body.get("parallel_tool_calls") is False:
        made["tool_choice"] = made.get("tool_choice", {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return made


def _tools(tools: list[Json]) -> Json:
    made = []
    for at, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            raise refusal(f"tools[{at}]", "a function with a name")
        about = {"description": function["description"]} if function.get("description") else {}
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        made.append({"name": function["name"], "input_schema": schema} | about)
    return {"tools": made}


def _tool_choice(choice: Any) -> Json:
    if isinstance(choice, str) and choice in CHOICES:
        return {"tool_choice": {"type": CHOICES[choice]}}
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict) and function.get("name"):
        return {"tool_choice": {"type": "tool", "name": function["name"]}}
    raise refusal("tool_choice", f"{', '.join(CHOICES)}, or a function with a name")


def _format(asked: Any) -> Json:
    schema = asked.get("json_schema") if isinstance(asked, dict) else None
    if isinstance(asked, dict) and asked.get("type") == "text":
        return {}
    if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict):
        raise refusal("response_format", "text, or a json_schema with its schema")
    return {"output_config": {"format": {"type": "json_schema", "schema": schema["schema"]}}}


def _effort(effort: Any) -> Json:
    if effort not in EFFORTS:
        raise refusal("reasoning_effort", f"one of {', '.join(EFFORTS)}")
    return {"output_config": {"effort": effort}}


def _tier(tier: Any) -> Json:
    if tier not in TIERS:
        raise refusal("service_tier", f"one of {', '.join(TIERS)}")
    return {"service_tier": TIERS[tier]}


_FIELDS: Mapping[str, Any] = {
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _format,
    "reasoning_effort": _effort,
    "service_tier": _tier,
    "stop": lambda stop: {"stop_sequences": [stop] if isinstance(stop, str) else stop},
    "user": lambda user: {"metadata": {"user_id": str(user)}},
}
"""Field of a chat -> what it becomes."""


def _turns(messages: list[Json]) -> Json:
    """System texts apart; what tools gave stands in the turn of the user that follows the call."""
    system, turns = list[Json](), list[Json]()
    for at, message in enumerate(messages):
        role, content, where = message.get("role"), message.get("content"), f"messages[{at}]"
        if role in ("system", "developer"):
            system += _blocks(content, where)
        elif role == "tool":
            about = {"type": "tool_result", "tool_use_id": str(message.get("tool_call_id", ""))}
            _add(turns, "user", [about | {"content": text_of(content)}])
        elif role == "user":
            _add(turns, "user", _blocks(content, where))
        elif role == "assistant":
            _add(turns, "assistant", [*_blocks(content, where), *_calls(message, where)])
        else:
            raise refusal(f"{where}.role", "system, developer, user, assistant or tool")
    return {"messages": turns} | ({"system": system} if system else {})


def _add(turns: list[Json], role: str, blocks: list[Json]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    elif blocks:
        turns.append({"role": role, "content": blocks})


def _calls(message: Json, where: str) -> list[Json]:
    made = []
    for call in message.get("tool_calls") or ():
        function = _object(call.get("function"))
        try:
            given = msgspec.json.decode(str(function.get("arguments") or "{}"))
        except msgspec.DecodeError as error:
            raise refusal(f"{where}.tool_calls", "arguments are JSON") from error
        about = {"type": "tool_use", "id": str(call.get("id", "")), "name": function.get("name", "")}
        made.append(about | {"input": given})
    return made


def _blocks(content: Any, where: str) -> list[Json]:
    if isinstance(content, str) or content is None:
        return [{"type": "text", "text": content}] if content else []
    return [_block(part, f"{where}.content[{at}]") for at, part in enumerate(content)]


def _block(part: Json, where: str) -> Json:
    """A part of a message; a hint for the cache goes with it."""
    hint = {"cache_control": part["cache_control"]} if part.get("cache_control") else {}
    if part.get("type") == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]} | hint
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    if part.get("type") != "image_url" or not isinstance(url, str):
        raise refusal(where, "text, or an image_url with a url")
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}} | hint
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}} | hint


def chat_usage(usage: Any) -> Json | None:
    """Usage in a chat's words, the writes to a cache and the region beside; None where it says too little."""
    usage = _object(usage)
    parts = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    counts = [usage.get(name) or 0 for name in parts]
    if not all(isinstance(count, int) for count in counts) or not {parts[0], parts[3]} <= usage.keys():
        return None
    read, written, output = counts[1:]
    prompt = sum(counts[:3])
    told: Json = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    told["prompt_tokens_details"] = {"cached_tokens": read, "cache_write_tokens": written}
    thought = _object(usage.get("output_tokens_details")).get("reasoning_tokens")
    told |= {"completion_tokens_details": {"reasoning_tokens": thought}} if thought else {}
    kept = ("cache_creation_input_tokens", "cache_creation", "inference_geo", "server_tool_use")
    return told | {name: usage[name] for name in kept if usage.get(name) is not None}


def _object(value: Any) -> Json:
    """A value where it is an object; somebody else's shapes are not to be relied on."""
    return value if isinstance(value, dict) else {}


def chat_reply(message: Json, native: bool) -> Json:
    """A message as a chat's reply. native: with the message itself, for who asked in its words."""
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    said: Json = {"role": "assistant", "content": "".join(_texts(blocks, "text")) or None}
    if thought := "".join(_texts(blocks, "thinking")):
        said["reasoning_content"] = thought
    if calls := [_call(at, block) for at, block in enumerate(b for b in blocks if b.get("type") == "tool_use")]:
        said["tool_calls"] = calls
    finish = FINISHES.get(str(message.get("stop_reason")), "stop")
    choice = {"index": 0, "finish_reason": finish, "message": said, "logprobs": None}
    usage = message.get("usage")
    made: Json = {"id": message.get("id"), "object": "chat.completion", "created": 0, "model": message.get("model")}
    made |= {"choices": [choice], "usage": chat_usage(usage)}
    if isinstance(usage, dict) and usage.get("service_tier"):
        made["service_tier"] = usage["service_tier"]
    return made | ({"native": message} if native else {})


def _texts(blocks: list[Json], kind: str) -> list[str]:
    return [block[kind] for block in blocks if block.get("type") == kind and isinstance(block.get(kind), str)]


def _call(at: int, block: Json) -> Json:
    function = {"name": block.get("name"), "arguments": msgspec.json.encode(block.get("input") or {}).decode()}
    return {"index": at, "id": block.get("id"), "type": "function", "function": function}


class MessagesEventReader:
    """Turns events of the API into chunks of a chat, one for one; those that say nothing to a chat have no choices."""

    def __init__(self, model: str, native: bool) -> None:
        self._head: Json = {"object": "chat.completion.chunk", "created": 0, "model": model}
        self._native, self._tools = native, dict[str, int]()
        self._usage: Json = {}

    def chunk(self, event: Json) -> Json | None:
        """The chunk of an event; None where there is nothing to tell."""
        kind = event.get("type")
        if kind == "error":
            return {"error": event.get("error") or {"message": "the service reported an error"}}
        made = self._delta(event) if isinstance(kind, str) else None
        if made is None and not self._native:
            return None
        return self._head | (made or {"choices": []}) | ({"native": event} if self._native else {})

    def _delta(self, event: Json) -> Json | None:
        kind, index = event["type"], str(event.get("index"))
        if kind == "message_start":
            message = _object(event.get("message"))
            self._head |= {"id": message.get("id")}
            self._usage |= _object(message.get("usage"))
            return _choice({"role": "assistant", "content": ""})
        if kind == "content_block_start" and (block := _object(event.get("content_block"))).get("type") == "tool_use":
            at = self._tools[index] = len(self._tools)
            function = {"name": block.get("name"), "arguments": ""}
            call = {"index": at, "id": block.get("id"), "type": "function", "function": function}
            return _choice({"tool_calls": [call]})
        if kind == "content_block_delta":
            return self._grown(_object(event.get("delta")), index)
        if kind == "message_delta":
            self._usage |= {name: value for name, value in _object(event.get("usage")).items() if value is not None}
            reason = str(_object(event.get("delta")).get("stop_reason"))
            tier = {"service_tier": self._usage["service_tier"]} if self._usage.get("service_tier") else {}
            return _choice({}, FINISHES.get(reason, "stop")) | tier | {"usage": chat_usage(self._usage)}
        return None

    def _grown(self, delta: Json, index: str) -> Json | None:
        kind = delta.get("type")
        if kind == "text_delta":
            return _choice({"content": delta.get("text")})
        if kind == "thinking_delta":
            return _choice({"reasoning_content": delta.get("thinking")})
        if kind == "input_json_delta" and delta.get("partial_json"):
            at = self._tools.get(index, 0)
            return _choice({"tool_calls": [{"index": at, "function": {"arguments": delta["partial_json"]}}]})
        return None


def _choice(delta: Json, finish: str | None = None) -> Json:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
