"""Latencies of the last calls of the books: to the first token, per token, in queues, as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from comptroller.books import schema
from comptroller.books.ledger import CallLedger
from comptroller.books.schema import account, entry

LAST = 20_000
"""Calls whose latencies are read: the p99 of them rests on 200, and a million rows take no longer than these. Twice as
many take twice the time and tell of twice as long ago."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CallLatencies:
    """Calls that came to their end, the last first: service and seconds of each. NaN where a moment is unknown.

    queue_s: from arrival to start.  ttft_s: to the first token.  tpot_s: per token after it.  e2e_s: the whole.
    """

    service: tuple[str, ...]
    queue_s: Floats
    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats

    def of(self, service: str) -> CallLatencies:
        """Those of one service."""
        mine = np.array([name == service for name in self.service], bool)
        kept = (getattr(self, name)[mine] for name in ("queue_s", "ttft_s", "tpot_s", "e2e_s"))
        return CallLatencies((service,) * int(mine.sum()), *kept)

    @property
    def services(self) -> list[str]:
        """The services, those with most calls first."""
        names, counts = np.unique(np.array(self.service, object).astype(str), return_counts=True)
        return [str(names[place]) for place in np.argsort(-counts, kind="stable")]


def percentiles_s(values: Floats, percents: tuple[float, ...]) -> Mapping[float, float]:
    """Percentiles over what is known; NaN where nothing is.

    >>> percentiles_s(np.array([1.0, 3.0, np.nan]), (50,))
    {50: 2.0}
    """
    known = values[np.isfinite(values)]
    found = np.percentile(known, percents) if known.size else np.full(len(percents), np.nan)
    return {percent: float(value) for percent, value in zip(percents, found, strict=True)}


MOMENTS = (
    "request",
    "finish",
    "arrival_s",
    "started_s",
    "first_s",
    "last_s",
    "output_tokens",
    "pusd",
    "j_prefill",
    "j_decode",
    "attempt",
)
"""Columns of a call that its latencies and its cost are read from."""


def last_calls(ledger: CallLedger, most: int = LAST) -> list[dict[str, Any]]:
    """The last calls of the books, the latest first, with the names of their service, plan and key.

    They are read along the key of the rows, so that it does not matter how many came before. Corrections of older calls
    are left out.

    Raises:
        LedgerError: the books cannot be read.
    """
    columns = (entry.c[name] for name in MOMENTS)
    last = select(*columns, entry.c.account).where(entry.c.kind != "correction")
    last = last.order_by(entry.c.segment.desc(), entry.c.number.desc()).limit(most)
    with schema.refusals("latency"), ledger.engine.connect() as connection:
        rows = connection.execute(last).all()
        accounts = connection.execute(select(account.c.id, account.c.service, account.c.plan, account.c.key))
        names = {one.id: (one.service, one.plan, one.key) for one in accounts}
    found = []
    for row in rows:
        service, plan, key = names[row.account]
        found.append({**dict(zip(MOMENTS, row, strict=False)), "service": service, "plan": plan, "key": key})
    return found


def last_latencies(ledger: CallLedger, most: int = LAST) -> CallLatencies:
    """The latencies of those of the last calls that ended by themselves.

    Raises:
        LedgerError: the books cannot be read.
    """
    ended = [call for call in last_calls(ledger, most) if call["finish"] in ("stop", "length")]

    def column(name: str) -> Floats:
        return np.array([call[name] for call in ended], float)

    arrival, started, first, end = (column(name) for name in ("arrival_s", "started_s", "first_s", "last_s"))
    made = column("output_tokens")
    after = np.where(made > 1, made - 1, np.nan)
    services = tuple(str(call["service"]) for call in ended)
    return CallLatencies(services, started - arrival, first - arrival, (end - first) / after, end - arrival)
