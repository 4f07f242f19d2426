"""The server: endpoints as a Starlette application, run by uvicorn in one process."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comptroller import __version__
from comptroller.errors import ComptrollerError, InputError
from comptroller.gateway.admission import GatewayCaller, credential
from comptroller.gateway.browsers import BrowserGate
from comptroller.gateway.config import GatewayConfig
from comptroller.gateway.connection import bounded_connection
from comptroller.gateway.contexts import ContextRequest, context_document
from comptroller.gateway.door import EndpointApplication
from comptroller.gateway.endpoints import PATHS
from comptroller.gateway.formats import parse, schemas
from comptroller.gateway.problems import GatewayError, problem_of
from comptroller.gateway.runtime import GatewayRuntime
from comptroller.gateway.shapes import encode
from comptroller.gateway.token_count import PATH as COUNT_TOKENS
from comptroller.gateway.token_count import TokenCounter
from comptroller.gateway.visit import ClientDisconnectError, HttpExchange

Json = dict[str, Any]
log = logging.getLogger("comptroller.gateway")
Endpoint = Callable[[Request], Awaitable[Response]]

NAMES = {
    "/v1/chat/completions": "ChatRequest",
    "/v1/completions": "CompletionRequest",
    "/v1/responses": "ResponsesRequest",
    "/v1/embeddings": "EmbeddingRequest",
    "/v1/messages": "MessagesRequest",
}


Pages = Callable[[GatewayRuntime], "GatewayPages"]
"""What makes the pages for browsers that stand beside the endpoints, of a gateway that was started."""


class GatewayPages(Protocol):
    """Pages for browsers."""

    @property
    def routes(self) -> list[Route]:
        """Their addresses."""
        ...

    async def stop(self) -> None:
        """Ends what was started for them."""
        ...


def application(gateway: GatewayRuntime, pages: Sequence[Route] = ()) -> BrowserGate:
    """The endpoints of a gateway, which was started, and pages beside them."""
    door = EndpointApplication(gateway)
    read = {
        "/v1/models": _models,
        "/v1/models/{model:path}": _model,
        "/metrics": _metrics,
        "/comptroller/plan": _plan,
        "/openapi.json": _openapi,
    }
    routes = [Route(path, door, methods=["POST"]) for path in PATHS]
    routes += [Route(path, _endpoint_with_key(gateway, work), methods=["GET"]) for path, work in read.items()]
    routes += [Route("/v1/contexts", _new_context(gateway), methods=["POST"])]
    routes += [Route("/v1/contexts/{name}", _context(gateway), methods=["GET", "DELETE"])]
    routes += [Route(COUNT_TOKENS, TokenCounter(gateway), methods=["POST"])]
    routes += [Route("/health", _health), Route("/ready", _ready(gateway)), *pages]
    handlers: dict[Any, Any] = {HTTPException: _answer_not_found, 500: _answer_internal_error}
    return BrowserGate(Starlette(routes=routes, exception_handlers=handlers), gateway.config)


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(document), status, headers, "application/json")


def _endpoint_with_key(
    gateway: GatewayRuntime, work: Callable[[GatewayRuntime, Request, GatewayCaller], Response]
) -> Endpoint:
    """An endpoint that reads, for those who may come in."""

    async def endpoint(request: Request) -> Response:
        return work(gateway, request, await gateway.admission.caller(credential(request.headers)))

    return _endpoint_of(endpoint)


def _models(gateway: GatewayRuntime, _: Request, caller: GatewayCaller) -> Response:
    return _json({"object": "list", "data": [_entry(name) for name in gateway.models(caller)]})


def _model(gateway: GatewayRuntime, request: Request, caller: GatewayCaller) -> Response:
    name = request.path_params["model"]
    if name not in gateway.models(caller):
        raise GatewayError(
            404, f"no model {name!r}; there are {', '.join(gateway.models(caller))}", "model_not_found", "model"
        )
    return _json(_entry(name))


def _entry(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "comptroller"}


def _metrics(gateway: GatewayRuntime, _: Request, caller: GatewayCaller) -> Response:
    text = gateway.metrics.text(list(gateway.services.values()), gateway.desk)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _plan(gateway: GatewayRuntime, _: Request, caller: GatewayCaller) -> Response:
    if gateway.routes is None or gateway.happened is None:
        raise GatewayError(404, "no plan is served: comptroller serve --plan plan.json", "no_plan")
    return _json({"plan": gateway.routes.plan.name, "digest": gateway.routes.digest} | gateway.happened.document())


def _context(gateway: GatewayRuntime) -> Endpoint:
    async def work(request: Request) -> Response:
        caller = await gateway.admission.caller(credential(request.headers))
        name = request.path_params["name"]
        if request.method == "DELETE":
            await gateway.contexts.remove(caller, name)
            return _json({"id": name, "object": "context.deleted", "deleted": True})
        return _json(context_document(await gateway.contexts.get(caller, name)))

    return _endpoint_of(work)


def _new_context(gateway: GatewayRuntime) -> Endpoint:
    async def work(request: Request) -> Response:
        caller = await gateway.admission.caller(credential(request.headers))
        visit = HttpExchange(gateway, request.scope, request.receive, request._send)
        data = await visit.body()
        gateway.admission.enter(caller)
        asked, _ = parse(ContextRequest, data)
        return _json(context_document(await gateway.contexts.add(caller, asked)), 201)

    return _endpoint_of(work)


def _endpoint_of(work: Endpoint) -> Endpoint:
    """An endpoint whose refusals are told in the door's shape."""

    async def endpoint(request: Request) -> Response:
        try:
            return await work(request)
        except ComptrollerError as error:
            problem = problem_of(error)
            return _json(problem.document, problem.status, problem.headers)
        except ClientDisconnectError:
            return Response(status_code=499)

    return endpoint


def _openapi(gateway: GatewayRuntime, _: Request, caller: GatewayCaller) -> Response:
    return _json(description())


async def _health(_: Request) -> Response:
    return _json({"status": "ok", "version": __version__})


def _ready(gateway: GatewayRuntime) -> Endpoint:
    async def endpoint(_: Request) -> Response:
        if not gateway.ready:
            return _json({"ready": False, "unwritten": None}, 503)
        desk = gateway.desk
        told = {name: getattr(desk, name) for name in ("unwritten", "unknown", "unbooked", "doubted")}
        return _json({"ready": not desk.unwritten} | told, 503 if desk.unwritten else 200)

    return endpoint


async def _answer_not_found(request: Request, error: HTTPException) -> Response:
    """Paths and methods that there are not."""
    there = ", ".join(
        [*PATHS, COUNT_TOKENS, "/v1/contexts", "/v1/models", "/health", "/ready", "/metrics", "/openapi.json"]
    )
    message = f"{request.method} {request.url.path}: {error.detail}; there are {there}"
    return _json(
        GatewayError(error.status_code, message, "not_found").document, error.status_code, dict(error.headers or {})
    )


async def _answer_internal_error(request: Request, error: Exception) -> Response:
    """Our own fault: it is logged in full, the client learns no more than that."""
    log.error("%s failed", request.url.path, exc_info=error)
    return _json(GatewayError(500, "the gateway failed; its log says why", "internal").document, 500)


def description() -> Json:
    """The OpenAPI description of the door."""
    paths: Json = {path: {"post": _operation(path, NAMES[path])} for path in PATHS}
    for path in ("/v1/models", "/metrics", "/health", "/ready"):
        paths[path] = {"get": {"summary": path.rsplit("/", 1)[1], "responses": _answers("200", "503")}}
    secured = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Comptroller gateway", "version": __version__},
        "paths": paths,
        "components": {"schemas": dict(schemas()), "securitySchemes": secured},
        "security": [{}, {"key": []}],
    }


def _operation(path: str, name: str) -> Json:
    schema = {"$ref": f"#/components/schemas/{name}"}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    codes = ("200", "400", "401", "404", "413", "415", "429", "503")
    return {"summary": path.removeprefix("/v1/"), "requestBody": body, "responses": _answers(*codes)}


def _answers(*codes: str) -> Json:
    return {code: {"description": "an answer" if code == "200" else "an error in OpenAI's shape"} for code in codes}


def listen(config: GatewayConfig) -> socket.socket:
    """The socket that is served.

    Raises:
        InputError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((config.host, config.port))
        made.listen(2048)
    except OSError as error:
        made.close()
        raise InputError(f"{config.host}:{config.port}: {error.strerror}; choose another with --port") from error
    return made


def serve(config: GatewayConfig, told: Callable[[str], None] = lambda url: None, pages: Pages | None = None) -> None:
    """Runs a gateway until it is told to stop; then requests under way may end. `told` hears its URL when it is ready.
    pages: for browsers, beside the endpoints.

    Raises:
        ComptrollerError: it cannot start; names the fix.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, told, pages))


def server_settings(gateway: GatewayRuntime, pages: Sequence[Route] = ()) -> uvicorn.Config:
    """How a gateway, which was started, is served."""
    return uvicorn.Config(
        application(gateway, pages),
        http=bounded_connection(gateway.config),
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=round(gateway.config.drain_s),
        timeout_keep_alive=75,
        server_header=False,
        lifespan="off",
    )


async def _serve(config: GatewayConfig, told: Callable[[str], None], pages: Pages | None) -> None:
    gateway, shown = GatewayRuntime(config), None
    with listen(config) as door:
        try:
            await gateway.start()
            shown = pages(gateway) if pages else None
            host, port = door.getsockname()[:2]
            for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again at its end; the books come after
                signal.signal(number, lambda *_: None)
            told(f"http://{f'[{host}]' if ':' in host else host}:{port}")
            await uvicorn.Server(server_settings(gateway, shown.routes if shown else ())).serve(sockets=[door])
        finally:
            if shown is not None:
                await shown.stop()
            await gateway.stop()
