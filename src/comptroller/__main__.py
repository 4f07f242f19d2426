"""`python -m comptroller`, and the program `comptroller`, are the command line."""

from __future__ import annotations

import os
import signal
from types import FrameType

INTERRUPTED = 130
"""Exit code of Ctrl-C, while the command line is still being imported."""


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def run() -> None:
    """The command line; until it is there Ctrl-C ends the process without a word."""
    before = signal.signal(signal.SIGINT, _leave)
    from comptroller.cli import main

    if before is not _leave:
        signal.signal(signal.SIGINT, before)
    main()


if __name__ == "__main__":
    run()
