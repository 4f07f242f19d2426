"""Processes that check answers: how many at once, for whom, and what of them is read.

What may run for ever or belongs to somebody else (regular expressions, schemas, a user's function) runs in a process
of its own (`check_child.py`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from comptroller.errors import InputError, UnsupportedError
from comptroller.gateway.config import CheckerConfig
from comptroller.gateway.formats import CheckerOptions
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.upstream_queue import UpstreamQueue

CHILD = Path(__file__).with_name("check_child.py")
LIMITS = CheckerConfig(python="", seconds=2.0)
"""Of checks that a request brings itself: a regular expression may take exponential time, so that two seconds bound
what one request can cost; what an operator configures has limits of its own."""
AT_ONCE = 4
"""Processes that check at the same time: each takes a core, and the gateway needs one itself; at twice it checks starve
the event loop on small machines."""
PER_KEY = 2
"""Of them for one key: half, so that one that sends slow patterns leaves places; at twice it, none."""
WAITING, WAIT_S = 1024, 60.0
"""Checks that wait, and how long: at the two seconds of a request's own check, four at once, 60 s are 120 checks before
it. What waits longer is refused. At twice them a request may hang for two minutes behind others."""
ANSWER_BYTES, COMPLAINT_BYTES = 4096, 8192
"""What is kept of a check's output: the start of its verdict, a line; the end of what it printed, whose last line is
told. At twice them four checks hold 50 kB more."""


class CheckerRequestError(GatewayError):
    """A request brought a schema that is none: no answer can be judged by it."""


class CheckerPool:
    """The checkers that an operator configured, and the places in which checks run. Keys take turns."""

    def __init__(self, known: Mapping[str, CheckerConfig] | None = None) -> None:
        self.known = known or {}
        self._places = UpstreamQueue("the checkers", AT_ONCE, WAITING, WAIT_S, per_key=PER_KEY)

    async def require_walls(self) -> None:
        """Holds the system against what a user's function needs, where one is configured.

        Raises:
            InputError: foreign code cannot be kept apart here; says what is missing.
        """
        for name, config in self.known.items():
            _source(name, config)
        if not self.known:
            return
        said = await _child_reply({"content": "", "source": "def right(text): return 1", "function": "right"}, LIMITS)
        if "unfit" in said:
            raise InputError(
                f"checkers: {', '.join(self.known)} would run foreign code, which this system cannot keep apart "
                f"({said['unfit']}); allow user namespaces (in a container: CAP_SYS_ADMIN, or a seccomp profile with "
                "unshare and mount), or leave the checkers out"
            )

    async def score(self, checker: CheckerOptions, content: str, key: str) -> float:
        """The verdict of a process on an answer, in [0, 1].

        Raises:
            UnsupportedError: it failed, or took more than it may.
            GatewayError: the request's schema is none, or no place came free.
        """
        task: dict[str, Any] = {"content": content}
        limits = LIMITS
        if checker.regex is not None:
            task["regex"] = checker.regex
        elif checker.json_schema is not None:
            task["json_schema"] = checker.json_schema
        else:
            name = checker.python or ""
            limits = self.known[name]
            function = limits.python.rpartition(":")[2]
            task |= {"source": _source(name, limits), "function": function, "arguments": checker.arguments}
        return _score(await self._in_turn(task, limits, key))

    def busy(self, key: str) -> int:
        """Places that a key's checks have."""
        return self._places.held(key)

    async def _in_turn(self, task: dict[str, Any], limits: CheckerConfig, key: str) -> dict[str, Any]:
        """Runs a check when its key has a place, and there is one."""
        place = await self._places.enter(key)
        try:
            return await _child_reply(task, limits)
        finally:
            place.leave()


async def _child_reply(task: dict[str, Any], limits: CheckerConfig) -> dict[str, Any]:
    """What a process says to a task.

    Raises:
        UnsupportedError: it failed, or took more than it may.
    """
    bounds = {"seconds": limits.seconds, "memory_bytes": limits.memory_bytes, "processes": limits.processes}
    document = msgspec.json.encode({"arguments": {}, **task, **bounds})
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(CHILD), stdin=pipe, stdout=pipe, stderr=pipe, env={}, start_new_session=True
    )
    try:
        async with asyncio.timeout(limits.seconds + 1.0):
            _, answer, complaint = await asyncio.gather(
                _tell(process.stdin, document),
                _read(process.stdout, ANSWER_BYTES, first=True),
                _read(process.stderr, COMPLAINT_BYTES, first=False),
            )
            code = await process.wait()
    except TimeoutError:
        raise UnsupportedError(f"the checker took more than {limits.seconds:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its first process ends with it, and all of its space with that
        await process.wait()
    return _document(answer, complaint, code)


async def _tell(to: asyncio.StreamWriter | None, document: bytes) -> None:
    assert to is not None, "stdin is a pipe"
    with suppress(ConnectionError):
        to.write(document)
        await to.drain()
        to.close()


async def _read(stream: asyncio.StreamReader | None, most: int, first: bool) -> bytes:
    """Reads to the end; keeps the first or the last bytes of it, at most so many."""
    assert stream is not None, "outputs are pipes"
    kept = b""
    while piece := await stream.read(2**16):
        kept = (kept + piece)[:most] if first else (kept + piece)[-most:]
    return kept


def _document(answer: bytes, complaint: bytes, code: int) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.DecodeError:
        last = complaint.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit code {code}"]
        raise UnsupportedError(f"the checker failed: {last[0][:300]}") from None


def _score(said: dict[str, Any]) -> float:
    if "fault" in said:
        where = f"comptroller.checker.{said.get('kind', 'json_schema')}"
        raise CheckerRequestError(400, f"{where} {said['fault']}"[:500], "invalid_value", where)
    if "unfit" in said:
        raise UnsupportedError(f"foreign code cannot be kept apart here: {said['unfit']}")
    value = said.get("score")
    if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise UnsupportedError(f"the checker gave {value!r}; scores lie in [0, 1]")
    return float(value)


def _source(name: str, config: CheckerConfig) -> str:
    """The text of a configured checker's file, which is all of it that the process sees.

    Raises:
        InputError: it names no file and function in it, or the file cannot be read.
    """
    file, _, function = config.python.rpartition(":")
    if not function.isidentifier() or not Path(file).is_file():
        raise InputError(f"checkers.{name}.python is {config.python!r}; write file.py:function")
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"checkers.{name}.python: {file}: {error}") from error
