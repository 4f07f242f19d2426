"""What a policy of pools sees of one pool of requests, and what it may set: layout, replicas, clock."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class LayoutProfile(NamedTuple):
    """A layout under the requests of a pool, as priced. devices: of one replica.

    per_s: the most requests a second within the objectives at each clock, shape (clocks,).  rates_per_s, watts: mean
    watts of a replica at some loads, shapes (loads,) and (clocks, loads), loads rising from 0.  start_up_s: from the
    decision for a replica until it takes calls.
    """

    devices: int
    per_s: Floats
    rates_per_s: Floats
    watts: Floats
    start_up_s: float

    def watts_at(self, clock: int, per_s: float) -> float:
        """Watts of a replica at a load and a clock; beyond the last load those of the last."""
        return float(np.interp(per_s, self.rates_per_s, self.watts[clock]))


class PoolSetting(NamedTuple):
    """How a pool stands: place of its layout, replicas, place of its clock, and the devices it may use up to."""

    layout: int
    replicas: int
    clock: int
    devices: int


class PoolView(NamedTuple):
    """A pool at one moment, or before the first call at 0.

    second: since the start.  arrivals: requests of each second so far, shape (seconds,).  queued: that wait to be
    admitted.  expected_per_s: what is expected of it before anything was seen.  layouts: those it may have.  setting:
    what was decided last; at 0 as the plan has it.  most_devices: that it could have, those of other pools left out.
    """

    second: int
    arrivals: Floats
    queued: float
    expected_per_s: float
    layouts: tuple[LayoutProfile, ...]
    setting: PoolSetting
    most_devices: int


def busiest(arrivals: Floats, span_s: int, window_s: int) -> float:
    """The highest mean over a window within the last so many seconds, per second; over what there is where it is less.

    >>> busiest(np.array([9.0, 0.0, 0.0, 2.0, 4.0, 0.0]), 4, 2)
    3.0
    """
    seen = arrivals[-span_s:]
    if seen.size <= window_s:
        return float(seen.mean()) if seen.size else 0.0
    sums = np.concatenate([[0.0], np.cumsum(seen)])
    return float((sums[window_s:] - sums[:-window_s]).max() / window_s)


def cheapest(view: PoolView, per_s: float, devices: int, period_s: float) -> PoolSetting:
    """The setting of least watts that carries a load on so many devices; that which carries most where none does.

    A replica of a layout beside those that the pool has of it draws its watts while it starts, too, spread over the
    period for which the setting will stand. Of equals the one with the fewest devices, then the highest clock.
    """
    found: list[tuple[float, int, int, PoolSetting]] = []
    short: list[tuple[float, PoolSetting]] = []
    for place, layout in enumerate(view.layouts):
        has = view.setting.replicas if place == view.setting.layout and view.second else 0
        for clock, most_per_s in enumerate(layout.per_s):
            for count in range(1, devices // layout.devices + 1):
                setting = PoolSetting(place, count, clock, devices)
                if count * most_per_s < per_s:
                    short.append((count * float(most_per_s), setting))
                    continue
                starts_w = max(count - has, 0) * layout.watts_at(clock, 0.0) * layout.start_up_s / period_s
                watts = count * layout.watts_at(clock, per_s / count) + starts_w
                found.append((watts, count * layout.devices, clock, setting))
    if found:
        return min(found)[3]
    return max(short, key=lambda one: (one[0], -one[1].clock))[1] if short else view.setting


def least_clock(view: PoolView, setting: PoolSetting, per_s: float) -> PoolSetting:
    """The same replicas at the clock of least watts that carries a load; at the highest where none does."""
    layout, each = view.layouts[setting.layout], per_s / setting.replicas
    able = [(layout.watts_at(clock, each), clock) for clock, most in enumerate(layout.per_s) if most >= each]
    return setting._replace(clock=min(able)[1] if able else 0)
