"""Limits per minute: buckets that fill evenly, kept in the books, so that they hold for all gateways that share them.

What a call may take at most is taken with its hold; when it is over, what it did not take is given back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan, nan

from comptroller.books.schema import bucket
from comptroller.books.statements import PreparedSql
from comptroller.errors import ComptrollerError

MINUTE_S = 60.0
NEAR = 1e-9
"""Of a limit: what rounding may make a full bucket lack."""


@dataclass(slots=True)
class RateLimitBucket:
    """A rate as a bucket that fills evenly and holds a minute's worth; it may be overdrawn by what was not foreseen.

    >>> bucket = RateLimitBucket(60.0, at_s=0.0)
    >>> bucket.take(60.0, 0.0); round(bucket.wait_s(0.0), 3), bucket.wait_s(1.5)
    (1.0, 0.0)
    """

    per_minute: float
    level: float = nan
    at_s: float = 0.0

    def __post_init__(self) -> None:
        if isnan(self.level):
            self.level = self.per_minute

    def _fill(self, now_s: float) -> None:
        gained = max(0.0, now_s - self.at_s) * self.per_minute / MINUTE_S
        self.level, self.at_s = min(self.per_minute, self.level + gained), now_s

    def wait_s(self, now_s: float, amount: float = 1.0) -> float:
        """Seconds until there is so much in it; what is more than a minute's worth waits for a full one."""
        self._fill(now_s)
        lacks = min(amount, self.per_minute) * (1.0 - NEAR) - self.level
        return max(0.0, lacks) * MINUTE_S / self.per_minute

    def take(self, amount: float, now_s: float) -> None:
        """Takes an amount out; a negative one is given back."""
        self._fill(now_s)
        self.level = min(self.per_minute, self.level - amount)


@dataclass(frozen=True, slots=True)
class RateClaim:
    """What a call takes of a key's limit. name: of the key.  unit: tokens, usd or requests.  amount: in that unit."""

    name: str
    unit: str
    per_minute: float
    amount: float


class RateExceededError(ComptrollerError):
    """A key takes more in a minute than its limit lets it. wait_s: until there is enough.

    >>> print(RateExceededError(RateClaim("shop", "usd", 1.0, 0.5), 12.0))
    rate limit of key shop: 1 usd per minute; this call may take 0.5
    """

    def __init__(self, claim: RateClaim, wait_s: float) -> None:
        self.claim, self.wait_s = claim, wait_s
        who = f"key {claim.name}" if claim.name else "requests without a key"
        super().__init__(f"rate limit of {who}: {claim.per_minute:g} {claim.unit} per minute; "
                         f"this call may take {claim.amount:g}")  # fmt: skip


class RateLimitBuckets:
    """The buckets of some claims within one transaction, which keeps others out of them until it ends.

    at_us: the time in the books.
    """

    def __init__(self, to: PreparedSql, claims: Iterable[RateClaim], at_us: int) -> None:
        self._to, self._at_us = to, at_us
        self._buckets: dict[tuple[str, str], RateLimitBucket] = {}
        for claim in sorted({(item.name, item.unit): item for item in claims}.items()):
            (name, unit), limit = claim
            self._buckets[name, unit] = self._load(name, unit, limit.per_minute)

    def _load(self, name: str, unit: str, per_minute: float) -> RateLimitBucket:
        query = "SELECT level, at_us FROM bucket WHERE name = ? AND unit = ? FOR UPDATE"
        found = self._to.rows(query, name, unit)
        if not found:  # two gateways may make it at once; the later waits, and finds it
            new = {"name": name, "unit": unit, "level": per_minute, "at_us": self._at_us}
            self._to.insert(bucket, [new], "ON CONFLICT DO NOTHING")
            found = self._to.rows(query, name, unit)
        ((level, at_us),) = found
        return RateLimitBucket(per_minute, level, at_us / 1e6)

    def require(self, claims: Iterable[RateClaim]) -> None:
        """Whether there is enough for a call.

        Raises:
            RateExceededError: there is not; says how long to wait.
        """
        for claim in claims:
            wait_s = self._buckets[claim.name, claim.unit].wait_s(self._at_us / 1e6, claim.amount)
            if wait_s > 0:
                raise RateExceededError(claim, wait_s)

    def take(self, claims: Iterable[RateClaim]) -> None:
        """Takes amounts out, or gives negative ones back."""
        for claim in claims:
            self._buckets[claim.name, claim.unit].take(claim.amount, self._at_us / 1e6)

    def write(self) -> None:
        """Writes the levels."""
        rows = [(item.level, round(item.at_s * 1e6), *place) for place, item in self._buckets.items()]
        self._to.many("UPDATE bucket SET level = ?, at_us = ? WHERE name = ? AND unit = ?", rows)
