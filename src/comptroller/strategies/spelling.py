"""The text form of a strategy: `best_of_n(n=8)`, or as a model id `comptroller/best_of_n:n=8`; both parse alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from importlib import import_module
from itertools import product
from typing import Any, TypeVar

from comptroller.errors import InputError, UnknownIdError
from comptroller.own_code import own_module, registry_stems
from comptroller.strategies.protocol import Strategy
from comptroller.strategies.recorded_roles import JUDGING

S = TypeVar("S", bound=Strategy)

PREFIX = "comptroller/"
"""Prefix of a strategy's model id."""
RULES = "comptroller.strategies.rules"
"""Package of the shipped strategies."""

_STRATEGY_TEXT = re.compile(r"(?P<name>[^():]+(?::[A-Z]\w*)?)(?:\((?P<called>.*)\)|:(?P<listed>.+))?", re.DOTALL)
_KEYWORDS = {"true": True, "True": True, "false": False, "False": False, "None": None}
_BARE_TEXT = re.compile(r"[A-Za-z_./~][\w.+/~-]*")


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """Ids of the shipped strategies.

    >>> "once" in names()
    True
    """
    return registry_stems(import_module(RULES))


def rule(name: str) -> type[Any]:
    """The class of a strategy, from an id, a dotted path (`package.module:Class`) or a file (`mine.py:Class`).

    Raises:
        UnknownIdError: no strategy has this id, or no module this path.
        InputError: the class is missing, no dataclass, or without `grid` and `solve`.
    """
    if name in names():
        return _strategy_class(
            name, import_module(f"{RULES}.{name}"), "".join(map(str.capitalize, name.split("_"))) + "Strategy"
        )
    where, _, class_name = name.rpartition(":")
    module = own_module(where)
    if module is None:
        raise UnknownIdError("strategy", name, names())
    return _strategy_class(name, module, class_name)


def _strategy_class(name: str, module: Any, class_name: str) -> type[Any]:
    kind: Any = getattr(module, class_name, None)
    if kind is None or not callable(getattr(kind, "solve", None)) or not hasattr(kind, "grid"):
        raise InputError(f"strategy {name}: no class {class_name} with `grid` and `solve` in {module.__file__}")
    strategy_class: type[Any] = kind
    if not is_dataclass(strategy_class):
        raise InputError(f"strategy {name}: {class_name} must be a dataclass, its fields are its parameters")
    return strategy_class


def asks_checker(spelled: str) -> bool:
    """Whether a strategy asks the role checker, and not one whose verdicts are recorded.

    >>> asks_checker("repair(rounds=1)"), asks_checker("repair(checker=verifier)"), asks_checker("once")
    (True, False, False)
    """
    strategy = parse(spelled)
    return any(getattr(strategy, name, "") == "checker" for name in JUDGING)


def parse(text: str) -> Strategy:
    """The strategy of a text.

    Raises:
        UnknownIdError: the strategy or one of its parameters is unknown.
        InputError: a value has the wrong type, a required parameter is missing, or the text is malformed.

    >>> parse("best_of_n(n=8)") == parse("comptroller/best_of_n:n=8")
    True
    """
    match = _STRATEGY_TEXT.fullmatch(text.strip().removeprefix(PREFIX))
    if not match:
        raise InputError(f"strategy {text!r}: write it as best_of_n(n=8) or best_of_n:n=8")
    kind = rule(match["name"].strip())
    parameters = {item.name: item for item in fields(kind)}
    values: dict[str, Any] = {}
    for part in _split_at_commas(match["called"] or match["listed"] or "", text):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name in values:
            raise InputError(f"strategy {text!r}: {part.strip()!r} must be parameter=value, each once")
        if name not in parameters:
            raise UnknownIdError(f"parameter of {match['name']}", name, parameters)
        values[name] = _convert(_parse_value(value, text), str(parameters[name].type), f"strategy {text!r}: {name}")
    missing = [item.name for item in parameters.values() if item.name not in values and _is_required(item)]
    if missing:
        raise InputError(f"strategy {text!r}: {', '.join(missing)} must be given")
    strategy: Strategy = kind(**values)
    return strategy


def _is_required(item: Any) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _split_at_commas(text: str, whole: str) -> Iterator[str]:
    """The pieces of a text between commas outside brackets. whole: the strategy's text, for messages."""
    depth, start = 0, 0
    for position, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if depth < 0:
            break
        if letter == "," and depth == 0:
            yield text[start:position]
            start = position + 1
    if depth != 0:
        raise InputError(f"strategy {whole!r}: brackets do not match")
    if text[start:].strip():
        yield text[start:]


def _parse_value(text: str, whole: str) -> Any:
    """The value of a parameter: a keyword, quoted text, a tuple, a number or bare text."""
    if text in _KEYWORDS:
        return _KEYWORDS[text]
    if len(text) > 1 and text[0] + text[-1] in ('""', "''"):
        return text[1:-1]
    if len(text) > 1 and text[0] + text[-1] in ("()", "[]"):
        return tuple(_parse_value(part.strip(), whole) for part in _split_at_commas(text[1:-1], whole))
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    if _BARE_TEXT.match(text):
        return text
    raise InputError(f"strategy {whole!r}: cannot read the value {text!r}")


def _convert(value: Any, kind: str, where: str) -> Any:
    """The value converted to the annotated type of its parameter. where: beginning of the error message."""
    if kind == "Strategy" and isinstance(value, str):
        return parse(value)
    if kind == "float" and type(value) is int:
        return float(value)
    if kind.startswith("tuple") and not isinstance(value, tuple):
        return (value,)
    allowed = {"int": int, "float": float, "str": str, "bool": bool}
    for name, needed in allowed.items():
        if kind == name and type(value) is not needed:
            raise InputError(f"{where} must be {name}, not {value!r}")
    return value


def spell(strategy: Any) -> str:
    """The text of a strategy: the parameters of its grid, and those that differ from their defaults.

    >>> spell(parse("best_of_n:n=8"))
    'best_of_n(n=8)'
    """
    inside = _parameter_list(strategy)
    return f"{_name(strategy)}({inside})" if inside else _name(strategy)


def model_id(strategy: Any) -> str:
    """The text of a strategy as the id of a model.

    >>> model_id(parse("best_of_n(n=8)"))
    'comptroller/best_of_n:n=8'
    """
    inside = _parameter_list(strategy)
    return PREFIX + (f"{_name(strategy)}:{inside}" if inside else _name(strategy))


def _name(strategy: Any) -> str:
    kind = type(strategy)
    stem = kind.__module__.removeprefix(RULES + ".")
    return stem if stem in names() else f"{kind.__module__}:{kind.__name__}"


def _parameter_list(strategy: Any) -> str:
    shown = [
        (item.name, getattr(strategy, item.name))
        for item in fields(strategy)
        if item.name in strategy.grid or _is_required(item) or getattr(strategy, item.name) != item.default
    ]
    return ",".join(f"{name}={_value_text(value)}" for name, value in shown)


def _value_text(value: Any) -> str:
    if is_dataclass(value):
        return spell(value)
    if isinstance(value, tuple):
        return "(" + ",".join(map(_value_text, value)) + ")"
    if isinstance(value, str) and not (_BARE_TEXT.fullmatch(value) and value.lower() not in ("true", "false", "none")):
        return f'"{value}"'
    return str(value) if not isinstance(value, float) else f"{value!r}"


def settings(strategy: S) -> list[S]:
    """The strategy at every point of its grid, with its other parameters unchanged.

    >>> [spell(point) for point in settings(parse("once"))]
    ['once']
    """
    current = {item.name: getattr(strategy, item.name) for item in fields(strategy)}  # type: ignore[arg-type]
    axes = [[(name, value) for value in values] for name, values in type(strategy).grid.items()]
    return [type(strategy)(**(current | dict(point))) for point in product(*axes)]


def largest_parameter(strategy: Any) -> int:
    """The largest whole number among the parameters of a strategy and those inside it; tokens are none of its calls.

    >>> largest_parameter(parse("difficulty_gate(slow=best_of_n(n=9))"))
    9
    """
    if not is_dataclass(strategy):
        return strategy if type(strategy) is int else 0
    names = (item.name for item in fields(strategy) if item.name != "limit" and not item.name.endswith("tokens"))
    return max((largest_parameter(getattr(strategy, name)) for name in names), default=0)
