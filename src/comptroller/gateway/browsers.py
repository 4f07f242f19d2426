"""What keeps pages of a browser out: they can send requests to a gateway on this machine, with the user's network.

A page of a foreign site is refused by its Origin, one that was pointed at this machine by a name of its own (DNS
rebinding) by the Host; what a page may send without asking first is no JSON, and is refused by its media type.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from comptroller.gateway.config import LOOPBACK, GatewayConfig
from comptroller.gateway.problems import GatewayError

OWN_FORMS = ("/dashboard/key",)
"""Paths that forms of the gateway's own pages are sent to: a browser names the gateway itself as their origin."""

PROBES = ("/health", "/ready")
"""Paths that spend and tell nothing: probes of an orchestrator call them by address."""


class BrowserGate:
    """An application behind checks of Host and Origin, which come before the key.

    Hosts are checked on loopback, and beyond it where `hosts` names them: there a key is needed in any case.
    """

    def __init__(self, app: ASGIApp, config: GatewayConfig) -> None:
        self._origins = frozenset(config.origins)
        named = {name.lower() for name in (*config.hosts, config.host, *LOOPBACK)}
        self._hosts = frozenset(named) if config.loopback or config.hosts else None
        if config.origins:
            app = CORSMiddleware(
                app, allow_origins=config.origins, allow_methods=["GET", "POST", "DELETE"], allow_headers=["*"],
                expose_headers=["*"],
            )  # fmt: skip
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] == "http" and scope["path"] not in PROBES and (refusal := self._refusal(scope)):
            head = [(b"content-type", b"application/json"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": refusal.status, "headers": head})
            await send({"type": "http.response.body", "body": refusal.body})
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> GatewayError | None:
        headers = Headers(scope=scope)
        origin, host = headers.get("origin"), headers.get("host", "")
        own = scope["path"] in OWN_FORMS and origin == f"{scope['scheme']}://{host}"
        if origin is not None and origin not in self._origins and not own:
            return GatewayError(
                403, f"pages of {origin[:200]} may not call this gateway; allow them with origins = [...]",
                "foreign_origin",
            )  # fmt: skip
        if self._hosts is not None and host_name(host) not in self._hosts:
            return GatewayError(
                421, f"this gateway is not called {host[:200]!r}; add its name to hosts = [...]", "foreign_host"
            )
        return None


def host_name(host: str) -> str:
    """The name in a Host header, without its port.

    >>> host_name("LocalHost:8080"), host_name("[::1]:8080"), host_name("evil.example")
    ('localhost', '::1', 'evil.example')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
