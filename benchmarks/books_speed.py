"""How fast the books are: durable settled rows per second, and reports over a million rows, on SQLite and PostgreSQL.

`python benchmarks/books_speed.py` writes results/books_speed.{json,md}; it starts its own PostgreSQL, fsync on.
Others may use the machine at the same time: its load is written down, and CPU seconds beside the wall's. SQLite
syncs at every commit (synchronous=FULL), PostgreSQL as it is delivered.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from books_databases import fresh, server
from books_fill import Clock, batches, fill
from comptroller.books.budgets import SpendBudget
from comptroller.books.ledger import CallLedger, CallQuote
from comptroller.books.query import totals
from comptroller.books.writer import LedgerWriter
from comptroller.costs.rating import PUSD, CallReceipt
from comptroller.work.call import Call
from record import table, write

ROWS, MILLION = 30_000, 1_000_000
CLIENTS, CALLS = 1000, 10
TARGETS = {"sqlite": 5_000, "postgresql": 10_000}
REPORTS = (["key"], ["project"], ["model"], ["strategy"], ["day"], ["day", "model", "key"])


def posted(where: str) -> dict[str, float]:
    """Rows per second that are held and settled, 1,000 calls to a transaction, and CPU microseconds per row."""
    clock, taken = Clock(ROWS), []
    with CallLedger.open(where, clock) as ledger:
        ledger.set_budget(SpendBudget("all", "", "total", 9 * 10**6 * PUSD))
        work, cpu = list(batches(ledger, clock, ROWS)), time.process_time()
        for batch in work:
            start = time.perf_counter()
            assert all(isinstance(outcome, int) for outcome in ledger.apply(batch))
            taken.append(time.perf_counter() - start)
        cpu = time.process_time() - cpu
    taken.sort()
    return {
        "best_rows_per_s": 1000 / taken[0],
        "median_rows_per_s": 1000 / taken[len(taken) // 2],
        "cpu_us_per_row": cpu / ROWS * 1e6,
    }


def concurrent(where: str) -> dict[str, float]:
    """A thousand clients that each hold, then settle, call after call, as a gateway's do."""
    waits: list[float] = []

    async def client(writer: LedgerWriter) -> None:
        for _ in range(CALLS):
            call = Call(call=writer.ledger.new_id(), request=1, service="p/m", key="k", project="p")
            start = time.perf_counter()
            await writer.reserve(call, CallQuote(10))
            await writer.settle(replace(call, finish="stop", input_tokens=9, output_tokens=9), CallReceipt(7))
            waits.append(time.perf_counter() - start)

    async def run() -> float:
        with CallLedger.open(where) as ledger:
            ledger.set_budget(SpendBudget("key", "k", "total", PUSD))
            start = time.perf_counter()
            async with LedgerWriter(ledger) as writer:
                await asyncio.gather(*(client(writer) for _ in range(CLIENTS)))
            return CLIENTS * CALLS / (time.perf_counter() - start)

    rates = [asyncio.run(run()) for _ in range(3)]
    waits.sort()
    return {"rows_per_s": max(rates), "p50_ms": waits[len(waits) // 2] * 1e3, "p99_ms": waits[-len(waits) // 100] * 1e3}


def alone(where: str) -> float:
    """Milliseconds that one client waits for a hold and a settlement, median of 300."""
    waits = []
    with CallLedger.open(where) as ledger:
        for _ in range(300):
            call = Call(call=ledger.new_id(), request=1)
            start = time.perf_counter()
            ledger.reserve(call, CallQuote(10))
            ledger.settle(replace(call, finish="stop"), CallReceipt(7))
            waits.append(time.perf_counter() - start)
    return sorted(waits)[150] * 1e3


def reports(where: str) -> dict[str, dict[str, float]]:
    """Seconds of each report, best of five, and CPU seconds of this process."""
    found = {}
    with CallLedger.open(where) as ledger:
        for by in REPORTS:
            taken, cpu = [], time.process_time()
            for _ in range(5):
                start = time.perf_counter()
                totals(ledger, by)
                taken.append(time.perf_counter() - start)
            found[" × ".join(by)] = {"s": min(taken), "cpu_s": (time.process_time() - cpu) / 5}
    return found


def measure(name: str, make: Callable[[], str], filled: str = "") -> dict[str, Any]:
    """All figures of one database; make() is where empty books can be made, filled: a million rows made before."""
    figures: dict[str, Any] = {"posted": posted(make()), "concurrent": concurrent(make()), "alone_ms": alone(make())}
    where = filled or make()
    if not filled:
        fill(where, MILLION)
    figures["reports"] = reports(where)
    print(name, figures, flush=True)
    return figures


def main(filled: str = "") -> None:
    """Measure both and write the results."""
    load = os.getloadavg()[0]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, server(durable=True) as url:
        files = (str(Path(folder) / f"{number}.sqlite") for number in range(10))
        figures["sqlite"] = measure("sqlite", lambda: next(files), filled)
        figures["postgresql"] = measure("postgresql", lambda: fresh(url))
    figures["load_average"] = [load, os.getloadavg()[0]]
    print(write("books_speed", figures, rendered(figures), ("sqlalchemy", "psycopg")))


def rendered(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    load = figures["load_average"][0]
    heads = ["", "SQLite", "PostgreSQL", "target"]
    sides = [figures[name] for name in TARGETS]
    goal = f"{TARGETS['sqlite']:,} or {TARGETS['postgresql']:,}"
    posted_rows = [
        [what, *(f"{s['posted'][key]:,.0f}" for s in sides), target]
        for what, key, target in (
            ("held and settled rows per second, best transaction", "best_rows_per_s", goal),
            ("the same, median transaction", "median_rows_per_s", ""),
            ("CPU of the writer, µs per row", "cpu_us_per_row", ""),
        )
    ]
    rows = [
        *posted_rows,
        [
            f"rows per second from {CLIENTS:,} clients at once",
            *(f"{s['concurrent']['rows_per_s']:,.0f}" for s in sides),
            "",
        ],
        ["their wait for both, p50 ms", *(f"{s['concurrent']['p50_ms']:.0f}" for s in sides), ""],
        ["one client's wait for both, p50 ms", *(f"{s['alone_ms']:.1f}" for s in sides), ""],
    ]
    for by in sides[0]["reports"]:
        cells = [f"{s['reports'][by]['s']:.2f} ({s['reports'][by]['cpu_s']:.2f})" for s in sides]
        rows.append([f"1 M rows by {by}, s (CPU s of the reader)", *cells, "2.00"])
    note = (
        f"Load average {load:.1f} on {os.cpu_count()} cores while measuring. A row is held and settled: two postings, "
        "chained by hash, with budget, daily sums and account."
    )
    return f"# Speed of the books\n\n{table(heads, rows)}\n\n{note}"


if __name__ == "__main__":
    main(*sys.argv[1:])
