"""What is wrong with a document, as `FactError`: for each fault the field, the problem, and what is allowed."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from comptroller.errors import FactError, one_error

WORDS = {
    "model_type": "a table",
    "dataclass_type": "a table",
    "dict_type": "a table",
    "mapping_type": "a table",
    "tuple_type": "a list",
    "string_type": "a text in quotes",
    "string_too_short": "a text that is not empty",
    "too_short": "a list that is not empty",
    "int_type": "a whole number",
    "float_type": "a number",
}
"""Type of a validation error -> what the field must be, in the terms of TOML."""

UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
"""Types of the error of a field that a document does not have."""


def fact_error(error: ValidationError, file: str, document: type, allowed: str = "") -> FactError:
    """All faults of a file's document, of class `document`: for each its field, the problem, and what is allowed.

    allowed: of the first, where it is the same for the whole document.
    """
    faults: dict[str, FactError] = {}
    for each in error.errors():
        fault = _fault(each, file, document, allowed)
        faults.setdefault(fault.field, fault)
    # A list counts as too short without those of its items that have faults, which are told themselves.
    told = [fault for fault in faults.values() if not any(other.startswith(f"{fault.field}.") for other in faults)]
    return one_error(told)


def _fault(error: ErrorDetails, file: str, document: type, always: str) -> FactError:
    context = error.get("ctx", {})
    where = [part for part in error["loc"] if not _is_tag(part)]
    problem, allowed = error["msg"], str(context.get("expected", ""))
    if error["type"] == "conflict":
        where.append(context["field"])
        allowed = str(context["allowed"])
    elif error["type"] in UNKNOWN:
        names = list(_fields_at(error["loc"][:-1], document))
        near = difflib.get_close_matches(str(where[-1]), names, n=1)
        problem = "unknown field" + (f", did you mean {near[0]!r}?" if near else "")
        allowed = ", ".join(names)
    elif error["type"] == "missing":
        problem = "is missing"
    elif error["type"] == "value_error":
        problem = problem.removeprefix("Value error, ")
    else:
        expected = WORDS.get(error["type"]) or allowed or problem.removeprefix("Input should be ")
        problem, allowed = f"{reprlib.repr(error['input'])} is not allowed", expected
    return FactError(file, ".".join(map(str, where)) or "file", problem, always or allowed)


def _is_tag(part: int | str) -> bool:
    """Whether it is a discriminator's tag, which errors have in their location and the file has not."""
    return isinstance(part, str) and part.startswith("<")


def _fields_at(location: tuple[int | str, ...], document: type) -> Iterator[str]:
    """Names of the fields that a document may have at a location, less what its reader sets itself."""
    kinds = [document]
    for part in location:
        tagged = [kind for kind in kinds if f"<{kind.__name__.lower()}>" == part]
        inner = (_fields(kind)[part].annotation for kind in kinds if part in _fields(kind))
        # Of a list's index, or the key of a table of equal tables, there is no field: the kinds stay.
        kinds = tagged or [model for annotation in inner for model in _documents_in(annotation)] or kinds
    return (name for kind in kinds for name in _fields(kind) if name not in SET_BY_READER)


SET_BY_READER = ("id", "provenance", "assumptions")
"""Fields that follow from a file and cannot be set in it."""


def _fields(kind: type) -> dict[Any, Any]:
    fields: dict[Any, Any] = getattr(kind, "__pydantic_fields__", {})
    return fields


def _documents_in(annotation: Any) -> Iterator[type]:
    """The classes of documents inside a type annotation."""
    if isinstance(annotation, type) and _fields(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from _documents_in(inner)
