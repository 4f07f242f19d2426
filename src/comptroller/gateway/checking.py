"""Judging answers: what is compared in votes, verdicts that models give, and checkers.

What may run for ever or belongs to somebody else (regular expressions, schemas, a user's function) runs in a process
of its own with limits on time, memory and files.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Mapping
from math import isnan, nan
from pathlib import Path
from typing import Any

import msgspec

from comptroller.errors import InputError, UnsupportedError
from comptroller.gateway.config import CheckerConfig
from comptroller.gateway.formats import CheckerOptions
from comptroller.gateway.problems import GatewayError

CHILD = Path(__file__).with_name("check_child.py")
LIMITS = CheckerConfig(python="", seconds=2.0)
"""Of checks that a request brings itself: a regular expression may take exponential time, so that two seconds bound
what one request can cost; what an operator configures has limits of its own."""
KINDS = ("exact", "number", "regex", "json_schema", "python", "model")
AT_ONCE = asyncio.Semaphore(4)
"""Processes that check at the same time: each takes a core, and the gateway needs one itself; at twice it checks starve
the event loop on small machines."""

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?")
_LETTER = re.compile(r"\b([A-J])\b")


def last_number(text: str) -> float:
    """The last number of a text, NaN where there is none.

    >>> last_number("It is 1,234.5."), last_number("none")
    (1234.5, nan)
    """
    numbers = _NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else nan


def _number(text: str) -> str | None:
    value = last_number(text)
    return None if isnan(value) else f"{value:.12g}"


def _letter(text: str) -> str | None:
    letters = _LETTER.findall(text)
    return letters[-1] if letters else None


ANSWERS: Mapping[str, Callable[[str], str | None]] = {
    "text": lambda text: " ".join(text.split()) or None,
    "number": _number,
    "letter": _letter,
}
"""What of a reply is compared: its text, its last number, its last letter from A to J."""


def answer_of(kind: str) -> Callable[[str], str | None]:
    """How an answer is read out of a reply.

    Raises:
        GatewayError: there is no such way.
    """
    if kind not in ANSWERS:
        allowed = ", ".join(ANSWERS)
        raise GatewayError(
            400, f"comptroller.answer is {kind!r}; allowed: {allowed}", "invalid_value", "comptroller.answer"
        )
    return ANSWERS[kind]


def verdict(text: str) -> float:
    """What a judge's words are worth: the last yes or no, else the last number if it lies in [0, 1]; NaN otherwise.

    >>> verdict("Step 2 is wrong. No."), verdict("Difficulty: 0.7"), verdict("hm")
    (0.0, 0.7, nan)
    """
    verdicts = re.findall(r"\b(yes|no)\b", text.lower())
    if verdicts:
        return float(verdicts[-1] == "yes")
    value = last_number(text)
    return value if 0.0 <= value <= 1.0 else nan


def valid_checker(checker: CheckerOptions, known: Mapping[str, CheckerConfig]) -> CheckerOptions:
    """Itself.

    Raises:
        GatewayError: it says nothing, or more than one thing, or names a function that is not configured.
    """
    given = [kind for kind in KINDS if getattr(checker, kind) is not None]
    if len(given) != 1:
        raise GatewayError(
            400, f"comptroller.checker needs one of {', '.join(KINDS)}, not {len(given)}", "invalid_value",
            "comptroller.checker",
        )  # fmt: skip
    if checker.python is not None and checker.python not in known:
        there = ", ".join(known) or "none; add [checkers.NAME] to the gateway's configuration"
        raise GatewayError(
            400, f"comptroller.checker.python: no checker {checker.python!r}; there are {there}", "invalid_value",
            "comptroller.checker.python",
        )  # fmt: skip
    return checker


async def score(checker: CheckerOptions, content: str, known: Mapping[str, CheckerConfig]) -> float:
    """The verdict on an answer, in [0, 1]. A model's verdict is asked for elsewhere.

    Raises:
        UnsupportedError: the checker failed, or took more than it may.
    """
    if checker.exact is not None:
        return float(" ".join(content.split()) == " ".join(checker.exact.split()))
    if checker.number is not None:
        return float(abs(last_number(content) - checker.number) <= checker.tolerance)
    task: dict[str, Any] = {"content": content}
    limits = LIMITS
    if checker.regex is not None:
        task["regex"] = checker.regex
    elif checker.json_schema is not None:
        task["json_schema"] = checker.json_schema
    else:
        limits = known[checker.python or ""]
        task |= {"python": limits.python, "arguments": checker.arguments}
    return await score_in_child(task, limits)


async def score_in_child(task: Mapping[str, Any], limits: CheckerConfig) -> float:
    """Runs a check in a process of its own.

    Raises:
        UnsupportedError: it failed, or took more than it may.
    """
    document = msgspec.json.encode({**task, "seconds": limits.seconds, "memory_bytes": limits.memory_bytes})
    async with AT_ONCE:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(CHILD), stdin=pipe, stdout=pipe, stderr=pipe, env={}
        )
        try:
            async with asyncio.timeout(limits.seconds + 1.0):
                answer, complaint = await process.communicate(document)
        except TimeoutError:
            raise UnsupportedError(f"the checker took more than {limits.seconds:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return _score(answer, complaint, process.returncode or 0)


def _score(said: bytes, complaint: bytes, code: int) -> float:
    try:
        value = float(msgspec.json.decode(said))
    except (msgspec.DecodeError, TypeError, ValueError):
        last = complaint.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit code {code}"]
        raise UnsupportedError(f"the checker failed: {last[0][:300]}") from None
    if not 0.0 <= value <= 1.0:
        raise UnsupportedError(f"the checker gave {value:g}; scores lie in [0, 1]")
    return value


def require_callable(name: str, config: CheckerConfig) -> None:
    """Raises InputError unless a configured checker names a file and a function in it."""
    file, _, function = config.python.rpartition(":")
    if not function.isidentifier() or not Path(file).is_file():
        raise InputError(f"checkers.{name}.python is {config.python!r}; write file.py:function")
