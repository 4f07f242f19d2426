"""Books with many rows: requests of up to four calls over 30 days, the same every time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from comptroller.books.ledger import CallLedger, CallQuote, ReservationPosting, SettlementPosting
from comptroller.books.postings import Posting
from comptroller.costs.carbon import CallEnergy
from comptroller.costs.rating import CallReceipt
from comptroller.work.call import Call

START_US = 1_790_000_000_000_000
SPAN_US = 30 * 86_400 * 10**6
SERVICES = {"openai/gpt-5-mini": 2, "own/llama-8b": 1, "google/gemini-2.5-flash": 3}


class Clock:
    """A clock that goes through 30 days in as many steps as there are rows."""

    def __init__(self, rows: int) -> None:
        self.step_us, self.now_us = SPAN_US // rows, START_US

    def __call__(self) -> int:
        return self.now_us


def calls(ledger: CallLedger, draw: random.Random, request: int) -> list[Call]:
    """The four calls of a request: three samples and a check by a cheaper model."""
    about = {
        "request": request,
        "strategy": draw.choice(("once", "best_of_n(n=4)", "cascade")),
        "key": f"key-{draw.randrange(20)}",
        "project": f"project-{draw.randrange(5)}",
    }
    services = [draw.choice(list(SERVICES))] * 3 + ["own/llama-8b"]
    return [
        Call(
            call=ledger.new_id(),
            attempt=int(number == 2),
            role="verify" if number == 3 else "sample",
            service=service,
            arrival_s=ledger.clock() / 1e6,
            input_tokens=draw.randrange(50, 4000),
            output_tokens=draw.randrange(1, 3000),
            **about,
        )
        for number, service in enumerate(services)
    ]


def ended(held: Call, draw: random.Random) -> SettlementPosting:
    """Its settlement."""
    tokens = held.input_tokens + 4 * held.output_tokens
    energy = CallEnergy(
        tokens * 1e-3, tokens * 2e-3, tokens * 2e-3, tokens * 4e-3, tokens * 1e-6, tokens * 1e10, "predicted"
    )
    finish = draw.choices(("stop", "length", "cancelled", "failed"), (90, 5, 3, 2))[0]
    done = replace(held, finish=finish, last_s=held.arrival_s + 1.0, source="priced")
    return SettlementPosting(done, CallReceipt(tokens * SERVICES[held.service] * 100_000, None, energy))


def batches(ledger: CallLedger, clock: Clock, rows: int, size: int = 1000) -> Iterator[list[Posting]]:
    """Holds and their settlements, so many at a time."""
    draw = random.Random(7)
    for _ in range(0, rows, size):
        made: list[Call] = []
        while len(made) < size:
            clock.now_us += 4 * clock.step_us
            made += calls(ledger, draw, ledger.new_id())
        yield [ReservationPosting(item, CallQuote(10**12, 10**9)) for item in made] + [
            ended(item, draw) for item in made
        ]


def fill(where: str, rows: int) -> None:
    """Write so many rows."""
    clock = Clock(rows)
    with CallLedger.open(where, clock) as ledger:
        for batch in batches(ledger, clock, rows):
            refused = [outcome for outcome in ledger.apply(batch) if not isinstance(outcome, int)]
            assert not refused, refused[0]
