"""A running engine that speaks OpenAI's API: where it is, what it answers, and what is wrong with an answer.

The standard library alone: reading a few hundred streams takes nothing that is installed beside an engine.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from comptroller.errors import InputError

Json = dict[str, Any]

CHARACTERS = 200
"""Of an engine's own words on an error: two lines of a terminal."""

EVENTS = "text/event-stream"
"""Type of a reply that is streamed."""

HINTS = {
    401: "; --key-env names the variable that holds its key",
    403: "; --key-env names the variable that holds its key",
    404: "; the address is what stands before /v1, and --served-model names the model as it is there",
}
"""Status of a refusal -> what is usually to be done."""

READ_S = 600.0
"""Longest between two events of a stream; an engine that needs more for a token is not one that serves."""


@dataclass(frozen=True, slots=True)
class ServingTarget:
    """Where requests go. url: up to /v1.  model: its name there.  key: sent as a bearer; empty where none is needed."""

    url: str
    model: str
    key: str = ""

    @classmethod
    def of(cls, url: str, model: str = "", key: str = "") -> ServingTarget:
        """The engine at an address; without a name, the first model that it lists.

        Raises:
            InputError: it is no address, nothing answers, or it lists no model.
        """
        if not url.startswith(("http://", "https://")):
            raise InputError(f"{url}: is no address; write http://HOST:PORT/v1")
        base = url.rstrip("/")
        found = cls(base if base.endswith("/v1") else f"{base}/v1", model, key)
        if model:
            return found
        with found.open("models") as reply:
            document = json_object(found.words(reply))
        listed = [str(item["id"]) for item in document.get("data") or () if isinstance(item, dict) and item.get("id")]
        if not listed:
            raise InputError(f"{found.url}/models lists no model; --served-model says which to ask")
        return cls(found.url, listed[0], key)

    def open(self, path: str, body: Json | None = None) -> http.client.HTTPResponse:
        """A reply to be read.

        Raises:
            InputError: nothing answers, or the request is refused; says what the engine said.
        """
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {self.key}"} if self.key else {})
        data = None if body is None else json.dumps(body).encode()
        with self.faults():
            request = urllib.request.Request(f"{self.url}/{path}", data, headers)
            reply: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=READ_S)
            return reply

    def words(self, reply: http.client.HTTPResponse) -> str:
        """All that a reply holds.

        Raises:
            InputError: it breaks off.
        """
        with self.faults():
            return reply.read().decode(errors="replace")

    def events(self, reply: http.client.HTTPResponse) -> Iterator[Json]:
        """The events of a stream as they come.

        Raises:
            InputError: it is no stream, breaks off, or tells of an error.
        """
        if (kind := reply.headers.get("content-type", EVENTS)).partition(";")[0].strip() != EVENTS:
            raise InputError(f"{self.url} does not stream: it answers {kind} where {EVENTS} was asked for")
        while line := self._line(reply):
            event = json_object(line.strip().removeprefix("data:").strip())
            if "error" in event:
                raise InputError(f"{self.url}: a stream broke off: {json.dumps(event['error'])[:CHARACTERS]}")
            yield event

    def _line(self, reply: http.client.HTTPResponse) -> str:
        with self.faults():
            return reply.readline().decode(errors="replace")

    @contextmanager
    def faults(self) -> Iterator[None]:
        """What goes wrong on the way to the engine and back, as errors that say so.

        Raises:
            InputError: it does not answer, refuses, or a reply breaks off.
        """
        try:
            yield
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace").strip()[:CHARACTERS]
            hint = HINTS.get(error.code, "")
            raise InputError(f"{error.url} answered {error.code}: {said or error.reason}{hint}") from error
        except TimeoutError as error:
            raise InputError(f"{self.url} says nothing for {READ_S:g} s") from error
        except OSError as error:
            raise InputError(f"{self.url} does not answer: {getattr(error, 'reason', error)}") from error
        except http.client.InvalidURL as error:
            raise InputError(f"{self.url}: is no address: {error}") from error
        except http.client.HTTPException as error:
            raise InputError(f"{self.url}: a reply broke off ({type(error).__name__})") from error


def json_object(text: str) -> Json:
    """The object that a text is; empty where it is none.

    >>> json_object('{"a": 1}'), json_object("[DONE]"), json_object('{"a"')
    ({'a': 1}, {}, {})
    """
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
