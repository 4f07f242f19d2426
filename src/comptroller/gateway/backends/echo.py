"""Answers with what it was asked: for tests and examples. Deterministic; a token is a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from comptroller.gateway.backends import NullEnergyMeter
from comptroller.gateway.config import ServiceConfig
from comptroller.gateway.problems import UpstreamError

Json = dict[str, Any]


class EchoBackend:
    """settings: `token_s`, seconds per token; `answers`, texts given in turn by the seed instead of an echo."""

    def __init__(self, name: str, config: ServiceConfig, url: str) -> None:
        self.name = name
        self._token_s = float(config.settings.get("token_s", 0.0))
        self._answers = tuple(map(str, config.settings.get("answers", ())))

    @staticmethod
    def filled(config: ServiceConfig) -> ServiceConfig:
        """It gives one choice at a time."""
        return replace(config, single_choice=True)

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    def meter(self) -> NullEnergyMeter:
        """Joules are unknown."""
        return NullEnergyMeter()

    async def send(self, path: str, body: Json) -> Json:
        """The echo as a whole."""
        if path == "embeddings":
            return _embedding_reply(body)
        words, finish = self._words(body)
        await asyncio.sleep(self._token_s * len(words))
        text, about = "".join(words), {"index": 0, "finish_reason": finish}
        choice = (
            about | {"message": {"role": "assistant", "content": text}}
            if "messages" in body
            else about | {"text": text}
        )
        return _head(body) | {"choices": [choice], "usage": _usage(body, words)}

    async def stream(self, path: str, body: Json) -> AsyncIterator[list[bytes]]:
        """The echo word by word."""
        words, finish = self._words(body)
        for piece in _pieces(body, words, finish):
            await asyncio.sleep(self._token_s)
            yield [msgspec.json.encode(piece)]

    def _words(self, body: Json) -> tuple[list[str], str]:
        if body.get("n", 1) != 1:
            raise UpstreamError(400, f"{self.name} gives one choice at a time")
        if not body.get("messages") and "prompt" not in body:
            raise UpstreamError(400, f"{self.name}: a request has messages or a prompt")
        text = _prompt_text(body)
        if self._answers:
            text = self._answers[int(body.get("seed") or 0) % len(self._answers)]
        words = [word if not at else f" {word}" for at, word in enumerate(text.split())]
        most = body.get("max_completion_tokens") or body.get("max_tokens") or len(words)
        return words[:most], "stop" if len(words) <= most else "length"


def _prompt_text(body: Json) -> str:
    if "messages" not in body:
        prompt = body["prompt"]
        return prompt if isinstance(prompt, str) else " ".join(map(str, prompt))
    content = body["messages"][-1].get("content") or ""
    parts = content if isinstance(content, list) else [{"text": content}]
    return " ".join(str(part.get("text", "")) for part in parts)


def _usage(body: Json, words: list[str]) -> Json:
    turns = body.get("messages") or [{"content": _prompt_text(body)}]
    prompt = sum(len(_prompt_text({"messages": [turn]}).split()) for turn in turns)
    return {"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}


def _head(body: Json) -> Json:
    kind = "chat.completion" if "messages" in body else "text_completion"
    return {"id": "echo", "object": kind, "created": 0, "model": body["model"]}


def _pieces(body: Json, words: list[str], finish: str) -> Iterator[Json]:
    chat = "messages" in body
    head = _head(body) | ({"object": "chat.completion.chunk"} if chat else {})
    for at, word in enumerate(words):
        role = {} if at else {"role": "assistant"}
        said: Json = {"delta": {**role, "content": word}} if chat else {"text": word}
        yield head | {"choices": [{"index": 0, "finish_reason": None, **said}]}
    last: Json = {"delta": {}} if chat else {"text": ""}
    yield head | {"choices": [{"index": 0, "finish_reason": finish, **last}]}
    yield head | {"choices": [], "usage": _usage(body, words)}


def _embedding_reply(body: Json) -> Json:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    rows = [{"object": "embedding", "index": at, "embedding": [float(len(str(text)))]} for at, text in enumerate(texts)]
    count = sum(len(str(text).split()) for text in texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": rows, "model": body["model"], "usage": usage}
