"""The dashboard's addresses: the page, its panels, what-ifs, and the key of who reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from comptroller.books.keys import AUDITOR
from comptroller.dashboard.pages import ASSETS, DashboardRenderer, asset, panels_of
from comptroller.dashboard.panels import DashboardSources
from comptroller.dashboard.questions import WhatIfForm
from comptroller.dashboard.replanning import WhatIfAnswer
from comptroller.dashboard.worker import PhaseMessage, RefusalMessage, WhatIfWorker
from comptroller.errors import ComptrollerError
from comptroller.gateway.admission import GatewayAdmissionController, GatewayCaller, credential
from comptroller.gateway.problems import GatewayError

COOKIE = "comptroller_key"
"""Where a browser keeps the key: out of reach of scripts, sent to this host alone."""

MOST_QUERY = 4096
"""Characters of a what-if's query: a form of thirty fields has fewer than half."""

MOST_KEY = 512
"""Bytes of a form with a key: keys have fewer than a hundred."""


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, no script but the page's own; matplotlib writes styles into its elements."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

P = ParamSpec("P")
R = TypeVar("R")
Answer = Callable[[Request, GatewayCaller], Awaitable[Response]]


class DashboardApplication:
    """Answers browsers. Pages are drawn in one thread of their own, for drawing is not made for several."""

    def __init__(self, sources: DashboardSources, admission: GatewayAdmissionController) -> None:
        self.sources, self._admission = sources, admission
        self._renderer = DashboardRenderer(sources)
        self._pencil = ThreadPoolExecutor(1, "dashboard")
        self._panels = {panel.id: panel for panel in panels_of(sources)}
        self._pencil.submit(self._renderer.sharpen)

    @property
    def routes(self) -> list[Route]:
        """Its addresses, for an application that has others too."""
        return [
            Route("/", self._for_reader(self._page), methods=["GET"]),
            Route("/dashboard/panel/{panel}", self._for_reader(self._panel), methods=["GET"]),
            Route("/dashboard/what-if", self._for_reader(self._what_if), methods=["GET"]),
            Route("/dashboard/what-if/search", self._for_reader(self._search), methods=["GET"]),
            Route("/dashboard/key", self._key, methods=["POST"]),
            Route("/dashboard/{name}", self._asset, methods=["GET"]),
        ]

    async def stop(self) -> None:
        """Ends what was started for it."""
        if self.sources.worker is not None:
            await self.sources.worker.stop()
        self._pencil.shutdown(wait=False, cancel_futures=True)

    def _for_reader(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """An address for those who may read the books: anyone on loopback while no key was ever made, else auditors."""

        async def endpoint(request: Request) -> Response:
            try:
                caller = await self._admission.caller(credential(request.headers) or request.cookies.get(COOKIE, ""))
                if caller.name and caller.role != AUDITOR:
                    raise GatewayError(403, f"key {caller.name} is not an auditor's", "not_an_auditor")
            except GatewayError as error:
                return await self._ask_for_key(error)
            return await answer(request, caller)

        return endpoint

    async def _ask_for_key(self, error: GatewayError) -> Response:
        return HTMLResponse(await self._draw(self._renderer.key_form, str(error)), error.status, HEADERS)

    async def _draw(self, make: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._pencil, lambda: make(*args, **kwargs))

    async def _key(self, request: Request) -> Response:
        body = await request.body()
        secret = dict(parse_qsl(body[:MOST_KEY].decode("ascii", "replace"))).get("key", "").strip()
        try:
            caller = await self._admission.caller(secret)
            if caller.name and caller.role != AUDITOR:
                raise GatewayError(403, f"key {caller.name} is not an auditor's", "not_an_auditor")
        except GatewayError as error:
            return await self._ask_for_key(error)
        answer = RedirectResponse("/", 303, HEADERS)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=secure)
        return answer

    async def _page(self, _: Request, caller: GatewayCaller) -> Response:
        panels = tuple(self._panels.values())
        return HTMLResponse(await self._draw(self._renderer.page, panels, caller.name), headers=HEADERS)

    async def _panel(self, request: Request, _: GatewayCaller) -> Response:
        panel = self._panels.get(request.path_params["panel"])
        if panel is None:
            return HTMLResponse("<p>There is no such panel.</p>", 404, HEADERS)
        try:
            html = await self._draw(self._renderer.panel, panel, dict(request.query_params))
        except ComptrollerError as error:
            html = self._renderer.failed_panel(panel, str(error))
        return HTMLResponse(self._whole(request, html), headers=HEADERS)

    def _whole(self, request: Request, html: str) -> str:
        """A part of the page, as a page of its own for a browser that runs no scripts."""
        return html if request.headers.get("hx-request") else self._renderer.alone(html)

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            return HTMLResponse("<p>There is no such page.</p>", 404, HEADERS)
        return Response(asset(name), headers={**HEADERS, "cache-control": "max-age=3600"}, media_type=ASSETS[name])

    async def _what_if(self, request: Request, _: GatewayCaller) -> Response:
        return HTMLResponse(self._whole(request, await self._answered_form(request)), headers=HEADERS)

    async def _answered_form(self, request: Request) -> str:
        """The form as it was sent, with faults beside their fields or with what is known at once."""
        worker, state = self.sources.worker, _empty_state() | {"apart": self.sources.apart}
        if worker is None:
            return self._renderer.what_if(None, state)
        worker.start()
        if worker.base is None:
            state |= {"phase": worker.phase, "refusal": worker.refusal}
            return self._renderer.what_if(None, state)
        form = _form_of(request, worker)
        if form.faults:
            return self._renderer.what_if(form, state)
        asked = form.question
        state["standing"] = worker.base.standing
        async for message in worker.ask(asked, deep=False):
            if isinstance(message, WhatIfAnswer):
                state["answer"] = message
            elif isinstance(message, RefusalMessage):
                state["refusal"] = message.text
        answer = state["answer"]
        more = not (isinstance(answer, WhatIfAnswer) and answer.final)
        if more:
            state["search"] = f"/dashboard/what-if/search?{urlencode(list(request.query_params.multi_items()))}"
            state["at_once"] = answer is None or asked.needs_simulation
        return self._renderer.what_if(form, state)

    async def _search(self, request: Request, _: GatewayCaller) -> Response:
        head = {**HEADERS, "x-accel-buffering": "no"}
        return StreamingResponse(self._events(request), headers=head, media_type="text/event-stream")

    async def _events(self, request: Request) -> AsyncIterator[bytes]:
        """What a search does and finds, as server-sent events `phase`, `answer` and `end`."""
        worker = self.sources.worker
        if worker is None or worker.base is None:
            yield _event("end", "<p class='note'>The workload has not been planned yet.</p>")
            return
        form = _form_of(request, worker)
        if form.faults:
            yield _event("end", f"<p class='note'>{escape('; '.join(form.faults))}</p>")
            return
        end = "<p class='note'>Another question was asked meanwhile.</p>"
        async for message in worker.ask(form.question, deep=True):
            if isinstance(message, PhaseMessage):
                yield _event("phase", escape(message.text))
            elif isinstance(message, WhatIfAnswer):
                end = ""
                yield _event("answer", self._renderer.answer(message, worker.base.standing))
            elif isinstance(message, RefusalMessage):
                end = f"<p class='note'>{escape(message.text)}</p>"
        yield _event("phase", "done")
        yield _event("end", end)


def _empty_state() -> dict[str, Any]:
    names = ("phase", "refusal", "answer", "standing", "search")
    return dict.fromkeys(names, None) | {"at_once": False}


def _form_of(request: Request, worker: WhatIfWorker) -> WhatIfForm:
    assert worker.base is not None
    query = request.query_params
    if len(str(query)) > MOST_QUERY:
        query = type(query)("")
    return WhatIfForm.of(worker.base.base, dict(query), query.getlist("device"))


def _event(name: str, html: str) -> bytes:
    """A server-sent event; its data is one line for each of its own.

    >>> _event("phase", "a\\nb")
    b'event: phase\\ndata: a\\ndata: b\\n\\n'
    """
    data = "".join(f"data: {line}\n" for line in html.splitlines() or [""])
    return f"event: {name}\n{data}\n".encode()
