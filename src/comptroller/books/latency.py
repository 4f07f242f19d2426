"""Latencies of the last calls of the books: to the first token, per token, in queues, as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


def last_latencies(ledger: CallLedger, most: int = LAST) -> CallLatencies:
    """The latencies of the last calls that ended by themselves.

    Raises:
        LedgerError: the books cannot be read.
    """
    moments = (entry.c.arrival_s, entry.c.started_s, entry.c.first_s, entry.c.last_s, entry.c.output_tokens)
    last = select(*moments, entry.c.account).where(entry.c.kind != "correction", entry.c.finish.in_(("stop", "length")))
    last = last.order_by(entry.c.segment.desc(), entry.c.number.desc()).limit(most)
    with schema.refusals("latency"), ledger.engine.connect() as connection:
        rows = connection.execute(last).all()
        names = {row.id: row.service for row in connection.execute(select(account.c.id, account.c.service))}
    columns = [[row[place] for row in rows] for place in range(5)]
    arrival, started, first, end, made = (np.array(column, float).reshape(-1) for column in columns)
    after = np.where(made > 1, made - 1, np.nan)
    return CallLatencies(
        tuple(names[row[5]] for row in rows), started - arrival, first - arrival, (end - first) / after, end - arrival
    )
