"""What an engine can load: number format by accelerator family, with the kernel, the flags and the checkpoint it wants.

One file per engine, named by the program that is started (`facts/engine_formats/vllm.toml`). What has no row there is
not known to run, and is not launched. What the caches of an engine hold stands beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.errors import FactError, UnsupportedError
from comptroller.facts.format import format_
from comptroller.facts.reader import FactSource, entry_of, fact_of

_STRICT = ConfigDict(extra="forbid")
SIXTEEN_BIT = "16-bit"
"""How a row names a checkpoint that no scheme quantised."""

ModelPart = Literal["weights", "experts"]
Evidence = Literal["timed", "published", "none"]


@dataclass(frozen=True, config=_STRICT)
class FormatSupport:
    """A way in which an engine holds formats on families.

    parts: what of a model it holds so.  activations: `own` where they take the format of the weights, `wide` where they
    stay in 16 bit.  checkpoint: what files have to be.  while_loading: arguments with which the engine makes the format
    of a 16-bit checkpoint; empty where it cannot.  flags: arguments in any case.  casts: a 16-bit type is read as the
    other one on demand.  converter: of `facts/converters`, what makes such a checkpoint.  timed, published: families
    for which this package has timings of the engine's kernel, or its publishers have.  since, before: versions.
    """

    formats: tuple[str, ...]
    families: tuple[str, ...]
    kernel: str
    checkpoint: str
    source: str
    parts: tuple[ModelPart, ...] = ("weights", "experts")
    activations: Literal["own", "wide"] = "wide"
    while_loading: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    casts: bool = True
    converter: str = ""
    timed: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    since: str = ""
    before: str = ""
    note: str = ""

    def evidence(self, family: str) -> Evidence:
        """What is known of its speed on a family."""
        return "timed" if family in self.timed else "published" if family in self.published else "none"


@dataclass(frozen=True, config=_STRICT)
class FormatGap:
    """Formats that an engine is known not to run on families, and why."""

    formats: tuple[str, ...]
    families: tuple[str, ...]
    why: str
    source: str


@dataclass(frozen=True, config=_STRICT)
class CacheSupport:
    """Arguments with which an engine keeps its cache in formats."""

    formats: tuple[str, ...]
    families: tuple[str, ...]
    flags: tuple[str, ...]
    source: str
    since: str = ""
    before: str = ""


@dataclass(frozen=True, config=_STRICT)
class EngineFormats:
    """The table of an engine. since, before: versions that its rows were read for, unless a row has its own."""

    id: str
    rows: tuple[FormatSupport, ...]
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    cannot: tuple[FormatGap, ...] = ()
    caches: tuple[CacheSupport, ...] = Field(default=())
    since: str = ""
    before: str = ""
    note: str = ""

    def support(self, format: str, part: ModelPart, family: str, version: str) -> FormatSupport:
        """The row of a format on a family.

        Raises:
            UnsupportedError: there is none; says why, or what has one.
        """
        self.require_version(version)
        rows = [row for row in self.rows if format in row.formats and family in row.families and part in row.parts]
        found = [row for row in rows if in_range(version, row.since, row.before)]
        if found:
            return found[0]
        raise UnsupportedError(f"{self.id} cannot hold {part} in {format} on {family}: {self._why(format, family)}")

    def cache_flags(self, format: str, family: str, version: str) -> tuple[str, ...]:
        """Arguments for a cache in a quantised format, or in a 16-bit one that has to be asked for.

        Raises:
            UnsupportedError: the engine is not known to keep its cache so.
        """
        fits = [row for row in self.caches if format in row.formats and family in row.families]
        for row in fits:
            if in_range(version, row.since, row.before):
                return row.flags
        if format in {"bf16", "fp16"}:
            return ()
        later = f" before {fits[0].since}" if fits else ""
        raise UnsupportedError(f"{self.id}{later} is not known to keep its cache in {format} on {family}")

    def require_version(self, version: str) -> None:
        """Refuse a version that the table was not read for.

        Raises:
            UnsupportedError: it is outside.
        """
        if not in_range(version, self.since, self.before):
            raise UnsupportedError(
                f"what {self.id} {version} can load is not known; its table is of versions {self.since} to below "
                f"{self.before}"
            )

    def _why(self, format: str, family: str) -> str:
        told = [gap.why for gap in self.cannot if format in gap.formats and family in gap.families]
        held = sorted({f"{name} alone" for row in self.rows if family in row.families and format in row.formats
                       for name in row.parts})  # fmt: skip
        known = ", ".join(sorted({name for row in self.rows if family in row.families for name in row.formats}))
        why = told[0] if told else f"it holds {held[0]} so" if held else f"known there: {known or 'nothing'}"
        claims = [str(claim) for claim in format_(format).published if family in claim.families]
        return f"{why}; published, not measured here: {'; '.join(claims)}" if claims else why


def in_range(version: str, since: str, before: str) -> bool:
    """Whether a version of dotted numbers is from `since` to below `before`; without bounds any is.

    >>> in_range("0.12.1", "0.11", "0.16"), in_range("0.9", "0.11", ""), in_range("unstable", "", "")
    (True, False, True)
    """
    if not since and not before:
        return True
    number = _numbers(version)
    return bool(number) and _numbers(since) <= number and (not before or number < _numbers(before))


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version; none where it does not start with one."""
    return tuple(_leading(version.removeprefix("v").split(".")))


def _leading(parts: list[str]) -> Iterator[int]:
    for part in parts:
        if not part.isdigit():
            return
        yield int(part)


def engine_formats(program: str) -> EngineFormats:
    """The table of a program.

    Raises:
        UnknownIdError: there is none.
        FactError: the file is malformed, or a row names a source that it does not have.

    >>> engine_formats("vllm").support("nvfp4", "weights", "hopper", "0.12").kernel
    'Marlin, W4A16'
    """
    entry = entry_of("engine_formats", program)
    table = fact_of(EngineFormats, entry)
    named = [row.source for row in table.rows] + [row.source for row in table.cannot]
    for source in (*named, *(row.source for row in table.caches)):
        if source not in table.sources:
            raise FactError(entry.file, "source", f"{source!r} is not in [sources]", ", ".join(table.sources))
    return table
