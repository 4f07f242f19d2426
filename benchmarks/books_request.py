"""CPU and SQL statements of one request in the books at one connection: the settlement before and the hold after it
in one transaction, with one budget, as a gateway with a single caller writes them.

`python benchmarks/books_request.py` writes results/books_request.{json,md}. Seconds are the CPU's, of this process;
of a durable commit the wait for the disk is no part.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace

from comptroller.books.budgets import SpendBudget
from comptroller.books.ledger import CallLedger, CallQuote
from comptroller.books.postings import ReservationPosting, SettlementPosting
from comptroller.costs.rating import PUSD, CallReceipt
from comptroller.work.call import Call
from record import table, write

REQUESTS, REPEATS = 3000, 3


def requests(ledger: CallLedger, count: int) -> None:
    """Requests one after another, each of one call."""
    late: list[SettlementPosting] = []
    for _ in range(count):
        request = ledger.new_id()
        call = Call(call=ledger.new_id(), request=request, role="solver", service="p/m", key="shop", project="web")
        outcomes = ledger.apply([*late, ReservationPosting(call, CallQuote(10))])
        assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
        late = [SettlementPosting(replace(call, finish="stop", input_tokens=9, output_tokens=9), CallReceipt(7))]
    ledger.apply(late)


def measured(ledger: CallLedger) -> dict[str, float]:
    """CPU microseconds of a request, the least of three runs, and its statements."""
    requests(ledger, 200)
    took = []
    for _ in range(REPEATS):
        start = time.process_time()
        requests(ledger, REQUESTS)
        took.append((time.process_time() - start) / REQUESTS * 1e6)
    seen: list[str] = []
    raw = ledger.engine.raw_connection()  # the pool has one connection, which the next transaction gets
    raw.dbapi_connection.set_trace_callback(seen.append)
    raw.close()
    requests(ledger, 100)
    return {"cpu_us": min(took), "statements": len(seen) / 100}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, CallLedger.open(f"{folder}/books.sqlite") as ledger:
        ledger.set_budget(SpendBudget("key", "shop", "day", 1000 * PUSD))
        result = measured(ledger)
    print(result)
    if "--write" in sys.argv:
        rows = [["a request, one budget", f"{result['cpu_us']:.0f}", f"{result['statements']:.1f}"]]
        text = table(["", "CPU us", "SQL statements, BEGIN and COMMIT included"], rows)
        write("books_request", {"books": result}, text)


if __name__ == "__main__":
    main()
