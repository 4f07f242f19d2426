"""Who waited for whom before a service: of each key the waits of its calls, by whose calls had the places meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.books.latency import LAST, last_calls
from comptroller.books.ledger import CallLedger

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_TENANTS = 12
"""Keys that are told apart at a service, those with most calls; the rest are one more, `OTHERS`. Twice as many no
longer fit a terminal."""
OTHERS = "others"


@dataclass(frozen=True, eq=False)
class TenantWaits:
    """The keys that called a service, those with most calls first.

    tenants: their names.  member: the key of each call.  wait_s: of each call from its arrival until it had a place,
    NaN of a later attempt.  ttft_s: of each call, NaN where it is unknown.  because_s: [i, j], mean seconds that a call
    of key i waited while calls of key j had the places; a row sums to the mean wait, less what was waited while nobody
    had a place.
    """

    service: str
    tenants: tuple[str, ...]
    member: Ints
    wait_s: Floats
    ttft_s: Floats
    because_s: Floats

    def of(self, tenant: int, name: str) -> Floats:
        """Known values of a key's calls: `wait_s` or `ttft_s`."""
        values: Floats = getattr(self, name)[self.member == tenant]
        return values[np.isfinite(values)]


def waits_because(member: Ints, waited_s: tuple[Floats, Floats], held_s: tuple[Floats, Floats], count: int) -> Floats:
    """Seconds of each wait by whose calls had the places, shape (waits, count).

    B_j = integral over the wait of n_j(t) / n(t)

    member: of each call that had a place, from 0 to count - 1.  waited_s: beginnings and ends of the waits.  held_s:
    of the calls with a place.  n_j, n: calls of j, of all, that have a place. Source: a wait in a queue with fixed
    places ends when one of them comes free, so that who has more of them is more of the reason.

    >>> held = np.array([0.0, 0.0]), np.array([4.0, 2.0])
    >>> waits_because(np.array([0, 1]), (np.array([1.0]), np.array([4.0])), held, 2)
    array([[2.5, 0.5]])
    """
    moments = np.unique(np.concatenate([*waited_s, *held_s]))
    having = np.zeros((moments.size, count))
    for change, times in ((1.0, held_s[0]), (-1.0, held_s[1])):
        np.add.at(having, (np.searchsorted(moments, times), member), change)
    having = np.cumsum(having, axis=0)[:-1]
    shares = having / np.maximum(having.sum(axis=1, keepdims=True), 1.0)
    summed = np.vstack([np.zeros(count), np.cumsum(shares * np.diff(moments)[:, None], axis=0)])
    begun, ended = (summed[np.searchsorted(moments, times)] for times in waited_s)
    return np.asarray(ended - begun)


def tenant_waits(ledger: CallLedger, most: int = LAST) -> tuple[TenantWaits, ...]:
    """Of each service that is in the last calls of the books, those with most calls first.

    Raises:
        LedgerError: the books cannot be read.
    """
    by_service: dict[str, list[dict[str, Any]]] = {}
    for call in last_calls(ledger, most):
        if call["service"] and None not in (call["arrival_s"], call["started_s"], call["last_s"]):
            by_service.setdefault(str(call["service"]), []).append(call)
    named = sorted(by_service.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(_of_service(service, calls) for service, calls in named)


def _of_service(service: str, calls: Sequence[dict[str, Any]]) -> TenantWaits:
    names, member = _members([str(call["key"]) for call in calls])

    def column(name: str) -> Floats:
        return np.array([call[name] for call in calls], np.float64)

    arrival_s, started_s, first_s, last_s = map(column, ("arrival_s", "started_s", "first_s", "last_s"))
    begins = column("attempt") == 0
    started_s, last_s = np.maximum(started_s, arrival_s), np.maximum(last_s, started_s)
    because = waits_because(member, (arrival_s[begins], started_s[begins]), (started_s, last_s), len(names))
    means = np.array([_mean(because[member[begins] == tenant]) for tenant in range(len(names))])
    return TenantWaits(
        service, names, member, np.where(begins, started_s - arrival_s, np.nan), first_s - arrival_s, means
    )


def _mean(rows: Floats) -> Floats:
    return rows.mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan)


def _members(keys: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    """Names, those with most calls first, and the name of each call."""
    found, member, counts = np.unique(np.array(keys, object).astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    place = np.empty(order.size, np.int64)
    place[order] = np.minimum(np.arange(order.size), MOST_TENANTS)
    names = [str(found[one]) or "no key" for one in order[:MOST_TENANTS]]
    return tuple(names + ([OTHERS] if order.size > MOST_TENANTS else [])), place[member]
