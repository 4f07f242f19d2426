"""A service: its replicas, the queue before it, and the breakers that spare replicas which fail."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from hashlib import blake2b
from math import log

from comptroller.books.latency import last_calls
from comptroller.books.ledger import CallLedger
from comptroller.books.service_names import ServiceNames, put_names
from comptroller.gateway.admission_order import DEFAULT_SCHEDULING, AdmissionOrder
from comptroller.gateway.backends import GatewayBackend, backend
from comptroller.gateway.config import ServiceConfig, TenantConfig
from comptroller.gateway.hedging import record_calls
from comptroller.gateway.problems import UpstreamError
from comptroller.gateway.replica_choice import ReplicaRouter, ReplicaRoutingSettings, RoutedLoad, RoutedPrompt
from comptroller.gateway.tariff import ServiceTariff
from comptroller.gateway.upstream_queue import Ticket, UpstreamQueue
from comptroller.serving.hedge_timer import HedgeTimer

FAILURES = 5
"""Requests that fail in a row and open a breaker for who sent them: one that fails at each attempt counts once. At
twice it ten calls are sent to a dead replica in vain."""
CALLERS = 2
"""Callers for whom it must be open before it is open for all: one may send what fails whoever answers. At twice it a
replica that is broken for everybody is asked by two more in vain."""
MOST_CALLERS = 1000
"""Callers whose failures are remembered between two successes; more count as one. At twice it twice the memory."""
REST_S = 5.0
"""How long an open breaker lets nothing through; then one call may try. Long against a restart of a connection, short
against the start of an engine (a minute or more); at twice it a replica that is well again idles twice as long."""
REST_JITTER = (0.8, 1.2)
"""Of the rest, so that gateways which saw the same failure do not all try at once."""

DIALECT_PROVIDERS = {
    **{name: name for name in ("openai", "anthropic", "deepseek", "mistral", "openrouter")},
    **{"xai": "x-ai", "gemini": "google"},
}
"""Dialect of a provider -> its id in the price books; the other dialects are those of engines."""


class CircuitOpenError(UpstreamError):
    """A service that failed too often is not called for a while."""


class CircuitBreaker:
    """Closed: all calls pass. Open: none. After a rest one call tries, and decides.

    What fails may follow from the request, so that failures are counted by caller and a request counts once: it opens
    for that caller, and for all once it is open for several. A service that is not reached at all counts for all.

    >>> breaker = CircuitBreaker()
    >>> for request in range(FAILURES): breaker.failed(0.0, "shop", request)
    >>> breaker.open(1.0, "shop"), breaker.open(1.0, "web"), breaker.open(60.0, "shop"), breaker.open(60.0, "shop")
    (True, False, False, True)
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._by_caller: dict[str, set[int]] = {}
        self._away: set[int] = set()

    @property
    def well(self) -> bool:
        """Whether nothing failed since the last success."""
        return not self._by_caller and not self._away

    @property
    def tripped(self) -> bool:
        """Whether enough failed for all callers."""
        many = sum(len(requests) >= FAILURES for requests in self._by_caller.values())
        return len(self._away) >= FAILURES or many >= CALLERS

    def _tripped_for(self, caller: str) -> bool:
        return self.tripped or len(self._by_caller.get(caller, ())) >= FAILURES

    def resting(self, now: float, caller: str) -> bool:
        """Whether it lets nothing through for a caller."""
        return now < self._until and self._tripped_for(caller)

    def open(self, now: float, caller: str) -> bool:
        """Whether a call must not pass; letting one try keeps the others out."""
        if self.resting(now, caller):
            return True
        if self._tripped_for(caller):
            self._until = now + REST_S
        return False

    def succeeded(self) -> None:
        """A call went well: whatever failed before, the service works."""
        self._by_caller.clear()
        self._away.clear()

    def failed(self, now: float, caller: str, request: int, away: bool = False) -> None:
        """A request failed for a reason that may be the service's. away: it was not reached at all."""
        if away:
            counted = self._away
        else:
            known = caller in self._by_caller or len(self._by_caller) < MOST_CALLERS
            counted = self._by_caller.setdefault(caller if known else "", set())
        if len(counted) < FAILURES:
            counted.add(request)
        self._until = now + REST_S * random.uniform(*REST_JITTER)

    def rest_s(self, now: float) -> float:
        """How long it stays open."""
        return max(0.0, self._until - now)


class UpstreamReplica:
    """One backend with its breaker."""

    def __init__(self, kind: type[GatewayBackend], name: str, config: ServiceConfig, url: str) -> None:
        self.backend = kind(name, config, url)
        self.breaker = CircuitBreaker()
        self.url = url


class UpstreamService:
    """What clients name as a model. `tariff` is set when the gateway starts.

    Raises:
        UnknownIdError, InputError, UnsupportedError: a policy is unknown, or cannot be run here.
    """

    def __init__(
        self,
        name: str,
        config: ServiceConfig,
        routing: ReplicaRoutingSettings | None = None,
        tenants: Mapping[str, TenantConfig] | None = None,
    ) -> None:
        kind = backend(config.backend)
        config = kind.filled(config)
        self.id, self.config = name, config
        self.model = config.model or name
        self.hedges = HedgeTimer(config.hedge)
        order = AdmissionOrder[Ticket](name, config.scheduling or DEFAULT_SCHEDULING, tenants or {})
        places, room = config.max_in_flight, config.max_waiting
        self.queue = UpstreamQueue(name, places, room, config.wait_s, order, config.max_per_key)
        self.replicas = [UpstreamReplica(kind, name, config, url) for url in config.replicas or ("",)]
        self.router = ReplicaRouter(name, routing or ReplicaRoutingSettings(), len(self.replicas))
        self._numbers = list(range(len(self.replicas)))
        self._doubted = False
        self.native = bool(getattr(kind, "speaks_messages", False))
        self.tariff: ServiceTariff

    @property
    def names(self) -> ServiceNames:
        """What the world calls it; the provider as configured, else that of the price, else the dialect's."""
        config = self.config
        priced = config.price.partition("/")[0] if isinstance(config.price, str) else ""
        provider = config.provider or priced or DIALECT_PROVIDERS.get(config.dialect, "")
        account, aliases = config.billing_account, config.invoice_names
        return ServiceNames(self.id, provider, config.publisher, self.model, account, aliases)

    def tell_names(self, ledger: CallLedger) -> None:
        """Writes them into the books."""
        put_names(ledger, self.names)

    async def start(self) -> None:
        """Starts all replicas."""
        await asyncio.gather(*(replica.backend.start() for replica in self.replicas))

    async def stop(self) -> None:
        """Stops all replicas."""
        await asyncio.gather(*(replica.backend.stop() for replica in self.replicas))

    @property
    def routed(self) -> bool:
        """Whether there is a choice among replicas."""
        return len(self.replicas) > 1

    def healthy(self, caller: str = "") -> list[int]:
        """Numbers of the replicas that a caller may be sent to.

        Raises:
            CircuitOpenError: every replica fails; says when to come again.
        """
        if not self._doubted:
            return self._numbers
        now = time.monotonic()
        self._doubted = not all(replica.breaker.well for replica in self.replicas)
        numbers = [number for number, replica in enumerate(self.replicas) if not replica.breaker.resting(now, caller)]
        if not numbers:
            rest_s = min(replica.breaker.rest_s(now) for replica in self.replicas)
            raise CircuitOpenError(503, f"{self.id} failed {FAILURES} times in a row and is left alone", None, rest_s)
        return numbers

    def beside(
        self, services: tuple[UpstreamService, ...], replica: UpstreamReplica, caller: str
    ) -> UpstreamService | None:
        """Which service takes a second request beside one at a replica of this one: itself where another replica is
        well, else the next that may be called; None where there is none, or where calls wait for a place."""
        after = services[services.index(self) + 1 :]
        for service in (self, *after) if self.routed else after:
            try:
                numbers = service.healthy(caller)
            except CircuitOpenError:
                continue
            if any(service.replicas[number] is not replica for number in numbers) and service.queue.has_place(caller):
                return service
        return None

    def place(
        self, prompt: RoutedPrompt | None, caller: str = "", avoid: UpstreamReplica | None = None
    ) -> tuple[UpstreamReplica, RoutedLoad | None]:
        """The replica that takes a call now, as the routing policy chooses, and what it is counted as there.

        prompt: None where there is no choice.  avoid: a replica that shall not be it.

        Raises:
            CircuitOpenError: every replica fails.
            GatewayError: the policy chose none of the healthy ones.
        """
        numbers = self.healthy(caller)
        if avoid is not None:
            numbers = [number for number in numbers if self.replicas[number] is not avoid]
            if not numbers:
                raise CircuitOpenError(503, f"{self.id} has no other replica", None, REST_S)
        load = None if prompt is None else self.router.place(numbers, prompt)
        replica = self.replicas[0 if load is None else load.rank]
        if self._doubted:
            replica.breaker.open(time.monotonic(), caller)  # where it has rested, this call is the one that tries
        return replica, load

    def failed(self, replica: UpstreamReplica, caller: str = "", request: int = 0, away: bool = True) -> None:
        """A call failed there for a reason that may be the replica's. away: it was not reached at all."""
        before = replica.breaker.tripped
        replica.breaker.failed(time.monotonic(), caller, request, away)
        self._doubted = True
        if replica.breaker.tripped and not before:
            self.router.forget(self.replicas.index(replica))


def recall_times(services: Mapping[str, UpstreamService], ledger: CallLedger) -> None:
    """Takes note of what the last calls in the books took, for services that are hedged."""
    timers = {name: service.hedges for name, service in services.items() if service.config.hedge}
    if timers:
        record_calls(timers, last_calls(ledger))


def rank(affinity: str, name: str, weight: float = 1.0) -> float:
    """The place of a name in the order of a key: the greatest wins, in proportion to the weights over all keys.

    score = -weight / ln(hash)  (weighted rendezvous hashing, Schindelhauer and Schomaker, SPAA 2005)

    >>> names = ["a", "b"]
    >>> wins = sum(rank(str(key), "a", 3.0) > rank(str(key), "b", 1.0) for key in range(4000))
    >>> round(wins / 4000, 1)
    0.8
    """
    digest = blake2b(f"{affinity}\0{name}".encode("utf-8", "surrogatepass"), digest_size=7).digest()
    drawn = (int.from_bytes(digest, "big") + 0.5) / 2.0**56
    return -weight / log(drawn)
