"""How a strategy is written: `best_of_n(n=8)`, or as a model id `comptroller/best_of_n:n=8`; both read alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from importlib import import_module, util
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from comptroller.errors import InputError, UnknownIdError
from comptroller.strategies.protocol import Strategy

S = TypeVar("S", bound=Strategy)

PREFIX = "comptroller/"
RULES = "comptroller.strategies.rules"

_SPELLED = re.compile(r"(?P<name>[^():]+(?::[A-Z]\w*)?)(?:\((?P<called>.*)\)|:(?P<listed>.+))?", re.DOTALL)
_NAMED = {"true": True, "True": True, "false": False, "False": False, "None": None}
_WORD = re.compile(r"[A-Za-z_./~][\w.+/~-]*")


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """Ids of the strategies that ship.

    >>> "once" in names()
    True
    """
    return tuple(sorted(path.stem for path in (Path(__file__).parent / "rules").glob("[a-z]*.py")))


@lru_cache(maxsize=256)
def rule(name: str) -> type[Any]:
    """The class of an id, of a dotted path (`package.module:Class`) or of a file (`mine.py:Class`).

    Raises:
        UnknownIdError: there is no such strategy.
        InputError: the class does not hold to the protocol of strategies.
    """
    if name in names():
        return _strategy_class(
            name, import_module(f"{RULES}.{name}"), "".join(map(str.capitalize, name.split("_"))) + "Strategy"
        )
    where, _, what = name.rpartition(":")
    found = module_at(where)
    if found is None:
        raise UnknownIdError("strategy", name, names())
    return _strategy_class(name, found, what)


def module_at(where: str) -> ModuleType | None:
    """The module of a path to a file or of a dotted path; None if there is none."""
    if where.endswith(".py") and Path(where).is_file():
        found = util.spec_from_file_location(Path(where).stem, where)
        if found is not None and found.loader is not None:
            module = util.module_from_spec(found)
            found.loader.exec_module(module)
            return module
    if where and re.fullmatch(r"[\w.]+", where) and _importable(where):
        return import_module(where)
    return None


def _importable(name: str) -> bool:
    try:
        return util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _strategy_class(name: str, module: Any, what: str) -> type[Any]:
    found = getattr(module, what, None)
    if found is None or not callable(getattr(found, "solve", None)) or not hasattr(found, "grid"):
        raise InputError(f"strategy {name}: no class {what} with `grid` and `solve` in {module.__file__}")
    kind: type[Any] = found
    if not is_dataclass(kind):
        raise InputError(f"strategy {name}: {what} must be a dataclass, its fields are its parameters")
    return kind


def parse(text: str) -> Strategy:
    """The strategy that is written.

    Raises:
        UnknownIdError: the strategy or one of its parameters is unknown.
        InputError: a value is not what the parameter takes, or the spelling is broken.

    >>> parse("best_of_n(n=8)") == parse("comptroller/best_of_n:n=8")
    True
    """
    found = _SPELLED.fullmatch(text.strip().removeprefix(PREFIX))
    if not found:
        raise InputError(f"strategy {text!r}: write it as best_of_n(n=8) or best_of_n:n=8")
    kind = rule(found["name"].strip())
    known = {item.name: item for item in fields(kind)}
    values: dict[str, Any] = {}
    for part in _parts(found["called"] or found["listed"] or "", text):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name in values:
            raise InputError(f"strategy {text!r}: {part.strip()!r} must be parameter=value, each once")
        if name not in known:
            raise UnknownIdError(f"parameter of {found['name']}", name, known)
        values[name] = _fit(_value(value, text), str(known[name].type), f"strategy {text!r}: {name}")
    missing = [item.name for item in known.values() if item.name not in values and _is_required(item)]
    if missing:
        raise InputError(f"strategy {text!r}: {', '.join(missing)} must be given")
    made: Strategy = kind(**values)
    return made


def _is_required(item: Any) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _parts(text: str, whole: str) -> Iterator[str]:
    """The pieces between commas that stand in no bracket."""
    depth, start = 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if depth < 0:
            break
        if letter == "," and depth == 0:
            yield text[start:at]
            start = at + 1
    if depth != 0:
        raise InputError(f"strategy {whole!r}: brackets do not match")
    if text[start:].strip():
        yield text[start:]


def _value(text: str, whole: str) -> Any:
    if text in _NAMED:
        return _NAMED[text]
    if len(text) > 1 and text[0] + text[-1] in ('""', "''"):
        return text[1:-1]
    if len(text) > 1 and text[0] + text[-1] in ("()", "[]"):
        return tuple(_value(part.strip(), whole) for part in _parts(text[1:-1], whole))
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    if _WORD.match(text):
        return text
    raise InputError(f"strategy {whole!r}: cannot read the value {text!r}")


def _fit(value: Any, kind: str, where: str) -> Any:
    """The value in the type of its parameter, as the class writes it."""
    if kind == "Strategy" and isinstance(value, str):
        return parse(value)
    if kind == "float" and type(value) is int:
        return float(value)
    if kind.startswith("tuple") and isinstance(value, str):
        return (value,)
    allowed = {"int": int, "float": float, "str": str, "bool": bool}
    for name, needed in allowed.items():
        if kind == name and type(value) is not needed:
            raise InputError(f"{where} must be {name}, not {value!r}")
    return value


def spell(strategy: Any) -> str:
    """A strategy as it is written: the parameters of its grid, and those that differ from their defaults.

    >>> spell(parse("best_of_n:n=8"))
    'best_of_n(n=8)'
    """
    inside = _parameter_list(strategy)
    return f"{_name(strategy)}({inside})" if inside else _name(strategy)


def model_id(strategy: Any) -> str:
    """A strategy as the id of a model.

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
    given = [
        (item.name, getattr(strategy, item.name))
        for item in fields(strategy)
        if item.name in strategy.grid or _is_required(item) or getattr(strategy, item.name) != item.default
    ]
    return ",".join(f"{name}={_value_text(value)}" for name, value in given)


def _value_text(value: Any) -> str:
    if is_dataclass(value):
        return spell(value)
    if isinstance(value, tuple):
        return "(" + ",".join(map(_value_text, value)) + ")"
    if isinstance(value, str) and not (_WORD.fullmatch(value) and value.lower() not in ("true", "false", "none")):
        return f'"{value}"'
    return str(value) if not isinstance(value, float) else f"{value!r}"


def settings(strategy: S) -> list[S]:
    """The strategy at every point of its grid, its other parameters kept.

    >>> [spell(point) for point in settings(parse("once"))]
    ['once']
    """
    given = {item.name: getattr(strategy, item.name) for item in fields(strategy)}  # type: ignore[arg-type]
    axes = [[(name, value) for value in values] for name, values in type(strategy).grid.items()]
    return [type(strategy)(**(given | dict(point))) for point in product(*axes)]
