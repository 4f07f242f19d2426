"""Power of a device by activity, as shares of its power limit; fitted, kept apart from the datasheet.

The shares are in `calibration/power.toml`, which `benchmarks/fit_power.py` writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.facts.reader import FactSource, folder, read

_STRICT = ConfigDict(extra="forbid")
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=_STRICT)
class PowerShare:
    """A share of the power limit, its standard error, and the rows it was fitted on."""

    fraction: float
    error: Annotated[float, Field(ge=0)]
    rows: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=_STRICT)
class PowerIntervalWidths:
    """Half-widths of 80 % intervals of predictions on unseen model families, as natural-log ratios.

    measured_steps: power where step times are known.  predicted_steps: power where they are predicted.
    energy: joules per token, all predicted.  unseen_device: added in quadrature on device families without rows.
    """

    measured_steps: Positive
    predicted_steps: Positive
    energy: Positive
    unseen_device: Positive
    rows: Annotated[int, Field(ge=1)]

    def half(self, seen: float, device_seen: bool) -> float:
        """The half-width `seen` (natural-log ratio), widened in quadrature for a device family without rows."""
        return seen if device_seen else math.hypot(seen, self.unseen_device)


@dataclass(frozen=True, config=_STRICT)
class HostPower:
    """Watts of a server without its accelerators."""

    node_w: float


@dataclass(frozen=True, config=_STRICT)
class PowerNuisanceParameter:
    """A serving overhead or input length of the harness that measured the rows; error: of its logarithm."""

    name: str
    fitted: Positive
    error: Annotated[float, Field(ge=0)]
    unit: str


@dataclass(frozen=True, config=_STRICT)
class PowerFitRecord:
    """The command that fitted the shares, and the day of the fit."""

    command: str
    fitted: date


@dataclass(frozen=True, config=_STRICT)
class PowerShareTable:
    """Shares of the power limit by activity; they add up, and the sum is capped at the limit.

    floor: clocks up, waiting for the host.  active: any kernel running.  communication: a collective running.
    sequence: the engine's work per sequence (sampling).  memory: the memory at its peak rate.
    compute: the matrix units at their peak rate (the share grows with the square root of their utilisation).
    """

    floor: PowerShare
    active: PowerShare
    communication: PowerShare
    sequence: PowerShare
    memory: PowerShare
    compute: PowerShare


@dataclass(frozen=True, config=_STRICT)
class ClockVoltage:
    """Voltage of the cores by their clock, both as shares of the highest.

    floor: the least voltage.  knee: the clock at which it is reached.
    """

    floor: PowerShare
    knee: PowerShare


@dataclass(frozen=True, config=_STRICT)
class PowerFacts:
    """The fitted power model.

    families: factor on the shares, by device family that was measured.  idle: share of a device without load, for
    devices whose file has no `idle_w`.  spread: interval widths.  clocks: voltage by clock.  serving: nuisance
    parameters of the energy rows, which no prediction uses.
    """

    id: str
    name: str
    shares: PowerShareTable
    families: Mapping[str, PowerShare]
    idle: PowerShare
    spread: PowerIntervalWidths
    host: HostPower
    clocks: ClockVoltage
    fit: PowerFitRecord
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    serving: tuple[PowerNuisanceParameter, ...] = ()

    def factor(self, family: str) -> float:
        """Factor on the shares for a device family; 1 for one that was not measured."""
        return self.families[family].fraction if family in self.families else 1.0


@lru_cache(maxsize=1)
def power_facts() -> PowerFacts:
    """The power model that ships with the package.

    >>> 0 < power_facts().shares.floor.fraction < 1
    True
    """
    return read(PowerFacts, folder("calibration") / "power.toml")
