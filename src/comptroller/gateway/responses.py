"""/v1/responses over chat: its items become turns. What a chat cannot do is refused by name."""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.gateway.conversation import text_of
from comptroller.gateway.formats import ResponsesRequest
from comptroller.gateway.problems import GatewayError

Json = dict[str, Any]
encode = msgspec.json.encode

REFUSED = {
    "previous_response_id": "responses are not stored; send the whole conversation as input",
    "background": "every response is waited for",
    "conversation": "conversations are not stored; send the whole conversation as input",
    "prompt": "prompts are not stored; send the text",
    "messages": "the conversation is input",
    "n": "a response is one answer",
    "max_tokens": "the longest answer is max_output_tokens",
    "max_completion_tokens": "the longest answer is max_output_tokens",
}
PASSED = ("temperature", "top_p", "parallel_tool_calls", "user", "metadata", "comptroller")
"""Fields that are the same in a chat. Those that are not read here go on, too: the service takes or refuses them."""
INCLUDED = ("reasoning.encrypted_content", "message.output_text.logprobs")
"""What `include` may ask for; thoughts are told in the clear, so that nothing is encrypted."""
REASONING = ("effort", "summary", "generate_summary")
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
    turns = [turn for turn in turns if turn["role"] != THOUGHT]
    read = frozenset(ResponsesRequest.__struct_fields__) - frozenset(PASSED)
    body = {name: value for name, value in raw.items() if name not in read | REFUSED.keys() and value is not None}
    body |= {"model": request.model, "messages": turns}
    if request.max_output_tokens:
        body["max_tokens"] = request.max_output_tokens
    if request.stream:
        body["stream"] = True
    if request.tools:
        body["tools"] = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(request.tools)]
    if request.tool_choice is not None:
        body["tool_choice"] = _choice(request.tool_choice)
    _require_none_beyond(request)
    return body | _said_of_text(request) | _said_of_thoughts(request)


def _require_none_beyond(request: ResponsesRequest) -> None:
    """Refuses what is asked beyond what a chat can do.

    Raises:
        GatewayError: names the field, and what is allowed.
    """
    for name in request.include or ():
        if name not in INCLUDED:
            raise GatewayError(
                400, f"include: {name} is not told; allowed are {', '.join(INCLUDED)}", "unsupported", "include"
            )
    if request.truncation not in (None, "disabled"):
        raise GatewayError(400, "truncation: nothing is cut; leave it out, or disabled", "unsupported", "truncation")
    if (request.stream_options or {}).get("include_obfuscation"):
        where = "stream_options.include_obfuscation"
        raise GatewayError(400, f"{where}: events are not padded; leave it out, or false", "unsupported", where)


def _said_of_text(request: ResponsesRequest) -> Json:
    """Format, verbosity and log-probabilities as a chat has them."""
    body: Json = {}
    for name in (text := request.text or {}):
        if name not in ("format", "verbosity"):
            raise GatewayError(400, f"text.{name}: format and verbosity are read", "unsupported", f"text.{name}")
    if asked := text.get("format"):
        body["response_format"] = _format(asked)
    if text.get("verbosity"):
        body["verbosity"] = text["verbosity"]
    if INCLUDED[1] in (request.include or ()) or request.top_logprobs:
        body["logprobs"] = True
    if request.top_logprobs:
        body["top_logprobs"] = request.top_logprobs
    return body


def _said_of_thoughts(request: ResponsesRequest) -> Json:
    for name in (asked := request.reasoning or {}):
        if name not in REASONING:
            where = f"reasoning.{name}"
            raise GatewayError(400, f"{where}: {', '.join(REASONING)} are read", "unsupported", where)
    return {"reasoning_effort": asked["effort"]} if asked.get("effort") else {}


def _add(turns: list[Json], item: Json, where: str) -> None:
    """One input item as a turn. Thoughts before the call of a tool go back to the model with it, for it goes on from
    them; those before an answer that is over do not."""
    kind = item.get("type", "message")
    thought = turns.pop()["reasoning_content"] if turns and turns[-1].get("role") == THOUGHT else ""
    if kind == "message" and item.get("role") in ("user", "assistant", "system", "developer"):
        turns.append({"role": item["role"], "content": _content(item.get("content"), where)})
    elif kind == "function_call" and {"call_id", "name"} <= item.keys():
        function = {"name": str(item["name"]), "arguments": item.get("arguments", "")}
        call = {"id": item["call_id"], "type": "function", "function": function}
        if turns and turns[-1].get("tool_calls"):
            turns[-1]["tool_calls"].append(call)
        else:
            told = {"reasoning_content": thought} if thought else {}
            turns.append({"role": "assistant", "content": None, "tool_calls": [call]} | told)
    elif kind == "function_call_output" and "call_id" in item:
        turns.append({"role": "tool", "tool_call_id": item["call_id"], "content": _output_text(item.get("output"))})
    elif kind == "reasoning":
        turns.append({"role": THOUGHT, "reasoning_content": _words_of_thought(item, where)})
    else:
        raise GatewayError(
            400, f"{where}: a message, a function_call, a function_call_output or reasoning, as documented",
            "invalid_value",
            where,
        )  # fmt: skip


THOUGHT = "thought"
"""Role of a turn that holds thoughts until it is known what they led to."""


def _words_of_thought(item: Json, where: str) -> str:
    """The thoughts of a reasoning item as it was told here."""
    content = item.get("content") or item.get("summary") or []
    if not isinstance(content, list):
        raise GatewayError(400, f"{where}.content: parts with a text", "invalid_value", f"{where}.content")
    return text_of(content)


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
    if isinstance(choice, str):
        return choice
    if choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name", "")}}
    raise GatewayError(
        400, "tool_choice: auto, required, none, or a function with a name", "unsupported", "tool_choice"
    )


def _format(asked: Any) -> Json:
    if not isinstance(asked, dict) or "type" not in asked:
        raise GatewayError(400, "text.format: a type is missing", "invalid_value", "text.format")
    if asked["type"] != "json_schema":
        return {"type": asked["type"]}
    return {"type": "json_schema", "json_schema": {name: asked[name] for name in asked if name != "type"}}
