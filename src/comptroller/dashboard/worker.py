"""A process of its own that plans: a gateway that serves must not wait for a search, and a search may be given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from comptroller.dashboard.questions import WhatIfBase, WhatIfQuestion
from comptroller.dashboard.replanning import WhatIfAnswer, WhatIfPlanner
from comptroller.errors import ComptrollerError
from comptroller.work.workload import load


@dataclass(frozen=True, slots=True)
class PhaseMessage:
    """What is being done now."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalMessage:
    """Why there is no answer."""

    text: str


@dataclass(frozen=True, slots=True)
class BaseMessage:
    """The workload as it stands, planned and proven."""

    base: WhatIfBase
    standing: WhatIfAnswer


@dataclass(frozen=True, slots=True)
class EndMessage:
    """Nothing more comes of a question."""


WorkerMessage = PhaseMessage | RefusalMessage | BaseMessage | WhatIfAnswer | EndMessage

FIRST = 0
"""Number of what comes of planning the workload itself; questions count from one."""


class SupersededError(ComptrollerError):
    """Another question was asked; what was begun is given up."""


class _PhaseSender:
    """Progress as messages; gives up where another question waits."""

    def __init__(self, pipe: Connection, number: int) -> None:
        self._pipe, self._number = pipe, number

    def __call__(self, done: int, total: int) -> None:
        """A count: nothing to tell, a chance to give up."""
        self._give_way()

    def phase(self, what: str) -> None:
        """Something else is being done now."""
        self._give_way()
        self._pipe.send((self._number, PhaseMessage(what)))

    def _give_way(self) -> None:
        if self._number != FIRST and self._pipe.poll():
            raise SupersededError("another question was asked")


def answer_questions(pipe: Connection, workload: str) -> None:
    """The process: plans a workload, then answers what comes through the pipe until it is closed."""
    try:
        replanner = WhatIfPlanner(load(Path(workload)), _PhaseSender(pipe, FIRST))
    except ComptrollerError as error:
        pipe.send((FIRST, RefusalMessage(str(error))))
        return
    pipe.send((FIRST, BaseMessage(replanner.base, replanner.standing)))
    while True:
        try:
            number, asked, deep = pipe.recv()
        except EOFError:
            return
        _answer(pipe, replanner, number, (asked, deep))


def _answer(pipe: Connection, replanner: WhatIfPlanner, number: int, what: tuple[WhatIfQuestion, bool]) -> None:
    """One question: what is known at once, or, if it was asked for, what a search finds."""
    asked, deep = what
    try:
        if deep:
            for found in replanner.searched(asked, _PhaseSender(pipe, number)):
                pipe.send((number, found))
        else:
            pipe.send((number, replanner.at_once(asked)))
    except SupersededError:
        pass
    except ComptrollerError as error:
        pipe.send((number, RefusalMessage(str(error))))
    pipe.send((number, EndMessage()))


class WhatIfWorker:
    """The process from outside: started once, asked from an event loop.

    Its first messages, of planning the workload itself, are kept: `base` is there once that is done.
    """

    def __init__(self, workload: Path) -> None:
        self.workload = workload
        self.base: BaseMessage | None = None
        self.phase, self.refusal = "starting", ""
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._queues: dict[int, asyncio.Queue[WorkerMessage]] = {}
        self._last = FIRST

    def start(self) -> None:
        """Begins to plan the workload; a second call does nothing."""
        if self._process is not None:
            return
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=answer_questions, args=(theirs, str(self.workload)), daemon=True)
        self._process.start()
        theirs.close()
        self._reader = asyncio.create_task(self._read(self._pipe))

    async def stop(self) -> None:
        """Ends the process."""
        if self._process is None or self._pipe is None or self._reader is None:
            return
        self._process.terminate()
        await asyncio.gather(self._reader, return_exceptions=True)
        await asyncio.to_thread(self._process.join)
        self._pipe.close()
        self._process = None

    async def ask(self, asked: WhatIfQuestion, deep: bool) -> AsyncIterator[WorkerMessage]:
        """What comes of a question, in order, until its end. deep: search and prove, in place of what is known."""
        if self._pipe is None or self.base is None:
            yield RefusalMessage(self.refusal or f"the workload is being planned: {self.phase}")
            return
        self._last += 1
        number, queue = self._last, asyncio.Queue[WorkerMessage]()
        self._queues[number] = queue
        try:
            self._pipe.send((number, asked, deep))
            while not isinstance(message := await queue.get(), EndMessage):
                yield message
        except OSError as error:
            yield RefusalMessage(f"the planner has ended: {error}; start the dashboard again")
        finally:
            del self._queues[number]

    async def _read(self, pipe: Connection) -> None:
        """Hands messages to those who wait for them."""
        while True:
            try:
                number, message = await asyncio.to_thread(pipe.recv)
            except (EOFError, OSError):
                break
            if number == FIRST:
                self._keep(message)
            elif number in self._queues:
                self._queues[number].put_nowait(message)
        self.refusal = self.refusal or "the planner has ended; start the dashboard again"
        for queue in self._queues.values():
            queue.put_nowait(RefusalMessage(self.refusal))
            queue.put_nowait(EndMessage())

    def _keep(self, message: WorkerMessage) -> None:
        if isinstance(message, BaseMessage):
            self.base = message
        elif isinstance(message, RefusalMessage):
            self.refusal = message.text
        elif isinstance(message, PhaseMessage):
            self.phase = message.text
