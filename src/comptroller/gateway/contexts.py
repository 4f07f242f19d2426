"""Sleep-time compute, live: notes on a context are made in idle capacity under a budget; later questions use them.

After Lin et al., Sleep-time Compute (arXiv 2504.13171): what many questions on one context would work out again is
worked out once, before they come. What it saves is measured: of the questions some are answered without the notes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from comptroller.costs.rating import PUSD
from comptroller.errors import ComptrollerError
from comptroller.gateway.admission import GatewayCaller, GatewayLruCache
from comptroller.gateway.conversation import text_of
from comptroller.gateway.formats import MOST_CONTEXT_ID, RequestOptions
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.shapes import cost_of, number_or_none
from comptroller.quantities import Cost
from comptroller.strategies.protocol import QuestionBudget

if TYPE_CHECKING:
    from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime

Json = dict[str, Any]
log = logging.getLogger("comptroller.gateway")

ROLE = "sleeper"
"""Role of the calls that make notes, in the books."""
INSTRUCTION = (
    "Questions about the text above will come later. Work out now what they may need: write down the facts, the "
    "conclusions that follow from them, sums and comparisons with their results, and answers to the questions that are "
    "most likely to be asked. Write notes, not prose; leave out what the text does not support."
)
IDLE_S = 0.2
"""How often it is looked whether a service is idle. At twice it notes are ready 0.2 s later."""
MOST = 1000
"""Contexts that are kept; those unused for longest go. At twice it twice the memory."""
NAMED = "notes"
"""Tag of a question on a context: `with` or `without` notes."""


class ContextRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/contexts. budget: dollars that notes may cost, as "0.02 usd".  max_tokens: of the notes.  keep: whether
    questions get the text beside the notes.  compare: share of the questions that are answered without notes, by which
    the saving is measured.
    """

    model: Annotated[str, Meta(min_length=1)]
    context: Annotated[str, Meta(min_length=1)]
    budget: Annotated[str, Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 1024
    keep: bool = True
    compare: Annotated[float, Meta(ge=0, le=0.5)] = 0.1


@dataclass(slots=True)
class QuestionCosts:
    """Dollars of questions whose cost is known, and how many."""

    questions: int = 0
    usd: float = 0.0

    def add(self, cost: Cost) -> None:
        """A question that was answered; of unknown cost it is left out."""
        if not isnan(usd := float(cost.usd)):
            self.questions, self.usd = self.questions + 1, self.usd + usd

    @property
    def mean_usd(self) -> float | None:
        """Of one question; None where there was none."""
        return self.usd / self.questions if self.questions else None


@dataclass(slots=True)
class SleepContext:
    """A context with its notes. status: pending, ready or failed.  why: of a failure.  used: questions so far."""

    id: str
    owner: GatewayCaller
    asked: ContextRequest
    status: str = "pending"
    why: str = ""
    notes: str = ""
    made_usd: float | None = None
    used: int = 0
    created_s: float = field(default_factory=time.time)
    costs: dict[str, QuestionCosts] = field(
        default_factory=lambda: {"with": QuestionCosts(), "without": QuestionCosts()}
    )

    @property
    def saved_usd(self) -> float | None:
        """What the notes have saved beyond what they cost; None until questions of both kinds were answered."""
        noted, bare = self.costs["with"], self.costs["without"]
        if noted.mean_usd is None or bare.mean_usd is None or self.made_usd is None:
            return None
        return noted.questions * (bare.mean_usd - noted.mean_usd) - self.made_usd

    def turn(self) -> tuple[str, str]:
        """What the next question gets before it, and under which tag it is booked."""
        self.used += 1
        compare = self.asked.compare
        bare = self.status != "ready" or (compare > 0 and int(self.used * compare) > int((self.used - 1) * compare))
        if bare:
            return self.asked.context, "without"
        return f"{self.asked.context}\n\n{self.notes}" if self.asked.keep else self.notes, "with"

    @property
    def document(self) -> Json:
        """The context as it is told, without its text."""
        costs = {kind: {"questions": item.questions, "usd": item.usd} for kind, item in self.costs.items()}
        return {
            "id": self.id, "object": "context", "created": int(self.created_s), "model": self.asked.model,
            "status": self.status, "error": self.why or None, "notes": self.notes or None, "usd": self.made_usd,
            "questions": costs, "saved_usd": self.saved_usd,
        }  # fmt: skip


class ContextNotes:
    """The contexts of a gateway. They live in its memory: another gateway, and this one started again, know none."""

    def __init__(self, gateway: GatewayRuntime) -> None:
        self._gateway = gateway
        self._kept: GatewayLruCache[SleepContext] = GatewayLruCache(MOST)
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, caller: GatewayCaller, asked: ContextRequest) -> SleepContext:
        """A new context; its notes are made when its service is idle.

        Raises:
            GatewayError: the model may not be called, or the budget is not of dollars, or less than the notes may cost.
        """
        made = SleepContext(f"ctx_{secrets.token_hex(8)}", caller, asked)
        self._order(made)
        self._kept.put(made.id, made)
        task = asyncio.create_task(self._make(made))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return made

    def get(self, caller: GatewayCaller, name: str) -> SleepContext:
        """A context of a caller.

        Raises:
            GatewayError: the caller has none of that id.
        """
        found = self._kept.get(name)
        if found is None or found.owner.name != caller.name:
            raise GatewayError(
                404, f"no context {name[:MOST_CONTEXT_ID]!r} of this key", "not_found", "comptroller.context"
            )
        return found

    def apply(self, asked: GatewayRequest) -> None:
        """Puts the context that a request names before its messages.

        Raises:
            GatewayError: there is none of that id, or the request is no chat.
        """
        if not asked.options.context:
            return
        context = self.get(asked.caller, asked.options.context)
        if asked.path != "chat/completions":
            raise GatewayError(400, "a context goes with a chat", "invalid_value", "comptroller.context")
        text, tag = context.turn()
        asked.body = asked.body | {"messages": [{"role": "system", "content": text}, *asked.body["messages"]]}
        asked.size += len(text.encode())
        asked.native = None
        asked.options.tags = asked.options.tags | {"context": context.id, NAMED: tag}

    def ended(self, asked: GatewayRequest, cost: Cost) -> None:
        """A question on a context was answered."""
        found = self._kept.get(asked.options.context) if asked.options.context else None
        if found is not None:
            found.costs[asked.options.tags[NAMED]].add(cost)

    async def stop(self) -> None:
        """Gives up what is not made yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _order(self, context: SleepContext) -> Any:
        """The call that makes the notes, within its budget."""
        budget = QuestionBudget.parse(context.asked.budget)
        gateway, asked = self._gateway, context.asked
        turns = [{"role": "system", "content": asked.context}, {"role": "user", "content": INSTRUCTION}]
        body = {"model": asked.model, "messages": turns, "max_tokens": asked.max_tokens}
        options = RequestOptions(tags={"context": context.id})
        size = len(asked.context.encode()) + len(INSTRUCTION)
        order = gateway.order(gateway.request("chat/completions", body, size, options, context.owner), role=ROLE)
        service = order.services[0]
        worst_pusd = order.worst_pusd(service, order.body_for(service))
        if worst_pusd is None or worst_pusd > budget.usd * PUSD or budget.usd == float("inf"):
            may = "have no known end or price" if worst_pusd is None else f"may cost ${worst_pusd / PUSD:.6g}"
            raise GatewayError(
                400, f"budget: such notes {may}; allow as much, as '0.02 usd'", "invalid_value", "budget"
            )
        return order

    async def _make(self, context: SleepContext) -> None:
        """Waits until nobody else wants the service, then makes the notes."""
        try:
            order = self._order(context)
            queue = order.services[0].queue
            while queue.busy or queue.waiting:
                await asyncio.sleep(IDLE_S)
            reply, _ = await self._gateway.desk.whole(order)
            context.notes = text_of(reply["choices"][0]["message"].get("content"))
            context.made_usd = number_or_none(float(cost_of(order.attempts).usd))
            context.status, context.why = ("ready", "") if context.notes else ("failed", "the model wrote nothing")
        except ComptrollerError as error:
            context.status, context.why = "failed", str(error)
            log.warning("context %s has no notes: %s", context.id, error)
