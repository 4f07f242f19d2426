"""A service: its replicas, the queue before it, and the breaker that spares it while it fails."""

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
from comptroller.gateway.tariff import ServiceTariff

FAILURES = 5
"""Failures in a row that open a breaker."""
REST_S = 5.0
"""How long an open breaker lets nothing through; then one call may try."""
SPREAD = 1.25
"""A replica takes calls of its prefixes up to so many times the mean of all (bounded-load consistent hashing,
Mirrokni et al., arXiv 1608.01350)."""


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

    def open(self, now: float) -> bool:
        """Whether a call must not pass; letting one try keeps the others out."""
        if self.failures < FAILURES:
            return False
        if now < self._until:
            return True
        self._until = now + REST_S
        return False

    def succeeded(self) -> None:
        """A call went well."""
        self.failures = 0

    def failed(self, now: float) -> None:
        """A call failed for a reason that is the service's."""
        self.failures += 1
        self._until = now + REST_S * random.uniform(0.8, 1.2)

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
    """One backend with its breaker and the calls it has."""

    def __init__(self, kind: type[GatewayBackend], name: str, config: ServiceConfig, url: str) -> None:
        self.backend = kind(name, config, url)
        self.breaker = CircuitBreaker()
        self.busy = 0
        self.url = url


class UpstreamService:
    """What clients name as a model. `tariff` is set when the gateway starts; `planned` where a plan names it."""

    def __init__(self, name: str, config: ServiceConfig) -> None:
        kind = backend(config.backend)
        config = kind.filled(config)
        self.id, self.config = name, config
        self.model = config.model or name
        self.queue = UpstreamQueue(name, config.max_in_flight, config.max_waiting, config.wait_s)
        self.replicas = [UpstreamReplica(kind, name, config, url) for url in config.replicas or ("",)]
        self.tariff: ServiceTariff

    async def start(self) -> None:
        """Starts all replicas."""
        await asyncio.gather(*(replica.backend.start() for replica in self.replicas))

    async def stop(self) -> None:
        """Stops all replicas."""
        await asyncio.gather(*(replica.backend.stop() for replica in self.replicas))

    def replica(self, affinity: str) -> UpstreamReplica:
        """The replica of a prefix or session: the same one while it is well and not far busier than the mean.

        Raises:
            UpstreamError: every replica fails; says when to come again.
        """
        now = time.monotonic()
        if len(self.replicas) == 1:
            order = self.replicas
        else:
            order = sorted(self.replicas, key=lambda item: rank(affinity, item.url), reverse=True)
        most = SPREAD * (sum(item.busy for item in order) + 1) / len(order)
        for item in (*(item for item in order if item.busy < most), *order):
            if not item.breaker.open(now):
                return item
        rest_s = min(item.breaker.rest_s(now) for item in order)
        raise CircuitOpenError(503, f"{self.id} failed {FAILURES} times in a row and is left alone", None, rest_s)


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
