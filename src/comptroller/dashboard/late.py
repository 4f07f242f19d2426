"""The dashboard of a gateway that nobody may look at: it is loaded with the first request of a browser.

The planner, its solver and the drawing of panels take 100 MB and a second or two, which a gateway by itself needs not.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

if TYPE_CHECKING:
    from comptroller.dashboard.web import DashboardApplication
    from comptroller.gateway.runtime import GatewayRuntime


class LateDashboard:
    """The pages of a gateway without a workload for what-ifs, made when they are first asked for."""

    def __init__(self, gateway: GatewayRuntime) -> None:
        self._gateway = gateway
        self._pages: DashboardApplication | None = None
        self._router = Router()
        self._loading = asyncio.Lock()

    @property
    def routes(self) -> list[Route]:
        """Every address that a dashboard may have."""
        return [Route("/", self), Route("/dashboard/{rest:path}", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on to the dashboard."""
        async with self._loading:
            if self._pages is None:
                module = await asyncio.to_thread(import_module, "comptroller.dashboard.server")
                made: DashboardApplication = await asyncio.to_thread(module.gateway_pages(None), self._gateway)
                self._pages, self._router = made, Router(routes=made.routes)
        await self._router(scope, receive, send)

    async def stop(self) -> None:
        """Ends what was started for it."""
        if self._pages is not None:
            await self._pages.stop()
