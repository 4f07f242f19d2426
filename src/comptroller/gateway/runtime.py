"""The gateway as a whole: services, books, keys and plan, started and stopped together; requests become jobs here."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.books.writer import LedgerWriter
from comptroller.errors import InputError, LedgerError
from comptroller.facts.prices import PriceBook
from comptroller.gateway.admission import GatewayAdmissionController, GatewayCaller
from comptroller.gateway.attempt import CallAttempt
from comptroller.gateway.booking import LedgerBooks, NullBooks
from comptroller.gateway.checking import CheckerPool, answer_of, needs, require_context, require_verdicts, valid_checker
from comptroller.gateway.config import GatewayConfig
from comptroller.gateway.contexts import ContextNotes
from comptroller.gateway.conversation import ClientConversation, text_of
from comptroller.gateway.desk import UpstreamDispatcher
from comptroller.gateway.forecast import RequestCostForecast
from comptroller.gateway.formats import MOST_QUESTION, RequestOptions
from comptroller.gateway.live import LiveRunSettings, LiveWorld
from comptroller.gateway.metrics import GatewayMetrics
from comptroller.gateway.order import UpstreamRequest
from comptroller.gateway.plan_drift import PlanDriftMonitor, request_latencies, served_plan
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.routing import GatewayRoute, PlanRouter, replica_routing, with_fallbacks
from comptroller.gateway.service import UpstreamService, recall_times
from comptroller.gateway.service_tariffs import service_tariff
from comptroller.gateway.tool_waits import SessionTurns
from comptroller.quantities import Cost
from comptroller.strategies.drive import StrategyDriver
from comptroller.strategies.protocol import QuestionBudget, Strategy, StrategyQuestion
from comptroller.strategies.spelling import PREFIX, largest_parameter, names, parse, spell
from comptroller.work.call import Call

Json: TypeAlias = dict[str, Any]
log_ = logging.getLogger("comptroller.gateway")

AUTO, ONCE = "auto", "once"
SOLVER, ROLES = "solver", {"embeddings": "embedding", "completions": "completion"}
"""Role of a call that is passed on, by its endpoint: that of an answer where it is a chat."""
PREFIX_BYTES = 1024
"""Of the first message: what requests have in common that should meet the same cache. About 250 tokens: longer
than a greeting, shorter than most system prompts; at twice it, prompts that differ after 1,024 bytes part."""
MOST_SPELLING = 1000
"""Characters of a strategy, which is read where all requests are served; the longest that make sense have two hundred.
One of a million, nested in itself, was read for 80 s; at twice it, one takes 20 ms."""
# What a strategy may be written with, and what would load code or files: a request may do neither.
_SAFE = re.compile(r"[\w\s=(),:.\"+\[\]-]*")
_LOADS = re.compile(r":\s*[A-Z]|\.py\b|\.json\b|\.\.")


@dataclass
class GatewayRequest:
    """A request that came in. body: as it will be sent on, in the form of chat, completions or embeddings.
    native: as it came, where that was /v1/messages.  on_context: whether a context was put before its messages.
    """

    path: str
    body: Json
    size: int
    options: RequestOptions
    caller: GatewayCaller
    id: int
    native: Json | None = None
    arrival_s: float = field(default_factory=time.time)
    on_context: bool = False

    @property
    def model(self) -> str:
        """What was asked for."""
        return str(self.body["model"])


@dataclass
class LiveStrategyRun:
    """A request that a strategy answers."""

    strategy: Strategy
    drive: StrategyDriver
    world: LiveWorld


class GatewayRuntime:
    """Made of a configuration; `start` before the first request, `stop` after the last."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config.checked()
        self.checkers, self.turns = CheckerPool(config.checkers), SessionTurns(config.monitors)
        plan = served_plan(config) if config.plan else None
        self.services = {
            name: UpstreamService(name, item, replica_routing(name, item, plan), config.tenants)
            for name, item in config.services.items()
        }
        self.metrics, self.forecast = GatewayMetrics(), RequestCostForecast()
        self.routes = PlanRouter(plan, self.services) if plan else None
        self.happened = PlanDriftMonitor(self.routes.plan) if self.routes else None
        self._allowed = frozenset(config.strategies)
        self._tell_drift = 0.0
        self.desk: UpstreamDispatcher
        self.admission: GatewayAdmissionController
        self.ready = False
        self.contexts = ContextNotes(self)
        self._ledger: CallLedger | None = None
        self._held = AsyncExitStack()

    async def start(self) -> None:
        """Opens the books, gives up what a crash left, starts the services.

        Raises:
            ComptrollerError: something is missing; names the fix.
        """
        await self.checkers.require_walls()
        starting = asyncio.gather(*(service.start() for service in self.services.values()))
        try:
            await self._open()
            await asyncio.to_thread(self._price)
        finally:
            await starting
        if self._ledger is not None:
            self.contexts.start(self._ledger)
        self.turns.start(self.desk)
        self.ready = True

    async def _open(self) -> None:
        if not self.config.books:
            self.desk = UpstreamDispatcher(NullBooks(), self.metrics.call)
            self.admission = GatewayAdmissionController(self.config, lambda secret: None, lambda: False)
            return
        ledger = await asyncio.to_thread(CallLedger.open, self.config.books)
        self._held.callback(ledger.close)
        if lost := await asyncio.to_thread(ledger.recover):
            log_.warning("%d calls were open when a gateway died; they count with their worst case", lost)
        self._held.push_async_callback(self._end_holds, ledger)
        writer = await self._held.enter_async_context(LedgerWriter(ledger))
        self.desk = UpstreamDispatcher(LedgerBooks(ledger, writer), self.metrics.call)
        for service in self.services.values():
            await asyncio.to_thread(service.tell_names, ledger)
        await asyncio.to_thread(recall_times, self.services, ledger)
        keys = ApiKeyStore(ledger)
        self.admission = GatewayAdmissionController(self.config, keys.find, keys.ever)
        self._ledger = ledger

    async def _end_holds(self, ledger: CallLedger) -> None:
        """No hold outlives its process: what is open at the end counts as lost."""
        try:
            if lost := await asyncio.to_thread(ledger.end_holds):
                log_.warning("%d calls were open at the end; they count with their worst case", lost)
        except LedgerError as error:
            log_.error("open holds stay until the next start: %s", error)

    def _price(self) -> None:
        book = PriceBook.read(Path(file) for file in self.config.prices)
        for name, service in self.services.items():
            planned = self.routes.tariff_of(name) if self.routes is not None else None
            service.tariff = service_tariff(service, book, planned, self.config.site)

    async def stop(self) -> None:
        """Writes what is not written, and lets go of everything."""
        self.ready = False
        await self.contexts.stop()
        if hasattr(self, "desk") and not await self.desk.drained(self.config.drain_s):
            log_.error("the books could not be written; open holds count as lost at the next start")
        await self._held.aclose()
        await asyncio.gather(*(service.stop() for service in self.services.values()))

    def models(self, caller: GatewayCaller | None = None) -> list[str]:
        """Ids that a request may name; of the services, those that the caller may call."""
        auto = [PREFIX + AUTO] if self.routes else []
        services = [name for name in self.services if caller is None or caller.may_call(name)]
        return [*services, *auto, *(PREFIX + name for name in (*names(), *sorted(self._allowed)))]

    def request(
        self, path: str, body: Json, size: int, options: RequestOptions, caller: GatewayCaller
    ) -> GatewayRequest:
        """A request of the gateway's own."""
        return GatewayRequest(path, body, size, options, caller, self.desk.books.new_id())

    def order(self, asked: GatewayRequest, role: str = "") -> UpstreamRequest:
        """A request that is answered as asked. role: of its call in the books, else that of its endpoint.

        Raises:
            GatewayError: the model is unknown, or does not serve the endpoint.
        """
        service, plan = self.services.get(asked.model), ""
        if asked.model == PREFIX + AUTO:
            chosen = self._planned(asked)
            assert self.routes is not None
            plan = self.routes.digest
            service = self.services[self.routes.pick(chosen, "solver", self._affinity(asked))]
        if service is None:
            raise GatewayError(
                404, f"no model {asked.model!r}; there are {', '.join(self.models())}", "model_not_found", "model"
            )  # fmt: skip
        if asked.path.split("/")[0] not in service.config.endpoints:
            raise GatewayError(
                400, f"{service.id} does not serve {asked.path}; it serves {', '.join(service.config.endpoints)}",
                "unsupported_endpoint", "model",
            )  # fmt: skip
        if asked.options.budget:
            raise GatewayError(
                400, "a budget goes with a strategy, such as comptroller/once; max_tokens limits one generation",
                "invalid_value", "comptroller.budget",
            )  # fmt: skip
        body = asked.body
        if asked.options.reminder and asked.path == "chat/completions":
            talk = ClientConversation(asked.path, body, self.config.guard.reminder)
            body = body | {"messages": talk.opening(talk.question)}
            asked.size += len(self.config.guard.reminder.encode())
        return UpstreamRequest(
            asked.path, body, asked.size, self._turn(asked, role),
            asked.caller.permitted(with_fallbacks(service, self.services)), bool(body.get("stream")),
            self._affinity(asked), _session(asked), self._estimate(asked.model), plan, native=asked.native,
            hedge=not role, **self._labels(asked),
        )  # fmt: skip

    def run(self, asked: GatewayRequest, given: Strategy | None = None) -> LiveStrategyRun | None:
        """A request that a strategy answers, the one that is given or named; None where there is neither.

        Raises:
            GatewayError, InputError: the strategy, budget, checker or roles are not what is allowed.
        """
        spelled = asked.options.strategy or (asked.model if asked.model.startswith(PREFIX) else None)
        if spelled is None and given is None:
            return None
        if spelled == PREFIX + AUTO and self._planned(asked).strategy == ONCE:
            return None  # one answer, as asked, from the service that the plan chooses
        if asked.path == "embeddings" or not isinstance(asked.body.get("prompt", ""), str):
            raise GatewayError(
                400, "strategies answer one question: a chat or one prompt as text", "unsupported", "model"
            )  # fmt: skip
        if (asked.body.get("n") or 1) > 1 or asked.body.get("tools"):
            raise GatewayError(
                400, "a strategy gives one answer of text; leave out n and tools, or name a service", "unsupported",
                "n" if (asked.body.get("n") or 1) > 1 else "tools",
            )  # fmt: skip
        spelled, roles, plan = self._bound(spelled or "", asked)
        strategy = given or self._strategy(spelled)
        budget, guard = QuestionBudget.parse(asked.options.budget or ""), self.config.guard
        reminder = guard.reminder if asked.options.reminder else ""
        talk = ClientConversation(asked.path, asked.body, reminder, asked.on_context)
        checker = valid_checker(asked.options.checker, self.config.checkers) if asked.options.checker else None
        if checker is not None and checker.model is not None:
            asked.options.roles["checker"] = checker.model
        choose = self._choosing(asked, roles)
        wanted = needs(strategy)
        require_context(strategy, wanted, asked.options.context, talk.passage)
        require_verdicts(strategy, checker, "score" in wanted, asked.options.roles | self.config.roles)
        cast = LiveRunSettings(
            choose, answer_of(asked.options.answer), checker, self.checkers, "score" in wanted,
            "likelihood" in wanted, guard, asked.options.stop_repetition, self._affinity(asked),
            _session(asked) or f"run {asked.id}", plan, self.config.max_calls, self._labels(asked),
        )  # fmt: skip
        choose("solver")
        call = replace(self._call(asked), strategy=spell(strategy))
        watching = self.turns.monitors.watching(call.strategy.partition("(")[0], call.key)
        world = LiveWorld(self.desk, talk, cast, call, asked.size, watching)
        question = StrategyQuestion(asked.options.question or str(asked.id), talk.question, talk.passage)
        seed = asked.body.get("seed")
        rng = np.random.default_rng(abs(seed) if isinstance(seed, int) else asked.id)
        return LiveStrategyRun(strategy, StrategyDriver(strategy, question, budget, rng), world)

    def _bound(self, spelled: str, asked: GatewayRequest) -> tuple[str, Mapping[str, Any], str]:
        """The strategy as it is written, role -> weights of services from the plan, and the plan's digest."""
        if spelled.removeprefix(PREFIX) != AUTO:
            return spelled, {}, ""
        chosen = self._planned(asked)
        assert self.routes is not None
        roles = {role: self.routes.pick(chosen, role, self._affinity(asked)) for role in chosen.roles}
        return chosen.strategy, roles, self.routes.digest

    def _planned(self, asked: GatewayRequest) -> GatewayRoute:
        """What the plan says about a request."""
        if self.routes is None:
            raise GatewayError(
                404, f"{PREFIX}{AUTO} needs a plan: comptroller serve --plan plan.json", "model_not_found", "model"
            )  # fmt: skip
        return self.routes.choose(asked.options.klass, asked.id, asked.size)

    def _choosing(self, asked: GatewayRequest, planned: Mapping[str, str]) -> Any:
        bound = {**self.config.roles, **planned, **asked.options.roles}
        for role, name in asked.options.roles.items():
            if name not in self.services:
                raise GatewayError(
                    400, f"comptroller.roles.{role}: no service {name!r}; there are {', '.join(self.services)}",
                    "invalid_value", f"comptroller.roles.{role}",
                )  # fmt: skip
        default = bound.get("solver") or next(iter(planned.values()), next(iter(self.services)))

        def choose(role: str) -> tuple[UpstreamService, ...]:
            return asked.caller.permitted(with_fallbacks(self.services[bound.get(role, default)], self.services))

        return choose

    def _strategy(self, spelled: str) -> Strategy:
        """A strategy as a request writes it: one that ships, or one that the operator allows; no other is loaded."""
        text = spelled.removeprefix(PREFIX)
        if len(text) > MOST_SPELLING:
            raise GatewayError(
                400, f"strategy {text[:60]!r}...: longer than {MOST_SPELLING} characters", "invalid_value", "model"
            )
        bare = text
        for name in self._allowed:
            bare = bare.replace(name, "")
        if not _SAFE.fullmatch(bare) or _LOADS.search(bare):
            raise GatewayError(
                400, f"strategy {text!r}: only {', '.join((*names(), *sorted(self._allowed)))} may be named here",
                "invalid_value", "model",
            )  # fmt: skip
        try:
            made = parse(text)
        except InputError as error:
            raise GatewayError(400, str(error), "invalid_value", "model") from error
        if (wanted := largest_parameter(made)) > self.config.max_calls:
            raise GatewayError(
                400, f"strategy {text!r}: {wanted} is more than the {self.config.max_calls} calls a request may make",
                "invalid_value", "model",
            )  # fmt: skip
        return made

    def _call(self, asked: GatewayRequest, role: str = "") -> Call:
        return Call(
            call=self.desk.books.new_id(), request=asked.id, role=role or ROLES.get(asked.path, SOLVER),
            arrival_s=asked.arrival_s, key=asked.caller.name, project=asked.caller.project,
            question=asked.options.question,
        )  # fmt: skip

    def _turn(self, asked: GatewayRequest, role: str) -> Call:
        """The call of a request that is passed on, after what its session waited for."""
        call = self._call(asked, role)
        return call if role else self.turns.arrived(call, _session(asked), asked.body.get("messages") or ())

    def _labels(self, asked: GatewayRequest) -> dict[str, Any]:
        """User, tags and limits of a request, as orders take them."""
        user = str(asked.body.get("user") or "")[:MOST_QUESTION] if self.config.book_users else ""
        return {"user": user, "tags": asked.options.label, "limits": self.config.limits_of(asked.caller.name)}

    def _affinity(self, asked: GatewayRequest) -> str:
        """What requests that should meet the same cache have in common."""
        if named := _session(asked):
            return named
        if len(self.services) == 1 and len(next(iter(self.services.values())).replicas) == 1:
            return ""
        turns = asked.body.get("messages")
        start = text_of(turns[0].get("content")) if turns else str(asked.body.get("prompt", ""))
        return start[:PREFIX_BYTES]

    def _estimate(self, model: str) -> int | None:
        usd = self.forecast.of(model).get("usd")
        return round(usd["value"] * 1e12) if usd else None

    def predicted(self, asked: GatewayRequest) -> Json:
        """What the request is expected to cost, with its interval: from the plan, else from what its like cost."""
        if self.routes is not None and asked.model == PREFIX + AUTO:
            totals = self.routes.plan.totals
            figures = {"usd": totals.usd_per_request, "j": totals.j_per_request}
            return {name: {**item.model_dump(), "source": "plan"} for name, item in figures.items()}
        return self.forecast.of(asked.model)

    def ended(self, asked: GatewayRequest, attempts: list[CallAttempt], cost: Cost) -> None:
        """A request is over: limits, forecasts and the plan's figures learn of it."""
        tokens = cost.tokens
        spent = float(tokens.total)
        usd = float(cost.usd)
        self.admission.spent(asked.caller, spent, usd)
        self.forecast.add(asked.model, cost)
        self.contexts.ended(asked, cost)
        self.turns.ended(_session(asked), attempts)
        if self.happened is None or asked.model != PREFIX + AUTO or not attempts:
            return
        self.happened.add(usd=usd, j=float(cost.j), **request_latencies(asked.arrival_s, attempts))
        for item in self.happened.predictions:
            self.metrics.plan(item.name, "predicted", item.figure.value)
            self.metrics.plan(item.name, "happened", self.happened.figure(item))
            name = item.name if item.quantile is None else f"{item.name} p{item.quantile * 100:g}"
            self.metrics.drift(name, self.happened.outside(item))
        if time.monotonic() - self._tell_drift > 60 and (drift := self.happened.drifted()):
            self._tell_drift = time.monotonic()
            for line in drift:
                log_.warning("drift: %s", line)


def _session(asked: GatewayRequest) -> str:
    """The session that the client named; empty where it named none."""
    return str(asked.options.session or asked.body.get("prompt_cache_key") or "")
