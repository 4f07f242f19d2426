"""Who may come in, and how often: keys of the books, and limits per minute of requests, tokens and dollars."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Generic, Protocol, TypeVar

from comptroller.books.keys import AUDITOR, PREFIX, ApiKey
from comptroller.books.rates import RateLimitBucket
from comptroller.gateway.config import GatewayConfig, RateLimits
from comptroller.gateway.problems import GatewayError

MOST = 20_000
"""Keys remembered at once; those unused for longest are forgotten. More keys in turn than this and
each request asks the books again; at twice it the table takes twice the memory."""
FRESH_S = 5.0
"""How long a key is believed before the books are asked again: the longest that a revoked key lives on here.
At twice it a revoked key lives on for ten seconds, and the books are asked half as often."""

V = TypeVar("V")


class NamedService(Protocol):
    """What can be called, by its id."""

    id: str


S = TypeVar("S", bound=NamedService)


class GatewayLruCache(Generic[V]):
    """A mapping that forgets what was unused for longest."""

    def __init__(self, most: int = MOST) -> None:
        self._items: OrderedDict[str, V] = OrderedDict()
        self._most = most

    def get(self, name: str) -> V | None:
        """The item, which is now the last to be forgotten."""
        if (item := self._items.get(name)) is not None:
            self._items.move_to_end(name)
        return item

    def put(self, name: str, item: V) -> V:
        """Remembers an item."""
        self._items[name] = item
        self._items.move_to_end(name)
        if len(self._items) > self._most:
            self._items.popitem(last=False)
        return item

    def __len__(self) -> int:
        return len(self._items)


CREDENTIALS = ("authorization", "x-api-key", "api-key")
"""Headers that a key comes in: OpenAI's, Anthropic's, Azure's; the first that is there counts."""


def credential(headers: Mapping[str, str]) -> str:
    """The key of a request, with or without its scheme; empty where there is none."""
    return next((headers[name] for name in CREDENTIALS if headers.get(name)), "")


@dataclass(slots=True)
class GatewayCaller:
    """Who asks. name and project are empty for one without a key, on loopback. models, role: as of its key."""

    name: str = ""
    project: str = ""
    models: tuple[str, ...] = ()
    role: str = ""
    buckets: dict[str, RateLimitBucket] = field(default_factory=dict)
    asked_s: float = 0.0

    def may_call(self, service: str) -> bool:
        """Whether it may call a service."""
        return not self.models or any(fnmatchcase(service, pattern) for pattern in self.models)

    def permitted(self, services: Sequence[S]) -> tuple[S, ...]:
        """Those of a choice and its fallbacks that it may call.

        Raises:
            GatewayError: it may not call the first.
        """
        if services and not self.may_call(services[0].id):
            raise GatewayError(
                403, f"key {self.name} may call {', '.join(self.models)}, not {services[0].id}", "model_not_allowed",
                "model",
            )  # fmt: skip
        return tuple(service for service in services if self.may_call(service.id))


class GatewayAdmissionController:
    """Lets callers in by their key, and refuses at once what passes their limits in this process alone.

    Holds in the books keep the limits over all gateways (`books.rates`).
    """

    def __init__(
        self, config: GatewayConfig, find: Callable[[str], ApiKey | None], any_key: Callable[[], bool]
    ) -> None:
        self._config, self._find, self._any_key = config, find, any_key
        self._callers: GatewayLruCache[GatewayCaller | None] = GatewayLruCache()
        self._buckets: GatewayLruCache[dict[str, RateLimitBucket]] = GatewayLruCache()
        self._closed: tuple[float, bool] = (-FRESH_S, False)

    async def caller(self, authorization: str) -> GatewayCaller:
        """Who a header belongs to.

        Raises:
            GatewayError: a key is needed and there is none, or it is not valid.
        """
        scheme, _, rest = authorization.strip().partition(" ")
        secret = rest.strip() if scheme.lower() == "bearer" else scheme  # schemes have no case (RFC 9110, 11.1)
        now = time.monotonic()
        if not secret.startswith(PREFIX):
            if await self._needs_key(now):
                raise GatewayError(
                    401, "send a key as `Authorization: Bearer ck-...`; the operator makes one with "
                    "`comptroller books keys BOOKS --create NAME`", "invalid_api_key",
                )  # fmt: skip
            return self._limited(GatewayCaller(asked_s=now))
        account = self._callers.get(secret)
        if account is None or now - account.asked_s > FRESH_S:
            key = await asyncio.to_thread(self._find, secret)
            if key is None:
                raise GatewayError(401, "the key is unknown, revoked or expired", "invalid_api_key")
            account = self._callers.put(secret, self._limited(_caller(key, now)))
            assert account is not None
        return account

    async def _needs_key(self, now: float) -> bool:
        """Whether nobody comes in without one: beyond loopback, where it is configured, and where one was ever made."""
        if self._config.require_key or not self._config.loopback:
            return True
        if not self._closed[1] and now - self._closed[0] > FRESH_S:
            self._closed = (now, await asyncio.to_thread(self._any_key))
        return self._closed[1]

    def _limited(self, caller: GatewayCaller) -> GatewayCaller:
        rates = self._config.limits_of(caller.name)
        buckets = self._buckets.get(caller.name)
        if buckets is None:
            buckets = self._buckets.put(caller.name, _buckets(rates, caller.asked_s))
        caller.buckets = buckets
        return caller

    def enter(self, caller: GatewayCaller) -> None:
        """Counts a request.

        Raises:
            GatewayError: a limit is reached; says which, and when to come again. Or the key is an auditor's.
        """
        if caller.role == AUDITOR:
            raise GatewayError(403, f"key {caller.name} is an auditor's: it reads, and calls nothing", "read_only")
        now = time.monotonic()
        for unit, bucket in caller.buckets.items():
            least = 1.0 if unit == "requests" else 1e-12
            if (wait_s := bucket.wait_s(now, least)) > 0:
                who = f"key {caller.name}" if caller.name else "requests without a key"
                raise GatewayError(
                    429, f"rate limit of {who}: {bucket.per_minute:g} {unit} per minute", "rate_limit_exceeded",
                    None, wait_s,
                )  # fmt: skip
        if "requests" in caller.buckets:
            caller.buckets["requests"].take(1.0, now)

    def spent(self, caller: GatewayCaller, tokens: float, usd: float) -> None:
        """Counts what a request took, once it is known; what is not known (NaN) does not count."""
        now = time.monotonic()
        for unit, amount in (("tokens", tokens), ("usd", usd)):
            if unit in caller.buckets and amount > 0:
                caller.buckets[unit].take(amount, now)


def _caller(key: ApiKey, now_s: float) -> GatewayCaller:
    return GatewayCaller(key.name, key.project, key.models, key.role, asked_s=now_s)


def _buckets(rates: RateLimits, now_s: float) -> dict[str, RateLimitBucket]:
    given = {"requests": rates.requests, "tokens": rates.tokens, "usd": rates.usd}
    return {unit: RateLimitBucket(most, at_s=now_s) for unit, most in given.items() if most is not None}
