"""JSON Schema of every document that a user writes or reads, from the classes that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import TypeAdapter

from comptroller.cli._key_meanings import Schema, describe_keys, describe_workload, tables_in, without_own_keys
from comptroller.cli._plain_documents import PLAIN_DOCUMENTS
from comptroller.errors import InputError, UnknownIdError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.config import ModelFile
from comptroller.facts.engine import EngineFacts
from comptroller.facts.format import Format
from comptroller.facts.reader import QUANTITY, unit_suffix
from comptroller.facts.site import Site
from comptroller.facts.use_case import UseCase
from comptroller.quantities import UNITS
from comptroller.work.workload import Workload

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """A kind of document. what: it is, in a line.  example: a file that is one.  schema: makes its schema."""

    what: str
    example: str
    schema: Callable[[], Schema]


def document_schema(kind: str) -> Schema:
    """The JSON Schema of a kind of document, draft 2020-12.

    Raises:
        UnknownIdError: there is no such kind; lists those that there are.

    >>> document_schema("workload")["properties"]["budget"]["description"]
    'Most that may be spent (unit: USD/h, USD/day or USD/month).'
    """
    if kind not in DOCUMENTS:
        raise UnknownIdError("document", kind, DOCUMENTS)
    return {"$schema": DIALECT, **DOCUMENTS[kind].schema()}


def _plain(document: Any) -> Schema:
    """The schema of a class whose fields are the keys of its file."""
    schema = TypeAdapter(document).json_schema()
    describe_keys(schema)
    return schema


def _workload() -> Schema:
    schema = without_own_keys(_plain(Workload))
    describe_workload(schema)
    return schema


def _fact(document: Any) -> Schema:
    """The schema of a fact file, in which a number with a dimension is a quantity with unit and source."""
    schema = without_own_keys(_plain(document))
    for table in tables_in(schema):
        for name, value in table.get("properties", {}).items():
            if suffix := unit_suffix((name,)):
                table["properties"][name] = _with_quantities(value, suffix)
    return schema


def _with_quantities(value: Schema, suffix: str) -> Schema:
    """A field's schema, with quantities in the place of its numbers."""
    if value.get("type") == "number":
        return {**_quantity(suffix), **{key: said for key, said in value.items() if key in NAMES}}
    found = dict(value)
    if isinstance(value.get("additionalProperties"), dict):
        found["additionalProperties"] = _with_quantities(value["additionalProperties"], suffix)
    if "anyOf" in value:
        found["anyOf"] = [_with_quantities(each, suffix) for each in value["anyOf"]]
    return found


NAMES = ("title", "description")
"""Keys of a schema that say what is meant and not what is allowed."""


def _quantity(suffix: str) -> Schema:
    units = [name for name, (belongs, _) in UNITS.items() if belongs == suffix]
    keys = {
        "value": {"type": "number", "minimum": 0},
        "unit": {"type": "string", "enum": units},
        "source": {"type": "string", "description": "A key of [sources]."},
        "note": {"type": "string", "description": "What the source says beside it."},
    }
    return {"type": "object", "properties": keys, "required": list(QUANTITY[:3]), "additionalProperties": False}


def _gateway() -> Schema:
    """The schema of a gateway's configuration.

    Raises:
        InputError: the gateway is not installed.
    """
    try:
        import msgspec

        from comptroller.gateway.config import GatewayConfig
    except ImportError as error:
        raise InputError(f"{error.name} is not installed: pip install 'comptroller[serve]'") from error
    schema = msgspec.json.schema(GatewayConfig)
    reference = schema.pop("$ref").rpartition("/")[2]
    schema |= schema["$defs"].pop(reference)
    describe_keys(schema)
    return schema


DOCUMENTS: Mapping[str, DocumentKind] = {
    "workload": DocumentKind("What must be solved: `comptroller plan FILE`.", "examples/chat.toml", _workload),
    "gateway": DocumentKind("Services, limits and books: `comptroller serve FILE`.", "deploy/gateway.toml", _gateway),
    "site": DocumentKind(
        "Where it runs and what things cost there.", "src/comptroller/facts/sites/own_us.toml", lambda: _fact(Site)
    ),
    "accelerator": DocumentKind(
        "A device and its node.", "src/comptroller/facts/accelerators/l40s.toml", lambda: _fact(Accelerator)
    ),
    "model": DocumentKind(
        "An architecture, by its public config.json.",
        "src/comptroller/facts/models/llama_3_1_8b.toml",
        lambda: _fact(ModelFile),
    ),
    "format": DocumentKind("A number format.", "src/comptroller/facts/formats/fp8_e4m3.toml", lambda: _fact(Format)),
    "engine": DocumentKind(
        "Defaults and limits of a serving engine.",
        "src/comptroller/facts/engines/lmdeploy.toml",
        lambda: _fact(EngineFacts),
    ),
    "use_case": DocumentKind(
        "How much and how fast a kind of service is used.",
        "src/comptroller/facts/use_cases/chat.toml",
        lambda: without_own_keys(_plain(UseCase)),
    ),
    **{
        kind: DocumentKind(what, example, partial(_plain, document))
        for kind, (what, example, document) in PLAIN_DOCUMENTS.items()
    },
}
"""Kind of document -> what it is, and its schema."""
