"""Tables of the facts: one row per file of a folder, and every value of one file with unit, source and date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from comptroller.errors import UnknownIdError
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.config import model, repositories
from comptroller.facts.engine import engine_facts
from comptroller.facts.format import format_
from comptroller.facts.model import LatentAttention, MixtureOfExperts, Model, SoftmaxAttention
from comptroller.facts.reader import folder, ids, locate, parse_toml
from comptroller.facts.site import site
from comptroller.quantities import KWH_J
from comptroller.report.sheet import Cell, ReportSheet, SheetColumn, right


def accelerators() -> ReportSheet:
    """Every accelerator: memory, dense peak rates, links, power."""
    columns = (
        SheetColumn("id", "id"),
        SheetColumn("name", "name"),
        right("memory_gb", "GB"),
        right("memory_gb_per_s", "GB/s"),
        *(right(f"{rate}_tflop_per_s", rate) for rate in _RATES),
        right("scale_up_gb_per_s", "link GB/s"),
        right("tdp_w", "TDP W"),
        right("node_devices", "node"),
    )
    title = "Accelerators: dense peak in Tflop/s (Top/s), links one way per device"
    return ReportSheet(title, columns, tuple(_accelerator_row(accelerator(name)) for name in ids("accelerators")))


_RATES = ("fp16", "bf16", "fp8", "int8", "fp4")


def _accelerator_row(device: Accelerator) -> tuple[Cell, ...]:
    peaks = {str(name): rate / 1e12 for name, rate in device.peak_flops_per_s.items()}
    return (
        device.id,
        device.name,
        device.memory_bytes / 1e9,
        device.memory_bytes_per_s / 1e9,
        *(peaks.get(rate) for rate in _RATES),
        device.scale_up.one_way_bytes_per_s / 1e9 if device.scale_up else None,
        device.tdp_w,
        device.node_devices,
    )


def models() -> ReportSheet:
    """Every model: parameters, layers, attention, cache per token, checkpoint format."""
    columns = (
        SheetColumn("id", "id"),
        SheetColumn("name", "name"),
        right("total_gparams", "G"),
        right("active_gparams", "active"),
        right("layers", "layers"),
        SheetColumn("attention", "attention"),
        SheetColumn("experts", "experts"),
        right("kv_elements_per_token", "KV/token"),
        right("context_tokens", "context"),
        SheetColumn("weights", "checkpoint"),
    )
    rows = tuple(_model_row(model(name)) for name in ids("models"))
    return ReportSheet("Models: cache in elements per token, context in tokens", columns, rows)


def _model_row(found: Model) -> tuple[Cell, ...]:
    return (
        found.id,
        found.name,
        found.total_params / 1e9,
        found.active_params / 1e9,
        found.layers,
        " + ".join(dict.fromkeys(_mixers(found))),
        next((f"{b.ffn.chosen} of {b.ffn.experts}" for b in found.blocks if isinstance(b.ffn, MixtureOfExperts)), ""),
        found.kv_elements_per_token,
        found.context_tokens,
        "/".join(dict.fromkeys((found.weights, found.experts))),
    )


def _mixers(found: Model) -> Iterator[str]:
    for block in found.blocks:
        mixer = block.mixer
        if isinstance(mixer, SoftmaxAttention):
            kind = "MHA" if mixer.kv_heads == mixer.heads else "MQA" if mixer.kv_heads == 1 else "GQA"
            yield f"{kind} window" if mixer.window_tokens else kind
        elif mixer is not None:
            yield "MLA" if isinstance(mixer, LatentAttention) else "linear"


def formats() -> ReportSheet:
    """Every number format: derived bits per element, arithmetic, what it may hold."""
    columns = (
        SheetColumn("id", "id"),
        SheetColumn("name", "name"),
        right("bits_per_element", "bits"),
        SheetColumn("element", "element"),
        SheetColumn("arithmetic", "arithmetic"),
        SheetColumn("roles", "holds"),
        SheetColumn("native_on", "native on"),
    )
    rows = []
    for name in ids("formats"):
        entry = format_(name)
        rows.append(
            (
                entry.id,
                entry.name,
                entry.bits_per_element,
                entry.element.kind,
                entry.arithmetic,
                ", ".join(entry.roles),
                ", ".join(entry.native_families) or ("any with the rate" if entry.arithmetic else None),
            )
        )
    return ReportSheet("Formats: stored bits per element with scales and indices", columns, tuple(rows))


def sites() -> ReportSheet:
    """Every site: electricity, grid, overhead, offers."""
    columns = (
        SheetColumn("id", "id"),
        SheetColumn("name", "name"),
        right("electricity_usd_per_kwh", "$/kWh"),
        right("grid_gco2e_per_kwh", "gCO2e/kWh"),
        right("pue", "PUE"),
        right("offers", "offers"),
        right("accelerators", "accelerators"),
        SheetColumn("latest", "latest price"),
    )
    rows = []
    for name in ids("sites"):
        found = site(name)
        days = [offer.since for offer in found.offers]
        rows.append(
            (
                found.id,
                found.name,
                found.electricity_usd_per_j * KWH_J,
                found.grid_gco2e_per_j * KWH_J,
                found.pue,
                len(found.offers),
                len({offer.accelerator for offer in found.offers}),
                max(days).isoformat() if days else None,
            )
        )
    return ReportSheet("Sites", columns, tuple(rows))


def engines() -> ReportSheet:
    """Every engine: version, defaults, vendors."""
    columns = (
        SheetColumn("id", "id"),
        SheetColumn("name", "name"),
        SheetColumn("version", "version"),
        right("max_batch", "max batch"),
        right("chunk_tokens", "chunk tokens"),
        right("kv_block_tokens", "KV block"),
        right("prefix_block_tokens", "shared prefix block"),
        right("fraction", "memory share"),
        SheetColumn("vendors", "vendors"),
    )
    rows = []
    for name in ids("engines"):
        found = engine_facts(name)
        blocks = (found.kv_block_tokens, found.prefix_block_tokens or None)
        limits = (found.max_batch, found.chunk_tokens, *blocks, found.fraction)
        rows.append((found.id, found.name, found.version, *limits, ", ".join(found.vendors)))
    return ReportSheet("Engines", columns, tuple(rows))


def calibration() -> ReportSheet:
    """Every calibration file: what it holds, when it was fitted, how many values."""
    columns = (
        SheetColumn("id", "id"),
        SheetColumn("name", "holds"),
        SheetColumn("fitted", "fitted"),
        right("values", "values"),
    )
    rows = []
    for name in ids("calibration"):
        path = folder("calibration") / f"{name}.toml"
        document = parse_toml(path)
        fitted = document.get("date") or document.get("fit", {}).get("fitted")
        rows.append((name, _about(path, document), fitted and str(fitted), _count(document)))
    return ReportSheet("Calibration: fitted efficiencies, apart from the datasheet", columns, tuple(rows))


def _about(path: Path, document: Mapping[str, Any]) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return str(document.get("name") or first.removeprefix("# "))


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_count(inner) for key, inner in value.items() if key != "sources")
    if isinstance(value, list):
        return sum(_count(inner) for inner in value)
    return int(isinstance(value, int | float) and not isinstance(value, bool))


LISTS: dict[str, Callable[[], ReportSheet]] = {
    "accelerators": accelerators,
    "models": models,
    "formats": formats,
    "sites": sites,
    "engines": engines,
    "calibration": calibration,
}
"""Kinds of facts and the table of all of a kind."""


def details(kind: str, name: str) -> tuple[ReportSheet, ...]:
    """Every value of one fact file with unit, source and date; lists of tables (offers) as tables of their own.

    Raises:
        UnknownIdError: no such kind, or no such id; lists the nearest.
    """
    if kind not in LISTS:
        raise UnknownIdError("kind of fact", kind, LISTS)
    path = locate(kind, repositories().get(name.lower(), (name,))[0] if kind == "models" else name)
    document = parse_toml(path)
    sources = document.pop("sources", {})
    lists = {key: value for key, value in document.items() if _is_table_list(value)}
    plain = {key: value for key, value in document.items() if key not in lists}
    rows = [*_rows(plain, (), sources, "config" if kind == "models" else ""), *_derived_rows(kind, path)]
    columns = (
        SheetColumn("field", "field"),
        SheetColumn("value", "value"),
        SheetColumn("unit", "unit"),
        SheetColumn("source", "source"),
        SheetColumn("date", "date"),
        SheetColumn("note", "note"),
        SheetColumn("url", "url"),
    )
    tables = (_table(key, value, sources) for key, value in lists.items())
    return (ReportSheet(f"{path.stem}: {_about(path, document)}", columns, tuple(rows)), *tables)


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
    columns = [SheetColumn(key, key) for key in keys] + ([SheetColumn("source", "source")] if cited else [])
    return ReportSheet(title, tuple(columns), tuple(rows))


def _cell_of(value: Any) -> Cell:
    if isinstance(value, dict) and "value" in value:
        return f"{value['value']} {value['unit']}"
    return None if value is None else _cell(value)


def _derived_rows(kind: str, path: Path) -> Iterator[tuple[Cell, ...]]:
    """What follows from the values of a file."""
    found: dict[str, tuple[Cell, str]] = {}
    if kind == "models":
        one = model(path.stem if path.parent == folder("models") else str(path))
        found = {
            "total_params": (one.total_params, "params"),
            "active_params": (one.active_params, "params"),
            "kv_elements_per_token": (one.kv_elements_per_token, "elements"),
        }
    if kind == "formats":
        entry = format_(path.stem if path.parent == folder("formats") else str(path))
        found = {"bits_per_element": (entry.bits_per_element, "bit")}
        for how in ("native", "dequantised"):
            on = [name for name in ids("accelerators") if entry.support(accelerator(name)) == how]
            found[f"{how}_on"] = (", ".join(on), "")
    for name, (value, unit) in found.items():
        yield (name, value, unit, "derived", "", "", "")
