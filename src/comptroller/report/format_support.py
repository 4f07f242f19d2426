"""Which engine holds which number format, on which accelerators, and what is known of its speed: tables of facts."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.facts.engine_formats import CacheSupport, EngineFormats, FormatGap, FormatSupport, engine_formats
from comptroller.facts.reader import FactSource, ids
from comptroller.report.sheet import Cell, ReportSheet, left

Row = tuple[Cell, ...]

COLUMNS = tuple(
    map(left, ("format", "engine", "versions", "families", "kernel", "checkpoint", "flags", "speed", "source", "date"))
)
"""speed: families for which kernels were timed here or have published speeds; none of the others has."""


def support_of_engine(program: str) -> ReportSheet:
    """All formats that an engine is known to hold or not to hold, caches among them. program: its id in the tables."""
    table = engine_formats(program)
    rows = (row for format in _formats(table) for row in _rows(table, format))
    return ReportSheet("formats: what it holds, or cannot", COLUMNS, tuple(rows))


def support_of_format(name: str) -> ReportSheet:
    """Every engine's answer on a format; an engine without a row is not known to hold it, and does not launch it."""
    rows = [row for engine in ids("engine_formats") for row in _answers(engine_formats(engine), name)]
    return ReportSheet("engines: who holds it, or cannot", COLUMNS, tuple(rows))


def engines_that_hold(name: str) -> str:
    """Engines with a row for a format, for weights or caches; empty where none launches it.

    >>> engines_that_hold("nvfp4"), engines_that_hold("int6_g128")
    ('sglang, trtllm, vllm', '')
    """
    tables = [engine_formats(engine) for engine in ids("engine_formats")]
    return ", ".join(table.id for table in tables if any(name in formats for formats in _formats_with_rows(table)))


def _answers(table: EngineFormats, name: str) -> Iterator[Row]:
    found = list(_rows(table, name))
    yield from found or [(name, table.id, "", "", "", "", "", "no row: not launched", "", "")]


def _formats_with_rows(table: EngineFormats) -> list[tuple[str, ...]]:
    return [*(row.formats for row in table.rows), *(row.formats for row in table.caches)]


def _formats(table: EngineFormats) -> list[str]:
    refused = [gap.formats for gap in table.cannot]
    return sorted({name for formats in (*_formats_with_rows(table), *refused) for name in formats})


def _rows(table: EngineFormats, name: str) -> Iterator[Row]:
    for row in table.rows:
        if name in row.formats:
            yield _row_of_support(table, name, row)
    for cache in table.caches:
        if name in cache.formats:
            yield _row_of_cache(table, name, cache)
    for gap in table.cannot:
        if name in gap.formats:
            yield _row_of_gap(table, name, gap)


def _row_of_support(table: EngineFormats, name: str, row: FormatSupport) -> Row:
    known = [(word, [x for x in row.families if row.evidence(x) == word]) for word in ("timed", "published")]
    speed = "; ".join(f"{word} on {', '.join(on)}" for word, on in known if on) or "none known"
    flags = " ".join((*row.while_loading, *row.flags))
    return (
        name, table.id, _versions(row.since or table.since, row.before or table.before), ", ".join(row.families),
        row.kernel, row.checkpoint, flags, speed, *_source(table, row.source),
    )  # fmt: skip


def _row_of_cache(table: EngineFormats, name: str, row: CacheSupport) -> Row:
    versions = _versions(row.since or table.since, row.before or table.before)
    kernel, flags = "cache", " ".join(row.flags)
    return (name, table.id, versions, ", ".join(row.families), kernel, "", flags, "", *_source(table, row.source))


def _row_of_gap(table: EngineFormats, name: str, gap: FormatGap) -> Row:
    on = ", ".join(gap.families)
    return (name, table.id, "", on, f"cannot: {gap.why}", "", "", "", *_source(table, gap.source))


def _versions(since: str, before: str) -> str:
    """A range in words; empty where any version is meant.

    >>> _versions("0.11", "0.16"), _versions("", "")
    ('0.11 to before 0.16', '')
    """
    return f"{since} to before {before}" if since and before else f"from {since}" if since else ""


def _source(table: EngineFormats, key: str) -> tuple[str, str]:
    source: FactSource = table.sources[key]
    return source.title, str(source.date)
