"""Sleep-time compute, live: notes on a context are made in idle capacity under a budget; later questions use them.

After Lin et al., Sleep-time Compute (arXiv 2504.13171): what many questions on one context would work out again is
worked out once, before they come. What it saves is measured: of the questions some are answered without the notes.
Contexts are kept in the books, so that all gateways that share them know them, and a gateway that is started again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from comptroller.books.contexts import FAILED, READY, WITH, WITHOUT, ContextStore, SleepContext
from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.costs.rating import PUSD
from comptroller.errors import ComptrollerError
from comptroller.gateway.admission import GatewayCaller
from comptroller.gateway.conversation import text_of
from comptroller.gateway.formats import MOST_CONTEXT_ID, RequestOptions
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.shapes import cost_of, number_or_none
from comptroller.quantities import Cost
from comptroller.strategies.protocol import QuestionBudget
from comptroller.strategies.rules.sleep_time import PROMPT

if TYPE_CHECKING:
    from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime

Json = dict[str, Any]
log = logging.getLogger("comptroller.gateway")

ROLE = "sleeper"
"""Role of the calls that make notes, in the books."""
IDLE_S = 0.2
"""How often it is looked whether a service is idle. At twice it notes are ready 0.2 s later."""
ADOPT_S = 30.0
"""How often it is looked whether another gateway died over the notes of a context. At twice it they are made 30 s
later; questions are answered without them until then."""
MOST_TEXT = 4_000_000
"""Characters of a context: a million tokens, the longest prompt that services commonly take. At twice it the contexts
of a key may take twice the room in the books."""
NAMED = "notes"
"""Tag of a question on a context: `with` or `without` notes."""


class ContextRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/contexts. budget: dollars that notes may cost, as "0.02 usd".  max_tokens: of the notes.  keep: whether
    questions get the text beside the notes.  compare: share of the questions that are answered without notes, by which
    the saving is measured.
    """

    model: Annotated[str, Meta(min_length=1)]
    context: Annotated[str, Meta(min_length=1, max_length=MOST_TEXT, pattern="^[^\\x00]*$")]
    budget: Annotated[str, Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 1024
    keep: bool = True
    compare: Annotated[float, Meta(ge=0, le=0.5)] = 0.1


def prefix_for(context: SleepContext) -> tuple[str, str]:
    """What a question gets before it, and under which tag it is booked. context: as of `ContextStore.take`.

    Of the questions a share of `compare`, evenly spread, gets the text without notes, and all do until there are any.

    >>> from dataclasses import replace
    >>> made = SleepContext("ctx_1", "", "m", "text", "1 usd", 9, False, 0.5, READY, notes="notes")
    >>> [prefix_for(replace(made, used=number)) for number in (1, 2, 3)]
    [('notes', 'with'), ('text', 'without'), ('notes', 'with')]
    """
    compare = context.compare
    bare = context.status != READY or int(context.used * compare) > int((context.used - 1) * compare)
    if bare:
        return context.text, WITHOUT
    return f"{context.text}\n\n{context.notes}" if context.keep else context.notes, WITH


def context_document(context: SleepContext) -> Json:
    """The context as it is told, without its text."""
    costs = {
        kind: {"questions": getattr(context, f"{kind}_questions"), "usd": getattr(context, f"{kind}_pusd") / PUSD}
        for kind in (WITH, WITHOUT)
    }
    saved_pusd = context.saved_pusd
    return {
        "id": context.id, "object": "context", "created": context.created_us // 10**6, "model": context.model,
        "status": context.status, "error": context.why or None, "notes": context.notes or None,
        "usd": None if context.pusd is None else context.pusd / PUSD, "questions": costs,
        "saved_usd": None if saved_pusd is None else saved_pusd / PUSD,
    }  # fmt: skip


class ContextNotes:
    """What a gateway does with the contexts of its books. `start` comes first where there are any books."""

    def __init__(self, gateway: GatewayRuntime) -> None:
        self._gateway = gateway
        self._kept: ContextStore | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._counts: set[asyncio.Task[Any]] = set()

    def start(self, ledger: CallLedger) -> None:
        """Begins to make the notes that gateways which died have left."""
        self._kept, self._keys = ContextStore(ledger), ApiKeyStore(ledger)
        self._go(self._adopt_forever(), self._tasks)

    async def add(self, caller: GatewayCaller, asked: ContextRequest) -> SleepContext:
        """A new context; its notes are made when its service is idle.

        Raises:
            GatewayError: the model may not be called, or the budget is not of dollars, or less than the notes may cost.
        """
        name = f"ctx_{secrets.token_hex(8)}"
        made = SleepContext(
            name, caller.name, asked.model, asked.context, asked.budget, asked.max_tokens, asked.keep, asked.compare
        )
        self._order(made, caller)
        await asyncio.to_thread(self._store.add, made)
        self._go(self._make(made, caller), self._tasks)
        return await self.get(caller, name)

    async def get(self, caller: GatewayCaller, name: str) -> SleepContext:
        """A context of a caller.

        Raises:
            GatewayError: the caller has none of that id.
        """
        await asyncio.gather(*self._counts, return_exceptions=True)
        return self._found(await asyncio.to_thread(self._store.find, caller.name, name), name)

    async def remove(self, caller: GatewayCaller, name: str) -> None:
        """Removes a context of a caller, text and notes. What they cost stays in the books.

        Raises:
            GatewayError: the caller has none of that id.
        """
        if not await asyncio.to_thread(self._store.remove, caller.name, name):
            self._found(None, name)

    async def apply(self, asked: GatewayRequest) -> None:
        """Puts the context that a request names before its messages.

        Raises:
            GatewayError: there is none of that id, or the request is no chat.
        """
        if not (name := asked.options.context):
            return
        if asked.path != "chat/completions":
            raise GatewayError(400, "a context goes with a chat", "invalid_value", "comptroller.context")
        context = self._found(await asyncio.to_thread(self._store.take, asked.caller.name, name), name)
        text, tag = prefix_for(context)
        asked.body = asked.body | {"messages": [{"role": "system", "content": text}, *asked.body["messages"]]}
        asked.size += len(text.encode())
        asked.on_context = True
        asked.native = None
        asked.options.tags = asked.options.tags | {"context": context.id, NAMED: tag}

    def ended(self, asked: GatewayRequest, cost: Cost) -> None:
        """A question on a context was answered; one of unknown cost is left out."""
        name, usd = asked.options.context, number_or_none(float(cost.usd))
        if name and usd is not None:
            counted = asyncio.to_thread(self._store.answered, name, asked.options.tags[NAMED], round(usd * PUSD))
            self._go(_told_if_lost(counted, f"context {name} lacks a question"), self._counts)

    async def stop(self) -> None:
        """Gives up what is not made yet: the next gateway of the books makes it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._counts, return_exceptions=True)

    @property
    def _store(self) -> ContextStore:
        if self._kept is None:
            raise GatewayError(400, "contexts are kept in the books, and this gateway has none", "unsupported")
        return self._kept

    @staticmethod
    def _go(work: Any, into: set[asyncio.Task[Any]]) -> None:
        task = asyncio.create_task(work)
        into.add(task)
        task.add_done_callback(into.discard)

    @staticmethod
    def _found(context: SleepContext | None, name: str) -> SleepContext:
        if context is None:
            raise GatewayError(
                404, f"no context {name[:MOST_CONTEXT_ID]!r} of this key", "not_found", "comptroller.context"
            )
        return context

    def _order(self, context: SleepContext, caller: GatewayCaller) -> Any:
        """The call that makes the notes, within what is left of its budget: a call that a gateway died over counts."""
        budget = QuestionBudget.parse(context.budget)
        gateway = self._gateway
        turns = [{"role": "system", "content": context.text}, {"role": "user", "content": PROMPT}]
        body = {"model": context.model, "messages": turns, "max_tokens": context.max_tokens}
        options = RequestOptions(tags={"context": context.id})
        size = len(context.text.encode()) + len(PROMPT)
        order = gateway.order(gateway.request("chat/completions", body, size, options, caller), role=ROLE)
        service = order.services[0]
        worst_pusd = order.worst_pusd(service, order.body_for(service))
        calls = context.begun + 1
        if worst_pusd is None or calls * worst_pusd > budget.usd * PUSD or budget.usd == float("inf"):
            may = "have no known end or price" if worst_pusd is None else f"may cost ${calls * worst_pusd / PUSD:.6g}"
            again = f", with {context.begun} calls that were broken off" if context.begun else ""
            raise GatewayError(
                400, f"budget: such notes {may}{again}; allow as much, as '0.02 usd'", "invalid_value", "budget"
            )
        return order

    async def _make(self, context: SleepContext, caller: GatewayCaller) -> None:
        """Waits until nobody else wants the service, then makes the notes."""
        status: str = FAILED
        told: Json = {}
        try:
            order = self._order(context, caller)
            queue = order.services[0].queue
            while queue.busy or queue.waiting:
                await asyncio.sleep(IDLE_S)
            if not await asyncio.to_thread(self._store.begin, context.id):
                return  # removed, or somebody else's
            reply, _ = await self._gateway.desk.whole(order)
            notes = text_of(reply["choices"][0]["message"].get("content"))
            usd = number_or_none(float(cost_of(order.attempts).usd))
            told = {"notes": notes, "pusd": None if usd is None else round(usd * PUSD)}
            status, told["why"] = (READY, "") if notes else (FAILED, "the model wrote nothing")
        except ComptrollerError as error:
            told = {"why": str(error)}
            log.warning("context %s has no notes: %s", context.id, error)
        ended = asyncio.to_thread(self._store.end, context.id, status, **told)
        await _told_if_lost(ended, f"context {context.id} lacks what came of it")

    async def _adopt_forever(self) -> None:
        """Takes over what gateways that died have left, again and again."""
        while True:
            try:
                for context in await asyncio.to_thread(self._store.adopt):
                    await self._adopt(context)
            except ComptrollerError as error:
                log.warning("contexts of other gateways: %s", error)
            await asyncio.sleep(ADOPT_S)

    async def _adopt(self, context: SleepContext) -> None:
        caller = GatewayCaller()
        if context.key:
            valid = {key.name: key for key in await asyncio.to_thread(self._keys.all)}
            if (key := valid.get(context.key)) is None:
                await asyncio.to_thread(self._store.end, context.id, FAILED, "its key is revoked or expired")
                return
            caller = GatewayCaller(key.name, key.project, key.models, key.role)
        self._go(self._make(context, caller), self._tasks)


async def _told_if_lost(work: Any, what: str) -> None:
    """Work in the books whose failure nobody waits for; it is logged."""
    try:
        await work
    except ComptrollerError as error:
        log.error("%s: %s", what, error)
