"""One try of a call at one replica: its place, its hold, and how it is booked, once.

What the service reports is held against what arrived and against what the hold permitted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from decimal import Decimal
from math import inf, nan
from typing import Any, Protocol

from comptroller.books.postings import CallQuote, ReleasePosting, ReservationPosting, SettlementPosting
from comptroller.books.rates import RateClaim, RateExceededError
from comptroller.costs.rating import PUSD, CallReceipt, TokenUsage
from comptroller.costs.usage import own_cost, require_region
from comptroller.errors import BudgetExceededError, UnsupportedError
from comptroller.gateway.booking import GatewayBooks
from comptroller.gateway.events import UpstreamStreamReader
from comptroller.gateway.order import UpstreamRequest
from comptroller.gateway.problems import UpstreamError
from comptroller.gateway.replica_choice import RoutedLoad
from comptroller.gateway.service import UpstreamReplica, UpstreamService
from comptroller.gateway.tariff import usage_of
from comptroller.gateway.upstream_queue import QueuePlace
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.protocol import Finish

Json = dict[str, Any]
log = logging.getLogger("comptroller.gateway")

NEAR = Decimal("0.01")
"""Of the larger: how far a provider's own cost may be from the price times usage. Rounding of prices told in few digits
stays below it; a discount or a surcharge, which it is to show, is 5 % or more. At twice it, one of 1.5 % would pass."""
BUSY = {409, 429}
"""Statuses of a service that works and asks to wait: no failure that a breaker counts."""
HELD_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before a hold is asked for again that only open calls stand in the way of: three seconds in all, the time of a
usual answer. At twice them a caller waits twice as long for a refusal, and keeps its place at the service."""
UNKNOWN = -1
"""Tokens that nobody reported: columns of counts hold whole numbers, so NaN is not at hand."""


class SettlementDesk(Protocol):
    """What an attempt needs of who makes it: the books, and counts of calls under way and of reports in doubt."""

    books: GatewayBooks
    open: int
    doubted: int

    def hold(self, posting: ReservationPosting) -> asyncio.Future[int]:
        """Writes a hold; the future ends when it is durable or refused."""
        ...

    def settle(self, posting: SettlementPosting | ReleasePosting, attempt: CallAttempt) -> None:
        """Hands a settlement to the books."""
        ...


class CallAttempt:
    """One try of an order at one replica: holds a place and a hold until it is closed. begun: whether it was sent."""

    replica: UpstreamReplica
    place: QueuePlace
    load: RoutedLoad | None = None

    def __init__(self, desk: SettlementDesk, order: UpstreamRequest, service: UpstreamService, number: int) -> None:
        self.desk, self.order, self.service = desk, order, service
        self.call, self._number = order.call, number
        self.body = order.body_for(service)
        self._worst_pusd = order.worst_pusd(service, self.body)
        self._claims = order.claims(service, self.body, self._worst_pusd)
        self.receipt: CallReceipt | None = None
        self.usage: TokenUsage | None = None
        self.open = self._asked = self.begun = False
        self.first_s = nan

    async def enter(self) -> None:
        """Waits for a place at the service.

        Raises:
            GatewayError: the queue is full, or none came free in time.
        """
        prompt = self.order.routed_prompt(self.service, self.body)
        predicted = self.service.router.predicted(prompt.most)
        self.place = await self.service.queue.enter(self.call.key, prompt.tokens, predicted)

    async def reserve(self, avoid: UpstreamReplica | None = None) -> None:
        """Takes the place that was waited for, chooses the replica, and writes the hold.

        avoid: a replica that works on the same order; beside it no hold is waited for.

        Raises:
            CircuitOpenError: every replica fails.  BudgetExceededError, LedgerError: nothing may be spent.
        """
        order, desk, service = self.order, self.desk, self.service
        try:
            prompt = order.routed_prompt(service, self.body) if service.routed else None
            self.replica, self.load = service.place(prompt, self.call.key, avoid)
        except BaseException:
            self.place.leave()
            raise
        number = self._number
        own = desk.books.new_id() if number else order.call.call
        self.call = replace(order.call, call=own, attempt=number, service=service.id, started_s=time.time())
        self.meter = self.replica.backend.meter()
        self.open = True
        desk.open += 1
        try:
            about = {"user": order.user, "tags": order.tags}
            quote = CallQuote(self._worst_pusd, order.estimate_pusd, order.plan, **about, claims=self._claims)
            await self._hold(ReservationPosting(self.call, quote), () if avoid else HELD_PAUSES_S)
        except asyncio.CancelledError:
            if self._asked:
                self.close("cancelled", None, "called off before it was sent", billable=False)
            else:
                self.meter.end(None)
                self._leave()
            raise
        except BaseException:
            self.meter.end(None)
            self._leave()
            raise

    async def _hold(self, posting: ReservationPosting, pauses_s: tuple[float, ...]) -> None:
        """Writes the hold; where open calls alone hold what is missing, waits for them first."""
        for pause_s in pauses_s:
            try:
                self._asked = True
                await asyncio.shield(self.desk.hold(posting))
                return
            except BudgetExceededError as error:
                if not error.passing:
                    raise
            except RateExceededError as error:
                if error.claim.unit == "requests":
                    raise
            self._asked = False  # nothing of it is written
            await asyncio.sleep(pause_s)
        self._asked = True
        await asyncio.shield(self.desk.hold(posting))

    def close(
        self,
        finish: Finish,
        said: Json | None,
        why: str = "",
        billable: bool = True,
        reading: UpstreamStreamReader | None = None,
    ) -> None:
        """Books how it ended, once, and leaves its place; later calls change nothing."""
        if not self.open:
            return
        self.open = False
        self.order.attempts.append(self)
        try:
            self._book(finish, said, why, billable, reading)
        finally:
            self._leave()

    def _book(
        self, finish: Finish, said: Json | None, why: str, billable: bool, reading: UpstreamStreamReader | None
    ) -> None:
        energy = self.meter.end(reading.timings if reading else None)
        ends: dict[str, Any] = {"finish": finish, "first_s": self.first_s, "last_s": time.time()}
        if not billable:
            self.receipt, self.call = CallReceipt(0, energy=energy), replace(self.call, **ends)
            self.desk.settle(ReleasePosting(self.call, why, self._given_back(0.0, 0.0)), self)
            return
        try:
            usage = usage_of(said, reading.counted if reading else 0)
            self._require_permitted(usage)
            require_region(said, self.service.config.region)
            self.place.serve(usage.output_tokens, usage.prompt_tokens)
            self.service.router.learn(usage.output_tokens)
            served = (reading.tier if reading else None) or (said or {}).get("service_tier")
            receipt = self.service.tariff.receipt(usage, energy, served)
            self.usage, self.receipt = usage, self._beside_own_cost(receipt, own_cost(said))
            tokens: dict[str, Any] = {**usage.call_tokens()}
        except UnsupportedError as error:
            self.receipt = CallReceipt.unknown("; ".join(filter(None, (why, str(error)))), energy)
            tokens = dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens"), UNKNOWN)
        spent = self.receipt
        self.call = replace(
            self.call,
            **ends,
            **tokens,
            j_prefill=spent.energy.prefill_j,
            j_decode=spent.energy.decode_j,
            usd=nan if spent.pusd is None else spent.pusd / PUSD,
            gco2e=spent.energy.gco2e,
            source="priced" if spent.price else "metered" if spent.pusd is not None else "",
        )
        taken = inf if self.usage is None else float(self.usage.prompt_tokens + self.usage.output_tokens)
        usd = inf if spent.pusd is None else spent.pusd / PUSD
        self.desk.settle(SettlementPosting(self.call, spent, self._given_back(taken, usd)), self)

    def _given_back(self, tokens: float, usd: float) -> tuple[RateClaim, ...]:
        """What it took beyond its claims: less than nothing; nothing where it is unknown (infinite)."""
        taken = {"tokens": tokens, "usd": usd}
        return tuple(
            replace(claim, amount=taken[claim.unit] - claim.amount)
            for claim in self._claims
            if taken.get(claim.unit, inf) < inf
        )

    def _require_permitted(self, usage: TokenUsage) -> None:
        """Holds what is reported against what the hold left room for.

        Raises:
            UnsupportedError: it is more, and not believed.
        """
        prompt, output = self.order.permits(self.service, self.body)
        for what, count, most in (("prompt", usage.prompt_tokens, prompt), ("output", usage.output_tokens, output)):
            if count > most:
                self._doubt(f"reported {count} {what} tokens where {most:.0f} were permitted")
                raise UnsupportedError(f"{self.service.id} reported {count} {what} tokens, {most:.0f} were permitted")

    def _beside_own_cost(self, receipt: CallReceipt, said: Decimal | None) -> CallReceipt:
        """A receipt with a note where the provider's own cost is another; the price that is dated stays in force."""
        if said is None:
            return receipt
        ours = None if receipt.pusd is None else Decimal(receipt.pusd) / PUSD
        if ours is not None and abs(said - ours) <= NEAR * max(said, ours):
            return receipt
        note = f"the provider says ${said:.9g}, the price makes {'nothing known' if ours is None else f'${ours:.9g}'}"
        self._doubt(note)
        return replace(receipt, note="; ".join(filter(None, (receipt.note, note))))

    def _doubt(self, what: str) -> None:
        self.desk.doubted += 1
        log.warning("service %s, call %d: %s", self.service.id, self.call.call, what)

    def settled_as(self, posting: SettlementPosting) -> None:
        """Takes over what the books keep of it, where that is not what was told."""
        self.call, self.receipt, self.usage = posting.call, posting.receipt, None

    def failed(self, error: UpstreamError, reading: UpstreamStreamReader | None = None) -> None:
        """Books an attempt that the service failed."""
        reported_usage = reading.usage if reading else None
        if error.transient and error.status not in BUSY:
            self.service.failed(self.replica, self.call.key, self.call.request, error.away)
        self.close("failed", reported_usage, str(error), error.billable, reading)

    def _leave(self) -> None:
        self.open = False
        self.desk.open -= 1
        if self.load is not None:
            self.load.end()
        self.place.leave()

    def least_cost(self, counted: int) -> Cost:
        """What it takes for certain, once so many tokens have arrived."""
        receipt = self.service.tariff.receipt(TokenUsage(0, counted), CallReceipt(0).energy)
        usd = 0.0 if receipt.pusd is None else receipt.pusd / PUSD
        return Cost(tokens=TokenCounts(output=counted), usd=usd)

    @property
    def cost(self) -> Cost:
        """What it took; NaN where that is unknown."""
        spent, usage = self.receipt, self.usage
        assert spent is not None, "an open attempt has no cost yet"
        usd = nan if spent.pusd is None else spent.pusd / PUSD
        if usage is None:
            count = 0.0 if spent.pusd == 0 else nan
            tokens = TokenCounts(count, count, count, count, count)
        else:
            written = usage.cache_write + usage.cache_write_1h
            tokens = TokenCounts(usage.input, usage.cached, written, usage.output, usage.reasoning)
        return Cost(nan, tokens, nan, nan, spent.energy.j, usd, spent.energy.gco2e)
