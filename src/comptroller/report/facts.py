"""Tables of the facts: one row per file of a folder, and every value of one file with unit, source and date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from comptroller.errors import UnknownIdError
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.compute_rule import compute_rule
from comptroller.facts.config import model, model_of
from comptroller.facts.engine import EngineFacts, engine_facts, engine_of
from comptroller.facts.format import Format, format_
from comptroller.facts.library import RESOLVERS, resolve
from comptroller.facts.model import LatentAttention, MixtureOfExperts, Model, SoftmaxAttention
from comptroller.facts.reader import FactEntry, entry_of, fact_of, folder, ids, parse_toml
from comptroller.facts.site import Site, site
from comptroller.quantities import KWH_J
from comptroller.report.fact_lines import recipe_list, tier_list
from comptroller.report.format_support import engines_that_hold, support_of_engine, support_of_format
from comptroller.report.register_tables import RULES
from comptroller.report.sheet import Cell, Item, ReportSheet, SheetColumns, left, right


def native_families(entry: Format) -> str | None:
    """Families of accelerators that multiply a format."""
    return ", ".join(entry.native_families) or ("any with the rate" if entry.arithmetic else None)


ACCELERATORS: SheetColumns[Accelerator] = (
    left("id"),
    left("name"),
    right("memory_gb", "GB", lambda device: device.memory_bytes / 1e9),
    right("memory_gb_per_s", "GB/s", lambda device: device.memory_bytes_per_s / 1e9),
    right("fp16_tflop_per_s", "fp16", lambda device: _peak(device, "fp16")),
    right("bf16_tflop_per_s", "bf16", lambda device: _peak(device, "bf16")),
    right("fp8_tflop_per_s", "fp8", lambda device: _peak(device, "fp8")),
    right("int8_tflop_per_s", "int8", lambda device: _peak(device, "int8")),
    right("fp4_tflop_per_s", "fp4", lambda device: _peak(device, "fp4")),
    right("scale_up_gb_per_s", "link GB/s", lambda x: x.scale_up.one_way_bytes_per_s / 1e9 if x.scale_up else None),
    right("tdp_w", "TDP W"),
    right("node_devices", "node"),
)

MODELS: SheetColumns[Model] = (
    left("id"),
    left("name"),
    right("total_gparams", "G", lambda one: one.total_params / 1e9),
    right("active_gparams", "active", lambda one: one.active_params / 1e9),
    right("layers"),
    left("attention", None, lambda one: " + ".join(dict.fromkeys(_mixers(one)))),
    left("experts", None, lambda one: next(_experts(one), "")),
    right("kv_elements_per_token", "KV/token"),
    right("context_tokens", "context"),
    left("weights", "checkpoint", lambda one: "/".join(dict.fromkeys((one.weights, one.experts)))),
)

FORMATS: SheetColumns[Format] = (
    left("id"),
    left("name"),
    right("bits_per_element", "bits"),
    left("element", None, lambda one: one.element.kind),
    left("arithmetic"),
    left("roles", "holds", lambda one: ", ".join(one.roles)),
    left("native_on", "native on", native_families),
    left("engines", "launched by", lambda one: engines_that_hold(one.id)),
)

SITES: SheetColumns[Site] = (
    left("id"),
    left("name"),
    right("electricity_usd_per_kwh", "$/kWh", lambda one: one.electricity_usd_per_j * KWH_J),
    right("grid_gco2e_per_kwh", "gCO2e/kWh", lambda one: one.grid_gco2e_per_j * KWH_J),
    right("pue", "PUE"),
    right("offers", None, lambda one: len(one.offers)),
    right("accelerators", None, lambda one: len({offer.accelerator for offer in one.offers})),
    left("latest", "latest price", lambda x: max(o.since for o in x.offers).isoformat() if x.offers else None),
)

ENGINES: SheetColumns[EngineFacts] = (
    left("id"),
    left("name"),
    left("version"),
    right("max_batch", "max batch"),
    right("chunk_tokens", "chunk tokens"),
    right("kv_block_tokens", "KV block"),
    right("prefix_block_tokens", "shared prefix block", lambda one: one.prefix_block_tokens or None),
    right("fraction", "memory share"),
    right("poll_steps", "steps a poll"),
    right("stream_interval", "tokens a piece"),
    left("vendors", None, lambda one: ", ".join(one.vendors)),
)

CALIBRATION: SheetColumns[tuple[Path, dict[str, Any]]] = (
    left("id", None, lambda file: file[0].stem),
    left("name", "holds", lambda file: _about(*file)),
    left("fitted", None, lambda file: _fitted_on(file[1])),
    right("values", None, lambda file: _count(file[1])),
)


def _peak(device: Accelerator, rate: str) -> float | None:
    """Dense peak of a rate in Tflop/s."""
    return next((peak / 1e12 for name, peak in device.peak_flops_per_s.items() if str(name) == rate), None)


def _mixers(one: Model) -> Iterator[str]:
    for block in one.blocks:
        mixer = block.mixer
        if isinstance(mixer, SoftmaxAttention):
            kind = "MHA" if mixer.kv_heads == mixer.heads else "MQA" if mixer.kv_heads == 1 else "GQA"
            yield f"{kind} window" if mixer.window_tokens else kind
        elif mixer is not None:
            yield "MLA" if isinstance(mixer, LatentAttention) else "linear"


def _experts(found: Model) -> Iterator[str]:
    return (f"{b.ffn.chosen} of {b.ffn.experts}" for b in found.blocks if isinstance(b.ffn, MixtureOfExperts))


def _calibration_file(name: str) -> tuple[Path, dict[str, Any]]:
    path = folder("calibration") / f"{name}.toml"
    return path, parse_toml(path)


def _fitted_on(document: Mapping[str, Any]) -> str | None:
    fitted = document.get("date") or document.get("fit", {}).get("fitted")
    return fitted and str(fitted)


def _about(path: Path, document: Mapping[str, Any]) -> str:
    """The name in a document; else the first line of the shipped file, a comment."""
    return str(document.get("name") or path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# "))


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_count(inner) for key, inner in value.items() if key != "sources")
    if isinstance(value, list):
        return sum(_count(inner) for inner in value)
    return int(isinstance(value, int | float) and not isinstance(value, bool))


def _list(kind: str, title: str, read: Callable[[str], Item], columns: SheetColumns[Item]) -> ReportSheet:
    return ReportSheet.of(title, columns, map(read, ids(kind)))


LISTS: dict[str, Callable[[], ReportSheet]] = {
    "accelerators": partial(
        _list,
        "accelerators",
        "Accelerators: dense peak in Tflop/s (Top/s), links one way per device",
        accelerator,
        ACCELERATORS,
    ),
    "models": partial(_list, "models", "Models: cache in elements per token, context in tokens", model, MODELS),
    "formats": partial(_list, "formats", "Formats: stored bits per element with scales and indices", format_, FORMATS),
    "sites": partial(_list, "sites", "Sites", site, SITES),
    "engines": partial(_list, "engines", "Engines", engine_facts, ENGINES),
    "calibration": partial(
        _list,
        "calibration",
        "Calibration: fitted efficiencies, apart from the datasheet",
        _calibration_file,
        CALIBRATION,
    ),
    "rules": partial(_list, "rules", "Rules that speak of compute", compute_rule, RULES),
    "cache_tiers": tier_list,
    "training_recipes": recipe_list,
}
"""Kinds of facts and the table of all of a kind."""


def details(kind: str, name: str) -> tuple[ReportSheet, ...]:
    """Every value of one fact file with unit, source and date; lists of tables (offers) as tables of their own.

    Raises:
        UnknownIdError: no such kind, or no such id; lists the nearest.
    """
    if kind not in LISTS:
        raise UnknownIdError("kind of fact", kind, LISTS)
    entry = resolve(kind, name) if kind in RESOLVERS else entry_of(kind, name)
    document = dict(entry.content)
    sources = document.pop("sources", {})
    lists = {key: value for key, value in document.items() if _is_table_list(value)}
    plain = {key: value for key, value in document.items() if key not in lists}
    rows = [*_rows(plain, (), sources, "config" if kind == "models" else ""), *_derived_rows(entry)]
    columns = tuple(left(key) for key in ("field", "value", "unit", "source", "date", "note", "url"))
    tables = (_table(key, value, sources) for key, value in lists.items())
    return (
        ReportSheet(f"{entry.id}: {_about(folder(kind) / f'{entry.id}.toml', document)}", columns, tuple(rows)),
        *tables,
        *_support(entry),
    )


def _support(entry: FactEntry) -> Iterator[ReportSheet]:
    """Which engines hold a format, or which formats an engine holds."""
    if entry.kind == "formats":
        yield support_of_format(entry.id)
    if entry.kind == "engines":
        yield support_of_engine(engine_of(entry).launched_as)


def _is_table_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, dict) for x in value)


def _rows(
    value: Mapping[str, Any], where: tuple[str, ...], sources: Mapping[str, Any], default: str
) -> Iterator[tuple[Cell, ...]]:
    for key, inner in value.items():
        name = ".".join((*where, key))
        if isinstance(inner, dict) and "value" not in inner:
            yield from _rows(inner, (*where, key), sources, default)
            continue
        quantity = inner if isinstance(inner, dict) else {"value": inner, "unit": ""}
        source = quantity.get("source") or (default if where[:1] == (default,) else "")
        cited = sources.get(source, {})
        yield (
            name,
            _cell(quantity["value"]),
            quantity.get("unit", ""),
            cited.get("title", ""),
            str(cited.get("date", "")),
            quantity.get("note", ""),
            cited.get("url", ""),
        )


def _cell(value: Any) -> Cell:
    if isinstance(value, list):
        return ", ".join(str(_cell(x)) for x in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items())
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _table(title: str, entries: list[dict[str, Any]], sources: Mapping[str, Any]) -> ReportSheet:
    keys = list(dict.fromkeys(key for entry in entries for key in entry))
    cited = any(isinstance(value, dict) and "source" in value for entry in entries for value in entry.values())
    rows = []
    for entry in entries:
        row = [_cell_of(entry.get(key)) for key in keys]
        named = [value["source"] for value in entry.values() if isinstance(value, dict) and "source" in value]
        titles = dict.fromkeys(sources.get(name, {}).get("title", "") for name in named)
        rows.append(tuple([*row, "; ".join(titles)] if cited else row))
    columns = [left(key) for key in (*keys, *(["source"] if cited else []))]
    return ReportSheet(title, tuple(columns), tuple(rows))


def _cell_of(value: Any) -> Cell:
    if isinstance(value, dict) and "value" in value:
        return f"{value['value']} {value['unit']}"
    return None if value is None else _cell(value)


def _derived_rows(entry: FactEntry) -> Iterator[tuple[Cell, ...]]:
    """What follows from the values of a fact."""
    derived: dict[str, tuple[Cell, str]] = {}
    if entry.kind == "models":
        one = model_of(entry)
        derived = {
            "total_params": (one.total_params, "params"),
            "active_params": (one.active_params, "params"),
            "kv_elements_per_token": (one.kv_elements_per_token, "elements"),
            "architecture": (one.doubt or "checked", ""),
        }
    if entry.kind == "formats":
        number_format = fact_of(Format, entry)
        derived = {"bits_per_element": (number_format.bits_per_element, "bit")}
        for how in ("native", "dequantised"):
            on = [name for name in ids("accelerators") if number_format.support(accelerator(name)) == how]
            derived[f"{how}_on"] = (", ".join(on), "")
    for name, (value, unit) in derived.items():
        yield (name, value, unit, "derived", "", "", "")
