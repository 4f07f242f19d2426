"""What a key of a document means, taken from where it is said.

That is the docstring of its class (`key: meaning.`), of a workload the comment that `comptroller new` writes, and for
the rest `key_meanings.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import Any

from comptroller.facts.document_faults import SET_BY_READER
from comptroller.work.workload_text import HEADINGS

Schema = dict[str, Any]


def describe_workload(schema: Schema) -> None:
    """Give the keys of a workload's schema the comments of a new workload."""
    for heading in HEADINGS:
        for key, entry in heading.keys.items():
            *place, name = key.split(".")
            for table in _tables_of(schema, place):
                if name in table["properties"]:
                    table["properties"][name]["description"] = entry.says


def without_own_keys(schema: Schema) -> Schema:
    """The schema without what a reader sets itself."""
    schema["properties"] = {name: field for name, field in schema["properties"].items() if name not in SET_BY_READER}
    schema["required"] = [name for name in schema.get("required", ()) if name not in SET_BY_READER]
    return schema


def tables_in(schema: Schema) -> Iterator[Schema]:
    """The document's own table and those that it is made of."""
    yield schema
    yield from schema.get("$defs", {}).values()


def _tables_of(schema: Schema, place: list[str]) -> Iterator[Schema]:
    """The tables that may stand at a place."""
    found = [schema]
    for part in place:
        found = [table for each in found for table in _references(each.get("properties", {}).get(part, {}), schema)]
    return (table for table in found if "properties" in table)


def _references(value: Any, schema: Schema) -> Iterator[Schema]:
    """The tables that a field's schema refers to, those of other tables between them left out."""
    if isinstance(value, dict):
        if name := str(value.get("$ref", "")).removeprefix("#/$defs/"):
            table = schema["$defs"][name]
            yield table
            if "properties" not in table:
                yield from _references({key: inner for key, inner in table.items() if key != "$ref"}, schema)
        for key, inner in value.items():
            if key in {"anyOf", "oneOf", "items", "additionalProperties"}:
                yield from _references(inner, schema)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner, schema)


KEYED = re.compile(r"(?:^|(?<=\s))((?:\w+, )*\w+): ")
"""Where a docstring begins to say what fields mean: their names, a colon and a blank."""


def describe_keys(schema: Schema) -> None:
    """Say of every key what it means, where anything does."""
    for table in tables_in(schema):
        _describe(table)
    meanings = tomllib.loads(resources.files(__package__).joinpath("key_meanings.toml").read_text(encoding="utf-8"))
    for table in tables_in(schema):
        said = meanings["any"] | meanings.get(table.get("title", ""), {})
        for name, field in table.get("properties", {}).items():
            inner = (str(each.get("description", "")) for each in _references(field, schema))
            if meaning := said.get(name) or next(filter(None, inner), ""):
                field.setdefault("description", meaning)


def _describe(table: Schema) -> None:
    """Give each field of a table what the docstring of its class says of it, and the table the rest."""
    text = re.sub(r"\s+", " ", str(table.get("description", ""))).strip()
    fields = table.get("properties", {})
    starts = [found for found in KEYED.finditer(text) if set(found[1].split(", ")) <= set(fields)]
    ends = [found.start() for found in starts[1:]] + [len(text)]
    for found, end in zip(starts, ends, strict=False):
        for name in found[1].split(", "):
            said = text[found.end() : end].strip()
            fields[name].setdefault("description", said[:1].upper() + said[1:])
    if text:
        table["description"] = text[: starts[0].start()].strip() if starts else text
