"""Where holds and settlements go: a ledger, or nowhere."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Protocol

from comptroller.books.ledger import CallLedger
from comptroller.books.postings import Posting
from comptroller.books.writer import LedgerWriter


class GatewayBooks(Protocol):
    """Where holds and settlements go: a ledger's writer, or nothing."""

    def new_id(self) -> int:
        """An id for a call or request."""
        ...

    def post(self, posting: Posting) -> asyncio.Future[int]:
        """Queues a posting; the future ends when it is durable or refused."""
        ...


class LedgerBooks:
    """A ledger's ids and its writer."""

    def __init__(self, ledger: CallLedger, writer: LedgerWriter) -> None:
        self._ledger, self._writer = ledger, writer

    def new_id(self) -> int:
        """A new id."""
        return self._ledger.new_id()

    def post(self, posting: Posting) -> asyncio.Future[int]:
        """Queues a posting."""
        return self._writer.post(posting)


class NullBooks:
    """No books: for questions solved without a server."""

    def __init__(self) -> None:
        self._ids = count(1)

    def new_id(self) -> int:
        """The next number."""
        return next(self._ids)

    def post(self, posting: Posting) -> asyncio.Future[int]:
        """Nothing is written."""
        done = asyncio.get_running_loop().create_future()
        done.set_result(0)
        return done
