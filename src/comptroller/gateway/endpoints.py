"""The endpoints that spend something: what each reads, as services get it, and the shape of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comptroller.gateway.formats import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    GenerationRequest,
    MessagesRequest,
    RequestOptions,
    ResponsesRequest,
    convert,
    parse,
)
from comptroller.gateway.messages import PATH as MESSAGES
from comptroller.gateway.messages import MessagesShape, messages_as_chat, native_request
from comptroller.gateway.responses import as_chat
from comptroller.gateway.responses_shape import ResponsesShape
from comptroller.gateway.shapes import CompletionShape, EndpointShape

Json = dict[str, Any]
Kind = (
    type[ChatRequest]
    | type[CompletionRequest]
    | type[EmbeddingRequest]
    | type[ResponsesRequest]
    | type[MessagesRequest]
)

PATHS: Mapping[str, tuple[Kind, str]] = {
    "/v1/chat/completions": (ChatRequest, "chat/completions"),
    "/v1/completions": (CompletionRequest, "completions"),
    "/v1/responses": (ResponsesRequest, "chat/completions"),
    "/v1/embeddings": (EmbeddingRequest, "embeddings"),
    MESSAGES: (MessagesRequest, "chat/completions"),
}
FOREIGN = {
    "chat/completions": ("prompt",),
    "completions": ("messages", "max_completion_tokens"),
    "embeddings": ("messages", "prompt", "n", "max_tokens", "max_completion_tokens", "stream"),
}
"""Fields of other endpoints, which mean nothing at these."""


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """A request as services get it. native: as it came, where that is another API's words."""

    path: str
    body: Json
    options: RequestOptions | None
    shape: EndpointShape
    native: Json | None = None


def read_request(endpoint: str, data: bytes) -> EndpointRequest:
    """A request of an endpoint.

    Raises:
        GatewayError: not JSON, or a field is not what is allowed; names it.
    """
    kind, path = PATHS[endpoint]
    request, body = parse(kind, data)
    native: Json | None = None
    shape: EndpointShape
    if isinstance(request, ResponsesRequest):
        body, shape = as_chat(request, body), ResponsesShape(request)
        convert(ChatRequest, body)
    elif isinstance(request, MessagesRequest):
        native, body, shape = native_request(body), messages_as_chat(request), MessagesShape(request)
        convert(ChatRequest, body)
    else:
        wanted = request.stream_options if isinstance(request, GenerationRequest) else None
        shape = CompletionShape(bool(wanted and wanted.include_usage))
    for name in FOREIGN[path]:
        body.pop(name, None)
    return EndpointRequest(path, body, request.comptroller, shape, native)
