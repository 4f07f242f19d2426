"""Use cases: how much somebody who chats, codes or asks documents uses, how long requests are, how fast they must be.

Each figure has a unit and either a dated source or the assumption that it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from comptroller.errors import FactError
from comptroller.facts.reader import FACTS_KEPT, FactSource, build, entry_of, fault_lines

_STRICT = ConfigDict(extra="forbid")
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class FactOrigin:
    """Where a figure comes from: a key of the file's sources, or what was assumed in place of one.

    note: how it follows from the source.
    """

    source: str = ""
    assumption: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _once(self) -> FactOrigin:
        if bool(self.source) == bool(self.assumption):
            raise ValueError("needs a source or an assumption, not both")
        return self


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class UseCaseFigure(FactOrigin):
    """A count (unit 1) or a count per day (unit 1/day)."""

    value: Amount
    unit: Literal["1", "1/day"]


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class UseCaseLimit(FactOrigin):
    """A latency that `p` per cent of the requests must not pass, as a workload states it."""

    p: Annotated[float, Field(gt=1, lt=100)]
    max: Amount
    unit: Literal["ms", "s"]

    @property
    def objective(self) -> dict[str, Any]:
        """The objective in the form of a workload."""
        return {"p": self.p, "max": self.max, "unit": self.unit}


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class UseCaseObjectives:
    """The usual limits: time to first token, time per output token after it, end to end."""

    ttft: UseCaseLimit | None = None
    tpot: UseCaseLimit | None = None
    e2e: UseCaseLimit | None = None

    def limits(self) -> Iterator[tuple[str, UseCaseLimit]]:
        """Those that there are, by the name of their quantity."""
        for name in ("ttft", "tpot", "e2e"):
            if (limit := getattr(self, name)) is not None:
                yield name, limit


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class UseCaseLengths(FactOrigin):
    """Lengths of requests. tokens: a histogram or distributions, as a workload states them under `lengths`."""

    tokens: Mapping[str, Any]


@dataclass(frozen=True, config=_STRICT)
class UseCase:
    """What one user of a kind of service asks for.

    tasks_per_user_per_day: messages, suggestions, questions or tasks.  requests_per_task: calls of the model for one.
    busiest_hour_share: of a day's requests, in its busiest hour.
    """

    id: str
    name: str
    sources: Mapping[str, FactSource]
    tasks_per_user_per_day: UseCaseFigure
    requests_per_task: UseCaseFigure
    busiest_hour_share: UseCaseFigure
    objectives: UseCaseObjectives
    lengths: UseCaseLengths

    @property
    def requests_per_user_per_day(self) -> float:
        """Calls of the model that one user makes in a day."""
        return self.tasks_per_user_per_day.value * self.requests_per_task.value

    def origins(self) -> Iterator[tuple[str, FactOrigin]]:
        """Every figure by its place in the file."""
        for name in ("tasks_per_user_per_day", "requests_per_task", "busiest_hour_share", "lengths"):
            yield name, getattr(self, name)
        for name, limit in self.objectives.limits():
            yield f"objectives.{name}", limit

    def told(self, origin: FactOrigin) -> str:
        """Where a figure comes from, in words: its source with the day it was read, or that it is assumed."""
        if origin.assumption:
            return f"assumed: {origin.assumption}"
        source = self.sources[origin.source]
        return f"{source.title}, read {source.date}" + (f": {origin.note}" if origin.note else "")


@lru_cache(maxsize=FACTS_KEPT)
def use_case(name: str) -> UseCase:
    """The use case of an id, or of a path to a user's own TOML file.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
        FactError: the file is malformed; names file and field.

    >>> round(use_case("agent").requests_per_user_per_day), use_case("chat").objectives.ttft.max
    (322, 450.0)
    """
    entry = entry_of("use_cases", name)
    with fault_lines(entry.path or Path(entry.file)):
        return _require_sound(build(UseCase, {**entry.content, "id": entry.id}, entry.file), entry.file)


def _require_sound(found: UseCase, file: str) -> UseCase:
    """A use case whose sources are those of its file and whose busiest hour is a part of a day.

    Raises:
        FactError: they are not.
    """
    for place, origin in found.origins():
        if origin.source and origin.source not in found.sources:
            raise FactError(file, place, f"source {origin.source!r} is not in [sources]", ", ".join(found.sources))
    share = found.busiest_hour_share.value
    if share > 1:
        raise FactError(file, "busiest_hour_share", f"{share:g} is more than a whole day")
    return found
