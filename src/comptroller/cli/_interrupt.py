"""Ctrl-C ends a command within a second, wherever it hits: a solver or a compiled kernel does not hear it."""

from __future__ import annotations

import os
import signal
import sys
from threading import Thread, current_thread, main_thread
from time import sleep
from types import TracebackType

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended: 128 and the number of the signal, as shells count."""

GRACE_S = 0.6
"""Seconds in which a command may end by itself and put away what it has begun. Twice as many are more than a second."""

SHOW_CURSOR = "\x1b[?25h"


class InterruptWatch:
    """While it is entered, a process that Ctrl-C does not end soon is ended.

    The first Ctrl-C raises `KeyboardInterrupt` as ever. A thread that the signal itself wakes waits for what comes of
    it, so that it also sees one that comes while the main thread runs foreign code.
    """

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._ends: tuple[int, int] | None = None
        self._before = -1

    def __enter__(self) -> InterruptWatch:
        if current_thread() is main_thread():
            self._ends = os.pipe()
            os.set_blocking(self._ends[1], False)
            self._before = signal.set_wakeup_fd(self._ends[1], warn_on_full_buffer=False)
            Thread(target=self._follow, args=(self._ends[0],), daemon=True).start()
        return self

    def _follow(self, read: int) -> None:
        while number := os.read(read, 1):
            if number[0] == signal.SIGINT:
                sleep(self._grace_s)
                if sys.stderr.isatty():
                    os.write(2, SHOW_CURSOR.encode())
                os._exit(INTERRUPTED)
        os.close(read)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a Ctrl-C the watch stays: threads that are left over may keep the process from ending.
        interrupted = kind is KeyboardInterrupt or getattr(error, "code", None) == INTERRUPTED
        if self._ends is not None and not interrupted:
            signal.set_wakeup_fd(self._before)
            os.close(self._ends[1])
