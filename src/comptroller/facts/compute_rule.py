"""Rules that speak of compute: acts and orders with thresholds of training FLOPs, and export controls of devices.

One file per rule under `rules/`, each with the days between which it applies. A fact says what a rule states; whether a
run reaches it is judged in `training.register`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from comptroller.errors import FactError
from comptroller.facts.reader import FactSource, build, entry_of, fault_lines, ids

_STRICT = ConfigDict(extra="forbid")
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]

RULES = "rules"
"""Folder of the rules."""


class ComputeStage(StrEnum):
    """What a threshold adds up: the model that is continued, the run, data that models made for it, and fine-tuning and
    reinforcement learning that follow."""

    BASE = "base"
    TRAINING = "training"
    SYNTHETIC_DATA = "synthetic_data"
    LATER_TRAINING = "later_training"


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class RuleFigure:
    """A number of a rule: FLOP, a share (1), flop/s, B/s, TPP (bit Top/s) or its density (bit Top/s/mm2)."""

    value: Amount
    unit: Literal["flop", "1", "flop/s", "B/s", "bit Top/s", "bit Top/s/mm2"]
    source: str
    note: str = ""


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class ComputeThreshold:
    """A threshold of training compute. means: what follows for whoever is above it.

    min_flops: that a run must exceed.  min_share_of_base: of the compute of the model that it modifies, which must be
    at least `least_base_flops`; where that is unknown `unknown_base_flops` stands for the share.  counts: what is added
    up.  biological: only of models that are trained mostly on biological sequences.
    """

    id: str
    means: str
    counts: tuple[ComputeStage, ...]
    min_flops: RuleFigure | None = None
    min_share_of_base: RuleFigure | None = None
    unknown_base_flops: RuleFigure | None = None
    least_base_flops: RuleFigure | None = None
    biological: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> ComputeThreshold:
        if (self.min_flops is None) == (self.min_share_of_base is None):
            raise ValueError("min_flops or min_share_of_base: state one of them")
        return self


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class ClusterThreshold:
    """A threshold of a cluster: peak of all its devices, with links of at least so much."""

    id: str
    means: str
    min_flops_per_s: RuleFigure
    min_link_bytes_per_s: RuleFigure


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class DeviceThreshold:
    """A range of total processing performance and of its density that makes a device a controlled one.

    unless: thresholds of the rule that leave nothing to ask once they are reached.
    """

    id: str
    means: str
    min_tpp: RuleFigure
    below_tpp: RuleFigure | None = None
    min_density: RuleFigure | None = None
    below_density: RuleFigure | None = None
    unless: tuple[str, ...] = ()

    def holds(self, tpp: float, density: float | None) -> bool | None:
        """Whether a device lies in the range; `None` where that depends on a density that is not known.

        >>> rule = compute_rule("us_eccn_3a090")
        >>> [one.holds(1936.0, 6.58) for one in rule.device[:2]], rule.device[1].holds(1936.0, None)
        ([False, True], None)
        """
        if tpp < self.min_tpp.value or (self.below_tpp is not None and tpp >= self.below_tpp.value):
            return False
        if self.min_density is None:
            return True
        if density is None:
            return None
        return density >= self.min_density.value and (self.below_density is None or density < self.below_density.value)


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class ComputeRule:
    """A rule with its thresholds. applies_from, applies_until: first day, and the day on which it ended."""

    id: str
    name: str
    jurisdiction: str
    applies_from: date
    about: str
    sources: Mapping[str, FactSource]
    applies_until: date | None = None
    compute: tuple[ComputeThreshold, ...] = ()
    cluster: tuple[ClusterThreshold, ...] = ()
    device: tuple[DeviceThreshold, ...] = ()

    @property
    def period(self) -> str:
        """The days between which it applies."""
        return f"from {self.applies_from}" + (f" until {self.applies_until}" if self.applies_until else "")

    def applies_on(self, day: date) -> bool:
        """Whether it applies on a day."""
        return self.applies_from <= day and (self.applies_until is None or day < self.applies_until)

    @property
    def thresholds(self) -> tuple[ComputeThreshold | ClusterThreshold | DeviceThreshold, ...]:
        """Every threshold of any kind."""
        return (*self.compute, *self.cluster, *self.device)

    def figures(self) -> Iterator[tuple[str, RuleFigure]]:
        """Every figure by its place in the file."""
        for one in self.thresholds:
            for name in one.__dataclass_fields__:
                if isinstance(figure := getattr(one, name), RuleFigure):
                    yield f"{one.id}.{name}", figure


@lru_cache(maxsize=64)
def compute_rule(name: str) -> ComputeRule:
    """The rule of an id, or of a path to a user's own TOML file.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
        FactError: the file is malformed; names file and field.

    >>> compute_rule("eu_ai_act").compute[1].min_flops.value, compute_rule("us_eo_14110").period
    (1e+25, 'from 2023-10-30 until 2025-01-20')
    """
    entry = entry_of(RULES, name)
    with fault_lines(entry.path or Path(entry.file)):
        found = build(ComputeRule, {**entry.content, "id": entry.id}, entry.file)
        for place, figure in found.figures():
            if figure.source not in found.sources:
                raise FactError(
                    entry.file, place, f"source {figure.source!r} is not in [sources]", ", ".join(found.sources)
                )
    return found


def compute_rules() -> tuple[ComputeRule, ...]:
    """All rules that ship, by id."""
    return tuple(compute_rule(name) for name in ids(RULES))
