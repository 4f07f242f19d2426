"""What a config says of structure that nothing here reads: refused by key, or said of every figure.

A key that nothing read is passed over only if it changes no size: its value is empty, or `families.toml` lists it as
harmless, or its name has no word of the vocabulary of structure. A user says what any other means in a TOML file:

    [model]
    config = "config.json"

    [model.structure]
    my_num_experts = "experts"   # the quantity that the key holds
    my_router_rank = "none"      # it changes no size
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from comptroller.errors import FactError
from comptroller.facts.families import NO_SIZE, checked_towers, harmless_keys, structure_words
from comptroller.facts.fields import KEYS, ConfigFields

SWITCHES = re.compile(
    r"moe|expert|mamba|ssm|conv(?!ert)|cross|altup|laurel|recurrent|shared?(?=_|$)|lora|mtp|wide|double", re.IGNORECASE
)
"""Keys of true and false that speak of structure; of other keys a flag changes no matrix."""

OTHER_PARTS = ("vision", "visual", "audio", "image", "rope", "quantization", "auto_map", "label", "task", "generation")
"""Words of keys of tables that describe no decoder layer."""


def refuse_unread(fields: ConfigFields) -> None:
    """Refuse a config with a key that looks like structure and that nothing read.

    Raises:
        FactError: names the key, its value and how to say what it means.
    """
    for key, quantity in fields.family.equal.items():
        if fields.raw.get(key) not in (None, fields.count(quantity)):
            raise FactError(fields.file, key, f"{fields.raw[key]!r} is not {quantity}", str(fields.count(quantity)))
    for key, value in _unread(fields):
        raise FactError(
            fields.file,
            key,
            f"{value!r:.40} is not understood and looks like structure",
            f'in a TOML file: [model] config = "{Path(fields.file).name}", [model.structure] {key} = "{NO_SIZE}" where '
            f"it changes no size, else one of {', '.join(KEYS)}",
        )


def doubt_of(fields: ConfigFields) -> str:
    """What a reader of any figure has to know of the architecture; empty where the conformance suite knows it."""
    doubts = []
    if not fields.family.checked:
        kind = fields.raw.get("model_type") or fields.top.get("model_type")
        named = f"model_type {kind!r} is not among those checked" if kind else "the config names no model_type"
        doubts.append(f"{named}; its figures rest on what its keys look like")
    tower = fields.top.get("vision_config")
    if (
        isinstance(tower, Mapping)
        and str(tower.get("model_type", fields.top.get("model_type"))) not in checked_towers()
    ):
        doubts.append("the weights of its vision tower are an estimate")
    if fields.top.get("audio_config"):
        doubts.append("the weights of its audio part are not counted")
    return f"architecture not checked: {'; '.join(doubts)}" if doubts else ""


def user_structure(document: Mapping[str, Any], path: Path) -> tuple[Any, Mapping[str, Any]]:
    """The config and the structure of a user's own TOML with a table `model`.

    The config is an inner table, or the path of a `config.json`, from the folder of the TOML file.

    Raises:
        FactError: a key is unknown, or names no quantity.
    """
    table = document.get("model")
    if not isinstance(table, Mapping) or set(table) - {"config", "structure"} or "config" not in table:
        raise FactError(
            str(path), "model", "is not a table of config and structure", "[model] config, [model.structure]"
        )
    structure = table.get("structure", {})
    if not isinstance(structure, Mapping):
        raise FactError(str(path), "model.structure", "is not a table", 'KEY = "QUANTITY"')
    for key, value in structure.items():
        if isinstance(value, str) and value not in {*KEYS, NO_SIZE}:
            allowed = ", ".join((NO_SIZE, *KEYS))
            raise FactError(str(path), f"model.structure.{key}", f"{value!r} is no quantity", allowed)
    return table["config"], structure


def _unread(fields: ConfigFields) -> Iterator[tuple[str, Any]]:
    harmless = (*harmless_keys(), *fields.family.harmless, *fields.family.equal)
    for key, value in _leaves(fields.raw, ""):
        known = key in fields.seen or any(fnmatch(key.rpartition(".")[2], pattern) for pattern in harmless)
        if not known and _speaks_of_structure(key, value) and not _repeats(fields, key, value):
            yield key, value


def _repeats(fields: ConfigFields, key: str, value: Any) -> bool:
    """Whether the key is another name of a quantity that was read, with the same value."""
    same = (name for name in KEYS if key in fields.keys(name))
    return any(fields.raw.get(other) == value for name in same for other in fields.keys(name) if other in fields.seen)


def _leaves(table: Mapping[str, Any], inside: str) -> Iterator[tuple[str, Any]]:
    """Keys and values of the config and of tables inside it, but for tables of what is no decoder layer."""
    for key, value in table.items():
        if isinstance(value, Mapping) and not any(word in key for word in OTHER_PARTS):
            yield from _leaves(value, f"{inside}{key}.")
        elif not isinstance(value, Mapping):
            yield inside + key, value


def _speaks_of_structure(key: str, value: Any) -> bool:
    """Whether a value could be a size, a list over layers, or a switch of structure, and its key sounds like one."""
    if isinstance(value, bool):
        return value and bool(SWITCHES.search(key))
    sized = isinstance(value, int) and value > 0
    listed = isinstance(value, list) and bool(value) and any(isinstance(x, int | str | dict) for x in value)
    patterned = isinstance(value, str) and key.endswith(("pattern", "schedule"))
    return (sized or listed or patterned) and bool(structure_words().search(key))
