"""Judging answers: what is compared in votes, verdicts that models give, and checkers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isnan, nan
from re import _parser  # type: ignore[attr-defined]  # the only way to read a pattern without compiling it
from typing import Any

from comptroller.gateway.checker_pool import CheckerPool, CheckerRequestError
from comptroller.gateway.config import CheckerConfig
from comptroller.gateway.formats import CheckerOptions
from comptroller.gateway.problems import GatewayError
from comptroller.strategies.protocol import Strategy
from comptroller.strategies.recorded_roles import JUDGING
from comptroller.strategies.spelling import spell
from comptroller.strategies.world_inputs import INPUTS, needs
from comptroller.work.tool_notes import CHECKER

__all__ = [
    "CHECKER",
    "CheckerPool",
    "CheckerRequestError",
    "answer_of",
    "last_number",
    "needs",
    "require_context",
    "require_verdicts",
    "score",
    "untold_likelihoods",
    "valid_checker",
    "verdict",
]

Json = dict[str, Any]
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
KINDS = ("exact", "number", "regex", "json_schema", "python", "model")
MOST_PATTERN = 10_000
"""Characters of a regular expression, which is read where all requests are served: 10 ms at most. At twice it twice as
long."""

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
        GatewayError: it says nothing, or more than one thing, names a function that is not configured, or brings a
            pattern that is none or a schema that refers elsewhere.
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
    if checker.regex is not None:
        _require_pattern(checker.regex)
    if checker.json_schema is not None:
        _require_own_references(checker.json_schema)
    return checker


def _require_pattern(pattern: str) -> None:
    where = "comptroller.checker.regex"
    if len(pattern) > MOST_PATTERN:
        raise GatewayError(400, f"{where} has more than {MOST_PATTERN} characters", "invalid_value", where)
    try:  # read alone: compiling a class of many letters without case takes a second for every 500 characters
        _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise GatewayError(400, f"{where} is no regular expression: {error}", "invalid_value", where) from error


def _require_own_references(schema: Json) -> None:
    """Refuses a schema that refers to what is elsewhere: nothing is fetched."""
    names, asked = set(), []
    for at in _objects(schema):
        names |= {at[word].rstrip("#") for word in ("$id", "id") if isinstance(at.get(word), str)}
        asked += [at[word] for word in REFERENCES if isinstance(at.get(word), str)]
    there = "".join(f"{name}\n" for name in sorted(names))
    for reference in dict.fromkeys(asked):
        base = reference.partition("#")[0]
        if base and f"{base}\n" not in there:
            where = "comptroller.checker.json_schema"
            raise GatewayError(
                400, f"{where} refers to {reference[:100]!r}; only parts of itself, such as #/$defs/x, are looked up",
                "invalid_value", where,
            )  # fmt: skip


def _objects(schema: Any) -> Iterator[Json]:
    """Every object of a schema; the door has bounded its depth."""
    left = [schema]
    while left:
        at = left.pop()
        if isinstance(at, dict):
            yield at
            left += at.values()
        elif isinstance(at, list):
            left += at


async def score(checker: CheckerOptions, content: str, pool: CheckerPool, key: str = "") -> float:
    """The verdict on an answer, in [0, 1]. A model's verdict is asked for elsewhere. key: whose request it is for.

    Raises:
        UnsupportedError: the checker failed, or took more than it may.
        GatewayError: the request's own pattern or schema is none, or no place came free.
    """
    if checker.exact is not None:
        return float(" ".join(content.split()) == " ".join(checker.exact.split()))
    if checker.number is not None:
        return float(abs(last_number(content) - checker.number) <= checker.tolerance)
    return await pool.score(checker, content, key)


def require_context(strategy: Strategy, wanted: Iterable[str], context: str | None, passage: str) -> None:
    """Raises GatewayError where a strategy wants a context, or notes on it, and there is none. wanted: its inputs."""
    for name, there in (("context", context), ("passage", passage)):
        if name in wanted and not there:
            raise GatewayError(
                400, f"{spell(strategy)} needs {INPUTS[name].what}: {INPUTS[name].live}", "missing",
                "comptroller.context",
            )  # fmt: skip


def require_verdicts(strategy: Strategy, checker: object | None, scored: bool, roles: Mapping[str, str]) -> None:
    """Raises GatewayError where a strategy needs verdicts and nobody gives them."""
    judged = [getattr(strategy, name) for name in JUDGING if hasattr(strategy, name)]
    if checker is None and (scored or any(role not in roles for role in judged)):
        raise GatewayError(
            400, f"{spell(strategy)} needs verdicts: give comptroller.checker, such as {{\"number\": 42}}"
            + ("; or by=likelihood or by=reward" if scored else ", or a model as comptroller.roles.checker"),
            "missing", "comptroller.checker",
        )  # fmt: skip


def untold_likelihoods(strategy: str, service: str) -> GatewayError:
    """The error of a strategy, as spelled, on a service that answers without log-probabilities."""
    likelihood = INPUTS["likelihood"]
    told = f"{strategy} needs {likelihood.what}, which {service} does not tell: {likelihood.live}"
    return GatewayError(400, told, "unsupported", "comptroller.strategy")
