"""Any OpenAI-compatible service: vLLM, SGLang, llama.cpp, hosted APIs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec

from comptroller.errors import InputError
from comptroller.gateway.backends import CallEnergyMeter, NullEnergyMeter
from comptroller.gateway.config import ServiceConfig
from comptroller.gateway.problems import UpstreamError
from comptroller.gateway.sse import DONE, SseEventParser
from comptroller.gateway.trace_context import TRACE

Json = dict[str, Any]
MOST_BYTES = 64 * 2**20
"""The longest reply that is read: room for embeddings of thousands of texts as JSON; without it a broken service would
fill the memory."""
CONNECT_S = 10.0
"""Longest to connect: three retransmissions of the first packet (1, 2, 4 s) fit in."""
OUR_KEY = {401, 403, 407}
"""Statuses about the upstream's key: the client learns neither its text, which may show the key, nor its status."""
HANG_UP = {"connection": "close"}
"""Sent with a stream to a service that does not keep its connection open."""


class OpenaiBackend:
    """A client with a pool of connections to one base URL, such as http://host:8000/v1.

    reuses_streams: whether the service keeps a connection open after the end of a stream.
    """

    reuses_streams = True

    def __init__(self, name: str, config: ServiceConfig, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"service {name}: url must be http://host:port/v1 or https://..., not {url!r}")
        self.name, self.config, self.url = name, config, url.rstrip("/") + "/"
        self._session: aiohttp.ClientSession | None = None

    @staticmethod
    def filled(config: ServiceConfig) -> ServiceConfig:
        """As it is: engines differ, the configuration tells how."""
        return config

    async def start(self) -> None:
        """Makes the pool; connects at the first call."""
        self._session = aiohttp.ClientSession(
            headers=self.headers(),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            read_bufsize=2**17,
        )

    def headers(self) -> dict[str, str]:
        """Headers of every call, its key among them."""
        key = {"authorization": f"Bearer {secret}"} if (secret := self.secret()) else {}
        return {"content-type": "application/json"} | key

    def headers_for(self, body: Json) -> dict[str, str]:
        """Headers that a body needs beside those of every call."""
        return {}

    def secret(self) -> str:
        """The upstream's key."""
        return self.config.secret(self.name)

    async def count_tokens(self, body: Json) -> int | None:
        """Tokens of a prompt where the engine says them (vLLM, llama.cpp); None where it has no way to ask.

        Raises:
            UpstreamError: it refused, broke off or was not there.
        """
        asked: Json = {name: body[name] for name in ("model", "messages", "tools") if name in body}
        if self.config.dialect == "vllm":
            count = (await self.send("../tokenize", asked)).get("count")
            return count if isinstance(count, int) else None
        if self.config.dialect == "llamacpp":
            prompt = (await self.send("../apply-template", asked)).get("prompt")
            tokens = (await self.send("../tokenize", {"content": prompt, "add_special": True})).get("tokens")
            return len(tokens) if isinstance(tokens, list) else None
        return None

    async def stop(self) -> None:
        """Closes the pool."""
        if self._session is not None:
            await self._session.close()

    def meter(self) -> CallEnergyMeter:
        """Joules are unknown."""
        return NullEnergyMeter()

    async def send(self, path: str, body: Json) -> Json:
        """A whole reply."""
        try:
            async with asyncio.timeout(self.config.total_s):
                return await self._whole(path, body)
        except TimeoutError as error:
            raise self._late("a reply", self.config.total_s) from error

    async def _whole(self, path: str, body: Json) -> Json:
        response = await self._post(path, body)
        async with response:
            try:
                data = await response.content.read(MOST_BYTES)
                while len(data) < MOST_BYTES and (more := await response.content.read(MOST_BYTES)):
                    data += more
                reply = msgspec.json.decode(data)
            except aiohttp.ClientError as error:
                raise self._broken(error) from error
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise UpstreamError(502, f"{self.name} answered what is not JSON: {error}", billable=True) from error
        if not isinstance(reply, dict):
            raise UpstreamError(502, f"{self.name} answered what is no JSON object", billable=True, again=False)
        return reply

    async def stream(self, path: str, body: Json) -> AsyncIterator[list[bytes]]:
        """The data of a reply's events; ends at [DONE], or where the service ends."""
        try:
            async with asyncio.timeout(self.config.first_s):
                response = await self._post(path, body)
        except TimeoutError as error:
            raise self._late("the first byte", self.config.first_s) from error
        events = SseEventParser()
        try:
            async for piece in response.content.iter_any():
                payloads = events.feed(piece)
                if payloads and payloads[-1] == DONE:
                    if payloads[:-1]:
                        yield payloads[:-1]
                    await response.read()
                    return
                if payloads:
                    yield payloads
        except (aiohttp.ClientError, InputError) as error:
            raise self._broken(error) from error
        except TimeoutError as error:
            raise self._late("the next event", self.config.idle_s) from error
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def _post(self, path: str, body: Json) -> aiohttp.ClientResponse:
        assert self._session is not None, "start() comes first"
        longest = max(self.config.idle_s, self.config.first_s) if body.get("stream") else None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=longest)
        headers = {**TRACE.get(), **self.headers_for(body)}
        if longest is not None and not self.reuses_streams:
            headers |= HANG_UP
        data = msgspec.json.encode(body)
        try:
            response = await self._session.post(
                self.url + path, data=data, timeout=timeout, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UpstreamError(
                503, f"{self.name} is not there: {error.strerror if hasattr(error, 'strerror') else error}", away=True
            ) from error
        except aiohttp.ClientError as error:
            raise self._broken(error) from error
        if response.status >= 300:  # whoever is pointed to elsewhere is not sent the key
            raise await self._refused(response)
        return response

    async def _refused(self, response: aiohttp.ClientResponse) -> UpstreamError:
        async with response:
            try:
                data = await response.content.read(2**16)
                document = msgspec.json.decode(data)
            except (aiohttp.ClientError, msgspec.DecodeError, UnicodeDecodeError, TimeoutError):
                document = None
        wait = retry_after_s(response.headers.get("retry-after", ""))
        message = f"{self.name} answered {response.status} {response.reason or ''}".strip()
        if (secret := self.secret()) and secret in str(document):
            document = None  # no text with our key in it leaves
        if response.status < 400:
            raise UpstreamError(502, f"{message}: it moved; set its url to where it is now", again=False)
        if response.status in OUR_KEY:
            return UpstreamError(502, f"{self.name} refused the key of the gateway ({response.status})", again=False)
        return UpstreamError(response.status, message, document if isinstance(document, dict) else None, wait)

    def _broken(self, error: Exception) -> UpstreamError:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return UpstreamError(502, f"{self.name} broke off: {what}", billable=True)

    def _late(self, what: str, seconds: float) -> UpstreamError:
        return UpstreamError(504, f"{self.name}: {what} did not come within {seconds:g} s", billable=True)


def retry_after_s(text: str) -> float:
    """Seconds of a Retry-After header, a number or a date; negative where it says nothing.

    >>> retry_after_s("2.5"), retry_after_s("soon")
    (2.5, -1.0)
    """
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return -1.0
