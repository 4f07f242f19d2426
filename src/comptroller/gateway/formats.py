"""The wire formats of the door: what is read of a request and of an upstream event. All else is passed on as it is.

One definition serves three ends: requests are checked against it, errors name the field by it, and `/openapi.json`
is generated from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from comptroller.gateway.problems import GatewayError

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Choices = Annotated[int, Meta(ge=1, le=128)]
Text = Annotated[str, Meta(min_length=1)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Stop = str | Annotated[list[str], Meta(max_length=16)] | None
Json = dict[str, Any]
MOST_ITEMS = 10_000
"""Turns of a request, parts of a turn, and tools. Each costs some 50 us of the only event loop, read and written, so
that these cost half a second; the longest contexts have room for a few thousand turns. At twice it, a second."""
Items = Annotated[list[Json], Meta(max_length=MOST_ITEMS)]
SomeItems = Annotated[list[Json], Meta(min_length=1, max_length=MOST_ITEMS)]
Tag = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[^;=\\s\\x00]+$")]
"""A tag's name or value: without what separates them in the books."""
MOST_TAGS = 8
"""Tags of a request: team, environment, feature and customer, and as many again. Each set of them is an account in the
books, of which twice as many tags may make the square."""
MOST_CONTEXT_ID = 40
"""Characters of a context's id, which has twenty; longer ones are none of ours."""
MOST_QUESTION = 200
"""Characters of the label of a question in the books: an id or a title. At twice it rows may take twice the room."""


class CheckerOptions(Struct, forbid_unknown_fields=True):
    """How an answer is judged; exactly one of them.

    exact: the text itself.  number: the last number, within `tolerance`.  regex: found in it.  json_schema: it is
    JSON that holds to it.  python: a checker that the operator configured, called with `arguments`.  model: a
    service that is asked for a verdict.
    """

    exact: str | None = None
    number: float | None = None
    tolerance: Annotated[float, Meta(ge=0)] = 1e-9
    regex: str | None = None
    json_schema: Json | None = None
    python: str | None = None
    arguments: Json = field(default_factory=dict)
    model: str | None = None


class RequestOptions(Struct, forbid_unknown_fields=True, rename={"klass": "class"}):
    """The field `comptroller` of a request.

    strategy: as in a model id.  budget: "2000 tokens, 0.01 usd, 5 j, 30 s".  answer: what is compared in votes:
    "text", "number", "letter", or a regex with one group.  roles: role -> service.  klass: class of the plan.
    session: requests of one session go to one replica.  stop_repetition: end a generation that repeats itself.
    reminder: ask for a concise answer.  question: a label in the books.  tags: what it is for, name -> value, for
    budgets and reports.  context: of /v1/contexts, put before the messages.
    """

    strategy: str | None = None
    budget: str | None = None
    checker: CheckerOptions | None = None
    answer: str = "text"
    roles: dict[str, str] = field(default_factory=dict)
    klass: str | None = None
    session: str | None = None
    stop_repetition: bool | None = None
    reminder: bool | None = None
    question: Annotated[str, Meta(max_length=MOST_QUESTION)] = ""
    tags: Annotated[dict[Tag, Tag], Meta(max_length=MOST_TAGS)] = field(default_factory=dict)
    context: Annotated[str, Meta(max_length=MOST_CONTEXT_ID)] | None = None

    @property
    def label(self) -> str:
        """The tags as the books keep them."""
        return ";".join(f"{name}={value}" for name, value in sorted(self.tags.items()))


class StreamOptions(Struct):
    """Of it, only this is read."""

    include_usage: bool | None = None


class ChatMessage(Struct):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Items | None = None
    tool_calls: Items | None = None
    tool_call_id: str | None = None


class GenerationRequest(Struct, kw_only=True):
    """What chat and completions have in common."""

    model: Text
    max_tokens: Count | None = None
    n: Choices | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    stop: Stop = None
    seed: int | None = None
    user: str | None = None
    comptroller: RequestOptions | None = None


class ChatRequest(GenerationRequest, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=MOST_ITEMS)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Items | None = None
    tool_choice: str | Json | None = None
    response_format: Json | None = None
    reasoning_effort: str | None = None
    prompt_cache_key: str | None = None


class CompletionRequest(GenerationRequest, kw_only=True):
    """POST /v1/completions."""

    prompt: Text | Annotated[list[Any], Meta(min_length=1)]
    suffix: str | None = None
    echo: bool | None = None
    best_of: Choices | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None


class EmbeddingRequest(Struct, kw_only=True):
    """POST /v1/embeddings."""

    model: Text
    input: Text | Annotated[list[Any], Meta(min_length=1)]
    dimensions: Count | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
    comptroller: RequestOptions | None = None


class ResponsesRequest(Struct, kw_only=True):
    """POST /v1/responses."""

    model: Text
    input: Text | SomeItems
    instructions: str | None = None
    max_output_tokens: Count | None = None
    stream: bool | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    tools: Items | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    text: Json | None = None
    reasoning: Json | None = None
    previous_response_id: str | None = None
    background: bool | None = None
    include: list[str] | None = None
    store: bool | None = None
    truncation: str | None = None
    stream_options: Json | None = None
    max_tool_calls: Annotated[int, Meta(ge=0)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    user: str | None = None
    metadata: Json | None = None
    comptroller: RequestOptions | None = None


class ClientMessage(Struct):
    """One turn of /v1/messages."""

    role: Literal["user", "assistant", "system"]
    content: Text | SomeItems


class MessagesRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/messages. Fields that are not here have no meaning in a chat, and are refused by name."""

    model: Text
    max_tokens: Count
    messages: Annotated[list[ClientMessage], Meta(min_length=1, max_length=MOST_ITEMS)]
    system: str | Items | None = None
    stream: bool | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=16)] | None = None
    tools: Items | None = None
    tool_choice: Json | None = None
    thinking: Json | None = None
    metadata: Json | None = None
    service_tier: str | None = None
    output_config: Json | None = None
    cache_control: Json | None = None
    context_management: Json | None = None
    comptroller: RequestOptions | None = None


class MessageDelta(Struct):
    """What an event adds to a message."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Json] | None = None


class TokenProbability(Struct):
    """A token's log-probability; None where it is not told."""

    logprob: float | None = None


class ChoiceLogprobs(Struct):
    """Log-probabilities of chat (`content`) and of completions (`token_logprobs`)."""

    content: list[TokenProbability] | None = None
    token_logprobs: list[float | None] | None = None

    @property
    def values(self) -> list[float]:
        """One for each token."""
        if self.content is not None:
            return [token.logprob for token in self.content if token.logprob is not None]
        return [value for value in self.token_logprobs or () if value is not None]


class ChunkChoice(Struct):
    """A choice in an event: `delta` of a chat, `text` of a completion."""

    index: int = 0
    delta: MessageDelta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: ChoiceLogprobs | None = None


class StreamChunk(Struct):
    """An event of a stream."""

    choices: list[ChunkChoice] = field(default_factory=list)
    usage: Json | None = None
    error: Any = None
    timings: Json | None = None
    service_tier: Any = None
    native: Json | None = None


T = TypeVar("T", bound=Struct)

_strict = msgspec.json.Decoder(StreamChunk).decode
_decode = msgspec.json.Decoder().decode


def read_chunk(data: bytes) -> StreamChunk:
    """What an event says, as far as it is understood: fields of an unknown shape are left unread, and are passed on.

    Raises:
        msgspec.DecodeError: not JSON, or no object.
    """
    try:
        return _strict(data)
    except msgspec.ValidationError:
        raw = _decode(data)
    if not isinstance(raw, dict):
        raise msgspec.DecodeError("no JSON object")
    choices = raw.get("choices")
    return StreamChunk(
        [_choice(item) for item in choices if isinstance(item, dict)] if isinstance(choices, list) else [],
        raw["usage"] if isinstance(raw.get("usage"), dict) else None,
        raw.get("error"),
        raw["timings"] if isinstance(raw.get("timings"), dict) else None,
        raw.get("service_tier"),
    )


def _choice(raw: Json) -> ChunkChoice:
    """A choice of which some field has an unknown shape."""
    delta, text, end = raw.get("delta"), raw.get("text"), raw.get("finish_reason")
    index = raw.get("index")
    return ChunkChoice(
        index if type(index) is int else 0,
        _delta(delta) if isinstance(delta, dict) else None,
        text if isinstance(text, str) else None,
        end if isinstance(end, str) else None,
    )


def _delta(raw: Json) -> MessageDelta:
    words = {
        name: raw[name] for name in ("reasoning_content", "reasoning", "refusal") if isinstance(raw.get(name), str)
    }
    calls = raw.get("tool_calls")
    content = raw.get("content")
    return MessageDelta(
        content if isinstance(content, str | list) or content is None else [content],
        **words,
        tool_calls=[call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else None,
    )


def parse(kind: type[T], body: bytes, unsaid: Json | None = None) -> tuple[T, Json]:
    """A request as checked and as it came. unsaid: fields that it may leave out here.

    Raises:
        GatewayError: not JSON, or a field is not what is allowed; names it.
    """
    try:
        raw = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatewayError(400, f"the body is not JSON: {error}", "invalid_json") from error
    except RecursionError as error:
        raise too_deep() from error
    if unsaid is not None and isinstance(raw, dict):
        raw = unsaid | raw
    return convert(kind, raw), raw


def too_deep() -> GatewayError:
    """A document is nested more deeply than can be read or written."""
    return GatewayError(400, "the body is nested too deeply; some hundreds of levels are allowed", "invalid_json")


def convert(kind: type[T], raw: Any) -> T:
    """A document as checked.

    Raises:
        GatewayError: a field is not what is allowed; names it.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise GatewayError(400, *_error_fields(str(error))) from error


def message_and_field(text: str) -> tuple[str, str]:
    """What msgspec found wrong, and the place of the field in the document.

    >>> message_and_field("Expected `int`, got `str` - at `$.max_tokens`")
    ('Expected `int`, got `str`', 'max_tokens')
    """
    what, _, where = text.partition(" - at `")
    return what, where.rstrip("`").removeprefix("$").removeprefix(".")


def _error_fields(text: str) -> tuple[str, str, str | None]:
    """Message, code and field of msgspec's "Expected `int`, got `str` - at `$.max_tokens`"."""
    what, at = message_and_field(text)
    missing = re.search(r"required field `([^`]+)`", what)
    name = ".".join(filter(None, (at, missing[1] if missing else "")))
    return f"{name or 'body'}: {what}", "missing" if missing else "invalid_value", name or None


def schemas() -> Mapping[str, Json]:
    """JSON schemas of all requests and of what they are made of, by name."""
    kinds = (ChatRequest, CompletionRequest, EmbeddingRequest, ResponsesRequest, MessagesRequest)
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    return schemas
