"""POST /v1/messages/count_tokens: how many tokens a prompt has, before anything is spent on it."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from comptroller.errors import ComptrollerError
from comptroller.gateway.formats import MessagesRequest, RequestOptions, parse, too_deep
from comptroller.gateway.messages import messages_as_chat, messages_error, native_request
from comptroller.gateway.order import UpstreamRequest
from comptroller.gateway.problems import GatewayError, problem_of
from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime
from comptroller.gateway.visit import ClientDisconnectError, HttpExchange
from comptroller.quantities import BYTES_PER_TOKEN

PATH = "/v1/messages/count_tokens"
NEEDED = {"max_tokens": 1}
"""What a message needs and its count does not."""


class TokenCounter:
    """The ASGI application of the endpoint. It asks the service where that can count; else the answer is bytes over
    four, and says so."""

    def __init__(self, gateway: GatewayRuntime) -> None:
        self.gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        visit = HttpExchange(self.gateway, scope, receive, send)
        try:
            await visit.answer(200, msgspec.json.encode(await self._count(visit)), {})
        except ClientDisconnectError:
            visit.status = visit.status or 499
        except ComptrollerError as error:
            await self._refuse(visit, problem_of(error))
        except RecursionError:
            await self._refuse(visit, too_deep())
        finally:
            self.gateway.metrics.request(PATH, visit.status)

    @staticmethod
    async def _refuse(visit: HttpExchange, problem: GatewayError) -> None:
        await visit.answer(problem.status, messages_error(problem), problem.headers)

    async def _count(self, visit: HttpExchange) -> dict[str, Any]:
        gateway = self.gateway
        caller = await gateway.admission.caller(visit.credential)
        data = await visit.body()
        gateway.admission.enter(caller)
        request, raw = parse(MessagesRequest, data, NEEDED)
        native, body = native_request(raw), messages_as_chat(request)
        visit.join_trace()
        asked = GatewayRequest("chat/completions", body, len(data), RequestOptions(), caller, 0, native)
        count, how = await self._tokens(gateway.order(asked))
        return {"input_tokens": count, "comptroller": {"counted_by": how}}

    @staticmethod
    async def _tokens(order: UpstreamRequest) -> tuple[int, str]:
        service = order.services[0]
        service.healthy(order.call.key)
        ask = getattr(service.replicas[0].backend, "count_tokens", None)
        told = await ask(order.body_for(service)) if ask is not None else None
        return (max(1, order.size // BYTES_PER_TOKEN), "bytes over four") if told is None else (told, service.id)
