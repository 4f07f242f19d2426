"""A service: its replicas, the queue before it, and the breakers that spare replicas which fail."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from hashlib import blake2b
from math import log

from comptroller.gateway.backends import GatewayBackend, backend
from comptroller.gateway.config import ServiceConfig
from comptroller.gateway.problems import GatewayError, UpstreamError
from comptroller.gateway.replica_choice import ReplicaRouter, ReplicaRoutingSettings, RoutedLoad, RoutedPrompt
from comptroller.gateway.tariff import ServiceTariff

FAILURES = 5
"""Failures in a row that open a breaker: more than the attempts of one call (3 by default), so that one bad request
does not spare a replica; at twice it ten calls are sent to a dead one in vain."""
REST_S = 5.0
"""How long an open breaker lets nothing through; then one call may try. Long against a restart of a connection, short
against the start of an engine (a minute or more); at twice it a replica that is well again idles twice as long."""
REST_JITTER = (0.8, 1.2)
"""Of the rest, so that gateways which saw the same failure do not all try at once."""


class CircuitOpenError(UpstreamError):
    """A service that failed too often is not called for a while."""


class CircuitBreaker:
    """Closed: all calls pass. Open: none. After a rest one call tries, and decides.

    >>> breaker = CircuitBreaker()
    >>> for _ in range(FAILURES): breaker.failed(0.0)
    >>> breaker.open(1.0), breaker.open(60.0), breaker.open(60.0)
    (True, False, True)
    """

    def __init__(self) -> None:
        self.failures, self._until = 0, 0.0

    def resting(self, now: float) -> bool:
        """Whether it lets nothing through."""
        return self.failures >= FAILURES and now < self._until

    def open(self, now: float) -> bool:
        """Whether a call must not pass; letting one try keeps the others out."""
        if self.resting(now):
            return True
        if self.failures >= FAILURES:
            self._until = now + REST_S
        return False

    def succeeded(self) -> None:
        """A call went well."""
        self.failures = 0

    def failed(self, now: float) -> None:
        """A call failed for a reason that is the service's."""
        self.failures += 1
        self._until = now + REST_S * random.uniform(*REST_JITTER)

    def rest_s(self, now: float) -> float:
        """How long it stays open."""
        return max(0.0, self._until - now)


class UpstreamQueue:
    """At most so many at once, and so many that wait for a bounded time; the others are told to come later."""

    def __init__(self, name: str, most: int, waiting: int, wait_s: float) -> None:
        self.name, self._most, self._room, self._wait_s = name, most, waiting, wait_s
        self.busy = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._waiters)

    async def enter(self) -> None:
        """Waits for a place.

        Raises:
            GatewayError: the queue is full, or none came free in time.
        """
        if self.busy < self._most and not self._waiters:
            self.busy += 1
            return
        if len(self._waiters) >= self._room:
            raise self._full(f"{self.name} serves {self.busy} calls and {len(self._waiters)} wait")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(place)
        try:
            async with asyncio.timeout(self._wait_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.leave()
            elif place in self._waiters:
                self._waiters.remove(place)
            if isinstance(error, TimeoutError):
                raise self._full(f"no place at {self.name} came free within {self._wait_s:g} s") from error
            raise

    def leave(self) -> None:
        """Gives the place to who has waited longest."""
        while self._waiters:
            place = self._waiters.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.busy -= 1

    def _full(self, why: str) -> GatewayError:
        return GatewayError(429, f"{why}; come again later", "queue_full", None, 1.0)


class UpstreamReplica:
    """One backend with its breaker."""

    def __init__(self, kind: type[GatewayBackend], name: str, config: ServiceConfig, url: str) -> None:
        self.backend = kind(name, config, url)
        self.breaker = CircuitBreaker()
        self.url = url


class UpstreamService:
    """What clients name as a model. `tariff` is set when the gateway starts.

    Raises:
        UnknownIdError, InputError, UnsupportedError: the routing policy is unknown, or cannot be run here.
    """

    def __init__(self, name: str, config: ServiceConfig, routing: ReplicaRoutingSettings | None = None) -> None:
        kind = backend(config.backend)
        config = kind.filled(config)
        self.id, self.config = name, config
        self.model = config.model or name
        self.queue = UpstreamQueue(name, config.max_in_flight, config.max_waiting, config.wait_s)
        self.replicas = [UpstreamReplica(kind, name, config, url) for url in config.replicas or ("",)]
        self.router = ReplicaRouter(name, routing or ReplicaRoutingSettings(), len(self.replicas))
        self._numbers = list(range(len(self.replicas)))
        self._doubted = False
        self.tariff: ServiceTariff

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

    def healthy(self) -> list[int]:
        """Numbers of the replicas that may be called.

        Raises:
            CircuitOpenError: every replica fails; says when to come again.
        """
        if not self._doubted:
            return self._numbers
        now = time.monotonic()
        self._doubted = any(replica.breaker.failures >= FAILURES for replica in self.replicas)
        numbers = [number for number, replica in enumerate(self.replicas) if not replica.breaker.resting(now)]
        if not numbers:
            rest_s = min(replica.breaker.rest_s(now) for replica in self.replicas)
            raise CircuitOpenError(503, f"{self.id} failed {FAILURES} times in a row and is left alone", None, rest_s)
        return numbers

    def place(self, prompt: RoutedPrompt | None) -> tuple[UpstreamReplica, RoutedLoad | None]:
        """The replica that takes a call now, as the routing policy chooses, and what it is counted as there.

        prompt: None where there is no choice.

        Raises:
            CircuitOpenError: every replica fails.
            GatewayError: the policy chose none of the healthy ones.
        """
        numbers = self.healthy()
        load = None if prompt is None else self.router.place(numbers, prompt)
        replica = self.replicas[0 if load is None else load.rank]
        if self._doubted:
            replica.breaker.open(time.monotonic())  # where it has rested, this call is the one that tries
        return replica, load

    def failed(self, replica: UpstreamReplica) -> None:
        """A call failed there for a reason that is the replica's."""
        replica.breaker.failed(time.monotonic())
        self._doubted = True
        if replica.breaker.failures == FAILURES:
            self.router.forget(self.replicas.index(replica))


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
