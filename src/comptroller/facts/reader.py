"""Reader of fact files: one TOML file per thing, every value with unit, source and date.

A quantity is a table `{ value = 80, unit = "GB", source = "datasheet" }` in a field whose name ends in the
SI suffix (`memory_bytes`); `source` names an entry of the file's `[sources]` table (title, url, date). The
unit must belong to the suffix. Values arrive in SI; `provenance` keeps the source of each field.

A name is resolved to a `FactEntry`, which holds the whole document: what was resolved once can travel in a plan and
needs no second look-up. `facts.library` is the one door for all kinds.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from datetime import date
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from comptroller.errors import FactError, UnknownIdError, one_error
from comptroller.facts.document_faults import fact_error
from comptroller.facts.toml_lines import line_of
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


CATALOGUE = "catalogue"
"""Origin of facts that ship with the package."""

FACTS_KEPT = 512
"""Facts in memory, more than the files that ship (84 models, 74 formats, 33 accelerators). One that was dropped is read
again, in 7 to 25 ms; twice the size only matters to somebody with that many files of their own."""


@dataclass(frozen=True)
class FactEntry:
    """A fact as its name was resolved.

    kind: the package folder of such facts (`models`, ...).  origin: `catalogue`, or the path as it was written.
    digest: SHA-256 of the content.  content: the document, JSON values only; entries of one digest have the same.
    path: of the file it was read from on this machine, for messages; it is not kept.
    """

    kind: str
    id: str
    origin: str
    digest: str
    content: Mapping[str, Any] = field(compare=False, repr=False)
    path: Annotated[Path | None, Field(exclude=True)] = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, kind: str, id: str, origin: str, content: Mapping[str, Any], path: Path | None = None) -> FactEntry:
        """An entry with the digest of its content."""
        plain = json.loads(json.dumps(content, default=str))
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
        return cls(kind, id, origin, digest, plain, path)

    @property
    def file(self) -> str:
        """The file for error messages."""
        return f"{self.id}.toml" if self.origin == CATALOGUE else self.origin


@lru_cache(maxsize=64)
def folder(kind: str) -> Path:
    """The package folder whose files are all facts of a kind (`accelerators`, `models`, ...)."""
    return Path(str(resources.files("comptroller.facts"))) / kind


def ids(kind: str) -> list[str]:
    """The ids of a kind, which are the stems of its files, sorted."""
    place = folder(kind)
    return list(_stems(place, place.stat().st_mtime_ns)) if place.is_dir() else []


WHAT_IF = "what_if"
"""How the ids of facts begin that are of no thing one can have: machines of papers, and the site that prices them."""


def real_ids(kind: str) -> list[str]:
    """The ids of a kind without what-ifs.

    >>> [name for name in ids("sites") if name not in real_ids("sites")]
    ['what_if']
    """
    return [name for name in ids(kind) if not name.startswith(WHAT_IF)]


@lru_cache(maxsize=64)
def _stems(place: Path, changed: int) -> tuple[str, ...]:
    """Stems of the files of a folder that was last changed then: asked thousands of times in one plan."""
    return tuple(sorted(path.stem for path in place.glob("*.toml")))


def shipped_id(kind: str, name: str) -> str | None:
    """The id that a name stands for, in any case and with hyphens or blanks for underscores; `None` if none does.

    >>> shipped_id("accelerators", "H100-SXM")
    'h100_sxm'
    """
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return next((one for one in ids(kind) if name == one or plain == one.lower()), None)


def user_file(name: str, base: Path = Path()) -> Path | None:
    """The path of a user's own file, relative to a folder; `None` if there is none."""
    path = base / Path(name).expanduser()
    return path if path.suffix in {".toml", ".json"} and path.is_file() else None


def entry_of(kind: str, name: str, base: Path = Path()) -> FactEntry:
    """The fact of an id or of a user's own TOML file, whose path is relative to a folder.

    A file that is a copy of one that ships, byte for byte, is that fact.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
        FactError: the file is not TOML, or has the name of a fact that ships and other content.
    """
    if path := user_file(name, base):
        own = FactEntry.of(kind, shipped_copy(kind, path) or path.stem, name, fact_content(path), path)
        require_one_content(own, shipped_entry(kind, own.id) if own.id in ids(kind) else None)
        return own
    known = shipped_id(kind, name)
    if known is None:
        raise unknown_fact(kind, name, ids(kind))
    return shipped_entry(kind, known)


def unknown_fact(kind: str, name: str, known: Iterable[str]) -> UnknownIdError | FactError:
    """The error of a name that stands for nothing: of a path without a file, or of an id."""
    if Path(name).suffix in {".toml", ".json"}:
        return FactError(name, "file", "No such file", f"a path, or one of `comptroller show {kind}`")
    models = "a Hugging Face repository, a config.json, the folder of one, " if kind == "models" else ""
    accepts = f"an id of `comptroller show {kind}`, {models}a TOML file of yours"
    return UnknownIdError(kind.removesuffix("s"), name, known, accepts)


@lru_cache(maxsize=FACTS_KEPT)
def shipped_entry(kind: str, id: str) -> FactEntry:
    """The fact of an id that ships."""
    return FactEntry.of(kind, id, CATALOGUE, fact_content(folder(kind) / f"{id}.toml"))


def shipped_copy(kind: str, path: Path) -> str | None:
    """The id that ships of which a file is a copy, byte for byte."""
    return _shipped_copies(kind).get(hashlib.sha256(path.read_bytes()).hexdigest())


@lru_cache(maxsize=16)
def _shipped_copies(kind: str) -> Mapping[str, str]:
    """SHA-256 of every file of a kind that ships -> its id."""
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path.stem for path in folder(kind).glob("*.toml")}


def require_one_content(entry: FactEntry, other: FactEntry | None) -> None:
    """Two facts of one kind and name are one fact.

    Raises:
        FactError: they are not; shows where both come from and the keys that differ.
    """
    if other is None or entry.digest == other.digest:
        return
    keys = sorted(entry.content.keys() | other.content.keys())
    differ = [key for key in keys if entry.content.get(key) != other.content.get(key)][:DIFFERENCES]
    raise FactError(
        entry.origin,
        entry.id,
        f"two {entry.kind} of one name and different content: {entry.origin} ({entry.digest[:8]}) and "
        f"{other.origin} ({other.digest[:8]}) differ in {', '.join(differ)}",
        "another name for one of them",
    )


DIFFERENCES = 4
"""Keys that an error names where two facts differ: as many as fit a line; twice as many make two."""


def fact_content(path: Path) -> dict[str, Any]:
    """The document of a fact file, without what follows from the file.

    Raises:
        FactError: it is not TOML, or sets its own id.
    """
    document = parse_toml(path)
    for key in {"id", "provenance"} & document.keys():
        raise FactError(path.name, key, "follows from the file and cannot be set in it")
    return document


def parse_toml(path: Path) -> dict[str, Any]:
    """The document of a TOML file.

    Raises:
        FactError: it is not TOML, or not readable as UTF-8.
    """
    document: dict[str, Any] = _parse(path, tomllib.loads, "TOML")
    return document


def read_json(path: Path) -> Any:
    """The document of a JSON file.

    Raises:
        FactError: it is not JSON, or not readable as UTF-8.
    """
    return _parse(path, json.loads, "JSON")


def _parse(path: Path, parse: Callable[[str], Any], language: str) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FactError(str(path), "file", error.strerror or "cannot be read") from error
    except ValueError as error:  # of either parser, or of the decoding
        raise FactError(path.name, "file", f"not valid {language}: {error}") from error


def build(kind: type[T], document: Mapping[str, Any], file: str) -> T:
    """An instance of the (pydantic) dataclass `kind` from a document, validated.

    Raises:
        FactError: names file, field and what is allowed, for all faults.
    """
    try:
        return TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        raise fact_error(error, file, kind) from error


@contextmanager
def fault_lines(path: Path) -> Iterator[None]:
    """Faults of a TOML file, found while it is open, get the lines on which they stand."""
    try:
        yield
    except FactError as error:
        if path.suffix != ".toml" or Path(error.file).name != path.name or not path.is_file():
            raise
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        raise error.at_lines(lambda field: line_of(text, field)) from error


def read(kind: type[T], path: Path) -> T:
    """An instance of the dataclass `kind` from its fact file, in SI units; its `id` is the file's stem.

    Raises:
        FactError: names file, line, field and what is allowed, for all faults.
    """
    with fault_lines(path):
        return _fact(kind, fact_content(path), path.stem, path.name)


def fact_of(kind: type[T], entry: FactEntry) -> T:
    """An instance of the dataclass `kind` from an entry, in SI units.

    Raises:
        FactError: names file, field and what is allowed.
    """
    hashable: Any = kind
    fact: T = _cached_fact(hashable, entry)
    return fact


@lru_cache(maxsize=FACTS_KEPT)
def _cached_fact(kind: Any, entry: FactEntry) -> Any:
    with fault_lines(entry.path or Path(entry.file)):
        return _fact(kind, entry.content, entry.id, entry.file)


def _fact(kind: type[T], document: Mapping[str, Any], id: str, file: str) -> T:
    sources = document.get("sources", {})
    if not isinstance(sources, dict):
        raise FactError(file, "sources", "must be a table", "[sources.key] with title, url, date")
    reading = _QuantityReading(file, sources, {}, [])
    body = {key: reading.resolved(value, (key,)) for key, value in document.items() if key != "sources"}
    try:
        fact = build(kind, {**body, "id": id, "sources": sources, "provenance": reading.provenance}, file)
    except FactError as error:
        if not reading.faults:
            raise
        reading.faults.extend(error.faults)
    if reading.faults:
        raise one_error(reading.faults)
    return fact


@plain_dataclass(frozen=True, slots=True)
class _QuantityReading:
    """The quantities of a file: their sources, by field, and the faults that were found."""

    file: str
    sources: Mapping[str, Any]
    provenance: dict[str, str]
    faults: list[FactError]

    def resolved(self, value: Any, where: tuple[str, ...]) -> Any:
        """The value with every quantity inside it as a number in SI; of one with a fault, a number that has none."""
        if isinstance(value, list):
            return [self.resolved(v, (*where, str(i))) for i, v in enumerate(value)]
        try:
            if isinstance(value, dict):
                if "value" in value or ("unit" in value and value.keys() <= set(QUANTITY)):
                    return _quantity(value, self.file, where, self.sources, self.provenance)
                return {k: self.resolved(v, (*where, k)) for k, v in value.items()}
            if isinstance(value, int | float) and unit_suffix(where):
                allowed = "{ value, unit, source }"
                raise FactError(self.file, ".".join(where), "needs value, unit and source", allowed)
        except FactError as error:
            self.faults.append(error)
            return FAULTLESS
        return value


FAULTLESS = 1.0
"""What stands for a quantity with a fault while the rest of its document is checked: positive, and a share of all.
Twice as much would be no share."""


def unit_suffix(where: tuple[str, ...]) -> str | None:
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
    expected = unit_suffix(where)
    if expected is None:
        raise FactError(file, name, "takes a plain value: its name ends in no unit")
    if expected != suffix:
        fitting = ", ".join(sorted(key for key, (kind, _) in UNITS.items() if kind == expected))
        raise FactError(file, name, f"unit {unit!r} does not fit a field in {expected}", fitting)
    provenance[name] = source
    return result
