"""Names in a workload: what they stand for, and all that stand for nothing beside the other faults of the document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from comptroller.errors import FactError, UnknownIdError, one_error
from comptroller.facts.document_faults import fact_error
from comptroller.facts.library import FactLibrary, resolve
from comptroller.facts.reader import CATALOGUE, FactEntry

M = TypeVar("M", bound=BaseModel)

ALLOWED = {kind: kind for kind in ("accelerators", "formats", "engines", "sites")} | {"kv_formats": "formats"}
"""Field of `[allow]` -> kind of fact that its names are."""

NAMED: Mapping[str, str] = {
    "models": "models",
    **{f"allow.{field}": kind for field, kind in ALLOWED.items()},
    "caps": "accelerators",
    "usd_per_device_h": "accelerators",
    "quality.models": "models",
    "training.model": "models",
    "training.models": "models",
    "training.allow.accelerators": "accelerators",
    "training.allow.sites": "sites",
    "training.caps": "accelerators",
    "training.adapter.base": "formats",
    "lifetime.accelerator": "accelerators",
    "lifetime.site": "sites",
    "lifetime.serving.usd_per_m_tokens": "formats",
}
"""Field -> kind of fact that its names are: itself, of a list its items, of a table its keys. Models of a question
workload are values, by the names that its evidence has for them."""


def document_model(schema: type[M], document: Mapping[str, Any], file: Path) -> M:
    """A document by its schema.

    Raises:
        FactError: every fault of it, and every name that stands for nothing.
    """
    unknown = unknown_names(document, file)
    try:
        read = schema.model_validate(document)
    except ValidationError as error:
        raise one_error([*fact_error(error, file.name, schema).faults, *unknown]) from error
    if unknown:
        raise one_error(unknown)
    return read


def unknown_names(document: Mapping[str, Any], file: Path) -> list[FactError]:
    """The names that stand for nothing, by field; what is no name is left to the schema.

    >>> [fault.field for fault in unknown_names({"models": ["llama_8"], "caps": {"h1": 3, "l4": 1}}, Path("w.toml"))]
    ['models', 'caps']
    """
    return name_faults(_names(document), file)


def name_faults(names: Iterable[tuple[str, str, str]], file: Path) -> list[FactError]:
    """Those of the names that stand for nothing. names: field, kind of fact and name of each; paths are relative to the
    folder of `file`."""
    faults = []
    for field, kind, name in names:
        try:
            resolve(kind, name, file.parent)
        except UnknownIdError as error:
            faults.append(FactError(file.name, field, str(error)))
        except FactError as error:
            faults.append(error)
    return faults


def _names(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Field, kind of fact and name."""
    asks_questions = "quality" in document
    for field, kind in NAMED.items():
        if field == "models" and asks_questions:
            continue
        part: Any = document
        for key in field.split("."):
            part = part.get(key) if isinstance(part, Mapping) else None
        if isinstance(part, Mapping) and field == "quality.models":
            part = list(part.values())
        if isinstance(part, str) and "." in field:
            part = [part]
        names = list(part) if isinstance(part, Mapping | list | tuple) else ()
        yield from ((field, kind, name) for name in names if isinstance(name, str))


class WorkloadNames:
    """The names in a workload, resolved once: relative to its folder, by `facts.library.resolve`."""

    def __init__(self, library: FactLibrary, file: Path) -> None:
        self._known, self._file, self._entries = library, file, list[FactEntry]()

    def ids(self, field: str, kind: str, names: Iterable[str]) -> tuple[str, ...]:
        """The ids that names stand for.

        Raises:
            FactError: one is neither an id, a repository nor a file.
        """
        return tuple(self._id(field, kind, name) for name in names)

    def _id(self, field: str, kind: str, name: str) -> str:
        try:
            entry = resolve(kind, name, self._file.parent)
        except UnknownIdError as error:
            raise FactError(self._file.name, field, str(error)) from error
        if entry.origin != CATALOGUE or entry.id != name:
            self._entries.append(entry)
        return entry.id

    def library(self) -> FactLibrary:
        """The facts of all names that are no plain ids.

        Raises:
            FactError: two of one kind and name have different content.
        """
        return self._known.with_entries(self._entries)
