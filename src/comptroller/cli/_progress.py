"""Progress on stderr that appears only once the work has taken a second: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread, Timer
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

PATIENCE_S = 1.0
"""Work that is done within a second shows no bar, which would only flicker."""

EVERY_S = 5.0
"""Seconds between two plain lines: a minute of work leaves twelve of them in a log. At half of it a log is mostly
progress."""


class ProgressBar:
    """Call it with (done, total) from inside a `with`; at the end of the count it shows that work goes on.

    every_s: between two lines where stderr is no terminal.
    """

    def __init__(
        self,
        counting: str,
        then: str,
        console: Console | None = None,
        patience_s: float = PATIENCE_S,
        every_s: float = EVERY_S,
    ) -> None:
        self._console = console or Console(stderr=True, emoji=False)
        shape = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        drawn = self._console.is_terminal
        self._progress = Progress(*shape, console=self._console, transient=True, disable=not drawn)
        self._task = self._progress.add_task(counting, total=None)
        self._then, self._what, self._every_s = then, counting, every_s
        self._since, self._over = monotonic(), Event()
        self._lines = Thread(target=self._print_lines, args=(patience_s,), daemon=True)
        self._late = Timer(patience_s, self._progress.start)
        self._late.daemon = True

    def __enter__(self) -> ProgressBar:
        (self._late if self._console.is_terminal else self._lines).start()
        return self

    def __call__(self, done: int, total: int) -> None:
        """Tell how far the work has come."""
        if done + 1 < total:
            self._progress.update(self._task, completed=done, total=total)
            self._what = f"{self._what.partition(':')[0]}: {done} of {total}"
        elif self._then:
            self.phase(self._then)

    def phase(self, what: str) -> None:
        """Tell what is being done now."""
        self._what = what
        self._progress.reset(self._task, description=escape(what), total=None)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Out of the way while something is printed."""
        shown = self._progress.live.is_started
        self._progress.stop()
        yield
        if shown:
            self._progress.start()

    def _print_lines(self, patience_s: float) -> None:
        """What is being done, now and then, until all is done."""
        wait_s = patience_s
        while not self._over.wait(wait_s):
            line = f"{monotonic() - self._since:.0f} s: {self._what}"
            self._console.print(escape(line), style="dim", highlight=False, soft_wrap=True)
            wait_s = self._every_s

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._console.is_terminal:
            self._late.cancel()
            self._late.join()
        self._progress.stop()
