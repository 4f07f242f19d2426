"""The answers of /v1/responses, made of a chat's: items, and the events by which they grow."""

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

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""A chat's finish_reason -> why a response is not complete."""


class ResponsesShape:
    """The shape of /v1/responses."""

    translates = True

    def __init__(self, request: ResponsesRequest) -> None:
        self._request = request
        self._id, self._item = f"resp_{time.time_ns():x}", f"msg_{time.time_ns():x}"
        self._number = 0
        self._text = self._thoughts = ""
        self._order: list[str] = []
        self._logprobs: list[Json] = []
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
            "reasoning": asked.reasoning or {},
            "store": False,
            "text": asked.text or {"format": {"type": "text"}},
            "truncation": "disabled",
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "usage": usage,
        }

    def _output(self) -> list[Json]:
        """The items said so far, in the order in which they began; calls of tools at the end."""
        made = {"reasoning": self._reasoning, "message": self._message}
        order = self._order or ([] if self._calls else ["message"])
        return [*(made[kind]() for kind in order), *(self._call(at) for at in sorted(self._calls))]

    def _message(self) -> Json:
        part = {"type": "output_text", "text": self._text, "annotations": [], "logprobs": self._logprobs}
        said = {"id": self._item, "type": "message", "role": "assistant", "status": self._status}
        return said | {"content": [part]}

    def _reasoning(self) -> Json:
        """What the model thought, in the clear; also as the summary, where one is asked for."""
        asked = self._request.reasoning or {}
        summed = asked.get("summary") or asked.get("generate_summary")
        summary = [{"type": "summary_text", "text": self._thoughts}] if summed else []
        content = [{"type": "reasoning_text", "text": self._thoughts}]
        item = {"id": self._reasoning_id, "type": "reasoning", "status": self._status, "summary": summary}
        return item | {"content": content, "encrypted_content": None}

    @property
    def _reasoning_id(self) -> str:
        return f"rs_{self._item.removeprefix('msg_')}"

    def _call(self, at: int) -> Json:
        call = self._calls[at]
        return {"id": f"fc_{self._id}_{at}", "type": "function_call", "status": "completed", **call}

    def whole(self, reply: Json) -> Json:
        """A chat's reply as a response."""
        choice = reply["choices"][0]
        message = choice["message"]
        thought = message.get("reasoning_content") or message.get("reasoning")
        self._thoughts = thought if isinstance(thought, str) else ""
        self._text = text_of(message.get("content")) or str(message.get("refusal") or "")
        self._order = [kind for kind, words in (("reasoning", self._thoughts), ("message", self._text)) if words]
        self._logprobs = _logprobs(choice)
        self._take(message.get("tool_calls") or ())
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

    def _ends(self, finish: Any) -> None:
        if isinstance(finish, str) and finish in INCOMPLETE:
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
                if thought := choice.delta.reasoning_content or choice.delta.reasoning:
                    out += self._think(thought)
                if words := text_of(choice.delta.content) or choice.delta.refusal:
                    found = _logprobs(_raw_choice(piece.data)) if choice.logprobs is not None else []
                    out += self._words(words, found)
        return out

    def _opening(self) -> bytes:
        begun = self._document("in_progress", [], None)
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def _begin(self, kind: str, item: Json, part: Json) -> tuple[bytes, Json]:
        """The first events of an item, where it is new, and its place."""
        new = kind not in self._order
        if new:
            self._order.append(kind)
        where = {"item_id": item["id"], "output_index": self._order.index(kind), "content_index": 0}
        if not new:
            return b"", where
        begun = item | {"status": "in_progress", "content": []}
        out = self._event("response.output_item.added", output_index=where["output_index"], item=begun)
        return out + self._event("response.content_part.added", **where, part=part), where

    def _think(self, words: str) -> bytes:
        item = {"id": self._reasoning_id, "type": "reasoning", "summary": []}
        out, where = self._begin("reasoning", item, {"type": "reasoning_text", "text": ""})
        self._thoughts += words
        return out + self._event("response.reasoning_text.delta", **where, delta=words)

    def _words(self, words: str, logprobs: list[Json]) -> bytes:
        item = {"id": self._item, "type": "message", "role": "assistant"}
        out, where = self._begin("message", item, {"type": "output_text", "text": "", "annotations": []})
        self._text += words
        self._logprobs += logprobs
        return out + self._event("response.output_text.delta", **where, delta=words, logprobs=logprobs)

    def end(self, usage: Json | None, told: Json) -> bytes:
        """All items as they are now, then the response with usage and cost."""
        out = self._opening() if not self._number else b""
        for at, item in enumerate(self._output()):
            out += self._closing(at, item)
        final = self._document(self._status, self._output(), _usage(usage)) | {"comptroller": told}
        return out + self._event(f"response.{self._status}", response=final)

    def _closing(self, at: int, item: Json) -> bytes:
        out = b""
        if item["type"] != "function_call":
            where = {"item_id": item["id"], "output_index": at, "content_index": 0}
            part = item["content"][0]
            kind = part["type"]
            about = {"logprobs": self._logprobs} if kind == "output_text" else {}
            if part["text"]:
                out += self._event(f"response.{kind}.done", **where, text=part["text"], **about)
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


def _raw_choice(data: bytes) -> Json:
    choice: Json = msgspec.json.decode(data)["choices"][0]
    return choice


def _logprobs(choice: Json) -> list[Json]:
    """Log-probabilities of a chat's choice, whose entries both APIs write alike."""
    told = choice.get("logprobs")
    content = told.get("content") if isinstance(told, dict) else None
    return [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []


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
