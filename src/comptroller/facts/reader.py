"""Reader of fact files: one TOML file per thing, every value with unit, source and date.

A quantity is a table `{ value = 80, unit = "GB", source = "datasheet" }` in a field whose name ends in the
SI suffix (`memory_bytes`); `source` names an entry of the file's `[sources]` table (title, url, date). The
unit must belong to the suffix. Values arrive in SI; `provenance` keeps the source of each field.

The functions of this room that return facts (`accelerator`, `model`, ...) keep them in a cache of a size above the
number of files that ship (84 models, 74 formats, 33 accelerators). An entry that was dropped is read again, in 7 to 25
ms; twice the size only matters to somebody with that many files of their own.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from comptroller.errors import FactError, UnknownIdError
from comptroller.quantities import UNITS, to_si

T = TypeVar("T")

SUFFIXES = sorted({suffix for suffix, _ in UNITS.values()} - {"1"}, key=len, reverse=True)
"""Unit suffixes of field names, the longest first, so that `_bytes_per_s` is not read as `_s`."""

DIMENSIONLESS = {"pue", "acceptance", "fraction"}
"""Names of fields that hold a quantity without a dimension (unit "1" or "%")."""

QUANTITY = ("value", "unit", "source", "note")
"""Keys of a quantity; the first three are required."""


@dataclass(frozen=True)
class FactSource:
    """The publication that a value was read from; date: the day it was read."""

    title: str
    url: str
    date: date
    licence: str = ""


def folder(kind: str) -> Path:
    """The package folder whose files are all facts of a kind (`accelerators`, `models`, ...)."""
    return Path(str(resources.files("comptroller.facts"))) / kind


def ids(kind: str) -> list[str]:
    """The ids of a kind, which are the stems of its files, sorted."""
    return sorted(path.stem for path in folder(kind).glob("*.toml"))


def locate(kind: str, name: str) -> Path:
    """The file of an id, or of a path to a user's own file.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
    """
    user_file = Path(name)
    if user_file.suffix in {".toml", ".json"} and user_file.is_file():
        return user_file
    path = folder(kind) / f"{name}.toml"
    if not path.is_file() or user_file.name != name:
        raise UnknownIdError(kind.removesuffix("s"), name, ids(kind))
    return path


def parse_toml(path: Path) -> dict[str, Any]:
    """The document of a TOML file.

    Raises:
        FactError: it is not TOML, or not readable as UTF-8.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FactError(str(path), "file", error.strerror or "cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FactError(path.name, "file", f"not valid TOML: {error}") from error


def build(kind: type[T], document: Mapping[str, Any], file: str) -> T:
    """An instance of the (pydantic) dataclass `kind` from a document, validated.

    Raises:
        FactError: names file, field and what is allowed.
    """
    try:
        return TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        unknown_field = first["type"] == "unexpected_keyword_argument" and len(first["loc"]) == 1
        allowed = ", ".join(field.name for field in fields(kind)) if unknown_field and is_dataclass(kind) else ""
        raise document_error(error, file, allowed) from error


def document_error(error: ValidationError, file: str, allowed: str = "") -> FactError:
    """The first fault that pydantic found in a document, as an error that names file, field and what is allowed.

    allowed: where empty, what the fault itself says was expected.
    """
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "file"
    return FactError(file, place, first["msg"], allowed or str(first.get("ctx", {}).get("expected", "")))


def read(kind: type[T], path: Path) -> T:
    """An instance of the dataclass `kind` from its fact file, in SI units; its `id` is the file's stem.

    Raises:
        FactError: names file, field and what is allowed.
    """
    document = parse_toml(path)
    for key in {"id", "provenance"} & document.keys():
        raise FactError(path.name, key, "follows from the file and cannot be set in it")
    sources = document.get("sources", {})
    if not isinstance(sources, dict):
        raise FactError(path.name, "sources", "must be a table", "[sources.key] with title, url, date")
    provenance: dict[str, str] = {}
    body = {
        key: _resolve(value, path.name, (key,), sources, provenance)
        for key, value in document.items()
        if key != "sources"
    }
    return build(kind, {**body, "id": path.stem, "sources": sources, "provenance": provenance}, path.name)


def _resolve(
    value: Any, file: str, where: tuple[str, ...], sources: Mapping[str, Any], provenance: dict[str, str]
) -> Any:
    """The value with every quantity inside it as a number in SI; adds the sources to `provenance`, by field."""
    if isinstance(value, list):
        return [_resolve(v, file, (*where, str(i)), sources, provenance) for i, v in enumerate(value)]
    if isinstance(value, dict):
        if "value" in value or ("unit" in value and value.keys() <= set(QUANTITY)):
            return _quantity(value, file, where, sources, provenance)
        return {k: _resolve(v, file, (*where, k), sources, provenance) for k, v in value.items()}
    if isinstance(value, int | float) and _suffix(where):
        raise FactError(file, ".".join(where), "needs value, unit and source", "{ value, unit, source }")
    return value


def _suffix(where: tuple[str, ...]) -> str | None:
    """The unit suffix that a field's name, or its table's name, ends in."""
    for name in reversed(where[-2:]):
        for suffix in SUFFIXES:
            if name == suffix or name.endswith("_" + suffix):
                return suffix
        if name in DIMENSIONLESS:
            return "1"
    return None


def _quantity(
    table: Mapping[str, Any], file: str, where: tuple[str, ...], sources: Mapping[str, Any], provenance: dict[str, str]
) -> float:
    """One quantity in SI, with its value, unit, source and field checked."""
    name = ".".join(where)
    if set(table) - set(QUANTITY):
        raise FactError(file, name, "unknown key in a quantity", ", ".join(QUANTITY))
    number, unit, source = (table.get(key) for key in QUANTITY[:3])
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
        raise FactError(file, name, f"value {number!r} is not a finite number >= 0")
    if not isinstance(unit, str) or unit not in UNITS:
        raise FactError(file, name, f"unknown unit {unit!r}", ", ".join(sorted(UNITS)))
    if not isinstance(source, str) or source not in sources:
        raise FactError(file, name, f"source {source!r} is not in [sources]", ", ".join(sources))
    result, suffix = to_si(number, unit)
    expected = _suffix(where)
    if expected is None:
        raise FactError(file, name, "takes a plain value: its name ends in no unit")
    if expected != suffix:
        fitting = ", ".join(sorted(key for key, (kind, _) in UNITS.items() if kind == expected))
        raise FactError(file, name, f"unit {unit!r} does not fit a field in {expected}", fitting)
    provenance[name] = source
    return result
