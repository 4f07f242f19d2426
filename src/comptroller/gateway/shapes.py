"""How answers look to the client: chat and completions as they come, with usage and cost in the last chunk."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any, Protocol

import msgspec

from comptroller.gateway.attempt import CallAttempt
from comptroller.gateway.events import UpstreamEvent
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.sse import DONE, encode_events
from comptroller.quantities import Cost
from comptroller.strategies.drive import total

Json = dict[str, Any]

encode = msgspec.json.encode


class EndpointShape(Protocol):
    """One endpoint's way to put an answer. translates: whether it says in its own words what a chat said."""

    translates: bool

    def whole(self, reply: Json) -> Json:
        """A whole answer."""
        ...

    def events(self, pieces: list[UpstreamEvent]) -> bytes:
        """What the client gets for some events."""
        ...

    def end(self, usage: Json | None, told: Json) -> bytes:
        """The end of a stream, with usage and cost."""
        ...

    def failed(self, problem: GatewayError) -> bytes:
        """The end of a stream that broke off."""
        ...


class CompletionShape:
    """Chat and completions: events pass as they come. The event with the finish reason waits for the usage.

    apart: the client asked for usage, so it stands in a chunk of its own without choices, as OpenAI sends it; else
    in the last chunk that has choices, since clients that did not ask for it read `choices[0]` of every chunk.
    """

    translates = False

    def __init__(self, apart: bool) -> None:
        self._apart = apart
        self._held: bytes | None = None

    def whole(self, reply: Json) -> Json:
        """As it came."""
        return reply

    def events(self, pieces: list[UpstreamEvent]) -> bytes:
        """Events but for usage, which is told at the end."""
        out: list[bytes] = []
        for data, chunk in pieces:
            if not chunk.choices:
                continue
            bare = data if chunk.usage is None else encode(_without(data, "usage"))
            if self._held is not None:
                out.append(self._held)
                self._held = None
            if any(choice.finish_reason for choice in chunk.choices):
                self._held = bare
            else:
                out.append(bare)
        return encode_events(out)

    def end(self, usage: Json | None, told: Json) -> bytes:
        """The last event with choices, usage and cost, [DONE]."""
        last: Json = msgspec.json.decode(self._held) if self._held else {"choices": []}
        about = {"usage": usage, "comptroller": told}
        if not self._apart:
            return encode_events([encode(last | about), DONE])
        held = [self._held] if self._held else []
        return encode_events([*held, encode(last | {"choices": []} | about), DONE])

    def failed(self, problem: GatewayError) -> bytes:
        """The error as an event, as OpenAI's clients expect it; no [DONE], for nothing is done."""
        held = [self._held] if self._held else []
        return encode_events([*held, problem.body])


def _without(data: bytes, name: str) -> Json:
    document: Json = msgspec.json.decode(data)
    document.pop(name, None)
    return document


def usage_document(attempts: Sequence[CallAttempt]) -> Json | None:
    """The usage of all attempts together, in OpenAI's words; None where one of them is unknown."""
    charged = [item for item in attempts if (item.receipt is not None and item.receipt.pusd != 0) or item.usage]
    used = [item.usage for item in charged]
    if not used or any(item is None for item in used):
        return None
    usage = [item for item in used if item is not None]
    prompt, output = sum(item.prompt_tokens for item in usage), sum(item.output_tokens for item in usage)
    written = sum(item.cache_write + item.cache_write_1h for item in usage)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {
            "cached_tokens": sum(item.cached for item in usage),
            **({"cache_write_tokens": written} if written else {}),
        },
        "completion_tokens_details": {"reasoning_tokens": sum(item.reasoning for item in usage)},
    }


def number_or_none(value: float) -> float | None:
    """A number as JSON takes it: None where it is unknown."""
    return None if isnan(value) else value


def cost_document(cost: Cost) -> Json:
    """What was consumed, null where it is unknown."""
    tokens = cost.tokens
    kinds = {"input": tokens.input, "cached": tokens.cached, "output": tokens.output}
    counted = {name: number_or_none(float(value)) for name, value in (kinds | {"reasoning": tokens.reasoning}).items()}
    amounts = {"usd": cost.usd, "j": cost.j, "gco2e": cost.gco2e}
    return {name: number_or_none(float(value)) for name, value in amounts.items()} | {"tokens": counted}


def cost_of(attempts: Sequence[CallAttempt]) -> Cost:
    """What attempts took together."""
    return total(item.cost for item in attempts if item.receipt is not None)


def strategy_reply(path: str, model: str, request: str, text: str, finish: str) -> Json:
    """An answer that a strategy made, as a whole reply."""
    chat = path != "completions"
    said: Json = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    choice = {"index": 0, "finish_reason": finish, "logprobs": None, **said}
    kind = "chat.completion" if chat else "text_completion"
    prefix = "chatcmpl" if chat else "cmpl"
    return {"id": f"{prefix}-{request}", "object": kind, "created": 0, "model": model, "choices": [choice]}


def pieces_of(reply: Json) -> list[bytes]:
    """A whole reply of one choice as the events of a stream."""
    (choice,) = reply["choices"]
    chat = "message" in choice
    head = reply | {"object": "chat.completion.chunk"} if chat else dict(reply)
    said: Json = {"delta": choice["message"]} if chat else {"text": choice["text"]}
    last: Json = {"delta": {}} if chat else {"text": ""}
    first = {"index": 0, "finish_reason": None, **said}
    end = {"index": 0, "finish_reason": choice["finish_reason"], **last}
    return [encode(head | {"choices": [first]}), encode(head | {"choices": [end]})]
