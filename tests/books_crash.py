"""kill -9 of a real process that writes books under load, at random points, and what must hold after each.

As a program: `python tests/books_crash.py POINTS` does so on SQLite and PostgreSQL (make crash).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from sqlalchemy import func, select

from books_databases import fresh, server
from comptroller.books.budgets import SpendBudget
from comptroller.books.ledger import CallLedger, CallQuote
from comptroller.books.schema import entry, hold
from comptroller.books.verify import verify
from comptroller.books.writer import LedgerWriter
from comptroller.costs.rating import CallReceipt
from comptroller.errors import BudgetExceededError
from comptroller.work.call import Call

AT_ONCE = 64
WORST, MOST = 1000, 500_000
ROUND = 20


def load(where: str) -> None:
    """The process that is killed: many requests at once, without end; tells on stdout what it was told."""

    async def client(writer: LedgerWriter, draw: random.Random) -> None:
        while True:
            call = Call(call=writer.ledger.new_id(), request=1, service="p/m", key="k", project="p")
            os.write(1, b"? %d\n" % call.call)
            try:
                await writer.reserve(call, CallQuote(WORST))
            except BudgetExceededError:
                os.write(1, b"- %d\n" % call.call)
                await asyncio.sleep(0.01)
                continue
            os.write(1, b"R %d\n" % call.call)  # from here on the upstream may bill it
            await asyncio.sleep(draw.random() * 0.01)
            if draw.random() < 0.2:
                await writer.release(replace(call, finish="failed"), "test")
                os.write(1, b"F %d\n" % call.call)
            else:
                cost = draw.randrange(WORST + 1)
                await writer.settle(replace(call, finish="stop", output_tokens=cost), CallReceipt(cost))
                os.write(1, b"S %d %d\n" % (call.call, cost))

    async def run() -> None:
        with CallLedger.open(where) as books:
            books.recover()
            async with LedgerWriter(books) as writer:
                await asyncio.gather(*(client(writer, random.Random(n)) for n in range(AT_ONCE)))

    asyncio.run(run())


class Witness:
    """What processes were told before they were killed, over all of them."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.asked: set[int] = set()
        self.reserved: set[int] = set()
        self.refused: set[int] = set()
        self.ended: dict[int, int] = {}

    def kill_once(self, after_s: float) -> None:
        """Start a writer, let it work for a while, kill it, and read what it had said."""
        command = [sys.executable, __file__, "--load", self.where]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
        assert child.stdout is not None
        first = child.stdout.readline()  # it is at work
        assert first, "the writer ended by itself"
        reader = _Reader(child.stdout.fileno())
        reader.read_for(after_s)
        os.kill(child.pid, signal.SIGKILL)
        reader.read_all()
        assert child.wait() == -signal.SIGKILL
        for line in (first + bytes(reader.data)).splitlines():
            self._note(line)

    def _note(self, line: bytes) -> None:
        what, number, *cost = line.split()
        {b"?": self.asked, b"R": self.reserved, b"-": self.refused}.get(what, set()).add(int(number))
        if what in b"SF":
            self.ended[int(number)] = int(cost[0]) if cost else 0

    def check(self, limit: int) -> None:
        """After recovery: no call lost, none doubled, the budget held."""
        with CallLedger.open(self.where) as books:
            books.recover()
            with books.engine.connect() as connection:
                rows = connection.execute(select(entry.c.id, entry.c.kind, entry.c.charged_pusd)).all()
                assert connection.scalar(select(func.count()).select_from(hold)) == 0
            assert verify(books).faults == ()
            (balance,) = books.balances()
        booked = {row.id: row for row in rows}
        assert len(booked) == len(rows), "a call is booked twice"
        assert self.reserved <= booked.keys(), "a call is lost"
        assert not self.refused & booked.keys(), "a refused call is booked"
        assert booked.keys() <= self.asked
        for number, cost in self.ended.items():
            assert (booked[number].kind, booked[number].charged_pusd) in {("settled", cost), ("released", 0)}
        assert balance.held_pusd == 0
        assert balance.spent_pusd == sum(row.charged_pusd for row in rows) <= limit


class _Reader:
    def __init__(self, file: int) -> None:
        self._file, self.data = file, bytearray()
        os.set_blocking(file, False)

    def read_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._some()
            time.sleep(0.001)

    def read_all(self) -> None:
        os.set_blocking(self._file, True)
        while self._some():
            pass

    def _some(self) -> bool:
        try:
            read = os.read(self._file, 1 << 20)
        except BlockingIOError:
            return False
        self.data += read
        return bool(read)


def crash(where: str, points: int, seed: int = 0) -> Witness:
    """Kill writers of the same books at so many random points, and check after each."""
    draw, witness = random.Random(seed), Witness(where)
    with CallLedger.open(where) as books:
        books.set_budget(SpendBudget("key", "k", "total", 0))
    for _ in range(points):
        with CallLedger.open(where) as books:  # a budget that some rounds use up and others do not
            limit = books.balances()[0].spent_pusd + draw.randrange(10_000, MOST)
            books.set_budget(SpendBudget("key", "k", "total", limit))
        witness.kill_once(draw.random() * 0.4)
        witness.check(limit)
    return witness


def _main(points: int) -> None:
    with tempfile.TemporaryDirectory() as folder, server(durable=True) as url:
        for name in ("sqlite", "postgresql"):
            told = []
            for seed in range(0, points, ROUND):  # new books now and then: every check reads all rows
                where = str(Path(folder) / f"{seed}.sqlite") if name == "sqlite" else fresh(url)
                told.append(crash(where, min(ROUND, points - seed), seed))
            asked, held, refused, ended = (
                sum(len(getattr(item, what)) for item in told) for what in ("asked", "reserved", "refused", "ended")
            )
            print(
                f"{name}: {points} kills; {asked} calls asked, {held} held, {refused} refused, {ended} ended; "
                "none lost, none doubled, every budget held",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1] == "--load":
        load(sys.argv[2])
    else:
        _main(int(sys.argv[1]))
