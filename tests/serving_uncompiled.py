"""The event engine in another process, where its kernel is not compiled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from comptroller.serving.fleet import SimulatedFleet
from comptroller.work.call import CallTable


class EngineTurn(NamedTuple):
    """What an engine is told before it advances."""

    calls: CallTable | None = None
    watch: bool = False
    cancels: tuple[int, ...] = ()
    until_s: float = np.inf


def played(fleet: SimulatedFleet, turns: Iterable[EngineTurn], sample_s: float = 0.0) -> tuple[Any, bytes]:
    """The outcome of an engine after some turns, and all that it showed, bit by bit."""
    from comptroller.serving.engine import EventEngine  # noqa: PLC0415

    engine = EventEngine(fleet, sample_s)
    seen: list[Any] = []
    for turn in turns:
        if turn.calls is not None:
            engine.submit(turn.calls, turn.watch)
        for request in turn.cancels:
            engine.cancel(request)
        seen += [engine.advance(turn.until_s), engine.now_s, engine.outcome().finish]
    outcome = engine.run()
    parts = [outcome.requests, outcome.jobs, outcome.horizon_s, vars(outcome.meters), [vars(s) for s in outcome.series]]
    return outcome, b"".join(map(_bytes, [*seen, *parts]))


def _bytes(part: Any) -> bytes:
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, list) and part and not isinstance(part[0], str):
        return b"".join(map(_bytes, part))
    return np.asarray(part).tobytes()


class UncompiledEngine:
    """A process that plays turns without compiled code, as long as this object lives."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def played(self, *arguments: Any) -> bytes:
        """All that an uncompiled engine showed."""
        assert self._process.stdin and self._process.stdout
        pickle.dump(arguments, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def main() -> None:
    """Play what comes in, until nothing does."""
    from comptroller.serving.jit import COMPILED  # noqa: PLC0415

    assert not COMPILED
    while True:
        try:
            arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(played(*arguments)[1], sys.stdout.buffer)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
