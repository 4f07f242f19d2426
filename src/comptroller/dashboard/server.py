"""A dashboard by itself, without a gateway: of a plan, of books, of a workload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.dashboard.panels import DashboardSources
from comptroller.dashboard.web import DashboardApplication
from comptroller.dashboard.worker import WhatIfWorker
from comptroller.errors import InputError
from comptroller.gateway.admission import GatewayAdmissionController
from comptroller.gateway.browsers import BrowserGate
from comptroller.gateway.config import GatewayConfig
from comptroller.gateway.runtime import GatewayRuntime
from comptroller.gateway.server import listen
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.work.workload import load

BOOKS_SUFFIXES = (".sqlite", ".sqlite3", ".db")


@dataclass(frozen=True, slots=True)
class DashboardFiles:
    """What a dashboard reads: a plan, books, a workload; at least one of them. where: host and port."""

    plan: Path | None = None
    books: str = ""
    workload: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8081

    @classmethod
    def named(cls, names: Sequence[str], host: str, port: int) -> DashboardFiles:
        """Files by what they are: .json a plan, .toml a workload, .sqlite or a URL books.

        Raises:
            InputError: none, two of a kind, or neither; says which.
        """
        found: dict[str, str] = {}
        for name in names:
            suffix = Path(name).suffix.lower()
            kind = (
                "books"
                if "://" in name or suffix in BOOKS_SUFFIXES
                else {".json": "plan", ".toml": "workload"}.get(suffix)
            )
            if kind is None:
                raise InputError(f"{name}: neither a plan (.json), a workload (.toml) nor books (.sqlite, or a URL)")
            if kind in found:
                raise InputError(
                    f"{name}: {found[kind]} is {'books' if kind == 'books' else f'a {kind}'} already; name one"
                )
            found[kind] = name
        if not found:
            raise InputError("name a plan (.json), books (.sqlite, or a URL) or a workload (.toml)")
        plan, workload = (Path(found[kind]) if kind in found else None for kind in ("plan", "workload"))
        return cls(plan, found.get("books", ""), workload, host, port)

    @property
    def name(self) -> str:
        """What the dashboard is called."""
        parts = [Path(part).stem for part in (self.plan, self.books, self.workload) if part]
        return " · ".join(dict.fromkeys(parts))

    def checked(self) -> DashboardFiles:
        """Itself, where everything can be read.

        Raises:
            ComptrollerError: a file cannot be read; or the address is not this machine's and no books hold keys.
        """
        if self.books and "://" not in self.books and not Path(self.books).is_file():
            raise InputError(f"{self.books}: there are no books; `comptroller serve` makes them")
        if self.workload:
            load(self.workload)
        if not GatewayConfig(services={}, host=self.host).loopback and not self.books:
            raise InputError(f"{self.host}: beyond this machine a key is needed, and keys are in books; name them too")
        return self


def _apart(plan: Plan | None, workload: Path | None) -> str:
    """What to say where a plan was made from another workload than what-ifs are about; empty where it was not.

    Raises:
        FactError: the workload cannot be read.
    """
    if plan is None or workload is None or load(workload).digest == plan.digests.workload:
        return ""
    return f"{workload.name} is not the workload that the plan was made from: what-ifs compare with its own plan."


def gateway_pages(workload: Path | None) -> Callable[[GatewayRuntime], DashboardApplication]:
    """The dashboard of a gateway: its books, its plan, its queues, and what-ifs about a workload.

    Raises:
        ComptrollerError: the workload cannot be read.
    """
    if workload is not None:
        load(workload)

    def pages(gateway: GatewayRuntime) -> DashboardApplication:
        config = gateway.config
        plan = gateway.routes.plan if gateway.routes else None
        worker = None if workload is None else WhatIfWorker(workload)
        ledger = CallLedger.open(config.books) if config.books else None
        name = plan.name if plan else ", ".join(config.services)
        sources = DashboardSources(name, ledger, plan, gateway, worker, _apart(plan, workload))
        return DashboardApplication(sources, gateway.admission)

    return pages


def serve_dashboard(files: DashboardFiles, told: Callable[[str], None]) -> None:
    """Serves a dashboard until it is told to stop; `told` hears its URL when it is ready.

    Raises:
        ComptrollerError: something cannot be read, or the address cannot be had.
    """
    asyncio.run(_serve(files.checked(), told))


async def _serve(files: DashboardFiles, told: Callable[[str], None]) -> None:
    config = GatewayConfig(services={}, host=files.host, port=files.port, books=files.books)
    async with AsyncExitStack() as held:
        door = held.enter_context(listen(config))
        app = _application(files, config, held)
        held.push_async_callback(app.stop)
        if app.sources.worker is not None:
            app.sources.worker.start()
        gate = BrowserGate(Starlette(routes=app.routes), config)
        told(f"http://{files.host}:{door.getsockname()[1]}")
        settings = uvicorn.Config(gate, log_level="warning", access_log=False, lifespan="off", server_header=False)
        await uvicorn.Server(settings).serve(sockets=[door])


def _application(files: DashboardFiles, config: GatewayConfig, held: AsyncExitStack) -> DashboardApplication:
    """The pages of files, with who may read them."""
    plan = load_plan(files.plan) if files.plan else None
    worker = WhatIfWorker(files.workload) if files.workload else None
    ledger = held.enter_context(CallLedger.open(files.books)) if files.books else None
    if ledger is None:
        admission = GatewayAdmissionController(config, lambda secret: None, lambda: False)
    else:
        keys = ApiKeyStore(ledger)
        admission = GatewayAdmissionController(config, keys.find, keys.ever)
    sources = DashboardSources(files.name, ledger, plan, None, worker, _apart(plan, files.workload))
    return DashboardApplication(sources, admission)
