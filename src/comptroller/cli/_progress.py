"""A progress bar on stderr that appears only once the work has taken a second."""

from __future__ import annotations

from threading import Timer
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

PATIENCE_S = 1.0
"""Work that is done within a second shows no bar, which would only flicker."""


class ProgressBar:
    """Call it with (done, total) from inside a `with`; at the end of the count it shows that work goes on."""

    def __init__(
        self, counting: str, then: str, console: Console | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        console = console or Console(stderr=True, emoji=False)
        shape = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*shape, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task(counting, total=None)
        self._then = then
        self._late = Timer(patience_s, self._progress.start)
        self._late.daemon = True

    def __enter__(self) -> ProgressBar:
        self._late.start()
        return self

    def __call__(self, done: int, total: int) -> None:
        """Tell how far the work has come."""
        if done + 1 < total:
            self._progress.update(self._task, completed=done, total=total)
        else:
            self._progress.reset(self._task, description=self._then, total=None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._late.cancel()
        self._late.join()
        self._progress.stop()
