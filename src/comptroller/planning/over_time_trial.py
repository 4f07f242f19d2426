"""What is wished of a fleet over time, what it may use, and a choice with what it came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from comptroller.errors import InputError
from comptroller.facts.grid import GridOnClock
from comptroller.planning.over_time_play import FIXED, PartFigures
from comptroller.planning.over_time_surroundings import SpotShare
from comptroller.planning.power_simulation import RowConditions
from comptroller.planning.spot_simulation import SpotConditions
from comptroller.work.zone_record import ZoneRecord

POLICIES = ("forecast", "harmony", "hpa")
"""Who may scale: ours, and the most used of the published ones."""

FILLS = (0.7, 0.85, 1.0, 1.25, 1.6)
"""Shares of what a replica takes that are tried: beyond 1.6 no policy held 95 % of the calls of the Azure traces."""

SPOT_SHARES = (SpotShare("spread_cover", 1.0, 0), SpotShare("spread_cover", 1.0, 1), SpotShare("spread_cover", 0.5, 0),
               SpotShare("spot_hedge", 1.0, 1))  # fmt: skip
"""Spot that is tried: all or half of the target, and SpotHedge as published."""

POWER_POLICIES = ("clock_lock", "static_cap")
"""Power policies that go with replicas that come and go: those without tiers."""


@dataclass(frozen=True, slots=True)
class OverTimeWish:
    """What a fleet over time is to hold. share: of the calls within all objectives, in every part.  parts: the trace is
    cut into, the last kept from the choice.  spot: shares of spot that are tried where there are zones.  power:
    policies that are tried where there are rows."""

    share: float = 0.95
    parts: int = 4
    policies: tuple[str, ...] = POLICIES
    spot: tuple[SpotShare, ...] = SPOT_SHARES
    power: tuple[str, ...] = POWER_POLICIES

    def __post_init__(self) -> None:
        if not (0 < self.share < 1 and self.parts >= 2):
            asked = f"a share of {self.share:g}, {self.parts} parts"
            raise InputError(f"over time: {asked}; allowed: between 0 and 1, from 2")


@dataclass(frozen=True, slots=True)
class OverTimeSurroundings:
    """What a fleet over time may use beside replicas on demand. zones: where spot may be rented, on which conditions.
    rows: that its own replicas stand in.  grid: whose carbon they emit, from the trace's second 0 on; None for the
    mean of the plan's site."""

    zones: tuple[ZoneRecord, SpotConditions] | None = None
    rows: RowConditions | None = None
    grid: GridOnClock | None = None

    def __post_init__(self) -> None:
        if self.zones and self.rows:
            raise InputError(
                "over time: rows with a budget are one's own, and zones of spot are a cloud's; name --row-budget or "
                "--availability"
            )


@dataclass
class FleetPolicyTrial:
    """A choice and what it came to. first: replicas at the start.  spot: None where all is on demand.  power: who sets
    clocks and limits.  objective: what is minimised.  played: by part."""

    policy: str
    fill: float
    first: int
    spot: SpotShare | None = None
    power: str = ""
    objective: str = "usd"
    played: list[PartFigures] = field(default_factory=list)
    lost: str = ""

    @property
    def name(self) -> str:
        """The choice in words.

        >>> FleetPolicyTrial("hpa", 0.85, 4).name, FleetPolicyTrial("none", 1.0, 6).name
        ('hpa fills 85 %, from 4', '6 replicas')
        """
        bare = f"{self.policy} fills {100 * self.fill:.0f} %, from {self.first}"
        if self.policy == FIXED:
            bare = "1 replica" if self.first == 1 else f"{self.first} replicas"
        return ", ".join([bare, *([self.spot.words] if self.spot else []), *([self.power] if self.power else [])])

    @property
    def is_aided(self) -> bool:
        """Whether some is spot or slowed."""
        return self.spot is not None or bool(self.power)

    @property
    def shares(self) -> list[float]:
        """Share of the calls within the objectives, by part."""
        return [one.share for one in self.played]

    @property
    def usd(self) -> list[float]:
        """Dollars by part."""
        return [one.usd for one in self.played]

    @property
    def replica_h(self) -> list[float]:
        """Replica-hours by part."""
        return [one.replica_h for one in self.played]

    @property
    def over_s(self) -> float:
        """Seconds that rows were above their budget so far."""
        return sum(one.over_s for one in self.played)

    @property
    def spent(self) -> float:
        """What is minimised, over the parts so far."""
        return self.spent_until(len(self.played))

    def spent_until(self, parts: int) -> float:
        """The same over the first parts."""
        return float(sum(getattr(one, self.objective) for one in self.played[:parts]))
