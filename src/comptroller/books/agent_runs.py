"""Runs of agents in the books: calls of a session, or of a request that a strategy answered; what monitors stopped."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, TextIO

from comptroller.books.ledger import CallLedger
from comptroller.books.pseudonyms import PseudonymBook
from comptroller.books.query import EVERYTHING, LedgerScope, rows
from comptroller.books.schema import account
from comptroller.books.traffic import request_scores
from comptroller.work.tool_notes import MONITOR
from comptroller.work.trajectory_files import APART, WORDS

Row = Mapping[str, Any]

COLUMNS = (
    "source", "run", "model", "instance", "step", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens",
    "cost_usd", "llm_s", "tool_s", "to_next_call_s", "resolved", *WORDS,
)  # fmt: skip
"""Columns of a table of calls, as `comptroller fit monitors` reads them."""
TOOL = "tool:"
"""What the role of a wait for a tool begins with, before its name."""
SOLVED = 0.5
"""Least score of a request that counts as solved."""


@dataclass(frozen=True, slots=True)
class BookedStop:
    """A run that a monitor stopped. run: label of the question, else the session's or the request's number.

    calls, usd: made and spent until then.  spared_usd: what the run would have gone on to spend, predicted; NaN where
    the monitor does not tell.
    """

    monitor: str
    key: str
    run: str
    calls: int
    usd: float
    spared_usd: float
    why: str


def _place(row: Row) -> tuple[str, int]:
    """The run of a row: its session, else its request."""
    return (row["key"], row["session"]) if row["session"] >= 0 else ("", row["request"])


def booked_stops(ledger: CallLedger, scope: LedgerScope = EVERYTHING) -> list[BookedStop]:
    """Every stop of a monitor, in the order of writing, with what its run had spent."""
    stops = list(rows(ledger, scope, account.c.role.startswith(MONITOR, autoescape=True)))
    places = {_place(row) for row in stops}
    spent: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in rows(ledger, scope) if stops else ():
        if _place(row) in places and row["input_tokens"]:
            spent[_place(row)].append(row["pusd"] or 0)
    return [_stop(row, spent[_place(row)]) for row in stops]


def _stop(row: Row, spent: Sequence[int]) -> BookedStop:
    spared = nan if row["estimate_pusd"] is None else row["estimate_pusd"] / 1e12
    run = row["question"] or str(_place(row)[1])
    return BookedStop(
        row["role"].removeprefix(MONITOR), row["key"], run, len(spent), sum(spent) / 1e12, spared, row["note"]
    )


def calls_of_runs(
    ledger: CallLedger, to: TextIO, scope: LedgerScope = EVERYTHING, pseudonyms: PseudonymBook | None = None
) -> int:
    """Writes the calls of all runs as a table that monitors learn from; returns their number.

    The books keep no texts, so that what tools gave back is not in it.  pseudonyms: in place of labels of questions.
    """
    runs: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows(ledger, scope):
        if row["input_tokens"] or row["role"].startswith(TOOL):
            runs[_place(row)].append(row)
    scores = request_scores(ledger)
    writer = csv.DictWriter(to, COLUMNS, lineterminator="\n")
    writer.writeheader()
    count = 0
    for number, found in enumerate(runs.values()):
        for cells in _cells(found, str(number), scores, pseudonyms):
            writer.writerow(cells)
            count += 1
    return count


def _cells(
    found: Iterable[Row], run: str, scores: Mapping[int, float], pseudonyms: PseudonymBook | None
) -> list[dict[str, Any]]:
    """The calls of a run: those that made tokens, with the waits for tools between them."""
    ordered = sorted(found, key=lambda row: (row["arrival_s"] or 0.0, row["number"]))
    calls = [row for row in ordered if row["input_tokens"] and row["output_tokens"]]
    waits: dict[int, float] = defaultdict(float)
    rounds: dict[int, list[Row]] = defaultdict(list)
    for row in ordered:
        waits[row["parent"]] += row["wait_s"] or 0.0
        if row["role"].startswith(TOOL):
            rounds[row["parent"]].append(row)
    judged = [scores[row["request"]] for row in calls if row["request"] in scores]
    name = next((row["question"] for row in calls if row["question"]), "")
    about = {
        "source": "books", "run": run, "model": calls[0]["service"] if calls else "",
        "instance": (name if pseudonyms is None else pseudonyms.of("question", name)) or run,
        "resolved": str(judged[-1] >= SOLVED).lower() if judged else "",
    }  # fmt: skip
    ends = [row["arrival_s"] for row in calls[1:]]
    return [
        about | _call_cells(row, step, ends, waits) | _round_cells(rounds[row["id"]]) for step, row in enumerate(calls)
    ]


def _round_cells(rounds: Sequence[Row]) -> dict[str, str]:
    """The tools after a call, and what their rounds say of themselves."""
    words = [row["role"].removeprefix(TOOL) for row in rounds], [row["note"] or "" for row in rounds]
    return {name: APART.join(filter(None, told)) for name, told in zip(WORDS, words, strict=True)}


def _call_cells(row: Row, step: int, ends: Sequence[float], waits: Mapping[int, float]) -> dict[str, Any]:
    timed = row["started_s"] is not None and row["last_s"] is not None
    return {
        **{name: row[name] for name in COLUMNS if name.endswith("_tokens")},
        "step": step,
        "cost_usd": "" if row["pusd"] is None else row["pusd"] / 1e12,
        "llm_s": row["last_s"] - row["started_s"] if timed else "",
        "tool_s": waits.get(row["id"], ""),
        "to_next_call_s": ends[step] - row["started_s"] if timed and step < len(ends) else "",
    }
