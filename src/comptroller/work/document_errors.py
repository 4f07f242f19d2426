"""Validation errors of a document as `FactError`: the field, the problem, and what is allowed."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from comptroller.errors import DocumentFaultsError, FactError
from comptroller.work.sizes import TAGS

WORDS = {
    "model_type": "a table",
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


def fact_error(error: ValidationError, file: str, document: type[BaseModel]) -> FactError:
    """All faults of a file's document, of class `document`: for each its field, the problem, and what is allowed."""
    faults: dict[str, FactError] = {}
    for each in error.errors():
        fault = _fault(each, file, document)
        faults.setdefault(fault.field, fault)
    told = list(faults.values())
    return told[0] if len(told) == 1 else DocumentFaultsError(told)


def _fault(error: ErrorDetails, file: str, document: type[BaseModel]) -> FactError:
    context = error.get("ctx", {})
    where = [part for part in error["loc"] if part not in TAGS]
    problem, allowed = error["msg"], str(context.get("expected", ""))
    if error["type"] == "conflict":
        where.append(context["field"])
        allowed = str(context["allowed"])
    elif error["type"] == "extra_forbidden":
        names = list(_fields_at(error["loc"][:-1], document))
        near = difflib.get_close_matches(str(where[-1]), names, n=1)
        problem = "unknown field" + (f", did you mean {near[0]!r}?" if near else "")
        allowed = ", ".join(names)
    elif error["type"] == "missing":
        problem = "is missing"
    else:
        expected = WORDS.get(error["type"]) or allowed or problem.removeprefix("Input should be ")
        problem, allowed = f"{reprlib.repr(error['input'])} is not allowed", expected
    return FactError(file, ".".join(map(str, where)) or "file", problem, allowed)


def _fields_at(location: tuple[int | str, ...], document: type[BaseModel]) -> Iterator[str]:
    """Names of the fields that a document may have at a location."""
    kinds: list[type[BaseModel]] = [document]
    for part in location:
        tagged = [kind for kind in kinds if f"<{kind.__name__.lower()}>" == part]
        inner = (kind.model_fields[part].annotation for kind in kinds if part in kind.model_fields)
        kinds = tagged or [model for annotation in inner for model in _models_in(annotation)]
    return (name for kind in kinds for name in kind.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The classes of documents inside a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
