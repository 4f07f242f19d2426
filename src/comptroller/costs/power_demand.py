"""What a device asks of its power limit, by what it does and at which clock, and the clock that a limit leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from comptroller.facts.power import ClockVoltage, PowerShareTable

Array = npt.NDArray[np.float64]

CAP_NORM = 8.0
"""Exponent of the smooth minimum of demand and power limit."""

LEAST_CLOCK = 0.05
"""Lowest share of the highest clock that a power limit leaves: a limit that is met at no clock ends here, where a step
takes twenty times as long."""

GRID = np.linspace(LEAST_CLOCK, 1.0, 192)
"""Clocks between which the law is inverted, half a per cent apart; a straight line between them is off by 1e-5."""


@dataclass(frozen=True, slots=True)
class DeviceActivity:
    """Seconds of one device by what it does; arrays of points.

    total_s: the span.  kernel_s, collective_s, sequence_s: something of that kind runs; the rest it waits.
    memory_s, matrix_s: how long the same work takes memory and matrix units at their peak rates.
    """

    total_s: Array
    kernel_s: Array
    collective_s: Array
    sequence_s: Array
    memory_s: Array
    matrix_s: Array

    @classmethod
    def stack(cls, parts: Sequence[DeviceActivity]) -> DeviceActivity:
        """Several one after the other, their points in one array."""
        return cls(
            *(np.concatenate([np.atleast_1d(getattr(part, each.name)) for part in parts]) for each in fields(cls))
        )

    @property
    def busy_s(self) -> Array:
        """Seconds in which anything runs."""
        return np.asarray(self.kernel_s + self.collective_s + self.sequence_s)

    def within(self, total_s: Array) -> DeviceActivity:
        """The same work in another span: more of it waiting, or everything squeezed where it is shorter."""
        squeeze = np.minimum(1.0, total_s / np.maximum(self.busy_s, 1e-12))
        return DeviceActivity(
            np.asarray(total_s),
            self.kernel_s * squeeze,
            self.collective_s * squeeze,
            self.sequence_s * squeeze,
            self.memory_s,
            self.matrix_s,
        )

    def times(self, factor: Array | float) -> DeviceActivity:
        """Repeated `factor` times."""
        return DeviceActivity(*(getattr(self, each.name) * factor for each in fields(self)))


@dataclass(frozen=True, slots=True)
class CoreClock:
    """The clock of a device's cores during steps, and its limit.

    core_power: of what cores draw at the highest clock, the share at this one (`core_power`).  pace: of the speed of
    cores without a setting, the share at this one.  limit: share of the device's own power limit.
    idle: share of that limit that does not hang on the clock.
    """

    core_power: Array | float = 1.0
    pace: Array | float = 1.0
    limit: float = 1.0
    idle: float = 0.0


def core_power(clock: npt.ArrayLike, voltage: ClockVoltage) -> Array:
    """What cores draw at a clock, as a share of what they draw at the highest.

    x v(x)^2,  v(x) = max(v_floor, 1 - (1 - v_floor) (1 - x) / (1 - x_knee))

    clock: x, share of the highest clock.  voltage: v_floor, the least voltage as a share of that at the highest clock;
    x_knee, the clock below which it falls no further. Dynamic power of CMOS (f v^2); voltage and knee as fitted to
    stages of training at locked clocks (Perseus, arXiv 2312.06902).

    >>> from comptroller.facts.power import power_facts
    >>> core_power([1.0, 0.8, 0.5], power_facts().clocks).round(2).tolist()
    [1.0, 0.56, 0.32]
    """
    share = np.asarray(clock, float)
    floor, knee = voltage.floor.fraction, voltage.knee.fraction
    volts = np.maximum(floor, 1.0 - (1.0 - floor) * (1.0 - share) / (1.0 - knee))
    return np.asarray(share * volts**2)


def soft_power_cap(demand: npt.ArrayLike) -> Array:
    """A demand as a share of the power limit, held below it: d / (1 + d^p)^(1/p) with p = 8.

    >>> round(float(soft_power_cap(0.5)), 3), round(float(soft_power_cap(2.0)), 3)
    (0.5, 1.0)
    """
    wanted = np.asarray(demand, float)
    return np.asarray(wanted / (1.0 + wanted**CAP_NORM) ** (1.0 / CAP_NORM))


def limit_s(activity: DeviceActivity, shares: PowerShareTable, factor: Array | float = 1.0) -> Array:
    """Seconds at the power limit that an activity's energy is worth: E / TDP; `factor` scales all shares.

    >>> from comptroller.facts.power import power_facts
    >>> waiting = DeviceActivity(*(np.array(x) for x in (2.0, 0.0, 0.0, 0.0, 0.0, 0.0)))
    >>> shares = power_facts().shares
    >>> bool(limit_s(waiting, shares) == 2.0 * shares.floor.fraction)
    True
    """
    still, moving = _demand(activity, shares, CoreClock())
    waiting = np.maximum(activity.total_s - activity.busy_s, 0.0)
    capped = soft_power_cap(factor * (still + moving))
    return np.asarray(activity.busy_s * capped + waiting * factor * shares.floor.fraction)


def clocked_limit_s(activity: DeviceActivity, shares: PowerShareTable, factor: float, at: CoreClock) -> Array:
    """The same at a locked clock or under a power limit, where the clock is what holds the demand within it.

    >>> from comptroller.facts.power import power_facts
    >>> dense = DeviceActivity(*(np.array([x]) for x in (1.0, 1.0, 0.0, 0.0, 0.2, 0.6)))
    >>> shares, voltage = power_facts().shares, power_facts().clocks
    >>> at = CoreClock(core_power(clock_within(dense, shares, voltage, 1.0, CoreClock(limit=0.6)), voltage), limit=0.6)
    >>> round(float(clocked_limit_s(dense, shares, 1.0, at)[0]), 3)
    0.6
    """
    still, moving = _demand(activity, shares, at)
    waiting = np.maximum(activity.total_s - activity.busy_s, 0.0)
    floor = factor * (at.idle + at.core_power * (shares.floor.fraction - at.idle))
    return np.asarray(
        activity.busy_s * np.minimum(factor * (still + at.core_power * moving), at.limit) + waiting * floor
    )


def _demand(activity: DeviceActivity, shares: PowerShareTable, at: CoreClock) -> tuple[Array, Array]:
    """Shares of the limit that hang on memory alone, and those that cores draw at the highest clock."""
    span = np.maximum(activity.busy_s, 1e-12)
    still = at.idle + shares.memory.fraction * np.minimum(activity.memory_s / span, 1.0)
    moving = (
        shares.floor.fraction
        - at.idle
        + shares.active.fraction * activity.kernel_s / span
        + shares.communication.fraction * activity.collective_s / span
        + shares.sequence.fraction * activity.sequence_s / span
        + shares.compute.fraction * np.sqrt(np.minimum(activity.matrix_s / (at.pace * span), 1.0))
    )
    return np.asarray(still), np.asarray(moving)


def clock_within(
    activity: DeviceActivity, shares: PowerShareTable, voltage: ClockVoltage, factor: float, at: CoreClock
) -> Array:
    """The highest clock, as a share of the highest there is, at which an activity stays within the limit.

    >>> from comptroller.facts.power import power_facts
    >>> facts = power_facts()
    >>> dense = DeviceActivity(*(np.array([x]) for x in (1.0, 1.0, 0.0, 0.0, 0.2, 0.6)))
    >>> [round(float(clock_within(dense, facts.shares, facts.clocks, 1.0, CoreClock(limit=x))[0]), 2) for x in (1, 0.6)]
    [0.88, 0.65]
    """
    still, moving = _demand(activity, shares, at)
    left = (at.limit / factor - still) / np.maximum(moving, 1e-12)
    return np.asarray(np.interp(left, core_power(GRID, voltage), GRID))
