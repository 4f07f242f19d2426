"""The ledger as the next plan's input: calls as a trace, their times as logs of engines, scored answers as evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np

from comptroller.books.ledger import CallLedger
from comptroller.books.query import EVERYTHING, LedgerScope, rows
from comptroller.books.schema import account, score
from comptroller.work.trace import RequestTrace, TraceLatencies

GENERATES = frozenset({"settled", "correction"})
"""Kinds of rows that a service answered; released ones never reached it, of lost ones the tokens are unknown."""
STREAMED_S = 1e-3
"""A first event that comes so close to the last is that of a reply which was not streamed: its first token has no time.
At ten times it short answers of fast engines would have none either."""


@dataclass(frozen=True, slots=True)
class LedgerTraffic:
    """What the calls of a selection tell.

    trace: calls in order of arrival.  logs: service -> its calls, from when it was asked, with times.  answers: of
    scored questions that took one call, as rows of evidence.  requests: distinct.  unknown: calls without token counts,
    which are in none of them.
    """

    trace: RequestTrace
    logs: Mapping[str, RequestTrace]
    answers: tuple[Mapping[str, Any], ...]
    requests: int
    unknown: int

    @property
    def requests_per_s(self) -> float:
        """Requests over the span of the calls; NaN if all came at once."""
        return self.trace.rate_per_s * self.requests / len(self.trace)


def traffic(ledger: CallLedger, scope: LedgerScope = EVERYTHING, plan: str = "") -> LedgerTraffic:
    """The calls that made tokens. plan: only those of a plan, by its digest."""
    found = list(rows(ledger, scope, *([account.c.plan == plan] if plan else [])))
    kept = [row for row in found if _has_counts(row)]
    calls: dict[str, list[Mapping[str, Any]]] = {}
    of_request: dict[int, list[Mapping[str, Any]]] = {}
    for row in kept:
        calls.setdefault(row["service"], []).append(row)
        of_request.setdefault(row["request"], []).append(row)
    scores = request_scores(ledger)
    single = [(each[0], scores[each[0]["request"]]) for each in of_request.values() if _is_one_score(each, scores)]
    unknown = sum(row["kind"] != "released" and row["finish"] != "failed" and not _has_counts(row) for row in found)
    answers = tuple(_answer(row, score) for row, score in single)
    logs = {name: _trace(each, "started_s", name) for name, each in sorted(calls.items())}
    return LedgerTraffic(_trace(kept, "arrival_s", "books"), logs, answers, len(of_request), unknown)


def _has_counts(row: Mapping[str, Any]) -> bool:
    lengths = min(row["input_tokens"] or 0, row["output_tokens"] or 0)
    return row["kind"] in GENERATES and lengths >= 1 and row["arrival_s"] is not None


def request_scores(ledger: CallLedger) -> dict[int, float]:
    """The score of every request that has one."""
    with ledger.engine.connect() as connection:
        return {row.request: row.score for row in connection.execute(score.select())}


def _is_one_score(calls: Sequence[Mapping[str, Any]], scores: Mapping[int, float]) -> bool:
    return len(calls) == 1 and calls[0]["request"] in scores and bool(calls[0]["question"])


def _answer(row: Mapping[str, Any], score: float) -> dict[str, Any]:
    return {
        "question": row["question"],
        "model": row["service"],
        "score": score,
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
    }


def _trace(calls: Iterable[Mapping[str, Any]], begins: str, source: str) -> RequestTrace:
    """Calls in order of what begins them, on a clock that starts with the first."""
    ordered = sorted(calls, key=lambda row: float(row[begins] if row[begins] is not None else row["arrival_s"]))
    starts = [float(row[begins] if row[begins] is not None else row["arrival_s"]) for row in ordered]
    start_s = np.array(starts, dtype=np.float64)
    first_s, last_s = (np.array([_time(row, name) for row in ordered]) for name in ("first_s", "last_s"))
    first_s = np.where(last_s - first_s > STREAMED_S, first_s, nan)
    prompts, answers = (
        np.array([row[name] for row in ordered], dtype=np.int64) for name in ("input_tokens", "output_tokens")
    )
    origin_s = start_s[0] if len(start_s) else 0.0
    measured = TraceLatencies(first_s - start_s, last_s - start_s)
    return RequestTrace(start_s - origin_s, prompts, answers, source, measured=measured)


def _time(row: Mapping[str, Any], name: str) -> float:
    return nan if row[name] is None else float(row[name])
