"""The one resolver: facts of any kind by name, looked up once and then carried with what was made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from comptroller.errors import UnknownIdError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.config import model_entry, model_of
from comptroller.facts.engine import EngineFacts, engine_of
from comptroller.facts.format import Format
from comptroller.facts.model import Model
from comptroller.facts.reader import FactEntry, entry_of, fact_of, require_one_content
from comptroller.facts.site import Site
from comptroller.facts.stated_prices import with_stated_prices

RESOLVERS: dict[str, Callable[[str, Path], FactEntry]] = {
    "models": model_entry,
    **{kind: partial(entry_of, kind) for kind in ("accelerators", "formats", "engines", "sites")},
}
"""Kind of fact -> what resolves a name, with the folder that paths are relative to."""


def resolve(kind: str, name: str, base: Path = Path()) -> FactEntry:
    """The fact of an id, a repository (models), or the path of a user's own file, relative to a folder.

    Raises:
        UnknownIdError: no such kind, or none of that name; lists the nearest.
        FactError: the file is malformed, or two facts have one name.

    >>> resolve("accelerators", "H100-SXM").id
    'h100_sxm'
    """
    if kind not in RESOLVERS:
        raise UnknownIdError("kind of fact", kind, RESOLVERS)
    return RESOLVERS[kind](name, base)


@dataclass(frozen=True)
class FactLibrary:
    """Facts by name: those that a document brings, then, unless it is complete, those that `resolve` knows.

    complete: a name that is not among the entries is unknown, whatever the catalogue holds now.
    """

    entries: tuple[FactEntry, ...] = ()
    complete: bool = False

    def entry(self, kind: str, name: str) -> FactEntry:
        """The entry of a name.

        Raises:
            UnknownIdError, FactError: as `resolve`.
        """
        own = {entry.id: entry for entry in self.entries if entry.kind == kind}
        if name in own:
            return own[name]
        if self.complete:
            raise UnknownIdError(kind.removesuffix("s"), name, own)
        return resolve(kind, name)

    def with_entries(self, entries: Iterable[FactEntry]) -> FactLibrary:
        """The library with more entries.

        Raises:
            FactError: two of one kind and name have different content.
        """
        known = {(entry.kind, entry.id): entry for entry in self.entries}
        for entry in entries:
            require_one_content(entry, known.setdefault((entry.kind, entry.id), entry))
        return FactLibrary(tuple(known.values()), self.complete)

    def with_prices(self, sites: Iterable[str], usd_per_device_h: Mapping[str, float], place: str) -> FactLibrary:
        """The library with prices that a document, `place`, states for devices at these sites.

        Raises:
            UnknownIdError: no such site.
        """
        stated = {name: with_stated_prices(self.entry("sites", name), usd_per_device_h, place) for name in sites}
        others = (entry for entry in self.entries if entry.kind != "sites" or entry.id not in stated)
        return FactLibrary((*others, *stated.values()), self.complete)

    def model(self, name: str) -> Model:
        """A model; raises as `entry`."""
        return model_of(self.entry("models", name))

    def accelerator(self, name: str) -> Accelerator:
        """An accelerator; raises as `entry`."""
        return fact_of(Accelerator, self.entry("accelerators", name))

    def format(self, name: str) -> Format:
        """A number format; raises as `entry`."""
        return fact_of(Format, self.entry("formats", name))

    def engine(self, name: str) -> EngineFacts:
        """An engine; raises as `entry`."""
        return engine_of(self.entry("engines", name))

    def site(self, name: str) -> Site:
        """A site; raises as `entry`."""
        return fact_of(Site, self.entry("sites", name))


SHIPPED = FactLibrary()
"""Facts by what their names mean now."""
